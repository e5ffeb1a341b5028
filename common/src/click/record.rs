//! The JSON of a click as it stands: its known fields, borrowed from the record.
//!
//! Unknown fields are skipped, so that a newer sender loses no click to an older reader. `null` and an empty text mean:
//! not there. Arrays and objects are never kept, only told apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

macro_rules! fields {
    ($($variant:ident = $name:literal,)*) => {
        /// A field that is known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field { $($variant,)* }

        const FIELDS: usize = [$($name,)*].len();

        impl Field {
            fn of(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

fields! {
    TenantId = "tenant_id",
    LinkId = "link_id",
    ClickId = "click_id",
    ClickedAt = "clicked_at",
    Ip = "ip",
    UserAgent = "user_agent",
    Referrer = "referrer",
    Language = "language",
    Destination = "destination",
    Slug = "slug",
    Title = "title",
    Method = "method",
    Trigger = "trigger",
    Imported = "imported",
    Signals = "signals",
    EdgeSignals = "edge_signals",
}

/// The known fields of one record, as they stood in it.
pub(super) struct Fields<'a> {
    values: [Scalar<'a>; FIELDS],
    /// The object `signals`, as it stands.
    pub(super) signals: Option<&'a RawValue>,
    /// A field that is there twice.
    pub(super) twice: Option<Field>,
}

/// One value.
#[derive(Default)]
pub(super) enum Scalar<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Nested(&'static str),
}

impl<'a> Fields<'a> {
    /// The value of `field`, once.
    pub(super) fn take(&mut self, field: Field) -> Scalar<'a> {
        std::mem::take(&mut self.values[field as usize])
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { values: Default::default(), signals: None, twice: None };
        let mut seen = [false; FIELDS];
        while let Some(Key(field)) = map.next_key()? {
            match field {
                Some(field) => {
                    match field {
                        Field::Signals => fields.signals = map.next_value()?,
                        _ => fields.values[field as usize] = map.next_value()?,
                    }
                    if std::mem::replace(&mut seen[field as usize], true) {
                        fields.twice.get_or_insert(field);
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// A field's name; none for one that is not known.
struct Key(Option<Field>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Key, E> {
                Ok(Key(Field::of(name)))
            }
        }

        deserializer.deserialize_identifier(KeyVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(if text.is_empty() { Scalar::Absent } else { Scalar::Text(Cow::Borrowed(text)) })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(if text.is_empty() { Scalar::Absent } else { Scalar::Text(Cow::Owned(text.to_owned())) })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(truth))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested("an object"))
    }
}

/// Where in `text` the value of `field` starts that comes after `skipped` others of the same name.
pub(super) fn position_of(text: &str, field: Field, skipped: usize) -> Option<usize> {
    let Located { values } = serde_json::from_str(text).ok()?;
    let (_, raw) = values.iter().filter(|(name, _)| *name == field.name()).nth(skipped)?;
    raw.get().as_ptr().addr().checked_sub(text.as_ptr().addr())
}

/// The fields of an object with their values as they stand in the record.
struct Located<'a> {
    values: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de> Deserialize<'de> for Located<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LocatedVisitor;

        impl<'de> Visitor<'de> for LocatedVisitor {
            type Value = Located<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Located<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(Located { values })
            }
        }

        deserializer.deserialize_map(LocatedVisitor)
    }
}
