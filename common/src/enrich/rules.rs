//! The rules that batch applies to stored clicks again: what a network's place is, and what a user agent says of itself.
//!
//! They are the enricher's own, so a click that is looked at again gets what it would get if it came today. Of the signs
//! that speak against a click only the user agent is stored, so only it is judged again.

use std::net::IpAddr;
use std::sync::Arc;

use super::bot::{self, BotConfig, BotRules, Evidence, Level, ListError, Looked, Seen};
use super::geoip::{GeoError, GeoFiles, GeoIp};
use super::{Agent, Device, Geo, Text};
use crate::bucket::{Day, Timestamp};
use crate::click::Click;

/// Lists and databases, without the secrets that enrichment needs.
pub struct Rules {
    pub(super) geo: GeoIp,
    pub(super) bots: BotRules,
}

/// A database or a list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum RulesError {
    /// A database of places or networks.
    Geo(#[from] GeoError),
    /// A list of bots.
    List(#[from] ListError),
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Reload {
    /// They are the ones in use.
    Unchanged,
    /// Newer ones took their place.
    Replaced,
    /// A newer one cannot be used; the old ones stay until it changes again.
    Kept(RulesError),
}

/// What is thought of a user agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the click's bot reason becomes; none for a person's.
    pub bot: Option<Text>,
    /// Kind of device.
    pub device: Device,
}

impl Rules {
    /// Loads databases, with the lists of bots that are built in.
    ///
    /// # Errors
    /// [`RulesError`] where a configured database cannot be used.
    pub fn load(files: GeoFiles) -> Result<Self, RulesError> {
        Self::with_bots(files, BotConfig::default())
    }

    /// Loads databases and lists.
    ///
    /// # Errors
    /// [`RulesError`] where a configured database or list cannot be used.
    pub fn with_bots(files: GeoFiles, bots: BotConfig) -> Result<Self, RulesError> {
        Ok(Self { geo: GeoIp::open(files)?, bots: BotRules::load(bots)? })
    }

    /// Takes newer databases and newer lists where there are any: what came of each.
    pub fn reload(&self) -> [Reload; 2] {
        let bots = match self.bots.reload() {
            Looked::Unchanged => Reload::Unchanged,
            Looked::Replaced => Reload::Replaced,
            Looked::Kept(error) => Reload::Kept(error.into()),
        };
        [self.geo.reload(), bots]
    }

    /// The rules in force: two clicks enriched under the same version were enriched alike.
    pub fn version(&self) -> String {
        let rules = concat!("linktide-", env!("CARGO_PKG_VERSION"), "/", env!("LINKTIDE_RULES")).to_owned();
        let more = [self.bots.in_force().version.clone(), self.geo.version()];
        std::iter::once(rules)
            .chain(more.into_iter().filter(|version| !version.is_empty()))
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Whether there is a database of places to ask.
    pub fn knows_places(&self) -> bool {
        self.geo.knows_places()
    }

    /// The place of a network as [`Geo::pending`] names it; none where there is no database of places, or no such network.
    pub fn locate(&self, network: &str) -> Option<Arc<Geo>> {
        let address: IpAddr = network.split('/').next()?.parse().ok()?;
        Some(self.geo.locate(address)).filter(|geo| geo.pending.is_none())
    }

    /// What a user agent says of itself, taken to be a person's.
    pub fn agent(&self, user_agent: Option<&str>) -> Agent {
        self.bots.in_force().facts(user_agent).agent.clone()
    }

    /// How a click would be taken if it came at `now`.
    pub fn level(&self, click: &Click, now: Timestamp) -> Level {
        let rules = self.bots.in_force();
        let facts = rules.facts(click.user_agent.as_deref());
        let asn = click.ip.and_then(|ip| self.geo.locate(ip).asn);
        let (day, ip) = (Day::of(click.clicked_at.unwrap_or(now)), click.ip);
        let seen = Seen { agent: &facts.bot, day, ip, asn, signals: click.signals.as_deref() };
        rules.weigh(&rules.find(&seen, Evidence::default())).level
    }

    /// What is thought of a click by its user agent, where `stored` was thought of it before. A reason that other signs
    /// gave stays, unless it was only a suspicion and the user agent is a bot's.
    pub fn judge(&self, user_agent: Option<&str>, clicked_at: Timestamp, stored: Option<&str>) -> Verdict {
        let rules = self.bots.in_force();
        let (facts, day) = (rules.facts(user_agent), Day::of(clicked_at));
        let seen = Seen { agent: &facts.bot, day, ip: None, asn: None, signals: None };
        let weighed = rules.weigh(&rules.find(&seen, Evidence::default()));
        Verdict {
            bot: bot::judged_again(stored, weighed.reason, weighed.level == Level::Bot),
            device: if rules.is_program(&facts.bot, day) { Device::Bot } else { facts.agent.device },
        }
    }
}
