//! Where a webhook may be sent: to the public internet, by TLS, and nowhere that only this machine's network can reach.
//!
//! A name is looked up once a delivery, every address it has is judged, and the connection is made to those very addresses:
//! whoever changes the name's records between the look and the connection gains nothing. Redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// The longest address that is taken.
const LONGEST: usize = 2048;

/// A receiver's address, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) url: Url,
}

impl Receiver {
    /// Reads an address; with `private` also one without TLS or at a private network.
    pub(super) fn parse(text: &str, private: bool) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a webhook's url has at most {LONGEST} bytes"));
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no url: {error}"))?;
        let encrypted = url.scheme() == "https" || (private && url.scheme() == "http");
        if !encrypted {
            return Err("a webhook's url begins with https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a webhook's url carries no name and no password: it is the signature that proves who sends".to_owned()
            );
        }
        let receiver = Self { url };
        if let Some(address) = receiver.literal().filter(|address| !private && !is_public(*address)) {
            return Err(format!(
                "{address} is no public address; a webhook is sent to the public internet alone (webhook.allow_private)"
            ));
        }
        Ok(receiver)
    }

    fn literal(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The addresses to connect to, all of which may be; looked up now.
    pub(super) async fn addresses(&self, private: bool) -> Result<Vec<SocketAddr>, String> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let found: Vec<SocketAddr> = match self.url.host() {
            Some(Host::Domain(name)) => {
                let found = tokio::net::lookup_host((name, port)).await;
                found.map_err(|error| format!("{name} cannot be looked up: {error}"))?.collect()
            }
            Some(Host::Ipv4(address)) => vec![(address, port).into()],
            Some(Host::Ipv6(address)) => vec![(address, port).into()],
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err("the name has no address".to_owned());
        }
        match found.iter().find(|address| !private && !is_public(address.ip())) {
            Some(address) => Err(format!("the name leads to {}, which is no public address", address.ip())),
            None => Ok(found),
        }
    }
}

/// Whether an address is one of the public internet: none of IANA's special-purpose registries (RFC 6890), and none that
/// carries such a one within it.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Shared by carriers (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        // The relays of 6to4, and benchmarks.
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        // Multicast, reserved, broadcast.
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let words = address.segments();
    let [.., c, d] = words;
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match words {
        // NAT64 (RFC 6052) leads to the address within.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded(c, d)),
        // 6to4.
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Protocol assignments, Teredo among them; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // What the internet uses is 2000::/3.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let special = [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ];
        for address in special {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn url_that_is_no_receiver_is_refused_in_every_spelling() {
        let refused = [
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://",
            "nonsense",
            "https://user:word@example.com/",
            "https://user@example.com/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://10.0.0.7:8443/hook",
            "gopher://example.com",
        ];
        for url in refused {
            assert!(Receiver::parse(url, false).is_err(), "{url}");
        }
        for url in ["https://example.com/hook?x=1", "https://example.com:8443/", "https://1.1.1.1/"] {
            assert!(Receiver::parse(url, false).is_ok(), "{url}");
        }
        assert!(Receiver::parse("http://127.0.0.1:8080/", true).is_ok());
        assert!(Receiver::parse("file:///etc/passwd", true).is_err());
        assert!(Receiver::parse(&format!("https://example.com/{}", "a".repeat(3000)), false).is_err());
    }

    #[tokio::test]
    async fn name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
        let receiver = Receiver::parse("https://localhost/", false).unwrap();
        let refused = receiver.addresses(false).await.unwrap_err();
        assert!(refused.contains("no public address"), "{refused}");
        assert!(!receiver.addresses(true).await.unwrap().is_empty());
    }
}
