//! A filter by one dimension: which of its values are counted, or which are not.
//!
//! Written as in `country=US,BR` (these alone) and `country=-US,BR` (all but these). A comma within a value and a minus
//! at its beginning are written with a backslash before them: `city=Mountain View\, US-CA`. A star at the end stands for
//! whatever follows: `bot_reason=ua:*`; a value that ends with one has a backslash before it.

use std::collections::BTreeSet;
use std::fmt;

use crate::dimension::{Dimension, OTHER};
use crate::enrich::{SUSPECTED, Text};

/// The most values a filter may name.
const MOST_VALUES: usize = 100;

/// Clicks by their value in a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    dimension: Dimension,
    exclude: bool,
    values: BTreeSet<Text>,
    /// How values begin.
    beginnings: BTreeSet<Text>,
}

/// Why a text is no filter. The message names the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No value, or an empty one among several.
    #[error("a filter names one or several values with commas between them, none of them empty")]
    Empty,
    /// Some values with a minus, others without.
    #[error(
        "a filter either names what is counted (US,BR) or, with a minus, what is not (-US,BR); write \\- for a value that begins with one"
    )]
    Mixed,
    /// [`OTHER`] is a sum, not a value.
    #[error("`(other)` stands for the values an answer does not list, it is none; name the values themselves")]
    Other,
    /// More values than a filter may name.
    #[error("a filter names at most {MOST_VALUES} values")]
    TooMany,
}

impl Filter {
    /// Reads a filter by `dimension`.
    ///
    /// # Errors
    /// [`FilterError`] where it names nothing that could be counted.
    pub fn parse(dimension: Dimension, text: &str) -> Result<Self, FilterError> {
        let words = split(text);
        let exclude = words.first().is_some_and(|word| word.minus);
        if !exclude && words.iter().any(|word| word.minus) {
            return Err(FilterError::Mixed);
        }
        let (open, whole): (Vec<&Word>, Vec<&Word>) = words.iter().partition(|word| word.open);
        let values: BTreeSet<Text> = whole.iter().map(|word| Text::from(word.value.trim())).collect();
        // A blank before a star is meant.
        let beginnings: BTreeSet<Text> = open.iter().map(|word| Text::from(word.value.trim_start())).collect();
        if values.contains("") || beginnings.contains("") {
            return Err(FilterError::Empty);
        }
        if values.contains(OTHER) {
            return Err(FilterError::Other);
        }
        if values.len() + beginnings.len() > MOST_VALUES {
            return Err(FilterError::TooMany);
        }
        Ok(Self { dimension, exclude, values, beginnings })
    }

    /// People's clicks that something speaks against.
    #[must_use]
    pub fn suspected() -> Self {
        let beginnings = BTreeSet::from([Text::from(SUSPECTED)]);
        Self { dimension: Dimension::BotReason, exclude: false, values: BTreeSet::new(), beginnings }
    }

    /// The dimension it is about.
    #[must_use]
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Whether clicks of that value are counted.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let named =
            self.values.contains(value) || self.beginnings.iter().any(|beginning| value.starts_with(&**beginning));
        named != self.exclude
    }

    /// Whether the values it names are the ones that are not counted.
    #[must_use]
    pub fn excludes(&self) -> bool {
        self.exclude
    }

    /// The values it names, in order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| &**value)
    }

    /// The beginnings of values it names, in order.
    pub fn beginnings(&self) -> impl Iterator<Item = &str> {
        self.beginnings.iter().map(|beginning| &**beginning)
    }
}

/// As [`Filter::parse`] reads it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values().map(|value| (escape(value), ""));
        let beginnings = self.beginnings().map(|beginning| (escape_start(beginning), "*"));
        for (at, (value, star)) in values.chain(beginnings).enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            f.write_str(if at == 0 && self.exclude { "-" } else { "" })?;
            write!(f, "{value}{star}")?;
        }
        Ok(())
    }
}

/// A value as it is written in a filter.
#[must_use]
pub fn escape(value: &str) -> String {
    match value.strip_suffix('*') {
        Some(rest) => format!("{}\\*", escape_start(rest)),
        None => escape_start(value),
    }
}

/// The same of what something follows.
fn escape_start(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace(',', "\\,");
    if escaped.starts_with('-') { format!("\\{escaped}") } else { escaped }
}

#[derive(Default)]
struct Word {
    minus: bool,
    value: String,
    /// Whether it is the beginning of values.
    open: bool,
}

/// The values between commas, and whether each begins with a minus.
fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word::default();
    let mut letters = text.chars().peekable();
    let mut begins = true;
    while let Some(letter) = letters.next() {
        match letter {
            ',' => {
                words.push(std::mem::take(&mut word));
                begins = true;
                continue;
            }
            '-' if begins => word.minus = true,
            ' ' if begins => continue,
            '\\' => word.value.extend(letters.next()),
            '*' if letters.peek().is_none_or(|next| *next == ',') => word.open = true,
            letter => word.value.push(letter),
        }
        begins = false;
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn city(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(Dimension::City, text)
    }

    #[test]
    fn filter_names_what_is_counted_or_what_is_not() {
        let one = city("Oslo, NO-03").unwrap();
        assert!(one.matches("Oslo") && one.matches("NO-03") && !one.matches("Oslo, NO-03"));
        let with_comma = city("Oslo\\, NO-03").unwrap();
        assert!(with_comma.matches("Oslo, NO-03") && !with_comma.matches("Oslo"));
        for text in ["-US,BR", "-US,-BR", "-BR,US,US"] {
            let but = Filter::parse(Dimension::Country, text).unwrap();
            assert!(but.excludes() && !but.matches("US") && !but.matches("BR") && but.matches("(none)"), "{text}");
        }
        assert!(city("\\-5").unwrap().matches("-5"));
        let beginning = city("New *,Oslo").unwrap();
        assert!(beginning.matches("New York") && beginning.matches("Oslo") && !beginning.matches("Newark"));
        let but = city("-New*").unwrap();
        assert!(!but.matches("Newark") && but.matches("Oslo") && but.matches("(none)"));
        assert!(city("5\\*").unwrap().matches("5*") && !city("5\\*").unwrap().matches("55"));
        assert!(city("a*b").unwrap().matches("a*b"), "a star within a value is one");
        let suspected = Filter::suspected();
        assert_eq!(Filter::parse(Dimension::BotReason, &suspected.to_string()), Ok(suspected));
    }

    #[test]
    fn what_could_not_be_counted_is_refused() {
        for (text, error) in [
            ("", FilterError::Empty),
            ("US,", FilterError::Empty),
            ("-", FilterError::Empty),
            ("*", FilterError::Empty),
            ("US,-BR", FilterError::Mixed),
            ("(other)", FilterError::Other),
        ] {
            assert_eq!(city(text), Err(error), "{text}");
        }
        let many: Vec<_> = (0..=MOST_VALUES).map(|value| value.to_string()).collect();
        assert_eq!(city(&many.join(",")), Err(FilterError::TooMany));
        assert!(city(&many[1..].join(",")).is_ok());
    }

    proptest! {
        #[test]
        fn filter_is_read_as_it_is_written(
            values in prop::collection::btree_set("[-a*,\\\\( ]{1,6}[-b*,\\\\]", 1..6),
            beginnings in prop::collection::btree_set("[-a*,\\\\( ]{1,6}[-b*,\\\\]", 0..3),
            exclude: bool,
        ) {
            let values = values.iter().map(|value| Text::from(value.trim())).collect();
            let beginnings = beginnings.iter().map(|beginning| Text::from(beginning.trim_start())).collect();
            let filter = Filter { dimension: Dimension::City, exclude, values, beginnings };
            prop_assert_eq!(city(&filter.to_string()), Ok(filter));
        }
    }
}
