//! What a redirector or an edge saw of a click beyond its headers of old: the optional object `signals` of a click.
//!
//! | field | JSON | meaning |
//! |---|---|---|
//! | `challenge` | `passed`, `pressed`, `failed`, `unanswered` | what became of a challenge |
//! | `bot_score` | 0 to 100 | how sure an edge is that this is a program |
//! | `webdriver` | true or false | `navigator.webdriver`, as a script saw it |
//! | `ja4` | text | the JA4 fingerprint of the TLS handshake |
//! | `sec_ch_ua`, `sec_ch_ua_mobile`, `sec_ch_ua_platform` | the headers as sent | client hints |
//! | `headers` | array of names | which of [`Headers::NAMES`] the request had; absent where nobody looked |
//! | `https` | true or false | whether the visitor's connection is encrypted |
//! | `edge` | `signed`, `forged`, `expired` | what the door made of an edge's signature |
//!
//! Fields of other names are passed over, here and in `headers`. A value that a field cannot have refuses the click.

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::record::Scalar;
use super::{cut, limits};

/// What was seen of a click. Nothing here is stored: it ends in the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Signals {
    /// What became of a challenge; none where none was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// How sure an edge is that this is a program, from 0 (a person) to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_score: Option<u8>,
    /// `navigator.webdriver`, as a script saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webdriver: Option<bool>,
    /// JA4 fingerprint of the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// `Sec-CH-UA`: brands with their major versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sec_ch_ua: Option<String>,
    /// `Sec-CH-UA-Mobile`: `?0` or `?1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sec_ch_ua_mobile: Option<String>,
    /// `Sec-CH-UA-Platform`, with its quotation marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sec_ch_ua_platform: Option<String>,
    /// Which headers the request had; none where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Whether the visitor's connection is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<bool>,
    /// What the door made of an edge's signature; none where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
}

macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The name in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn of(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

named! {
    /// What became of a challenge.
    Challenge {
        /// A script solved it.
        Passed = "passed",
        /// Someone without scripts pressed the button: that tells neither person nor program.
        Pressed = "pressed",
        /// The answer was wrong.
        Failed = "failed",
        /// Nobody answered in time.
        Unanswered = "unanswered",
    }
}

named! {
    /// What the door made of an edge's signature.
    Edge {
        /// It is the edge's, and fresh: what it signs was taken over.
        Signed = "signed",
        /// It is not the edge's: what it signs was ignored.
        Forged = "forged",
        /// It is too old, or of the future: what it signs was ignored.
        Expired = "expired",
    }
}

/// A set of [`Headers::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers(u8);

impl Headers {
    /// The headers that every browser sends of itself.
    pub const NAMES: [&'static str; 6] =
        ["accept", "accept-encoding", "accept-language", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site"];

    /// The set of those that `has` says are there.
    #[must_use]
    pub fn seen(has: impl Fn(&'static str) -> bool) -> Self {
        Self::NAMES.into_iter().filter(|name| has(name)).fold(Self::default(), Self::with)
    }

    /// This set and one more; names of others are passed over.
    #[must_use]
    pub fn with(self, name: &str) -> Self {
        Self::NAMES.iter().position(|known| *known == name).map_or(self, |bit| Self(self.0 | 1 << bit))
    }

    /// Whether a header was there.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        Self::NAMES.iter().position(|known| *known == name).is_some_and(|bit| self.0 & 1 << bit != 0)
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = serializer.serialize_seq(None)?;
        for name in Self::NAMES.iter().filter(|name| self.has(name)) {
            names.serialize_element(name)?;
        }
        names.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some(name) = names.next_element::<Scalar<'de>>()? {
                    match name {
                        Scalar::Text(name) => headers = headers.with(&name),
                        _ => return Err(de::Error::custom("a name is a text")),
                    }
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

/// A value that a field of `signals` cannot have.
pub(super) struct Unfit<'a> {
    pub(super) value: Scalar<'a>,
    pub(super) wanted: &'static str,
}

/// The object as it stands.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Said<'a> {
    #[serde(borrow)]
    challenge: Scalar<'a>,
    #[serde(borrow)]
    bot_score: Scalar<'a>,
    #[serde(borrow)]
    webdriver: Scalar<'a>,
    #[serde(borrow)]
    ja4: Scalar<'a>,
    #[serde(borrow)]
    sec_ch_ua: Scalar<'a>,
    #[serde(borrow)]
    sec_ch_ua_mobile: Scalar<'a>,
    #[serde(borrow)]
    sec_ch_ua_platform: Scalar<'a>,
    headers: Option<Headers>,
    #[serde(borrow)]
    https: Scalar<'a>,
    #[serde(borrow)]
    edge: Scalar<'a>,
}

impl Signals {
    /// Reads the object `signals`.
    pub(super) fn parse(json: &str) -> Result<Self, Unfit<'_>> {
        let is_object = json.trim_start().starts_with('{');
        let said = if is_object { serde_json::from_str::<Said<'_>>(json).ok() } else { None };
        let said = said.ok_or(Unfit {
            value: Scalar::Nested("something else"),
            wanted: "an object with each field once, and an array of names as headers",
        })?;
        Ok(Self {
            challenge: one_of(said.challenge, "passed, pressed, failed or unanswered, as challenge", Challenge::of)?,
            bot_score: score(said.bot_score)?,
            webdriver: truth(said.webdriver, "true or false, as webdriver")?,
            ja4: text(said.ja4, limits::HINT, "a text, as ja4")?,
            sec_ch_ua: text(said.sec_ch_ua, limits::BRANDS, "a text, as sec_ch_ua")?,
            sec_ch_ua_mobile: text(said.sec_ch_ua_mobile, limits::HINT, "a text, as sec_ch_ua_mobile")?,
            sec_ch_ua_platform: text(said.sec_ch_ua_platform, limits::HINT, "a text, as sec_ch_ua_platform")?,
            headers: said.headers,
            https: truth(said.https, "true or false, as https")?,
            edge: one_of(said.edge, "signed, forged or expired, as edge", Edge::of)?,
        })
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn texts(&self) -> usize {
        let texts = [&self.ja4, &self.sec_ch_ua, &self.sec_ch_ua_mobile, &self.sec_ch_ua_platform];
        texts.into_iter().flatten().map(String::len).sum()
    }

    /// Takes over what an edge signed: it stands nearer to the visitor.
    pub fn take_over(&mut self, edge: Self) {
        fn newer<T>(mine: &mut Option<T>, theirs: Option<T>) {
            if theirs.is_some() {
                *mine = theirs;
            }
        }
        newer(&mut self.challenge, edge.challenge);
        newer(&mut self.bot_score, edge.bot_score);
        newer(&mut self.webdriver, edge.webdriver);
        newer(&mut self.ja4, edge.ja4);
        newer(&mut self.sec_ch_ua, edge.sec_ch_ua);
        newer(&mut self.sec_ch_ua_mobile, edge.sec_ch_ua_mobile);
        newer(&mut self.sec_ch_ua_platform, edge.sec_ch_ua_platform);
        newer(&mut self.headers, edge.headers);
        newer(&mut self.https, edge.https);
    }

    /// The same with texts cut as parsing cuts them.
    pub(super) fn kept(&self) -> Self {
        let kept = |text: &Option<String>, limit| text.as_deref().map(|text| cut(text, limit).to_owned());
        Self {
            ja4: kept(&self.ja4, limits::HINT),
            sec_ch_ua: kept(&self.sec_ch_ua, limits::BRANDS),
            sec_ch_ua_mobile: kept(&self.sec_ch_ua_mobile, limits::HINT),
            sec_ch_ua_platform: kept(&self.sec_ch_ua_platform, limits::HINT),
            ..self.clone()
        }
    }
}

fn one_of<'a, T>(
    value: Scalar<'a>,
    wanted: &'static str,
    of: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Unfit<'a>> {
    let read = match &value {
        Scalar::Absent => return Ok(None),
        Scalar::Text(text) => of(text),
        _ => None,
    };
    read.map(Some).ok_or(Unfit { value, wanted })
}

fn score(value: Scalar<'_>) -> Result<Option<u8>, Unfit<'_>> {
    match value {
        Scalar::Absent => Ok(None),
        Scalar::Unsigned(score @ 0..=100) => Ok(u8::try_from(score).ok()),
        value => Err(Unfit { value, wanted: "a whole number from 0 to 100, as bot_score" }),
    }
}

fn truth<'a>(value: Scalar<'a>, wanted: &'static str) -> Result<Option<bool>, Unfit<'a>> {
    match value {
        Scalar::Absent => Ok(None),
        Scalar::Bool(truth) => Ok(Some(truth)),
        value => Err(Unfit { value, wanted }),
    }
}

fn text<'a>(value: Scalar<'a>, limit: usize, wanted: &'static str) -> Result<Option<String>, Unfit<'a>> {
    match value {
        Scalar::Absent => Ok(None),
        Scalar::Text(text) => Ok(Some(cut(&text, limit).to_owned())),
        value => Err(Unfit { value, wanted }),
    }
}
