//! Enrichment: from a [`Click`](crate::click::Click) and the log's stamp to an [`EnrichedClick`], a pure function of both, the rules and the day's salt.
//!
//! Speed and batch run the same function on the same record and so agree. The raw address goes no further than this.

mod agent;
mod bot;
mod campaign;
mod device;
mod enricher;
mod family;
mod geoip;
mod language;
mod place;
mod privacy;
mod referrer;
mod rules;
mod sites;

use std::sync::Arc;

use crate::bucket::Timestamp;
use crate::click::{Kind, Trigger};
use crate::id::{ClickId, LinkId, TenantId};

pub use bot::{
    AgentList, BotConfig, Family, Found, Level, ListError, NetworkList, NetworkTable, Points, RATE, SUSPECTED,
    SUSPECTED_RATE, Weights,
};
pub use enricher::{EnrichConfig, Enricher, Explained, Stamp, VisitorIdentity};
pub use geoip::{GeoError, GeoFiles};
pub use rules::{Reload, Rules, RulesError, Verdict};

/// A shared text: dictionaries and caches hand out the same allocation again and again.
pub type Text = Arc<str>;

/// A salted hash of an address or a visitor: the first 16 bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaltedHash(pub [u8; 16]);

/// A click with all that is learnt from it, and nothing that must not be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrichedClick {
    /// Whose link.
    pub tenant_id: TenantId,
    /// Which link.
    pub link_id: LinkId,
    /// What tells copies.
    pub click_id: ClickId,
    /// Event time; never more than five minutes after `received_at`.
    pub clicked_at: Timestamp,
    /// Running maximum of the partition's append times: decides which layer owns the click.
    pub received_at: Timestamp,
    /// Click or preview.
    pub kind: Kind,
    /// Link or QR code.
    pub trigger: Trigger,
    /// The address, salted for the UTC day of `clicked_at`.
    pub ip_hash: Option<SaltedHash>,
    /// What uniques count: the address, or the address with the user agent, as configured.
    pub visitor: Option<SaltedHash>,
    /// Where.
    pub geo: Arc<Geo>,
    /// With what.
    pub agent: Agent,
    /// From where.
    pub referrer: Referrer,
    /// Of which campaign.
    pub utm: Utm,
    /// Primary language subtag, lower case.
    pub language: Option<Text>,
    /// The bot rule that matched, such as `ua:isbot`; none for a person.
    pub bot: Option<Text>,
    /// Why the click may be a bot's though it counts as a person's: [`SUSPECTED`] and a reason. Never beside `bot`.
    pub suspected: Option<Text>,
    /// The user agent as sent, cut: reclassification reads it.
    pub user_agent: Option<Text>,
    /// Label: the destination.
    pub destination: Option<Text>,
    /// Label: the slug.
    pub slug: Option<Text>,
    /// Label: the title.
    pub title: Option<Text>,
}

/// What a GeoIP database says of an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Geo {
    /// Two-letter continent code.
    pub continent: Option<Text>,
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<Text>,
    /// ISO 3166-2 code.
    pub region: Option<Text>,
    /// City with its region or country.
    pub city: Option<Text>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Who owns the network.
    pub network_owner: Option<Text>,
    /// Set where no database was there to ask: the network prefix (/24 or /48) to look up later.
    pub pending: Option<Text>,
}

/// What a user agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// Family of the browser.
    pub browser: Option<Text>,
    /// Family of the operating system.
    pub os: Option<Text>,
    /// Kind of device.
    pub device: Device,
}

/// Kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Device {
    /// A computer, or what says nothing else.
    #[default]
    Desktop,
    /// A telephone.
    Mobile,
    /// A tablet.
    Tablet,
    /// A program.
    Bot,
}

impl Device {
    /// The name in the API and in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Bot => "bot",
        }
    }
}

/// Where the visitor came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Referrer {
    /// Host, lower case.
    pub host: Option<Text>,
    /// Class of that host.
    pub class: ReferrerClass,
}

/// Class of a referrer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ReferrerClass {
    /// No referrer.
    #[default]
    Direct,
    /// The destination's own site.
    Internal,
    /// A search engine.
    Search,
    /// A social network.
    Social,
    /// A mail reader.
    Email,
    /// An assistant.
    Ai,
    /// Any other site.
    Other,
}

impl ReferrerClass {
    /// The name in the API and in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Internal => "internal",
            Self::Search => "search",
            Self::Social => "social",
            Self::Email => "email",
            Self::Ai => "ai",
            Self::Other => "other",
        }
    }
}

/// The campaign parameters of the destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Utm {
    /// `utm_source`
    pub source: Option<Text>,
    /// `utm_medium`
    pub medium: Option<Text>,
    /// `utm_campaign`
    pub campaign: Option<Text>,
    /// `utm_term`
    pub term: Option<Text>,
    /// `utm_content`
    pub content: Option<Text>,
}
