//! The referring site: its host, and its class.
//!
//! The class is that of the longest part of the host that a table knows, then of its registrable domain, then of the
//! brand under whatever public suffix (`google.de`). A referrer from the destination's own site is internal, whatever it
//! is else. One that is no URL, and one whose host is a bare address, are of class other and without a host: an address
//! may be a visitor's.

use std::borrow::Cow;

use super::sites::{BRANDS, MAIL_HOSTS, SITES};
use super::{Referrer, ReferrerClass, Text};

/// A host and what is known of it.
pub(super) struct Site {
    host: Option<Text>,
    domain: Text,
    class: ReferrerClass,
}

impl Site {
    /// What is known of a host that [`host_of`] found.
    pub(super) fn of(host: &str) -> Self {
        if is_address(host) {
            return Self { host: None, domain: host.into(), class: ReferrerClass::Other };
        }
        let domain = domain_of(host);
        Self { host: Some(host.into()), domain: domain.into(), class: class_of(host, domain) }
    }

    /// The registrable domain; the host itself where it has none, as an address has not.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// What the site says as the referrer of a destination on `destination_domain`.
    pub(super) fn referring_to(&self, destination_domain: Option<&str>) -> Referrer {
        let internal = destination_domain == Some(&*self.domain);
        Referrer { host: self.host.clone(), class: if internal { ReferrerClass::Internal } else { self.class } }
    }
}

/// Whether a referrer is there at all: access logs write `-` where there is none.
pub(super) fn is_given(referrer: &str) -> bool {
    !matches!(referrer.trim(), "" | "-")
}

/// The host of an absolute URL, lower case and without a leading `www.`; none where there is none.
pub(super) fn host_of(url: &str) -> Option<Cow<'_, str>> {
    const SCHEMES: &[&str] = &["http", "https", "android-app", "ios-app"];
    let (scheme, rest) = url.trim_start().split_once("://")?;
    if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = if host.starts_with('[') { host.split_inclusive(']').next()? } else { host.split(':').next()? };
    let host = host.trim_end_matches('.');
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':') || !byte.is_ascii()
    };
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return None;
    }
    let is_lower = host.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    let host = if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_lowercase()) };
    Some(match host {
        Cow::Borrowed(host) => Cow::Borrowed(host.strip_prefix("www.").unwrap_or(host)),
        Cow::Owned(host) => Cow::Owned(host.strip_prefix("www.").map_or(host.clone(), str::to_owned)),
    })
}

/// Whether a host is an IP address in any of the forms that browsers take; no domain ends in a number.
fn is_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    host.starts_with('[') || last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit())
}

fn domain_of(host: &str) -> &str {
    psl::domain_str(host).unwrap_or(host)
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn class_of(host: &str, domain: &str) -> ReferrerClass {
    let known = |table: &[(ReferrerClass, &[&str])], name: &str| {
        table.iter().find(|(_, names)| names.contains(&name)).map(|(class, _)| *class)
    };
    if host != domain && MAIL_HOSTS.contains(&first_label(host)) {
        return ReferrerClass::Email;
    }
    // The host itself, then what is left of it label by label.
    let longest = std::iter::successors(Some(host), |rest| rest.split_once('.').map(|(_, behind)| behind))
        .find_map(|part| known(SITES, part));
    longest.or_else(|| known(BRANDS, first_label(domain))).unwrap_or(ReferrerClass::Other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn referrers_have_their_host_and_class() {
        let table = [
            ("https://www.google.co.uk/search?q=x", Some("google.co.uk"), ReferrerClass::Search),
            ("https://news.google.com/", Some("news.google.com"), ReferrerClass::Search),
            ("https://mail.google.com/mail/u/0", Some("mail.google.com"), ReferrerClass::Email),
            ("https://gemini.google.com/app", Some("gemini.google.com"), ReferrerClass::Ai),
            ("https://docs.google.com/document/d/1", Some("docs.google.com"), ReferrerClass::Other),
            ("https://google.evil.example/", Some("google.evil.example"), ReferrerClass::Other),
            ("https://notgoogle.com/", Some("notgoogle.com"), ReferrerClass::Other),
            ("https://yandex.com.tr/search", Some("yandex.com.tr"), ReferrerClass::Search),
            ("https://de.search.yahoo.com/", Some("de.search.yahoo.com"), ReferrerClass::Search),
            ("https://mail.yahoo.co.jp/", Some("mail.yahoo.co.jp"), ReferrerClass::Email),
            ("https://webmail.harbour-mail.example/", Some("webmail.harbour-mail.example"), ReferrerClass::Email),
            ("https://mail.ru/", Some("mail.ru"), ReferrerClass::Other),
            ("HTTPS://T.CO/abc", Some("t.co"), ReferrerClass::Social),
            ("http://old.reddit.com:80/r/x", Some("old.reddit.com"), ReferrerClass::Social),
            ("https://news.ycombinator.com./item", Some("news.ycombinator.com"), ReferrerClass::Social),
            ("https://www.pinterest.de/pin/1", Some("pinterest.de"), ReferrerClass::Social),
            ("https://chatgpt.com/", Some("chatgpt.com"), ReferrerClass::Ai),
            ("https://chat.openai.com/c/1", Some("chat.openai.com"), ReferrerClass::Ai),
            ("https://user:secret@blog.example/a", Some("blog.example"), ReferrerClass::Other),
            ("https://WWW.Über.Example?x", Some("über.example"), ReferrerClass::Other),
            ("android-app://com.google.android.gm/", Some("com.google.android.gm"), ReferrerClass::Email),
            ("android-app://com.linkedin.android", Some("com.linkedin.android"), ReferrerClass::Social),
            ("https://shop.harbour.example/a", Some("shop.harbour.example"), ReferrerClass::Internal),
            ("http://203.0.113.9/x", None, ReferrerClass::Other),
            ("http://3405803785/", None, ReferrerClass::Other),
            ("http://0xcb.0x0.0x71.0x9/", None, ReferrerClass::Other),
            ("http://[2001:db8::9]:8080/x", None, ReferrerClass::Other),
            ("javascript:alert(1)", None, ReferrerClass::Other),
            ("about:blank", None, ReferrerClass::Other),
            ("http://exa mple/", None, ReferrerClass::Other),
            ("http://", None, ReferrerClass::Other),
        ];
        for (url, host, class) in table {
            let found = host_of(url).map_or(Referrer { host: None, class: ReferrerClass::Other }, |host| {
                Site::of(&host).referring_to(Some("harbour.example"))
            });
            assert_eq!((found.host.as_deref(), found.class), (host, class), "{url}");
        }
    }

    #[test]
    fn tables_name_each_site_once() {
        let mut names: Vec<&str> = SITES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let listed = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed);
    }

    proptest! {
        #[test]
        fn no_referrer_makes_it_panic_or_tells_an_address(url in "(https?://)?\\PC{0,30}", ip in any::<std::net::IpAddr>()) {
            if let Some(host) = host_of(&url) {
                Site::of(&host);
            }
            let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let url = format!("http://{host}:8080/");
            prop_assert_eq!(Site::of(&host_of(&url).unwrap()).referring_to(None).host, None);
        }
    }
}
