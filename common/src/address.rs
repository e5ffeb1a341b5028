//! Where a request comes from.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// The address a request comes from: the peer's, or behind `proxies` of our own the one that the outermost of them saw.
#[must_use]
pub fn seen(headers: &HeaderMap, peer: Option<IpAddr>, proxies: usize) -> Option<IpAddr> {
    let Some(skipped) = proxies.checked_sub(1) else { return peer };
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let seen: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    seen.iter().rev().nth(skipped).and_then(|address| address.parse().ok()).or(peer)
}

/// The part of an address that whoever has it cannot change: all of IPv4's, the network of 64 bits of IPv6's.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_the_one_our_outermost_proxy_saw() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.1, 203.0.113.2, 203.0.113.3".parse().unwrap());
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        for (proxies, expected) in [(0, "127.0.0.1"), (1, "203.0.113.3"), (2, "203.0.113.2"), (9, "127.0.0.1")] {
            assert_eq!(seen(&headers, Some(peer), proxies), expected.parse().ok(), "{proxies}");
        }
    }

    #[test]
    fn network_of_an_address_is_what_its_holder_cannot_choose() {
        for (address, expected) in [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
