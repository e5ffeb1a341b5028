//! Values of configuration that are more than text: durations and sizes, as people write them, secrets, and settings of
//! others.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use linktide_common::repeat::LONGEST;
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// A duration: `200ms`, `5s`, `1h 30m`, `3653d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// So many seconds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// So many hours.
    #[must_use]
    pub const fn hours(count: u64) -> Self {
        Self::seconds(count * 3600)
    }

    /// So many days of 24 hours.
    #[must_use]
    pub const fn days(count: u64) -> Self {
        Self::hours(count * 24)
    }
}

const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write 200ms, 5s, 1h 30m or 7d");
        let mut total: u64 = 0;
        let mut parts = text.split_whitespace().peekable();
        parts.peek().ok_or_else(wrong)?;
        for part in parts {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, unit) = part.split_at(digits);
            let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*ms));
            total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let mut parts = Vec::new();
        for (name, ms) in UNITS {
            if rest / ms > 0 {
                parts.push(format!("{}{name}", rest / ms));
                rest %= ms;
            }
        }
        f.write_str(if parts.is_empty() { "0s" } else { "" })?;
        f.write_str(&parts.join(" "))
    }
}

/// A number of bytes: `512KiB`, `64MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const SIZES: &[(&str, u32)] = &[("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write 512KiB, 64MiB or 1GiB");
        let (unit, shift) = SIZES.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
        let number: u64 = text[..text.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            |(_, shift): &&(&str, u32)| self.0.is_multiple_of(1 << shift) && (self.0 >> shift > 0 || *shift == 0);
        let (unit, shift) = SIZES.iter().find(whole).copied().unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// A number from which on something is too much, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold(pub Option<u32>);

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            _ => match text.parse() {
                Ok(number @ 1..) => Ok(Self(Some(number))),
                _ => Err(format!("`{text}` is no threshold; write a number from 1 on, or off")),
            },
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// How long behind a click another one is its repeat, up to an hour, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(pub Option<Duration>);

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            _ => match text.parse() {
                Ok(Span(window)) if (Duration::from_millis(1)..=LONGEST).contains(&window) => Ok(Self(Some(window))),
                _ => Err(format!("`{text}` is no window; write a duration of up to an hour, such as 30s, or off")),
            },
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(window) => Span(window).fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A secret: read, and never shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Settings of another program by their dotted names, such as `sasl.password`. Those that are secret are never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings(pub BTreeMap<String, String>);

impl Settings {
    fn shown(&self) -> impl Iterator<Item = (&String, &String)> {
        let secret =
            |name: &str| ["password", "secret", "pem", "oauthbearer.config"].iter().any(|part| name.contains(part));
        self.0.iter().filter(move |(name, _)| !secret(name))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl<'de> Deserialize<'de> for Settings {
    /// A dotted name may come as tables within tables: that is how dotted keys are read.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, String>) {
            for (name, value) in table {
                let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                match value {
                    toml::Value::Table(table) => flatten(&name, table, into),
                    toml::Value::String(text) => drop(into.insert(name, text)),
                    other => drop(into.insert(name, other.to_string())),
                }
            }
        }
        let mut settings = BTreeMap::new();
        flatten("", toml::Table::deserialize(deserializer)?, &mut settings);
        Ok(Self(settings))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(Span);
as_text!(ByteSize);
as_text!(Window);

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => serializer.serialize_u32(number),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_and_never_shown() {
        let text = "sasl.password = \"hush\"\nsecurity.protocol = \"SASL_SSL\"\n\"linger.ms\" = 5\n";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!((&*settings.0["sasl.password"], &*settings.0["linger.ms"]), ("hush", "5"));
        let shown = toml::to_string(&settings).unwrap();
        assert!(shown.contains("SASL_SSL") && !shown.contains("hush"), "{shown}");
        assert!(!format!("{settings:?} {:?}", Hidden("hush".into())).contains("hush"));
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        for text in ["200ms", "5s", "1h 30m", "7d", "1d 2h 3m 4s 5ms", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["512KiB", "64MiB", "1GiB", "7B", "1025KiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for (text, threshold) in [("300", Some(300)), ("\"300\"", Some(300)), ("\"off\"", None)] {
            let read: BTreeMap<String, Threshold> = toml::from_str(&format!("it = {text}")).unwrap();
            assert_eq!(read["it"], Threshold(threshold));
            assert_eq!(toml::from_str::<BTreeMap<String, Threshold>>(&toml::to_string(&read).unwrap()).unwrap(), read);
        }
        for text in ["0", "-1", "\"on\"", "1.5"] {
            assert!(toml::from_str::<BTreeMap<String, Threshold>>(&format!("it = {text}")).is_err(), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "99999999999999999999d", "1.5h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["30s", "1ms", "1h", "off"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for text in ["", "0s", "1h 1ms", "30"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
        for text in ["", "64", "64MB", "-1KiB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
