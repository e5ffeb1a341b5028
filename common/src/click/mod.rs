//! A click as it is sent: the documented JSON object, parsed once at the door into a [`Click`] or a [`Reject`].
//!
//! The same bytes go over the log, so every reader parses them with this one function.
//!
//! | field | JSON | absent means |
//! |---|---|---|
//! | `link_id` | number or decimal string | refused |
//! | `tenant_id` | number or decimal string | tenant 0 |
//! | `click_id` | UUID | made from the record's place in the log |
//! | `clicked_at` | RFC 3339 with an offset, or milliseconds since 1970 | when the log received it |
//! | `ip` | IPv4 or IPv6 address | no place, no visitor |
//! | `user_agent`, `referrer`, `language` | the headers as sent | a program; direct; no language |
//! | `destination`, `slug`, `title` | text | no label, no campaign |
//! | `method` | `GET` or `HEAD` | `GET` |
//! | `trigger` | `link` or `qr` | `link` |
//! | `imported` | true or false | false |
//! | `signals` | object, see [`Signals`] | nothing was seen |
//! | `edge_signals` | token of an edge, see [`edge`] | no edge signed anything |
//!
//! `null` and an empty text are absent. Fields of other names are passed over. Texts above [`limits`] are cut; a record
//! above its limit, a field that is there twice, and anything behind the object are refused.

#[cfg(feature = "access")]
pub mod edge;
mod parse;
mod record;
mod reject;
mod signals;
#[cfg(test)]
mod tests;
mod write;

use std::net::IpAddr;

use crate::bucket::Timestamp;
use crate::id::{ClickId, LinkId, TenantId};

pub use reject::{Reject, RejectReason};
pub use signals::{Challenge, Edge, Headers, Signals};

/// One redirect of one link, as the redirect service saw it. Its address is still raw: it ends in [`crate::enrich`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// Whose link it is; tenant 0 where the sender named none.
    pub tenant_id: TenantId,
    /// Which link was followed.
    pub link_id: LinkId,
    /// What tells copies of one click; none until the door or, for foreign producers, the reader gives one.
    pub click_id: Option<ClickId>,
    /// When it happened; none means: when the log received it.
    pub clicked_at: Option<Timestamp>,
    /// Address of the visitor.
    pub ip: Option<IpAddr>,
    /// `User-Agent` header, cut at [`limits::USER_AGENT`] bytes.
    pub user_agent: Option<String>,
    /// `Referer` header, cut at [`limits::REFERRER`] bytes.
    pub referrer: Option<String>,
    /// `Accept-Language` header, cut at [`limits::LANGUAGE`] bytes.
    pub language: Option<String>,
    /// Where the redirect led, cut at [`limits::DESTINATION`] bytes; its query carries the UTM parameters.
    pub destination: Option<String>,
    /// What people call the link: the path behind the short domain. A label, not an identity.
    pub slug: Option<String>,
    /// A title for the link. A label, not an identity.
    pub title: Option<String>,
    /// Whether it is a click or a preview.
    pub kind: Kind,
    /// What was followed.
    pub trigger: Trigger,
    /// Whether an import sent it: imports may be older than the floor.
    pub imported: bool,
    /// What a redirector or an edge saw beyond the headers above.
    pub signals: Option<Box<Signals>>,
    /// What an edge signed, until the door has exchanged it for signals.
    pub edge_signals: Option<String>,
}

impl Click {
    /// Reads the documented JSON object.
    ///
    /// # Errors
    /// [`Reject`] tells the reason, the field and the byte; no bytes make it panic.
    pub fn parse(record: &[u8]) -> Result<Self, Reject> {
        parse::parse(record)
    }

    /// Appends the documented JSON object, without a line break. It parses back to this click, texts cut at [`limits`].
    pub fn to_json(&self, out: &mut Vec<u8>) {
        write::to_json(self, out);
    }
}

/// The longest start of `text` that has at most `limit` bytes and ends between two characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// How the link was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Kind {
    /// Someone followed it.
    #[default]
    Click,
    /// A HEAD request: a program looked where it leads.
    Preview,
}

/// What was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Trigger {
    /// A link in a text.
    #[default]
    Link,
    /// A QR code.
    Qr,
}

impl Trigger {
    /// The name in JSON and in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Qr => "qr",
        }
    }
}

/// How long a click's parts may be, in bytes. Longer texts are cut at a character's edge; a longer record is refused.
pub mod limits {
    /// A whole record.
    pub const RECORD: usize = 64 * 1024;
    /// The user agent.
    pub const USER_AGENT: usize = 1024;
    /// The referrer.
    pub const REFERRER: usize = 2048;
    /// The accepted languages.
    pub const LANGUAGE: usize = 256;
    /// The destination.
    pub const DESTINATION: usize = 4096;
    /// Slug and title.
    pub const LABEL: usize = 512;
    /// The brands of client hints.
    pub const BRANDS: usize = 256;
    /// Another hint, and a fingerprint.
    pub const HINT: usize = 64;
    /// What an edge signed: it is not cut, a longer one is refused.
    pub const EDGE_SIGNALS: usize = 2048;
}
