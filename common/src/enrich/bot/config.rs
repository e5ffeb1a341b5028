//! What decides who is a bot, as it is configured: lists, weights, thresholds.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::prefix::Mark;

/// Points of a sign: 0 says nothing, 100 is enough alone by the thresholds that come with Linktide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Points(u8);

impl Points {
    const MOST: u8 = 100;

    /// So many points; none above 100.
    #[must_use]
    pub const fn new(points: u8) -> Option<Self> {
        if points <= Self::MOST { Some(Self(points)) } else { None }
    }

    const fn or_most(points: u8) -> Self {
        Self(if points <= Self::MOST { points } else { Self::MOST })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("`{number}` is no number of points; write one from 0 to 100"));
        u8::try_from(number).ok().and_then(Self::new).ok_or_else(wrong)
    }
}

/// Who is taken for a bot: `[bots]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BotConfig {
    /// Points from which on a click is a bot's.
    pub bot: u16,
    /// Points from which on a click is suspected: counted as a person's, and shown as suspected.
    pub suspect: u16,
    /// Lists of user agents, behind those that are built in.
    pub agents: Vec<AgentList>,
    /// Lists of networks.
    pub networks: Vec<NetworkList>,
    /// Lists of networks that nothing is held against where they are: their addresses are in none of the lists.
    pub trusted: Vec<PathBuf>,
    /// A list of autonomous systems that rent machines out. It needs `enrich.asn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosting: Option<PathBuf>,
    /// A list of JA4 fingerprints of programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<PathBuf>,
    /// What each sign weighs.
    pub weights: Weights,
}

impl Default for BotConfig {
    fn default() -> Self {
        Self {
            bot: 100,
            suspect: 50,
            agents: Vec::new(),
            networks: Vec::new(),
            trusted: Vec::new(),
            hosting: None,
            ja4: None,
            weights: Weights::default(),
        }
    }
}

/// A list of user agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentList {
    /// What its reason is called: `ua:<name>`.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its points.
    #[serde(default = "all")]
    pub weight: Points,
}

/// A list of networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkList {
    /// What its reason is called: `network:<name>`.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its points: few for a cloud, where people's relays and proxies are as well; all for networks of your own choice.
    pub weight: Points,
}

const fn all() -> Points {
    Points(Points::MOST)
}

macro_rules! weights {
    ($($(#[$doc:meta])* $name:ident = $points:literal,)*) => {
        /// What each sign weighs.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Weights {
            $($(#[$doc])* pub $name: Points,)*
        }

        impl Default for Weights {
            fn default() -> Self {
                Self { $($name: Points::or_most($points),)* }
            }
        }
    };
}

weights! {
    /// The user agent is a program's by the built-in lists.
    agent = 100,
    /// `navigator.webdriver` is true.
    webdriver = 100,
    /// The handshake's fingerprint is in the list of programs.
    ja4 = 100,
    /// An edge's signature was forged.
    edge_forged = 100,
    /// An edge's signature was too old: a clock that is wrong, or one who uses it again.
    edge_expired = 40,
    /// The challenge was answered wrongly.
    challenge_failed = 100,
    /// The challenge was not answered.
    challenge_unanswered = 60,
    /// The edge is sure that it is a program; less sure, it weighs as much less.
    edge_score = 100,
    /// Client hints name a browser without a window.
    hint_headless = 100,
    /// Client hints name another platform than the user agent.
    hint_platform = 70,
    /// Client hints say mobile where the user agent does not, or the other way round.
    hint_mobile = 60,
    /// Client hints name another version than the user agent.
    hint_version = 70,
    /// Client hints of a browser that has none.
    hint_foreign = 60,
    /// A Chromium from 89 on sent no client hints over https.
    no_hints = 40,
    /// A browser sent no `Accept-Language`.
    no_language = 40,
    /// A browser sent no `Accept`, or no `Accept-Encoding`.
    no_accept = 40,
    /// A Chromium from 80 on sent no `Sec-Fetch-*` over https.
    no_fetch = 40,
    /// The network belongs to one who rents machines out.
    hosting = 40,
}

impl BotConfig {
    /// What is wrong with it, by key; all at once, and without looking at any file.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, what: String| problems.push((format!("bots.{key}"), what));
        if self.suspect == 0 || self.suspect > self.bot {
            let (suspect, bot) = (self.suspect, self.bot);
            wrong(
                "suspect",
                format!(
                    "{suspect} is not from 1 to bots.bot, which is {bot}: nobody would be a person, or nobody suspected"
                ),
            );
        }
        let agents: Vec<&str> = self.agents.iter().map(|list| list.name.as_str()).collect();
        let networks: Vec<&str> = self.networks.iter().map(|list| list.name.as_str()).collect();
        for (key, names, taken) in [("agents", agents, super::names::REASONS), ("networks", networks, &["hosting"])] {
            for (place, name) in names.iter().enumerate() {
                let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
                if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
                    wrong(
                        key,
                        format!(
                            "`{name}` is no name of a list: it becomes a reason; write up to 32 small letters, digits, - and _"
                        ),
                    );
                } else if taken.contains(name) || names[..place].contains(name) {
                    wrong(key, format!("`{name}` is the name of another list; give each its own"));
                }
            }
        }
        if self.networks.len() + self.trusted.len() > Mark::LISTS {
            wrong("networks", format!("there are more than {} lists of networks", Mark::LISTS));
        }
        if self.agents.len() > Mark::LISTS {
            wrong("agents", format!("there are more than {} lists of user agents", Mark::LISTS));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        assert_eq!(BotConfig::default().problems(), []);
        let list = |name: &str| AgentList { name: name.to_owned(), file: "x".into(), weight: all() };
        let config = BotConfig {
            suspect: 120,
            agents: vec![list("own"), list("own"), list("isbot"), list("A b"), list("")],
            networks: vec![NetworkList { name: "hosting".to_owned(), file: "x".into(), weight: all() }],
            ..BotConfig::default()
        };
        let problems = config.problems();
        let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["bots.suspect", "bots.agents", "bots.agents", "bots.agents", "bots.agents", "bots.networks"]);
        assert_eq!(BotConfig { suspect: 0, ..BotConfig::default() }.problems().len(), 1);
    }
}
