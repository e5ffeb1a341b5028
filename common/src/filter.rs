//! A filter by one dimension: which of its values are counted, or which are not.
//!
//! Written as in `country=US,BR` (these alone) and `country=-US,BR` (all but these). A comma within a value and a minus
//! at its beginning are written with a backslash before them: `city=Mountain View\, US-CA`.

use std::collections::BTreeSet;
use std::fmt;

use crate::dimension::{Dimension, OTHER};
use crate::enrich::Text;

/// The most values a filter may name.
const MOST_VALUES: usize = 100;

/// Clicks by their value in a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    dimension: Dimension,
    exclude: bool,
    values: BTreeSet<Text>,
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
        let values: BTreeSet<Text> = words.iter().map(|word| Text::from(word.value.trim())).collect();
        if values.contains("") {
            return Err(FilterError::Empty);
        }
        if values.contains(OTHER) {
            return Err(FilterError::Other);
        }
        if values.len() > MOST_VALUES {
            return Err(FilterError::TooMany);
        }
        Ok(Self { dimension, exclude, values })
    }

    /// The dimension it is about.
    #[must_use]
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Whether clicks of that value are counted.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.values.contains(value) != self.exclude
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
}

/// As [`Filter::parse`] reads it.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.values().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            f.write_str(if at == 0 && self.exclude { "-" } else { "" })?;
            f.write_str(&escape(value))?;
        }
        Ok(())
    }
}

/// A value as it is written in a filter.
#[must_use]
pub fn escape(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace(',', "\\,");
    if escaped.starts_with('-') { format!("\\{escaped}") } else { escaped }
}

struct Word {
    minus: bool,
    value: String,
}

/// The values between commas, and whether each begins with a minus.
fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = Word { minus: false, value: String::new() };
    let mut letters = text.chars();
    let mut begins = true;
    while let Some(letter) = letters.next() {
        match letter {
            ',' => {
                words.push(std::mem::replace(&mut word, Word { minus: false, value: String::new() }));
                begins = true;
                continue;
            }
            '-' if begins => word.minus = true,
            ' ' if begins => continue,
            '\\' => word.value.extend(letters.next()),
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
    }

    #[test]
    fn what_could_not_be_counted_is_refused() {
        for (text, error) in [
            ("", FilterError::Empty),
            ("US,", FilterError::Empty),
            ("-", FilterError::Empty),
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
        fn filter_is_read_as_it_is_written(values in prop::collection::btree_set("[-a,\\\\( ]{1,6}[-b,\\\\]", 1..6), exclude: bool) {
            let values: BTreeSet<Text> = values.iter().map(|value| Text::from(value.trim())).collect();
            let filter = Filter { dimension: Dimension::City, exclude, values };
            prop_assert_eq!(city(&filter.to_string()), Ok(filter));
        }
    }
}
