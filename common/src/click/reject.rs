//! A click that could not be taken, and why.
//!
//! A reject is logged, answered and kept beside the log, so it never repeats an address: a value that holds one, or looks
//! as if it did, is told by its length alone.

use std::fmt;

/// The most characters of a refused value that are repeated.
const SHOWN: usize = 60;

/// Why a record is no click, or one that must not be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The kind of reason, by which rejects are counted.
    pub reason: RejectReason,
    /// The field it is about.
    pub field: Option<&'static str>,
    /// What is wrong with it, with its value where that may be told: an address never is.
    pub detail: String,
    /// Where in the record, as a byte offset.
    pub position: Option<usize>,
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// Not a JSON object, or one that says a thing twice.
    Syntax,
    /// Not UTF-8.
    NotUtf8,
    /// Longer than a record may be.
    TooLarge,
    /// Without a field that every click has.
    MissingField,
    /// With a value that a field cannot have.
    BadValue,
    /// From before the floor.
    TooOld,
    /// Another tenant's than the sender's.
    ForeignTenant,
}

impl RejectReason {
    /// The name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::NotUtf8 => "not_utf8",
            Self::TooLarge => "too_large",
            Self::MissingField => "missing_field",
            Self::BadValue => "bad_value",
            Self::TooOld => "too_old",
            Self::ForeignTenant => "foreign_tenant",
        }
    }
}

impl Reject {
    /// A reject for the whole record.
    #[must_use]
    pub fn of_record(reason: RejectReason, detail: impl Into<String>, position: Option<usize>) -> Self {
        Self { reason, field: None, detail: detail.into(), position }
    }

    /// A value that `field` cannot have. The value is shown cut short, and not at all where it may be an address.
    #[must_use]
    pub fn bad_value(field: &'static str, value: &str, wanted: &str, position: Option<usize>) -> Self {
        let detail = if field == "ip" || names_an_address(value) {
            format!("a value of {} characters is not {wanted}", value.chars().count())
        } else {
            let shown: String = value.chars().take(SHOWN).collect();
            let more = if shown.len() < value.len() { "…" } else { "" };
            format!("`{shown}{more}` is not {wanted}")
        };
        Self { reason: RejectReason::BadValue, field: Some(field), detail, position }
    }
}

/// Whether some run of hexadecimal digits, dots and colons is an address or looks like one; a time of day does not.
fn names_an_address(value: &str) -> bool {
    value.split(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':'))).any(|run| {
        let count = |wanted| run.bytes().filter(|byte| *byte == wanted).count();
        count(b'.') >= 3 || count(b':') >= 3 || run.contains("::")
    })
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.detail)?;
        match self.position {
            Some(position) => write!(f, " (at byte {position})"),
            None => Ok(()),
        }
    }
}
