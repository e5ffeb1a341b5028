//! Where a raw address ends: in a hash that nobody can turn back once the day's salt is gone.
//!
//! The salt of a day is HMAC-SHA-256(master secret, `YYYY-MM-DD`): every worker agrees on it and no store is asked. A
//! replay takes the salt of the click's own day, so it gives the same hash.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::SaltedHash;
use crate::bucket::{Day, Timestamp};
use crate::secret::Secret;

pub(super) struct Salts {
    master: Secret,
    days: Cache<Day, [u8; 32]>,
}

impl Salts {
    pub(super) fn new(master: Secret) -> Self {
        Self { master, days: Cache::new(128) }
    }

    fn of(&self, at: Timestamp) -> [u8; 32] {
        let day = Day::of(at);
        if let Some(salt) = self.days.get(&day) {
            return salt;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.master.expose()).expect("HMAC takes a key of any length");
        mac.update(&day.start().to_string().as_bytes()[..10]);
        let salt = mac.finalize().into_bytes().into();
        self.days.insert(day, salt);
        salt
    }

    /// SHA-256(address ‖ salt of the day ‖ what else tells visitors apart), its first 16 bytes. An IPv4 address and its IPv6-mapped form are one.
    pub(super) fn hash(&self, ip: IpAddr, at: Timestamp, also: &str) -> SaltedHash {
        let bytes = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let digest = Sha256::new().chain_update(bytes).chain_update(self.of(at)).chain_update(also).finalize();
        SaltedHash(digest[..16].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// The network an address lies in: /24 of IPv4, /48 of IPv6.
pub(super) fn network_of(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_same_within_a_day_and_another_on_the_next() {
        let salts = Salts::new(Secret::new(b"master".to_vec()));
        let ip: IpAddr = "203.0.113.9".parse().unwrap();
        let mapped: IpAddr = "::ffff:203.0.113.9".parse().unwrap();
        let at = |day: i32, ms| Day(day).start().plus_millis(ms);
        assert_eq!(salts.hash(ip, at(20_000, 0), ""), salts.hash(mapped, at(20_000, 86_399_999), ""));
        assert_ne!(salts.hash(ip, at(20_000, 0), ""), salts.hash(ip, at(20_001, 0), ""));
        assert_ne!(salts.hash(ip, at(20_000, 0), ""), salts.hash(ip, at(20_000, 0), "Firefox"));
        let other = Salts::new(Secret::new(b"other".to_vec()));
        assert_ne!(salts.hash(ip, at(20_000, 0), ""), other.hash(ip, at(20_000, 0), ""));
    }

    #[test]
    fn hash_is_the_documented_one() {
        // As Python's `hmac` and `hashlib` compute it for the salt of 2024-10-04.
        let salts = Salts::new(Secret::new(b"master".to_vec()));
        let hash = |also| u128::from_be_bytes(salts.hash("203.0.113.9".parse().unwrap(), Day(20_000).start(), also).0);
        assert_eq!(hash(""), 0xb7fabcbfc3ea7e5e3b39068e00941a4f);
        assert_eq!(hash("Firefox"), 0xcd631ecc8d54a1a01f86683e8dca56fa);
    }

    #[test]
    fn network_hides_the_host() {
        assert_eq!(network_of("203.0.113.9".parse().unwrap()), "203.0.113.0/24");
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6".parse().unwrap()), "2001:db8:1::/48");
    }
}
