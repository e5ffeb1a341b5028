//! From bytes to a click and back.
//!
//! Strings are borrowed from the record until they are known to be kept. A field that nobody knows is passed over: a
//! newer producer must not lose its clicks to an older reader.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::{Click, Kind, Reject, RejectReason, Trigger, limits};
use crate::bucket::Timestamp;
use crate::id::{ClickId, LinkId, TenantId};

const AN_ID: &str = "a whole number from 0 to 18446744073709551615, as a number or a decimal string";
const A_TIME: &str = "a time such as 2026-03-01T10:00:00Z, or milliseconds since 1970";

impl Click {
    /// Reads the documented JSON object.
    ///
    /// # Errors
    /// [`Reject`] tells the reason, the field and the byte; no bytes make it panic.
    pub fn parse(record: &[u8]) -> Result<Self, Reject> {
        if record.len() > limits::RECORD {
            let detail = format!("{} bytes, a record may have {}", record.len(), limits::RECORD);
            return Err(Reject::of_record(RejectReason::TooLarge, detail, Some(limits::RECORD)));
        }
        let text = std::str::from_utf8(record).map_err(|error| {
            Reject::of_record(RejectReason::NotUtf8, "the record is not UTF-8", Some(error.valid_up_to()))
        })?;
        // serde would read an array as an object's values in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Reject::of_record(RejectReason::Syntax, "not the JSON object of a click", Some(0)));
        }
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        wire.into_click(text)
    }

    /// Appends the documented JSON object, without a line break.
    pub fn to_json(&self, out: &mut Vec<u8>) {
        let written = Written {
            tenant_id: self.tenant_id.0,
            link_id: self.link_id,
            click_id: self.click_id,
            clicked_at: self.clicked_at,
            ip: self.ip,
            user_agent: self.user_agent.as_deref(),
            referrer: self.referrer.as_deref(),
            language: self.language.as_deref(),
            destination: self.destination.as_deref(),
            slug: self.slug.as_deref(),
            title: self.title.as_deref(),
            method: (self.kind == Kind::Preview).then_some("HEAD"),
            trigger: (self.trigger == Trigger::Qr).then_some("qr"),
            imported: self.imported,
        };
        serde_json::to_writer(out, &written).expect("writing to memory does not fail");
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    tenant_id: Scalar<'a>,
    #[serde(borrow, default)]
    link_id: Scalar<'a>,
    #[serde(borrow, default)]
    click_id: Scalar<'a>,
    #[serde(borrow, default)]
    clicked_at: Scalar<'a>,
    #[serde(borrow, default)]
    ip: Scalar<'a>,
    #[serde(borrow, default)]
    user_agent: Scalar<'a>,
    #[serde(borrow, default)]
    referrer: Scalar<'a>,
    #[serde(borrow, default)]
    language: Scalar<'a>,
    #[serde(borrow, default)]
    destination: Scalar<'a>,
    #[serde(borrow, default)]
    slug: Scalar<'a>,
    #[serde(borrow, default)]
    title: Scalar<'a>,
    #[serde(borrow, default)]
    method: Scalar<'a>,
    #[serde(borrow, default)]
    trigger: Scalar<'a>,
    #[serde(default)]
    imported: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    tenant_id: u64,
    link_id: LinkId,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_id: Option<ClickId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clicked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A JSON value that is no object and no array; what a field makes of it is decided once all are read.
#[derive(Default)]
enum Scalar<'a> {
    #[default]
    Absent,
    Unsigned(u64),
    Signed(i64),
    Text(Cow<'a, str>),
    /// A fraction or a truth value, which no field takes.
    Unfit(String),
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
        f.write_str("a text or a number")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Unfit(value.to_string()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Unfit(value.to_string()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(if value.is_empty() { Scalar::Absent } else { Scalar::Text(Cow::Borrowed(value)) })
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(if value.is_empty() { Scalar::Absent } else { Scalar::Text(Cow::Owned(value.to_owned())) })
    }
}

impl Wire<'_> {
    fn into_click(self, record: &str) -> Result<Click, Reject> {
        let field = |name| Field { name, record };
        let link_id = field("link_id").id(&self.link_id)?;
        Ok(Click {
            tenant_id: TenantId(field("tenant_id").id(&self.tenant_id)?.unwrap_or_default()),
            link_id: LinkId(link_id.ok_or_else(|| Reject {
                reason: RejectReason::MissingField,
                field: Some("link_id"),
                detail: "every click needs the id of its link".to_owned(),
                position: None,
            })?),
            click_id: field("click_id")
                .parsed(&self.click_id, "a UUID", |text| Uuid::try_parse(text).ok().map(ClickId))?,
            clicked_at: field("clicked_at").time(&self.clicked_at)?,
            ip: field("ip").parsed(&self.ip, "an IPv4 or IPv6 address", |text| text.parse().ok())?,
            user_agent: field("user_agent").text(self.user_agent, limits::USER_AGENT)?,
            referrer: field("referrer").text(self.referrer, limits::REFERRER)?,
            language: field("language").text(self.language, limits::LANGUAGE)?,
            destination: field("destination").text(self.destination, limits::DESTINATION)?,
            slug: field("slug").text(self.slug, limits::LABEL)?,
            title: field("title").text(self.title, limits::LABEL)?,
            kind: field("method").parsed(&self.method, "GET or HEAD", kind_of)?.unwrap_or_default(),
            trigger: field("trigger").parsed(&self.trigger, "link or qr", trigger_of)?.unwrap_or_default(),
            imported: self.imported,
        })
    }
}

fn kind_of(method: &str) -> Option<Kind> {
    match method {
        "GET" => Some(Kind::Click),
        "HEAD" => Some(Kind::Preview),
        _ => None,
    }
}

fn trigger_of(name: &str) -> Option<Trigger> {
    [Trigger::Link, Trigger::Qr].into_iter().find(|trigger| trigger.name() == name)
}

/// A field of a record: what it may be, and where it stands if it is not.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'static str,
    record: &'a str,
}

impl Field<'_> {
    fn bad(self, value: &Scalar<'_>, wanted: &str) -> Reject {
        let shown = match value {
            Scalar::Absent => "null".to_owned(),
            Scalar::Unsigned(number) => number.to_string(),
            Scalar::Signed(number) => number.to_string(),
            Scalar::Text(text) => text.to_string(),
            Scalar::Unfit(value) => value.clone(),
        };
        // A key that also stands inside a text may be found first: the position is a help, not a promise.
        let position = self.record.find(&format!("\"{}\"", self.name));
        Reject::bad_value(self.name, &shown, wanted, position)
    }

    fn id(self, value: &Scalar<'_>) -> Result<Option<u64>, Reject> {
        match value {
            Scalar::Absent => Ok(None),
            Scalar::Unsigned(id) => Ok(Some(*id)),
            Scalar::Text(text) => text.parse().map(Some).map_err(|_| self.bad(value, AN_ID)),
            Scalar::Signed(_) | Scalar::Unfit(_) => Err(self.bad(value, AN_ID)),
        }
    }

    fn time(self, value: &Scalar<'_>) -> Result<Option<Timestamp>, Reject> {
        let ms = match value {
            Scalar::Absent => return Ok(None),
            Scalar::Unsigned(ms) => i64::try_from(*ms).ok(),
            Scalar::Signed(ms) => Some(*ms),
            Scalar::Text(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
            Scalar::Unfit(_) => None,
        };
        ms.and_then(Timestamp::from_millis).map(Some).ok_or_else(|| self.bad(value, A_TIME))
    }

    fn parsed<T>(
        self,
        value: &Scalar<'_>,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Reject> {
        match value {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => parse(text).map(Some).ok_or_else(|| self.bad(value, wanted)),
            _ => Err(self.bad(value, wanted)),
        }
    }

    fn text(self, value: Scalar<'_>, limit: usize) -> Result<Option<String>, Reject> {
        match value {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) if text.len() <= limit => Ok(Some(text.into_owned())),
            Scalar::Text(text) => Ok(Some(text[..text.floor_char_boundary(limit)].to_owned())),
            _ => Err(self.bad(&value, "a text")),
        }
    }
}

fn unreadable(text: &str, error: &serde_json::Error) -> Reject {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let position = (before + error.column().saturating_sub(1)).min(text.len());
    let message = error.to_string();
    let detail = message.split(" at line ").next().unwrap_or(&message);
    Reject::of_record(RejectReason::Syntax, format!("not the JSON object of a click: {detail}"), Some(position))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reject(record: &str) -> Reject {
        Click::parse(record.as_bytes()).unwrap_err()
    }

    #[test]
    fn ids_are_numbers_or_strings_of_64_bits() {
        for id in ["18446744073709551615", "\"18446744073709551615\""] {
            let click = Click::parse(format!("{{\"link_id\":{id}}}").as_bytes()).unwrap();
            assert_eq!(click.link_id, LinkId(u64::MAX));
        }
        for id in ["-1", "\"-1\"", "18446744073709551616", "1.5", "true", "\"x\"", "1e3"] {
            let reject = reject(&format!("{{\"tenant_id\":1,\"link_id\":{id}}}"));
            assert_eq!(
                (reject.reason, reject.field, reject.position),
                (RejectReason::BadValue, Some("link_id"), Some(15)),
                "{id}"
            );
        }
        assert_eq!(reject("{}").reason, RejectReason::MissingField);
        assert_eq!(reject("{\"link_id\":null}").reason, RejectReason::MissingField);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_byte() {
        assert_eq!(reject("{\"link_id\":1,}").position, Some(13));
        assert_eq!(reject("{\"link_id\":\n 1").reason, RejectReason::Syntax);
        for record in ["", "[]", "7", "{\"link_id\":1} x", "{\"link_id\":1,\"link_id\":2}", "{\"link_id\":{}}"] {
            assert_eq!(reject(record).reason, RejectReason::Syntax, "{record}");
        }
        let not_utf8 = Click::parse(b"{\"link_id\":1,\"slug\":\"\xff\"}").unwrap_err();
        assert_eq!((not_utf8.reason, not_utf8.position), (RejectReason::NotUtf8, Some(21)));
        let long = format!("{{\"link_id\":1,\"x\":\"{}\"}}", "y".repeat(limits::RECORD));
        assert_eq!(reject(&long).reason, RejectReason::TooLarge);
    }

    #[test]
    fn host_name_as_address_is_refused_and_never_told() {
        let reject = reject("{\"link_id\":1,\"ip\":\"crawler-66-249-66-1.example\"}");
        assert_eq!(reject.field, Some("ip"));
        assert!(!reject.to_string().contains("66"), "{reject}");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let referrer = format!("https://a.example/{}", "é".repeat(10_000));
        let click = Click::parse(format!("{{\"link_id\":1,\"referrer\":\"{referrer}\"}}").as_bytes()).unwrap();
        let kept = click.referrer.unwrap();
        assert!(referrer.starts_with(&kept) && kept.len() > limits::REFERRER - 2);
    }

    #[test]
    fn time_is_text_or_milliseconds_of_any_year() {
        for (time, ms) in [
            ("\"1970-01-01T00:00:01Z\"", 1000),
            ("1000", 1000),
            ("-5", -5),
            ("\"2100-01-01T05:30:00+05:30\"", 4_102_444_800_000),
        ] {
            let click = Click::parse(format!("{{\"link_id\":1,\"clicked_at\":{time}}}").as_bytes()).unwrap();
            assert_eq!(click.clicked_at.unwrap().as_millis(), ms);
        }
        for time in ["\"2026-03-01\"", "\"2026-03-01T10:00:00\"", "99999999999999999", "\"soon\"", "0.5"] {
            assert_eq!(reject(&format!("{{\"link_id\":1,\"clicked_at\":{time}}}")).field, Some("clicked_at"), "{time}");
        }
    }

    fn any_click() -> impl Strategy<Value = Click> {
        let texts = prop::collection::vec(prop::option::of("\\PC{1,40}"), 6);
        let place =
            (any::<u64>(), any::<u64>(), any::<Option<u128>>(), prop::option::of(-9_999_999_999i64..9_999_999_999_999));
        (place, prop::option::of(any::<IpAddr>()), texts, any::<[bool; 3]>()).prop_map(|(place, ip, texts, flags)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            Click {
                tenant_id: TenantId(place.0),
                link_id: LinkId(place.1),
                click_id: place.2.map(|id| ClickId(Uuid::from_u128(id))),
                clicked_at: place.3.and_then(Timestamp::from_millis),
                ip,
                user_agent: text(),
                referrer: text(),
                language: text(),
                destination: text(),
                slug: text(),
                title: text(),
                kind: if flags[0] { Kind::Preview } else { Kind::Click },
                trigger: if flags[1] { Trigger::Qr } else { Trigger::Link },
                imported: flags[2],
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(click in any_click()) {
            let mut json = Vec::new();
            click.to_json(&mut json);
            let read = Click::parse(&json).unwrap();
            prop_assert_eq!(read, click);
        }

        #[test]
        fn no_bytes_make_it_panic(record in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Click::parse(&record);
        }
    }
}
