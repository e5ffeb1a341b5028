//! Who a caller is, once that is known: a tenant, what it may do, and a name for logs and limits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bucket::Timestamp;
use crate::id::{LinkId, Subject, TenantId};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask questions.
    Read,
    /// Take raw clicks and whole rollups out.
    Export,
    /// Send clicks.
    Ingest,
    /// Make share links, webhooks and whatever else changes what others may do.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Export, Self::Ingest, Self::Admin];

    /// Its name in keys, tokens and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Export => "export",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == text);
        known.ok_or_else(|| format!("`{text}` is no scope; there are: {}", Scopes::ALL))
    }
}

/// A set of scopes. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(0b1111);

    /// Whether a scope is among them.
    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Those that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Them, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | bit(scope)))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(bit(scope))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::name).collect::<Vec<_>>().join(","))
    }
}

/// What a caller was recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// By nothing: no access is required here.
    Open,
    /// An API key.
    Key,
    /// A token of an identity provider.
    Token,
    /// A share link.
    Share,
}

/// A caller that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose clicks it asks about or sends.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Scopes,
    /// What it was recognised by.
    pub means: Means,
    /// The id of a key or share link, or the subject of a token: for logs and limits, and never a secret.
    pub id: Arc<str>,
    /// The one link it may ask about; none where it may ask about all of its tenant's.
    pub link: Option<LinkId>,
    /// When it is one no longer.
    pub expires_at: Option<Timestamp>,
}

/// What a caller may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// It lacks a scope.
    Scope(Scope),
    /// It may ask about one link alone, and this is not it.
    OtherThanItsLink,
}

impl Principal {
    /// Everyone, where no access is required: tenant 0, and all of it.
    #[must_use]
    pub fn open() -> Self {
        Self {
            tenant: TenantId(0),
            scopes: Scopes::ALL,
            means: Means::Open,
            id: "open".into(),
            link: None,
            expires_at: None,
        }
    }

    /// Whether it may do something.
    ///
    /// # Errors
    /// The scope that it lacks.
    pub fn may(&self, scope: Scope) -> Result<(), Forbidden> {
        if self.scopes.has(scope) { Ok(()) } else { Err(Forbidden::Scope(scope)) }
    }

    /// All of its tenant's links together.
    ///
    /// # Errors
    /// Where it may ask about one link alone.
    pub fn account(&self) -> Result<Subject, Forbidden> {
        match self.link {
            None => Ok(Subject::Tenant(self.tenant)),
            Some(_) => Err(Forbidden::OtherThanItsLink),
        }
    }

    /// A link of its tenant. Another tenant's link of the same number is another link, which cannot be named: so nobody
    /// learns whether it exists.
    ///
    /// # Errors
    /// Where it may ask about one link alone, and this is not it.
    pub fn link(&self, link: LinkId) -> Result<Subject, Forbidden> {
        match self.link {
            Some(only) if only != link => Err(Forbidden::OtherThanItsLink),
            _ => Ok(Subject::Link(self.tenant, link)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_and_written_by_name_and_none_includes_another() {
        let scopes: Scopes = serde_json::from_str(r#"["export","read","read"]"#).unwrap();
        assert_eq!(
            (scopes.to_string(), serde_json::to_string(&scopes).unwrap().as_str()),
            ("read,export".to_owned(), r#"["read","export"]"#)
        );
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(Scopes::from(scope).iter().collect::<Vec<_>>(), [scope]);
        }
        assert!(serde_json::from_str::<Scopes>(r#"["write"]"#).is_err() && "Read".parse::<Scope>().is_err());
        assert!(Scopes::from(Scope::Admin).and(scopes).is_empty() && Scopes::ALL.and(scopes) == scopes);
    }

    #[test]
    fn caller_of_one_link_asks_about_nothing_else() {
        let own =
            Principal { link: Some(LinkId(7)), tenant: TenantId(3), scopes: Scope::Read.into(), ..Principal::open() };
        assert_eq!(own.link(LinkId(7)), Ok(Subject::Link(TenantId(3), LinkId(7))));
        assert_eq!(own.link(LinkId(8)), Err(Forbidden::OtherThanItsLink));
        assert_eq!(own.account(), Err(Forbidden::OtherThanItsLink));
        assert_eq!((own.may(Scope::Read), own.may(Scope::Export)), (Ok(()), Err(Forbidden::Scope(Scope::Export))));
    }
}
