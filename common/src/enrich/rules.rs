//! The rules that batch applies to stored clicks again: what a network's place is, and what a user agent says of itself.
//!
//! They are the enricher's own, so a click that is looked at again gets what it would get if it came today.

use std::net::IpAddr;
use std::sync::Arc;

use super::agent::Agents;
use super::geoip::{GeoError, GeoFiles, GeoIp, Reload};
use super::{Device, Geo, Text};

/// Lists and databases, without the secrets that enrichment needs.
pub struct Rules {
    pub(super) geo: GeoIp,
    pub(super) agents: Agents,
}

/// What is thought of a user agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that makes its clicks a bot's; none for a person's.
    pub bot: Option<Text>,
    /// Kind of device.
    pub device: Device,
}

impl Rules {
    /// Loads lists and databases.
    ///
    /// # Errors
    /// [`GeoError`] where a configured database cannot be used.
    pub fn load(files: GeoFiles) -> Result<Self, GeoError> {
        Ok(Self { geo: GeoIp::open(files)?, agents: Agents::new() })
    }

    /// Takes newer databases where there are any.
    pub fn reload(&self) -> Reload {
        self.geo.reload()
    }

    /// The rules in force: two clicks enriched under the same version were enriched alike.
    pub fn version(&self) -> String {
        let geo = self.geo.version();
        let rules = concat!("linktide-", env!("CARGO_PKG_VERSION"), "/", env!("LINKTIDE_RULES"));
        if geo.is_empty() { rules.to_owned() } else { format!("{rules}/{geo}") }
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

    /// What is thought of a user agent.
    pub fn judge(&self, user_agent: Option<&str>) -> Verdict {
        let facts = self.agents.facts(user_agent);
        Verdict { bot: facts.bot.clone(), device: facts.agent.device }
    }
}
