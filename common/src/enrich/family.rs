//! Families of browsers and operating systems, by uap-core's rules as the package `ua-parser` carries them.
//!
//! Browser and system are small dimensions that no guard watches, so their values must be a closed set whatever user
//! agents are sent. A rule that would take its family out of free text (`anything/1 CFNetwork`, `anythingbot/1`) names
//! none here. The programs everyone meets are named by a rule of our own in front.
//!
//! The rules are compiled when the first user agent asks for them: some 40 ms, and 10 MB that stay.

use std::sync::LazyLock;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use ua_parser::{os, user_agent};

use super::Text;

const RULES: &str = include_str!(concat!(env!("OUT_DIR"), "/user_agents.json"));

/// Programs with names of their own, in front of all rules.
const PROGRAMS: &str = "(Googlebot|AdsBot-Google|Mediapartners-Google|Feedfetcher-Google|GoogleOther|bingbot|BingPreview|msnbot|\
YandexBot|Baiduspider|DuckDuckBot|Applebot|Sogou web spider|Yahoo! Slurp|AhrefsBot|SemrushBot|MJ12bot|DotBot|PetalBot|\
archive\\.org_bot|facebookexternalhit|meta-externalagent|Twitterbot|LinkedInBot|Pinterestbot|Slackbot|Discordbot|TelegramBot|\
WhatsApp|GPTBot|ChatGPT-User|OAI-SearchBot|ClaudeBot|PerplexityBot|Bytespider|Amazonbot|CCBot|UptimeRobot)";

/// What says that the family is not known.
const UNKNOWN: &str = "Other";

static FAMILIES: LazyLock<Families> = LazyLock::new(Families::built_in);

struct Families {
    browsers: user_agent::Extractor<'static>,
    systems: os::Extractor<'static>,
    names: Mutex<FxHashSet<Text>>,
}

/// Family of the browser, or of the program where it has a name.
pub(super) fn browser(user_agent: &str) -> Option<Text> {
    FAMILIES.browsers.extract(user_agent).and_then(|found| FAMILIES.name(&found.family, user_agent))
}

/// Family of the operating system.
pub(super) fn system(user_agent: &str) -> Option<Text> {
    FAMILIES.systems.extract(user_agent).and_then(|found| FAMILIES.name(&found.os, user_agent))
}

impl Families {
    fn built_in() -> Self {
        let mut rules: ua_parser::Regexes<'static> =
            serde_json::from_str(RULES).expect("the rules were read when they were built in");
        let programs = user_agent::Parser { regex: PROGRAMS.into(), ..Default::default() };
        rules.user_agent_parsers.insert(0, programs);
        for rule in &mut rules.user_agent_parsers {
            close(&rule.regex, &mut rule.family_replacement);
        }
        for rule in &mut rules.os_parsers {
            close(&rule.regex, &mut rule.os_replacement);
        }
        let browsers = user_agent::Builder::new().push_all(rules.user_agent_parsers);
        let systems = os::Builder::new().push_all(rules.os_parsers);
        Self {
            browsers: browsers.ok().and_then(|rules| rules.build().ok()).expect("uap-core's browser rules compile"),
            systems: systems.ok().and_then(|rules| rules.build().ok()).expect("uap-core's system rules compile"),
            names: Mutex::default(),
        }
    }

    /// The one allocation of a name. They are few: the set is closed.
    fn name(&self, name: &str, user_agent: &str) -> Option<Text> {
        let name = name.trim();
        // A lone `.` in a rule (`Vert.x`) stands for any of a million letters: of those it catches, ASCII is enough.
        let caught = !name.is_ascii() && user_agent.contains(name);
        if name.is_empty() || name == UNKNOWN || caught {
            return None;
        }
        let mut names = self.names.lock();
        if let Some(known) = names.get(name) {
            return Some(Text::clone(known));
        }
        let text = Text::from(name);
        names.insert(Text::clone(&text));
        Some(text)
    }
}

/// Takes the name away from a rule that captures it from free text.
fn close(regex: &str, replacement: &mut Option<std::borrow::Cow<'static, str>>) {
    let literal = replacement.as_deref().is_some_and(|name| !name.contains('$'));
    if !literal && first_group(regex).contains(['+', '*', '{']) {
        *replacement = Some(UNKNOWN.into());
    }
}

/// What stands in the first capturing group of a regular expression, escapes left out.
fn first_group(regex: &str) -> String {
    let mut group = String::new();
    let mut depth = 0;
    let mut rest = regex.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                rest.next();
                continue;
            }
            '(' if depth > 0 => depth += 1,
            '(' if rest.peek() != Some(&'?') => depth = 1,
            ')' if depth == 1 => break,
            ')' if depth > 0 => depth -= 1,
            _ => {}
        }
        if depth > 0 {
            group.push(c);
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_capturing_group_is_found() {
        for (regex, group) in [
            ("(?:a|b)(Chrome|Firefox)/(\\d+)", "(Chrome|Firefox"),
            ("^(.{0,200})/(\\d+) CFNetwork", "(.{0,200}"),
            ("\\((a(?:b|c)d)\\)", "(a(?:b|c)d"),
            ("none", ""),
        ] {
            assert_eq!(first_group(regex), group);
        }
    }

    #[test]
    fn names_of_one_family_share_their_text() {
        let first = browser("Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0").unwrap();
        let second = browser("Mozilla/5.0 (Windows NT 10.0; rv:90.0) Gecko/20100101 Firefox/90.0").unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn letters_that_a_rule_leaves_open_make_no_family() {
        assert_eq!(browser("Vert.x-WebClient/4.5").as_deref(), Some("Vert.x-WebClient"));
        assert_eq!(browser("Vertéx-WebClient/4.5"), None);
    }

    proptest! {
        #[test]
        fn free_text_makes_no_family(name in "[a-z]{4,9}[0-9]{4}") {
            for text in [format!("{name}/1.0 CFNetwork/1 Darwin/1"), format!("{name}bot/1.0"), format!("x {name}Spider 1")] {
                prop_assert!(browser(&text).is_none_or(|family| !family.contains(&name)), "{}", text);
            }
        }
    }
}
