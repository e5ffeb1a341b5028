//! How a caller is refused: with a problem document, and a challenge as RFC 6750 wants it.

use serde_json::json;

use super::principal::{Forbidden, Scope};
use crate::problem::{Problem, ProblemKind};

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
