//! The one function both layers run on every click.

use std::sync::Arc;

use quick_cache::sync::Cache;
use uuid::Uuid;

use super::bot::{BotConfig, Evidence, Found, Level, Seen};
use super::geoip::GeoFiles;
use super::privacy::Salts;
use super::referrer::Site;
use super::rules::{Reload, Rules, RulesError};
use super::{Device, EnrichedClick, Geo, Referrer, ReferrerClass, Text, Utm, campaign, language, referrer};
use crate::bucket::{Day, Timestamp};
use crate::click::{Click, Reject, RejectReason};
use crate::id::{ClickId, Epoch, Offset, PartitionId};
use crate::secret::Secret;

const DAY_MS: i64 = 24 * 3_600_000;
/// How far a producer's clock may run ahead before the log's is taken instead.
const MOST_AHEAD_MS: i64 = 5 * 60_000;
const CACHED: usize = 1 << 14;

/// What uniques count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisitorIdentity {
    /// Different addresses.
    #[default]
    Ip,
    /// Different pairs of address and user agent: people behind one address are told apart where their browsers differ.
    IpUserAgent,
}

/// How clicks are enriched.
#[derive(Debug, Clone)]
pub struct EnrichConfig {
    /// What the days' salts are made from.
    pub salt_secret: Secret,
    /// What uniques count.
    pub visitor: VisitorIdentity,
    /// GeoIP databases.
    pub geo: GeoFiles,
    /// A click further back is refused, unless an import sent it.
    pub floor_days: i64,
}

/// What the log says of a record.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Which life of the log.
    pub epoch: Epoch,
    /// Which partition.
    pub partition: PartitionId,
    /// Where in it.
    pub offset: Offset,
    /// Running maximum of append times.
    pub received_at: Timestamp,
}

/// Rules, lists, databases and caches; shared by all workers.
pub struct Enricher {
    config: EnrichConfig,
    salts: Salts,
    rules: Arc<Rules>,
    destinations: Cache<Text, Arc<Destination>>,
    sites: Cache<Text, Arc<Site>>,
    languages: Cache<Text, Option<Text>>,
    nowhere: Arc<Geo>,
}

/// A click with what decided on it.
#[derive(Debug)]
pub struct Explained {
    /// What is kept of it.
    pub click: EnrichedClick,
    /// The signs that speak against it, in the order they were looked for.
    pub signs: Vec<Found>,
    /// The verdict.
    pub level: Level,
    /// What the signs add up to.
    pub points: u16,
    /// Points from which on it is suspected.
    pub suspect: u16,
    /// Points from which on it is a bot's.
    pub bot: u16,
}

/// What a destination says.
struct Destination {
    url: Text,
    utm: Utm,
    site: Option<Arc<Site>>,
}

impl Enricher {
    /// Loads rules and databases, with the lists of bots that are built in.
    ///
    /// # Errors
    /// [`RulesError`] where a configured database cannot be used.
    pub fn new(config: EnrichConfig) -> Result<Self, RulesError> {
        Self::with_bots(config, BotConfig::default())
    }

    /// Loads rules, databases and lists.
    ///
    /// # Errors
    /// [`RulesError`] where a configured database or list cannot be used.
    pub fn with_bots(config: EnrichConfig, bots: BotConfig) -> Result<Self, RulesError> {
        Ok(Self {
            salts: Salts::new(config.salt_secret.clone()),
            rules: Arc::new(Rules::with_bots(config.geo.clone(), bots)?),
            destinations: Cache::new(CACHED),
            sites: Cache::new(CACHED),
            languages: Cache::new(CACHED),
            nowhere: Arc::new(Geo::default()),
            config,
        })
    }

    /// Takes newer databases and newer lists where there are any: what came of each.
    pub fn reload(&self) -> [Reload; 2] {
        self.rules.reload()
    }

    /// What uniques count.
    pub fn visitor_identity(&self) -> VisitorIdentity {
        self.config.visitor
    }

    /// The rules in force: two clicks enriched under the same version were enriched alike.
    pub fn rules_version(&self) -> String {
        self.rules.version()
    }

    /// The rules, for whoever looks at stored clicks again.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules)
    }

    /// Learns from a click what is kept of it.
    ///
    /// # Errors
    /// [`Reject`] where the click is older than the floor and no import sent it.
    pub fn enrich(&self, click: Click, stamp: Stamp) -> Result<EnrichedClick, Reject> {
        self.learn(click, stamp, Evidence::default()).map(|explained| explained.click)
    }

    /// The same, with every sign that speaks against the click.
    ///
    /// # Errors
    /// As [`Self::enrich`].
    pub fn explain(&self, click: Click, stamp: Stamp) -> Result<Explained, Reject> {
        self.learn(click, stamp, Evidence::telling())
    }

    fn learn(&self, click: Click, stamp: Stamp, evidence: Evidence<'_>) -> Result<Explained, Reject> {
        let clicked_at = self.event_time(&click, stamp.received_at)?;
        let bots = self.rules.bots.in_force();
        let facts = bots.facts(click.user_agent.as_deref());
        let destination = click.destination.as_deref().map(|url| self.destination(url));
        let user_agent = click.user_agent.is_some().then(|| Arc::clone(&facts.text));
        let ip_hash = click.ip.map(|ip| self.salts.hash(ip, clicked_at, ""));
        let visitor = match self.config.visitor {
            VisitorIdentity::Ip => ip_hash,
            VisitorIdentity::IpUserAgent => click.ip.map(|ip| self.salts.hash(ip, clicked_at, &facts.text)),
        };
        let geo = click.ip.map_or_else(|| Arc::clone(&self.nowhere), |ip| self.rules.geo.locate(ip));
        let day = Day::of(clicked_at);
        let seen = Seen { agent: &facts.bot, day, ip: click.ip, asn: geo.asn, signals: click.signals.as_deref() };
        let evidence = bots.find(&seen, evidence);
        let weighed = bots.weigh(&evidence);
        let mut agent = facts.agent.clone();
        if bots.is_program(&facts.bot, day) {
            agent.device = Device::Bot;
        }
        let reason = |level| weighed.reason.filter(|_| weighed.level == level).cloned();
        let click = EnrichedClick {
            tenant_id: click.tenant_id,
            link_id: click.link_id,
            click_id: click.click_id.unwrap_or_else(|| id_of(stamp)),
            clicked_at,
            received_at: stamp.received_at,
            kind: click.kind,
            trigger: click.trigger,
            ip_hash,
            visitor,
            agent,
            referrer: self.referrer(click.referrer.as_deref(), destination.as_deref()),
            utm: destination.as_ref().map(|destination| destination.utm.clone()).unwrap_or_default(),
            language: click.language.as_deref().and_then(|accepted| self.language(accepted)),
            bot: reason(Level::Bot),
            suspected: reason(Level::Suspected),
            user_agent,
            destination: destination.map(|destination| Arc::clone(&destination.url)),
            slug: click.slug.map(Text::from),
            title: click.title.map(Text::from),
            geo,
        };
        let (suspect, bot) = bots.thresholds();
        Ok(Explained { click, signs: evidence.found(), level: weighed.level, points: weighed.points, suspect, bot })
    }

    fn event_time(&self, click: &Click, received_at: Timestamp) -> Result<Timestamp, Reject> {
        let clicked_at = click.clicked_at.unwrap_or(received_at);
        if clicked_at > received_at.plus_millis(MOST_AHEAD_MS) {
            return Ok(received_at);
        }
        let floor = received_at.plus_millis(self.config.floor_days.saturating_mul(-DAY_MS));
        if clicked_at < floor && !click.imported {
            return Err(Reject {
                reason: RejectReason::TooOld,
                field: Some("clicked_at"),
                detail: format!(
                    "{clicked_at} lies before {floor}, the oldest a click may be; older ones are taken by `linktide import`"
                ),
                position: None,
            });
        }
        Ok(clicked_at)
    }

    fn destination(&self, url: &str) -> Arc<Destination> {
        if let Some(known) = self.destinations.get(url) {
            return known;
        }
        let site = referrer::host_of(url).map(|host| self.site(&host));
        let destination = Arc::new(Destination { url: url.into(), utm: campaign::parse(url), site });
        self.destinations.insert(Arc::clone(&destination.url), Arc::clone(&destination));
        destination
    }

    fn referrer(&self, url: Option<&str>, destination: Option<&Destination>) -> Referrer {
        let Some(url) = url.filter(|url| referrer::is_given(url)) else { return Referrer::default() };
        let Some(host) = referrer::host_of(url) else {
            return Referrer { host: None, class: ReferrerClass::Other };
        };
        let own = destination.and_then(|destination| destination.site.as_ref());
        self.site(&host).referring_to(own.map(|site| site.domain()))
    }

    fn site(&self, host: &str) -> Arc<Site> {
        if let Some(known) = self.sites.get(host) {
            return known;
        }
        let site = Arc::new(Site::of(host));
        self.sites.insert(host.into(), Arc::clone(&site));
        site
    }

    fn language(&self, accepted: &str) -> Option<Text> {
        if let Some(known) = self.languages.get(accepted) {
            return known;
        }
        let language = language::preferred(accepted).map(Text::from);
        self.languages.insert(accepted.into(), language.clone());
        language
    }
}

/// The id of a click whose sender gave none: its place in the log, so that every reader gives it the same.
fn id_of(stamp: Stamp) -> ClickId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&stamp.epoch.0.to_be_bytes());
    // The version and the variant of a UUID lie in bytes 6 and 8; no log has 65,536 partitions.
    bytes[4..6].copy_from_slice(&stamp.partition.0.to_be_bytes()[2..]);
    bytes[9..16].copy_from_slice(&stamp.offset.0.to_be_bytes()[1..]);
    ClickId(Uuid::new_v8(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Day;

    fn enricher(visitor: VisitorIdentity) -> Enricher {
        let salt_secret = Secret::new(b"test".to_vec());
        Enricher::new(EnrichConfig { salt_secret, visitor, geo: GeoFiles::default(), floor_days: 3653 }).unwrap()
    }

    fn stamp(offset: u64) -> Stamp {
        Stamp { epoch: Epoch(0), partition: PartitionId(3), offset: Offset(offset), received_at: Day(20_000).start() }
    }

    fn click(json: &str) -> Click {
        Click::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn click_from_the_future_counts_when_it_was_received() {
        let enricher = enricher(VisitorIdentity::Ip);
        let received = stamp(0).received_at;
        let at = |ms| click(&format!("{{\"link_id\":1,\"clicked_at\":{}}}", received.plus_millis(ms).as_millis()));
        assert_eq!(enricher.enrich(at(300_000), stamp(0)).unwrap().clicked_at, received.plus_millis(300_000));
        assert_eq!(enricher.enrich(at(300_001), stamp(0)).unwrap().clicked_at, received);
        assert_eq!(enricher.enrich(click("{\"link_id\":1}"), stamp(0)).unwrap().clicked_at, received);
    }

    #[test]
    fn click_before_the_floor_is_refused_unless_imported() {
        let enricher = enricher(VisitorIdentity::Ip);
        let old = "{\"link_id\":1,\"clicked_at\":\"1970-01-01T00:00:00Z\"";
        let reject = enricher.enrich(click(&format!("{old}}}")), stamp(0)).unwrap_err();
        assert_eq!((reject.reason, reject.field), (RejectReason::TooOld, Some("clicked_at")));
        assert!(enricher.enrich(click(&format!("{old},\"imported\":true}}")), stamp(0)).is_ok());
    }

    #[test]
    fn id_that_was_not_given_is_the_place_in_the_log() {
        let enricher = enricher(VisitorIdentity::Ip);
        let id = |offset| enricher.enrich(click("{\"link_id\":1}"), stamp(offset)).unwrap().click_id;
        assert_eq!(id(7), id(7));
        assert_ne!(id(7), id(8));
    }

    #[test]
    fn visitor_is_the_address_or_the_address_with_its_browser() {
        let with = |agent: &str| click(&format!("{{\"link_id\":1,\"ip\":\"203.0.113.9\",\"user_agent\":\"{agent}\"}}"));
        for (identity, same) in [(VisitorIdentity::Ip, true), (VisitorIdentity::IpUserAgent, false)] {
            let enricher = enricher(identity);
            let visitor = |agent| enricher.enrich(with(agent), stamp(0)).unwrap().visitor;
            assert_eq!(visitor("Firefox") == visitor("Chrome"), same);
        }
    }

    #[test]
    fn referrer_of_the_same_site_is_internal() {
        let enricher = enricher(VisitorIdentity::Ip);
        let json = r#"{"link_id":1,"referrer":"https://www.harbour.example/a","destination":"https://shop.harbour.example/?utm_source=x","language":"de-DE"}"#;
        let enriched = enricher.enrich(click(json), stamp(0)).unwrap();
        assert_eq!(enriched.referrer.class, super::super::ReferrerClass::Internal);
        assert_eq!((enriched.utm.source.as_deref(), enriched.language.as_deref()), (Some("x"), Some("de")));
    }

    #[test]
    fn floor_of_any_size_is_taken() {
        let salt_secret = Secret::new(b"test".to_vec());
        let config =
            EnrichConfig { salt_secret, visitor: VisitorIdentity::Ip, geo: GeoFiles::default(), floor_days: i64::MAX };
        let old = click("{\"link_id\":1,\"clicked_at\":-62135596800000}");
        assert!(Enricher::new(config).unwrap().enrich(old, stamp(0)).is_ok());
    }

    #[test]
    fn absent_referrer_is_direct_however_it_is_written() {
        let enricher = enricher(VisitorIdentity::Ip);
        let class = |referrer: &str| {
            let json = format!("{{\"link_id\":1,\"referrer\":\"{referrer}\"}}");
            enricher.enrich(click(&json), stamp(0)).unwrap().referrer.class
        };
        assert_eq!(["", "-", " "].map(class), [ReferrerClass::Direct; 3]);
        assert_eq!(class("nonsense"), ReferrerClass::Other);
    }

    #[test]
    fn what_caches_hold_changes_no_answer() {
        let clicks: Vec<Click> = (0..200)
            .map(|n| {
                let (host, agent) = (n % 7, n % 11);
                click(&format!(
                    r#"{{"link_id":{n},"ip":"203.0.{host}.{agent}","user_agent":"Firefox/{agent}","referrer":"https://a{host}.example/","language":"en;q=0.{host}, de","destination":"https://a{agent}.example/?utm_source=s{host}","slug":"s{n}"}}"#
                ))
            })
            .collect();
        let (warm, cold) = (enricher(VisitorIdentity::IpUserAgent), enricher(VisitorIdentity::IpUserAgent));
        for click in clicks.iter().rev().chain(&clicks) {
            warm.enrich(click.clone(), stamp(1)).unwrap();
        }
        for click in clicks {
            assert_eq!(warm.enrich(click.clone(), stamp(9)), cold.enrich(click, stamp(9)));
        }
    }

    #[test]
    fn rules_in_force_are_named_with_their_versions() {
        let version = enricher(VisitorIdentity::Ip).rules_version();
        for name in ["linktide-", "/ua-parser-", "+isbot-", "+psl-"] {
            assert!(version.contains(name), "{version}");
        }
    }

    #[test]
    fn raw_address_is_in_no_part_of_an_enriched_click() {
        let enricher = enricher(VisitorIdentity::Ip);
        let enriched = enricher.enrich(click("{\"link_id\":1,\"ip\":\"203.0.113.199\"}"), stamp(0)).unwrap();
        assert!(enriched.ip_hash.is_some() && !format!("{enriched:?}").contains("113.199"));
        assert!(!format!("{:?}", enricher.config).contains("test"), "the secret was printed");
    }
}
