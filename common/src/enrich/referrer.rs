//! The referring site: its host, and the class of its registrable domain.

use super::{Referrer, ReferrerClass, Text};

/// Classes by registrable domain; a name without a dot is that label under any public suffix (`google` is google.de too).
const KNOWN: &[(ReferrerClass, &[&str])] = &[
    (
        ReferrerClass::Search,
        &[
            "google",
            "bing.com",
            "duckduckgo.com",
            "yahoo",
            "baidu.com",
            "yandex",
            "ecosia.org",
            "qwant.com",
            "startpage.com",
            "naver.com",
            "seznam.cz",
            "ask.com",
            "aol.com",
            "kagi.com",
            "sogou.com",
            "mojeek.com",
            "daum.net",
            "rambler.ru",
        ],
    ),
    (
        ReferrerClass::Social,
        &[
            "facebook.com",
            "instagram.com",
            "t.co",
            "x.com",
            "twitter.com",
            "linkedin.com",
            "lnkd.in",
            "reddit.com",
            "pinterest",
            "tiktok.com",
            "youtube.com",
            "youtu.be",
            "threads.net",
            "threads.com",
            "bsky.app",
            "mastodon.social",
            "whatsapp.com",
            "t.me",
            "telegram.org",
            "vk.com",
            "weibo.com",
            "ycombinator.com",
            "tumblr.com",
            "quora.com",
            "snapchat.com",
            "discord.com",
            "medium.com",
            "stumbleupon.com",
        ],
    ),
    (
        ReferrerClass::Email,
        &["gmail.com", "outlook.com", "live.com", "proton.me", "gmx.net", "gmx.de", "fastmail.com", "mailchi.mp"],
    ),
    (
        ReferrerClass::Ai,
        &[
            "chatgpt.com",
            "openai.com",
            "perplexity.ai",
            "claude.ai",
            "anthropic.com",
            "mistral.ai",
            "deepseek.com",
            "you.com",
            "phind.com",
            "poe.com",
            "grok.com",
        ],
    ),
];

/// Hosts whose site is of another class than they are.
const HOSTS: &[(&str, ReferrerClass)] = &[
    ("mail.google.com", ReferrerClass::Email),
    ("com.google.android.gm", ReferrerClass::Email),
    ("mail.yahoo.com", ReferrerClass::Email),
    ("search.brave.com", ReferrerClass::Search),
    ("gemini.google.com", ReferrerClass::Ai),
    ("copilot.microsoft.com", ReferrerClass::Ai),
    ("com.google.android.googlequicksearchbox", ReferrerClass::Search),
];

/// The host of an absolute URL, lower case and without a leading `www.`; none where there is none.
pub(super) fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https" | "android-app" | "ios-app") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = if host.starts_with('[') { host.split_inclusive(']').next()? } else { host.split(':').next()? };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':') || !byte.is_ascii()
    };
    let fits = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
    fits.then(|| host.strip_prefix("www.").map_or(host.clone(), str::to_owned))
}

/// The registrable domain of a host: itself where it has none, as an address has not.
pub(super) fn site_of(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address { host } else { psl::domain_str(host).unwrap_or(host) }
}

/// What a referrer says. One that is no URL is of a site that cannot be told: class other, no host.
pub(super) fn classify(host: Option<&str>, given: bool, destination_site: Option<&str>) -> Referrer {
    let Some(host) = host else {
        return Referrer { host: None, class: if given { ReferrerClass::Other } else { ReferrerClass::Direct } };
    };
    let site = site_of(host);
    let class = if Some(site) == destination_site { ReferrerClass::Internal } else { class_of(host, site) };
    // A referrer that is a bare address is told as a class alone: no answer carries an address.
    let host = (!host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err()).then(|| Text::from(host));
    Referrer { host, class }
}

fn class_of(host: &str, site: &str) -> ReferrerClass {
    if let Some((_, class)) = HOSTS.iter().find(|(known, _)| *known == host) {
        return *class;
    }
    let label = site.split('.').next().unwrap_or(site);
    let knows =
        |names: &[&str]| names.iter().any(|name| if name.contains('.') { *name == site } else { *name == label });
    KNOWN.iter().find(|(_, names)| knows(names)).map_or(ReferrerClass::Other, |(class, _)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_have_their_host_and_class() {
        let table = [
            ("https://www.google.co.uk/search?q=x", Some("google.co.uk"), ReferrerClass::Search),
            ("https://mail.google.com/mail/u/0", Some("mail.google.com"), ReferrerClass::Email),
            ("https://T.CO/abc", Some("t.co"), ReferrerClass::Social),
            ("http://old.reddit.com:80/r/x", Some("old.reddit.com"), ReferrerClass::Social),
            ("https://chatgpt.com/", Some("chatgpt.com"), ReferrerClass::Ai),
            ("https://user:secret@blog.example/a", Some("blog.example"), ReferrerClass::Other),
            ("android-app://com.google.android.gm/", Some("com.google.android.gm"), ReferrerClass::Email),
            ("https://shop.harbour.example/a", Some("shop.harbour.example"), ReferrerClass::Internal),
            ("http://203.0.113.9/x", None, ReferrerClass::Other),
            ("javascript:alert(1)", None, ReferrerClass::Other),
            ("http://exa mple/", None, ReferrerClass::Other),
        ];
        for (url, host, class) in table {
            let found = classify(host_of(url).as_deref(), true, Some("harbour.example"));
            assert_eq!((found.host.as_deref(), found.class), (host, class), "{url}");
        }
        assert_eq!(classify(None, false, None).class, ReferrerClass::Direct);
    }
}
