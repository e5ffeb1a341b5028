//! What a user agent says: browser, system, kind of device, and whether a program sent it.
//!
//! Families come from uap-core's rules, bots from the `isbot` list and a few tokens it lacks. The kind of device is our
//! own rule, because no list tells a telephone from a tablet. Parsing takes some ten microseconds; the cache makes it
//! one lookup for the agents of every day.

use std::sync::Arc;

use isbot::Bots;
use quick_cache::sync::Cache;
use ua_parser::{Regexes, os, user_agent};

use super::{Agent, Device, Text};

const RULES: &str = include_str!(concat!(env!("OUT_DIR"), "/user_agents.json"));
const CACHED: usize = 1 << 16;

/// Programs that the list of `isbot` does not name, as parts of the lower-cased user agent.
const MORE_BOTS: &[&str] = &[
    "feedburner",
    "feedparser",
    "feedfetcher",
    "feedly",
    "tiny tiny rss",
    "newsblur",
    "universalfeed",
    "rss",
    "monitor",
    "uptime",
    "pingdom",
    "java/",
    "libwww",
    "okhttp",
    "axios",
    "httpx",
    "scrapy",
    "wget",
    "urllib",
    "aiohttp",
    "ruby",
    "perl",
    "php/",
    "go-http-client",
    "headless",
    "phantomjs",
    "preview",
    "validator",
    "checker",
    "fetch",
    "whatsapp/",
];

/// Everything learnt from one user agent.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) text: Text,
    pub(super) agent: Agent,
    pub(super) bot: Option<Text>,
}

pub(super) struct Agents {
    browsers: user_agent::Extractor<'static>,
    systems: os::Extractor<'static>,
    bots: Bots,
    cache: Cache<Text, Arc<Facts>>,
    reason_list: Text,
    reason_token: Text,
    nobody: Arc<Facts>,
}

impl Agents {
    pub(super) fn new() -> Self {
        let rules: Regexes<'static> =
            serde_json::from_str(RULES).expect("the rules were checked when they were built in");
        let browsers =
            rules.user_agent_parsers.into_iter().try_fold(user_agent::Builder::new(), user_agent::Builder::push);
        let systems = rules.os_parsers.into_iter().try_fold(os::Builder::new(), os::Builder::push);
        let agent = Agent { browser: None, os: None, device: Device::Bot };
        Self {
            browsers: browsers.ok().and_then(|builder| builder.build().ok()).expect("uap-core's browser rules compile"),
            systems: systems.ok().and_then(|builder| builder.build().ok()).expect("uap-core's system rules compile"),
            bots: Bots::default(),
            cache: Cache::new(CACHED),
            reason_list: "ua:isbot".into(),
            reason_token: "ua:token".into(),
            nobody: Arc::new(Facts { text: "".into(), agent, bot: Some("ua:empty".into()) }),
        }
    }

    /// What there is to know of a user agent; no user agent is a program's.
    pub(super) fn facts(&self, user_agent: Option<&str>) -> Arc<Facts> {
        let Some(text) = user_agent else { return Arc::clone(&self.nobody) };
        if let Some(facts) = self.cache.get(text) {
            return facts;
        }
        let text: Text = text.into();
        let facts = Arc::new(self.parse(&text));
        self.cache.insert(text, Arc::clone(&facts));
        facts
    }

    fn parse(&self, text: &Text) -> Facts {
        let family = |name: &str| (name != "Other").then(|| Text::from(name));
        let bot = self.bot(text);
        let agent = Agent {
            browser: self.browsers.extract(text).and_then(|value| family(&value.family)),
            os: self.systems.extract(text).and_then(|value| family(&value.os)),
            device: if bot.is_some() { Device::Bot } else { device(text) },
        };
        Facts { text: Arc::clone(text), agent, bot }
    }

    fn bot(&self, text: &str) -> Option<Text> {
        if self.bots.is_bot(text) {
            return Some(Arc::clone(&self.reason_list));
        }
        let lower = text.to_ascii_lowercase();
        MORE_BOTS.iter().any(|token| lower.contains(token)).then(|| Arc::clone(&self.reason_token))
    }
}

/// A person's kind of device. Android says `Mobile` on telephones alone; what names no handheld is a desktop.
fn device(text: &str) -> Device {
    const TABLETS: &[&str] = &["iPad", "Tablet", "Kindle", "Silk/", "PlayBook", "Nexus 7", "Nexus 10", "SM-T", "SM-X"];
    const PHONES: &[&str] = &[
        "iPhone",
        "iPod",
        "Windows Phone",
        "BlackBerry",
        "BB10",
        "IEMobile",
        "Opera Mini",
        "Opera Mobi",
        "Mobile Safari",
        "webOS",
        "Symbian",
        "Nokia",
        "Mobile;",
        "Mobi",
    ];
    const SCREENS: &[&str] = &["SmartTV", "SMART-TV", "BRAVIA", "AFT", "CrKey", "Android TV", "GoogleTV"];
    let has = |tokens: &[&str]| tokens.iter().any(|token| text.contains(token));
    if has(SCREENS) {
        Device::Desktop
    } else if has(TABLETS) || (text.contains("Android") && !text.contains("Mobile")) {
        Device::Tablet
    } else if has(PHONES) {
        Device::Mobile
    } else {
        Device::Desktop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_every_kind_are_told_apart() {
        let agents = Agents::new();
        let table = [
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36",
                Some("Chrome"),
                Some("Mac OS X"),
                Device::Desktop,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
                Some("Mobile Safari"),
                Some("iOS"),
                Device::Mobile,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 16_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.3 Mobile/15E148 Safari/604.1",
                Some("Mobile Safari"),
                Some("iOS"),
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
                Some("Chrome Mobile"),
                Some("Android"),
                Device::Mobile,
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                Some("Chrome"),
                Some("Android"),
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
                Some("Firefox"),
                Some("Linux"),
                Device::Desktop,
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Some("Googlebot"),
                None,
                Device::Bot,
            ),
        ];
        for (text, browser, os, device) in table {
            let facts = agents.facts(Some(text));
            assert_eq!(
                (facts.agent.browser.as_deref(), facts.agent.os.as_deref(), facts.agent.device),
                (browser, os, device),
                "{text}"
            );
            assert_eq!(facts.bot.is_some(), device == Device::Bot, "{text}");
        }
        for text in [
            "curl/8.5.0",
            "python-requests/2.32.3",
            "Tiny Tiny RSS/1.11 (http://tt-rss.org/)",
            "UniversalFeedParser/4.2",
            "FeedBurner/1.0",
        ] {
            assert!(agents.facts(Some(text)).bot.is_some(), "{text}");
        }
        assert_eq!(agents.facts(None).bot.as_deref(), Some("ua:empty"));
    }
}
