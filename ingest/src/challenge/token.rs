//! Tokens of challenges: signed, for one link and one address, for a short time.
//!
//! A token is `<claims>.<signature>`: the claims as JSON in unpadded base64url (RFC 4648 §5), and HMAC-SHA-256 (RFC 2104)
//! over that text in the same writing. Any process that has the key can check it, and make the click of it.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use linktide_common::address;
use linktide_common::bucket::Timestamp;
use linktide_common::click::Trigger;
use linktide_common::id::ClickId;
use linktide_common::secret::Secret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What a token says. It is no secret: whoever has it is the visitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The id of the click: however often and wherever it is answered, it counts once.
    pub(super) click: ClickId,
    pub(super) slug: String,
    pub(super) qr: bool,
    /// When the challenge was put, in milliseconds since 1970.
    pub(super) at: i64,
    /// Leading zero bits that the proof of work needs.
    pub(super) bits: u32,
    /// A keyed hash of the address.
    pub(super) from: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) referrer: Option<String>,
}

impl Claims {
    pub(super) fn trigger(&self) -> Trigger {
        if self.qr { Trigger::Qr } else { Trigger::Link }
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its signature is not ours.
    Forged,
    /// It is another link's.
    OtherLink,
    /// It was given to another address.
    OtherAddress,
    /// It is too old.
    Expired,
    /// It was answered before.
    Replayed,
}

impl Refusal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::OtherLink => "other_link",
            Self::OtherAddress => "other_address",
            Self::Expired => "expired",
            Self::Replayed => "replayed",
        }
    }
}

/// Makes and checks tokens.
pub(super) struct Seal {
    key: Secret,
    lifetime: Duration,
}

impl Seal {
    pub(super) fn new(key: Secret, lifetime: Duration) -> Self {
        Self { key, lifetime }
    }

    pub(super) fn token(&self, claims: &Claims) -> String {
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).expect("writing to memory does not fail"));
        let signature = URL_SAFE_NO_PAD.encode(self.mac("token", &claims).finalize().into_bytes());
        format!("{claims}.{signature}")
    }

    /// What a token says, if it is ours, fresh, of this link and of this address.
    pub(super) fn open(&self, token: &str, slug: &str, ip: Option<IpAddr>, now: Timestamp) -> Result<Claims, Refusal> {
        let (said, signature) = token.split_once('.').ok_or(Refusal::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Forged)?;
        // Compares in constant time.
        self.mac("token", said).verify_slice(&signature).map_err(|_| Refusal::Forged)?;
        let claims = URL_SAFE_NO_PAD.decode(said).ok();
        let claims: Claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).ok_or(Refusal::Forged)?;
        if claims.slug != slug {
            return Err(Refusal::OtherLink);
        }
        if claims.from != self.address(ip) {
            return Err(Refusal::OtherAddress);
        }
        if now >= self.expiry(claims.at) {
            return Err(Refusal::Expired);
        }
        Ok(claims)
    }

    /// When a token of `at` is no longer taken.
    pub(super) fn expiry(&self, at: i64) -> Timestamp {
        let lifetime = i64::try_from(self.lifetime.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(at.saturating_add(lifetime)).unwrap_or(Timestamp::MAX)
    }

    /// A keyed hash of the part of an address that its holder cannot change.
    pub(super) fn address(&self, ip: Option<IpAddr>) -> String {
        let network = ip.map(|ip| address::network(ip).to_string()).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(&self.mac("address", &network).finalize().into_bytes()[..12])
    }

    fn mac(&self, what: &str, text: &str) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(self.key.expose()).expect("HMAC takes a key of any length");
        mac.chain_update(what).chain_update(b"\n").chain_update(text)
    }
}

#[cfg(test)]
mod tests {
    use linktide_common::bucket::Day;
    use uuid::Uuid;

    use super::*;

    fn seal(key: &[u8]) -> Seal {
        Seal::new(Secret::new(key.to_vec()), Duration::from_secs(60))
    }

    fn claims(seal: &Seal, ip: &str) -> Claims {
        Claims {
            click: ClickId(Uuid::from_u128(7)),
            slug: "spring".into(),
            qr: false,
            at: Day(20_000).start().as_millis(),
            bits: 12,
            from: seal.address(ip.parse().ok()),
            referrer: Some("https://a.example/".into()),
        }
    }

    #[test]
    fn token_is_taken_on_its_link_from_its_address_in_its_time() {
        let (seal, now, home) = (seal(b"key"), Day(20_000).start(), "203.0.113.9".parse().ok());
        let claims = claims(&seal, "203.0.113.9");
        let token = seal.token(&claims);
        assert_eq!(seal.open(&token, "spring", home, now.plus_millis(59_999)), Ok(claims));
        assert_eq!(seal.open(&token, "autumn", home, now), Err(Refusal::OtherLink));
        assert_eq!(seal.open(&token, "spring", "203.0.113.8".parse().ok(), now), Err(Refusal::OtherAddress));
        assert_eq!(seal.open(&token, "spring", None, now), Err(Refusal::OtherAddress));
        assert_eq!(seal.open(&token, "spring", home, now.plus_millis(60_000)), Err(Refusal::Expired));
        assert!(!token.contains("203"));
    }

    #[test]
    fn token_that_was_changed_is_forged() {
        let (seal, other, now) = (seal(b"key"), seal(b"other"), Day(20_000).start());
        let token = seal.token(&claims(&seal, "203.0.113.9"));
        let home = "203.0.113.9".parse().ok();
        assert_eq!(other.open(&token, "spring", home, now), Err(Refusal::Forged));
        for at in 0..token.len() - 1 {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(&String::from_utf8(changed).unwrap(), "spring", home, now), Err(Refusal::Forged));
        }
        for broken in ["", ".", "a.b", "é.é"] {
            assert_eq!(seal.open(broken, "spring", home, now), Err(Refusal::Forged), "{broken}");
        }
    }

    #[test]
    fn addresses_of_one_household_are_one() {
        let seal = seal(b"key");
        let of = |ip: &str| seal.address(ip.parse().ok());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2::4"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:203.0.113.9"), of("203.0.113.9"));
    }
}
