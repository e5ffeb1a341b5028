//! How a caller is refused: with a problem document, and a challenge as RFC 6750 wants it. No credential is ever shown.

use serde_json::json;

use super::principal::{Forbidden, Scope};
use crate::problem::{Problem, ProblemKind};

/// Why nobody knows who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Without any credential.
    Missing,
    /// With more than one.
    Several,
    /// With what is no credential.
    Malformed,
    /// With a key that is none, or whose secret is wrong: which, is not told.
    Key,
    /// With a share link that nobody signed.
    Share,
    /// With a credential that was revoked.
    Revoked,
    /// With a credential whose time is over.
    Expired,
    /// With a token, and why it is none.
    Token(&'static str),
    /// With a token whose key is not known.
    UnknownTokenKey,
    /// With a token that names no tenant.
    NoTenant,
    /// With a kind of credential that is not taken here.
    NotTaken(&'static str),
    /// While the keys are not known yet: that is our fault.
    NotKnownYet,
}

impl Denied {
    /// A label for metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Several | Self::Malformed => "malformed",
            Self::Key => "key",
            Self::Share => "share",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Token(_) | Self::UnknownTokenKey | Self::NoTenant => "token",
            Self::NotTaken(_) => "not_taken",
            Self::NotKnownYet => "not_ready",
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = match denied {
            Denied::NotKnownYet => {
                let detail = "the keys of callers have not been read yet; try again in a moment";
                return Self::new(ProblemKind::NotReady, detail).retry_after(1);
            }
            Denied::Missing => {
                let detail = "who asks? send `Authorization: Bearer` with an API key or a token";
                return Self::new(ProblemKind::Unauthorized, detail).challenge(r#"Bearer realm="linktide""#);
            }
            Denied::Several => "there are several credentials; send one".to_owned(),
            Denied::Malformed => {
                "this is no credential: a key begins with `lt_`, and one with a letter wrong is told by its checksum"
                    .to_owned()
            }
            Denied::Key => "the key is not known".to_owned(),
            Denied::Share => "the share link is none, or was changed".to_owned(),
            Denied::Revoked => "the credential was revoked".to_owned(),
            Denied::Expired => "the credential has expired".to_owned(),
            Denied::Token(why) => format!("the token is not taken: {why}"),
            Denied::UnknownTokenKey => "the token is not taken: its key is not among the issuer's".to_owned(),
            Denied::NoTenant => "the token is not taken: it names no tenant".to_owned(),
            Denied::NotTaken(what) => format!("{what} are not taken here"),
        };
        Self::new(ProblemKind::Unauthorized, detail).challenge(r#"Bearer realm="linktide", error="invalid_token""#)
    }
}

impl From<Forbidden> for Problem {
    fn from(forbidden: Forbidden) -> Self {
        match forbidden {
            Forbidden::Scope(scope) => {
                let detail = format!("this needs the scope `{scope}`, which the credential does not have");
                Self::new(ProblemKind::Forbidden, detail).with("scope", json!(scope)).challenge(challenge(scope))
            }
            Forbidden::OtherThanItsLink => Self::new(
                ProblemKind::Forbidden,
                "a share link shows the one link that it was made for, and nothing else",
            ),
        }
    }
}

fn challenge(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => r#"Bearer realm="linktide", error="insufficient_scope", scope="read""#,
        Scope::Export => r#"Bearer realm="linktide", error="insufficient_scope", scope="export""#,
        Scope::Ingest => r#"Bearer realm="linktide", error="insufficient_scope", scope="ingest""#,
        Scope::Admin => r#"Bearer realm="linktide", error="insufficient_scope", scope="admin""#,
    }
}
