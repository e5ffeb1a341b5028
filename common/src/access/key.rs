//! API keys: `lt_<id>_<secret><checksum>`, and what is stored of one.
//!
//! The secret is 256 random bits, so a fast hash of it is as good as a slow one: nobody tries 2^256 secrets, whatever one try
//! costs, and each request pays for a hash. (Slow hashes are for passwords, which people choose.) Only the SHA-256 is
//! stored: whoever reads the lake cannot ask with what it finds there.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::code;
use super::principal::{Means, Principal, Scopes};
use crate::bucket::Timestamp;
use crate::id::TenantId;

/// What every key begins with.
pub(super) const PREFIX: &str = "lt_";
/// Raised when an older Linktide could no longer tell what a stored key means.
pub(super) const FORMAT: u32 = 1;
/// Letters of a secret: 62^43 is more than 2^256.
const SECRET: usize = 43;

/// A key as its holder has it. `Debug` shows its id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: String,
    secret: String,
}

impl ApiKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self { id: code::new_id(), secret: code::random(SECRET) }
    }

    /// Reads one; none where the text cannot be a key, such as one with a letter missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let well_formed = code::is_id(id)
            && rest.len() == SECRET + code::CHECKSUM
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let (secret, checksum) = rest.split_at(SECRET);
        let key = Self { id: id.to_owned(), secret: secret.to_owned() };
        (key.checksum() == checksum).then_some(key)
    }

    /// Its id: what it is revoked by, and called in logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole of it, as its holder sends it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}{}", self.id, self.secret, self.checksum())
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    fn checksum(&self) -> String {
        code::checksum(&format!("{PREFIX}{}_{}", self.id, self.secret))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

/// What is stored of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub(super) format: u32,
    /// Its id.
    pub id: Arc<str>,
    /// Whose clicks it opens.
    pub tenant_id: TenantId,
    /// What it allows.
    pub scopes: Scopes,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of the secret, in hexadecimal digits.
    sha256: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is one no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What a new key is for.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose clicks it opens.
    pub tenant: TenantId,
    /// What it allows.
    pub scopes: Scopes,
    /// What people call it.
    pub name: Option<String>,
    /// From when on it is one no longer.
    pub expires_at: Option<Timestamp>,
}

impl KeyRecord {
    /// What is stored of a new key.
    #[must_use]
    pub fn new(key: &ApiKey, new: NewKey, now: Timestamp) -> Self {
        let NewKey { tenant, scopes, name, expires_at } = new;
        let (id, sha256) = (key.id().into(), code::hex(&key.digest()));
        Self { format: FORMAT, id, tenant_id: tenant, scopes, name, sha256, created_at: now, expires_at }
    }

    /// Whether a key with this digest is it. The time it takes says nothing of where they differ.
    pub(super) fn is_of(&self, digest: &[u8; 32]) -> bool {
        code::unhex(&self.sha256).is_some_and(|stored| stored.ct_eq(digest).into())
    }

    pub(super) fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant_id,
            scopes: self.scopes,
            means: Means::Key,
            id: Arc::clone(&self.id),
            link: None,
            expires_at: self.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_again_and_a_slip_is_told_from_a_key() {
        let key = ApiKey::generate();
        let text = key.expose();
        assert_eq!((text.len(), ApiKey::parse(&text)), (3 + 12 + 1 + 49, Some(key.clone())));
        for at in 0..text.len() {
            let mut slip = text.clone().into_bytes();
            slip[at] = if slip[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(ApiKey::parse(&String::from_utf8(slip).unwrap()), None, "{at}");
        }
        for wrong in [&text[..text.len() - 1], &text[1..], "", "lt_", "lt__", &format!("{text} "), "lt_é_é"] {
            assert_eq!(ApiKey::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{key:?}"), format!("ApiKey({})", key.id()));
    }

    #[test]
    fn what_is_stored_knows_its_key_and_does_not_hold_it() {
        let (key, other) = (ApiKey::generate(), ApiKey::generate());
        let new = NewKey { tenant: TenantId(7), scopes: Scopes::ALL, name: None, expires_at: None };
        let record = KeyRecord::new(&key, new, Timestamp::from_millis(5).unwrap());
        assert!(record.is_of(&key.digest()) && !record.is_of(&other.digest()));
        let stored = serde_json::to_string(&record).unwrap();
        assert!(!stored.contains(&key.secret), "{stored}");
        assert_eq!(serde_json::from_str::<KeyRecord>(&stored).unwrap(), record);
        assert!(!KeyRecord { sha256: String::new(), ..record }.is_of(&key.digest()));
    }
}
