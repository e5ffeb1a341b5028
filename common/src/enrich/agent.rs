//! What a user agent says: browser, system, kind of device, and whether a program sent it.
//!
//! Parsing one takes some seven microseconds; the cache makes it one lookup for the agents of every day.

use std::sync::{Arc, OnceLock};

use quick_cache::sync::Cache;

use super::bot::AgentFacts;
use super::{Agent, Device, Text, device, family};

const CACHED: usize = 1 << 15;

/// Everything learnt from one user agent.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) text: Text,
    /// The device is the one that a person would have.
    pub(super) agent: Agent,
    pub(super) bot: AgentFacts,
}

/// What was learnt of user agents lately.
pub(super) struct Agents {
    cache: Cache<Text, Arc<Facts>>,
    nobody: OnceLock<Arc<Facts>>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { cache: Cache::new(CACHED), nobody: OnceLock::new() }
    }
}

impl Agents {
    /// What there is to know of a user agent; `judged` says what is known of it for the verdict.
    pub(super) fn facts(
        &self,
        user_agent: Option<&str>,
        judged: impl FnOnce(Option<&str>) -> AgentFacts,
    ) -> Arc<Facts> {
        let Some(text) = user_agent else {
            let nobody = || {
                let agent = Agent { browser: None, os: None, device: Device::Desktop };
                Arc::new(Facts { text: "".into(), agent, bot: judged(None) })
            };
            return Arc::clone(self.nobody.get_or_init(nobody));
        };
        if let Some(facts) = self.cache.get(text) {
            return facts;
        }
        let text: Text = text.into();
        let agent = Agent { browser: family::browser(&text), os: family::system(&text), device: device::of(&text) };
        let facts = Arc::new(Facts { bot: judged(Some(&text)), agent, text: Arc::clone(&text) });
        self.cache.insert(text, Arc::clone(&facts));
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::*;
    use crate::bucket::Timestamp;

    fn rules() -> Rules {
        Rules::load(super::super::GeoFiles::default()).unwrap()
    }

    #[test]
    fn agents_of_every_kind_are_told_apart() {
        let rules = rules();
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
            ("Safari/9537.73.11 CFNetwork/673.0.3 Darwin/13.0.0 (x86_64)", None, Some("Mac OS X"), Device::Desktop),
        ];
        for (text, browser, os, device) in table {
            let agent = rules.agent(Some(text));
            assert_eq!((agent.browser.as_deref(), agent.os.as_deref()), (browser, os), "{text}");
            let verdict = rules.judge(Some(text), Timestamp::MAX, None);
            assert_eq!((verdict.device, verdict.bot.is_some()), (device, device == Device::Bot), "{text}");
        }
        let nobody = rules.judge(None, Timestamp::MAX, None);
        assert_eq!((nobody.bot.as_deref(), nobody.device), (Some("ua:empty"), Device::Bot));
    }

    #[test]
    fn real_log_has_its_bots() {
        let log = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/access.log");
        let Ok(log) = std::fs::read(&log) else {
            println!("skipped: no {}", log.display());
            return;
        };
        let rules = rules();
        let log = String::from_utf8_lossy(&log);
        let sent = log.lines().filter_map(|line| line.split('"').nth(5));
        let (mut google, mut bots) = (0, 0);
        for text in sent {
            let verdict = rules.judge(Some(text).filter(|text| *text != "-"), Timestamp::MAX, None);
            bots += u32::from(verdict.bot.is_some());
            if text.contains("Googlebot") {
                google += 1;
                assert_eq!((verdict.device, verdict.bot.as_deref()), (Device::Bot, Some("ua:isbot")), "{text}");
            }
        }
        assert_eq!(google, 543);
        assert!((2_000..5_000).contains(&bots), "{bots} bots");
    }
}
