//! Who is a bot, and why: lists of user agents and networks, what the click's signals say, and a verdict over all.
//!
//! One generation of lists is one value: it is read whole and takes the old one's place, or the old one stays. The verdict
//! on a click is a function of the click and of the generation. What decides is said in [`verdict`]; the signs that
//! are looked for in [`checks`], [`agents`] and [`networks`].

mod agents;
mod checks;
mod claim;
mod config;
mod list;
mod names;
mod networks;
mod prefix;
#[cfg(test)]
mod tests;
mod verdict;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest as _, Sha256};

use super::Text;
use super::agent::{Agents, Facts};
use crate::bucket::Day;
use crate::click::Signals;
use crate::metrics;
use agents::{AgentLists, Listed, Patterns};
use checks::Signs;
use claim::Claim;
use prefix::{Mark, Prefixes, Table};
use verdict::Thresholds;

pub use config::{AgentList, BotConfig, NetworkList, Points, Weights};
pub use list::ListError;
pub(super) use verdict::{Evidence, Sign, Weighed};
pub use verdict::{Family, Found, Level, RATE, SUSPECTED, SUSPECTED_RATE};

/// Lists, weights and thresholds, exchanged as a whole when a file changes.
pub(super) struct BotRules {
    config: BotConfig,
    loaded: ArcSwap<Generation>,
    seen: Mutex<Vec<Stamp>>,
}

/// What a file looked like, by which a change is noticed.
type Stamp = Option<(SystemTime, u64)>;

/// What a look at the files found.
pub(super) enum Looked {
    Unchanged,
    Replaced,
    Kept(ListError),
}

impl BotRules {
    pub(super) fn load(config: BotConfig) -> Result<Self, ListError> {
        LazyLock::force(&metrics::BOT_LIST_RELOADS_FAILED);
        let seen = look(&config);
        let loaded = ArcSwap::from_pointee(Generation::load(&config)?);
        tell(&config, &seen);
        Ok(Self { config, loaded, seen: Mutex::new(seen) })
    }

    /// Takes newer lists if they are sound.
    pub(super) fn reload(&self) -> Looked {
        let mut seen = self.seen.lock();
        let before = look(&self.config);
        if *seen == before {
            return Looked::Unchanged;
        }
        let loaded = Generation::load(&self.config);
        // A file that changed while it was read is looked at again next time, whatever came of it now.
        let after = look(&self.config);
        if after == before {
            *seen = after;
        }
        match loaded {
            Ok(loaded) if *seen == before => {
                self.loaded.store(Arc::new(loaded));
                tell(&self.config, &before);
                Looked::Replaced
            }
            Ok(_) => Looked::Unchanged,
            Err(error) => {
                metrics::BOT_LIST_RELOADS_FAILED.inc();
                Looked::Kept(error)
            }
        }
    }

    /// The generation in force. Whoever holds it finishes with it.
    pub(super) fn in_force(&self) -> Guard<Arc<Generation>> {
        self.loaded.load()
    }
}

fn files(config: &BotConfig) -> impl Iterator<Item = &PathBuf> {
    let agents = config.agents.iter().map(|list| &list.file);
    let networks = config.networks.iter().map(|list| &list.file);
    agents.chain(networks).chain(&config.trusted).chain(&config.hosting).chain(&config.ja4)
}

fn look(config: &BotConfig) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files(config).map(stamp).collect()
}

fn tell(config: &BotConfig, seen: &[Stamp]) {
    for (file, stamp) in files(config).zip(seen) {
        stamp.iter().for_each(|(modified, _)| metrics::tell_rules_file(file, *modified));
    }
}

/// One generation of lists.
pub(super) struct Generation {
    thresholds: Thresholds,
    signs: Signs,
    names: FxHashMap<&'static str, Arc<Sign>>,
    agents: AgentLists,
    networks: NetworkTable,
    /// The sign of each list of networks, in the order of their numbers.
    network_signs: Vec<Sign>,
    asns: FxHashMap<u32, u8>,
    ja4: FxHashSet<Arc<str>>,
    /// What was learnt of user agents under these lists.
    known: Agents,
    /// What is not as it comes with Linktide, in a few digits; empty where all is.
    pub(super) version: String,
}

/// What is learnt of a user agent for the verdict.
#[derive(Debug, Default)]
pub(super) struct AgentFacts {
    claim: Claim,
    named: Option<Arc<Sign>>,
    listed: Listed,
}

/// What a click is judged by.
pub(super) struct Seen<'a> {
    pub(super) agent: &'a AgentFacts,
    /// UTC day of the click.
    pub(super) day: Day,
    pub(super) ip: Option<IpAddr>,
    pub(super) asn: Option<u32>,
    pub(super) signals: Option<&'a Signals>,
}

impl Generation {
    fn load(config: &BotConfig) -> Result<Self, ListError> {
        let weights = &config.weights;
        let named =
            |name: &'static str| (name, Arc::new(Sign::new(Family::Agent, &format!("ua:{name}"), weights.agent.get())));
        let mut patterns = Patterns::default();
        for list in &config.agents {
            let sign = Sign::new(Family::Agent, &format!("ua:{}", list.name), list.weight.get());
            patterns.read(&list.file, &Arc::new(sign))?;
        }
        let agents =
            patterns.compile().map_err(|problem| ListError { file: "bots.agents".to_owned(), line: None, problem })?;
        let network_sign =
            |list: &NetworkList| Sign::new(Family::Network, &format!("network:{}", list.name), list.weight.get());
        let signs = Signs::of(weights);
        let asns = config.hosting.as_deref().map(|path| networks::read_asns(path, signs.hosting.points)).transpose()?;
        Ok(Self {
            thresholds: Thresholds { suspect: config.suspect, bot: config.bot },
            names: names::REASONS.iter().map(|name| named(name)).collect(),
            agents,
            networks: NetworkTable::read(config)?,
            network_signs: config.networks.iter().map(network_sign).collect(),
            asns: asns.unwrap_or_default(),
            ja4: config.ja4.as_deref().map(read_ja4).transpose()?.unwrap_or_default(),
            known: Agents::default(),
            version: version(config)?,
            signs,
        })
    }

    /// Everything learnt from a user agent.
    pub(super) fn facts(&self, user_agent: Option<&str>) -> Arc<Facts> {
        self.known.facts(user_agent, |user_agent| self.agent(user_agent))
    }

    /// Whether the user agent alone makes a click of that day a bot's.
    pub(super) fn is_program(&self, agent: &AgentFacts, day: Day) -> bool {
        agent.sign(day).is_some_and(|sign| u16::from(sign.points) >= self.thresholds.bot)
    }

    /// What there is to learn of a user agent for the verdict.
    fn agent(&self, user_agent: Option<&str>) -> AgentFacts {
        let text = user_agent.unwrap_or_default();
        let named = names::reason(user_agent).and_then(|name| self.names.get(name)).cloned();
        AgentFacts { claim: Claim::of(text), named, listed: self.agents.ask(text) }
    }

    /// The signs that speak against a click.
    pub(super) fn find<'a>(&'a self, seen: &Seen<'a>, mut evidence: Evidence<'a>) -> Evidence<'a> {
        if let Some(sign) = seen.agent.sign(seen.day) {
            evidence.add(sign);
        }
        if let Some(signals) = seen.signals {
            self.signs.check(signals, seen.agent.claim, &self.ja4, &mut evidence);
        }
        let mark = seen.ip.map_or(Mark::NONE, |ip| self.networks.0.find(ip));
        if !mark.is_trusted() {
            if let Some(sign) = self.network_signs.get(mark.list()) {
                evidence.add_as(sign, mark.points());
            }
            if let Some(points) = seen.asn.and_then(|asn| self.asns.get(&asn)) {
                evidence.add_as(&self.signs.hosting, *points);
            }
        }
        evidence
    }

    /// The verdict on what was found.
    pub(super) fn weigh<'a>(&self, evidence: &Evidence<'a>) -> Weighed<'a> {
        evidence.weigh(self.thresholds)
    }

    /// The thresholds, for whoever explains a verdict.
    pub(super) fn thresholds(&self) -> (u16, u16) {
        (self.thresholds.suspect, self.thresholds.bot)
    }
}

impl AgentFacts {
    /// The sign of the user agent on a day: the files' lists first, then the built-in ones.
    fn sign(&self, day: Day) -> Option<&Arc<Sign>> {
        if self.listed.is_silent() {
            return self.named.as_ref();
        }
        if self.listed.is_person(day) {
            return None;
        }
        match (self.listed.sign(day), &self.named) {
            (Some(listed), Some(named)) if named.points > listed.points => Some(named),
            (Some(listed), _) => Some(listed),
            (None, named) => named.as_ref(),
        }
    }
}

/// The networks of all lists, in one table.
pub struct NetworkTable(Table);

impl NetworkTable {
    /// Reads the lists of networks of a configuration.
    ///
    /// # Errors
    /// [`ListError`] names the file and the line that cannot be used, or the file with which they are too many.
    pub fn read(config: &BotConfig) -> Result<Self, ListError> {
        let mut room = networks::MOST;
        let mut lists: Vec<Prefixes> = Vec::new();
        let listed = config.networks.iter().map(|list| (&list.file, Some(list.weight.get())));
        let trusted = config.trusted.iter().map(|file| (file, None));
        for ((file, points), number) in listed.chain(trusted).zip(0..) {
            let mark = points.map_or(Mark::trusted(), |points| Mark::of(number, points));
            let list = networks::read(file, mark, number, room)?;
            room -= list.len();
            lists.push(list);
        }
        Ok(Self(Table::of(lists)))
    }

    /// The points of an address: of several lists the most, and none where it is trusted.
    #[must_use]
    pub fn points(&self, ip: IpAddr) -> u8 {
        let mark = self.0.find(ip);
        if mark.is_trusted() { 0 } else { mark.points() }
    }
}

fn read_ja4(path: &Path) -> Result<FxHashSet<Arc<str>>, ListError> {
    let mut fingerprints = FxHashSet::default();
    list::each_line(path, &['#', ';', ','], |_, line| {
        let lengths: Vec<usize> = line.split('_').map(str::len).collect();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if lengths != [10, 12, 12] || !line.bytes().all(fits) {
            return Err(format!(
                "`{line}` is no JA4 fingerprint; write one such as t13d1516h2_8daaf6152771_b186095e22b6"
            ));
        }
        fingerprints.insert(line.into());
        Ok(())
    })?;
    Ok(fingerprints)
}

/// Two generations of the same version judge alike: it is made of the settings and of what the files hold.
fn version(config: &BotConfig) -> Result<String, ListError> {
    if *config == BotConfig::default() {
        return Ok(String::new());
    }
    let settings = serde_json::to_vec(config).map_err(|error| ListError::of(Path::new("bots"), error))?;
    let mut digest = Sha256::new_with_prefix(settings);
    for path in files(config) {
        let mut file = std::fs::File::open(path).map_err(|error| ListError::of(path, error))?;
        std::io::copy(&mut file, &mut Hashing(&mut digest)).map_err(|error| ListError::of(path, error))?;
    }
    let digits: String = digest.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("bots@{digits}"))
}

/// A digest that can be written to.
struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a stored click's reason becomes, judged again by its user agent alone: what other signs said then is not stored,
/// so their verdict stays.
pub(super) fn judged_again(stored: Option<&str>, by_agent: Option<&Text>, is_bot: bool) -> Option<Text> {
    let of_agent = |reason: &str| reason.strip_prefix(SUSPECTED).unwrap_or(reason).starts_with("ua:");
    match stored {
        None => by_agent.cloned(),
        Some(reason) if of_agent(reason) => by_agent.cloned(),
        Some(reason) if reason.starts_with(SUSPECTED) && is_bot => by_agent.cloned(),
        Some(reason) => Some(reason.into()),
    }
}
