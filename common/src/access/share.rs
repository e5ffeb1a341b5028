//! Share links: a token that shows one link's numbers to whoever has it, until it expires or is revoked.
//!
//! `lts_<id>_<tenant>_<link>_<expires>_<signature>`: what it allows stands in it, and an HMAC-SHA256 over all of that holds it
//! together, so a process needs the one secret to know every token, and the list of revocations to know which are none any
//! more. It opens nothing beside its link, and it cannot write.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::code;
use super::principal::{Means, Principal, Scope};
use crate::bucket::Timestamp;
use crate::id::{LinkId, TenantId};
use crate::secret::Secret;

/// What every share token begins with.
pub(super) const PREFIX: &str = "lts_";
/// Keeps signatures of share links apart from whatever else is ever signed with the same secret.
const DOMAIN: &[u8] = b"linktide share link 1\n";

/// A share link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its id: what it is revoked by, and called in logs.
    pub id: Arc<str>,
    /// Whose link it shows.
    pub tenant_id: TenantId,
    /// The link it shows.
    pub link_id: LinkId,
    /// From when on it is one no longer, in whole seconds.
    pub expires_at: Timestamp,
}

impl Share {
    /// A new one.
    #[must_use]
    pub fn new(tenant: TenantId, link: LinkId, expires_at: Timestamp) -> Self {
        let expires_at = Timestamp::from_millis(expires_at.as_millis() / 1000 * 1000).unwrap_or(expires_at);
        Self { id: code::new_id().into(), tenant_id: tenant, link_id: link, expires_at }
    }

    /// The token, as it is handed on.
    #[must_use]
    pub fn token(&self, secret: &Secret) -> String {
        format!("{self}_{}", code::hex(&self.mac(secret).finalize().into_bytes()))
    }

    /// The share link that a token is; none where it was not signed with this secret.
    pub(super) fn verify(token: &str, secret: &Secret) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('_')?;
        let share: Self = signed.parse().ok()?;
        let signature = code::unhex(signature)?;
        // What is signed must be what was read, to the letter: one link, one token.
        let same = share.to_string() == signed;
        (share.mac(secret).verify_slice(&signature).is_ok() && same).then_some(share)
    }

    fn mac(&self, secret: &Secret) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(secret.expose())
            .expect("HMAC takes a secret of any length")
            .chain_update(DOMAIN)
            .chain_update(self.to_string())
    }

    pub(super) fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant_id,
            scopes: Scope::Read.into(),
            means: Means::Share,
            id: Arc::clone(&self.id),
            link: Some(self.link_id),
            expires_at: Some(self.expires_at),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, tenant_id, link_id, expires_at } = self;
        write!(f, "{PREFIX}{id}_{tenant_id}_{link_id}_{}", expires_at.as_millis() / 1000)
    }
}

impl FromStr for Share {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.strip_prefix(PREFIX).ok_or(())?.split('_').collect();
        let &[id, tenant, link, expires] = parts.as_slice() else { return Err(()) };
        let seconds: i64 = expires.parse().map_err(|_| ())?;
        let expires_at = seconds.checked_mul(1000).and_then(Timestamp::from_millis).ok_or(())?;
        let (tenant_id, link_id) = (tenant.parse().map_err(|_| ())?, link.parse().map_err(|_| ())?);
        code::is_id(id).then(|| Self { id: id.into(), tenant_id, link_id, expires_at }).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_again_and_nothing_else_is_one() {
        let (secret, other) = (Secret::new(vec![1; 32]), Secret::new(vec![2; 32]));
        let share = Share::new(TenantId(3), LinkId(u64::MAX), Timestamp::from_millis(1_800_000_000_123).unwrap());
        let token = share.token(&secret);
        assert_eq!(Share::verify(&token, &secret), Some(share.clone()));
        assert_eq!(Share::verify(&token, &other), None);
        for at in 0..token.len() {
            let mut tampered = token.clone().into_bytes();
            tampered[at] = if tampered[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(Share::verify(&String::from_utf8(tampered).unwrap(), &secret), None, "{at}");
        }
        for other in ["+3", "03", "4"] {
            assert_eq!(Share::verify(&token.replace("_3_", &format!("_{other}_")), &secret), None, "{other}");
        }
        assert_eq!(Share::verify(&token[..token.len() - 2], &secret), None, "a signature is a whole one");
        assert_eq!(Share::verify(&token.to_uppercase(), &secret), None);
        assert_eq!(share.expires_at.as_millis(), 1_800_000_000_000);
    }
}
