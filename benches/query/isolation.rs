//! What a neighbour costs: dashboards of one tenant's links at a gentle rate, over HTTP with a key of its own, alone, and
//! beside another tenant that asks without a pause; in short rounds of all conditions, so that all of them see the same
//! machine, in an order that changes from round to round, since what one leaves behind (memory given back, caches) is the
//! next one's. Percentiles are of the questions of all rounds together: of those of one round, one or two decide what the
//! 99th is. How far chance may have moved a ratio is told by drawing rounds anew (Efron, "Bootstrap methods", 1979).
//!
//! Latency is told from when a question was sent, and its 99th percentile from when it was due, too: the client shares the
//! machine with the service and its neighbours, and what holds up its timers is no answer that a tenant waits for.
//!
//! Where the machine is a guest, its host keeps the cores for others now and then, the more so the more they are used. So the
//! same is told of those questions alone in whose next moments it kept nothing, as far as the system knows.
//!
//! A processor that is never idle has a price whoever keeps it busy. So each round asks beside another program, too, which
//! leaves a core free, as the service does, and does nothing but stand back and count.

use std::time::Duration;

use linktide_batch::Lake;
use linktide_common::access::{AccessStore, ApiKey, KeyRecord, NewKey, Scopes};
use linktide_common::background;
use linktide_common::clock::Clock;
use linktide_common::id::TenantId;
use linktide_servers::Redis;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::ask::{Links, dashboard};
use crate::client::with_key;
use crate::data::{Data, OTHER, link_all};
use crate::figures::{Figures, Latencies};
use crate::load::{Asked, at_rate, in_turn};
use crate::neighbour::Kind;
use crate::process::{self, Process};
use crate::say;
use crate::servers::{Server, Ticks, dashboard_range, machine_at_rest};

/// Questions a second of the tenant that is measured.
const RATE: u32 = 50;
const SECONDS: u32 = 3;
const ROUNDS: u32 = 16;
/// Sets of links that rounds take turns at: those whose answers take long are few.
const SETS: u32 = 2;
/// How long the tenant asks nothing before, so that it is one that asks little: what it took is forgotten by then.
const PAUSE: Duration = Duration::from_millis(1_500);
/// How often rounds are drawn anew.
const DRAWN: usize = 1_000;
/// The moments after a question in which the host is to keep nothing: so many questions more. It is longer than most answers
/// take, and the same for all, or long answers would be left out for being long.
const MOMENTS: usize = 3;
/// Of fewer questions the 99th percentile is that of a handful.
const ENOUGH: usize = 500;

/// What there is beside the tenant that is measured.
#[derive(Clone, Copy)]
enum Condition {
    Alone,
    Program,
    Neighbour(Kind),
}

impl Condition {
    fn name(self) -> String {
        match self {
            Self::Alone => "a tenant alone".to_owned(),
            Self::Program => "beside another program".to_owned(),
            Self::Neighbour(kind) => format!("beside {}", kind.name()),
        }
    }
}

/// What was found under a condition.
struct Found {
    condition: Condition,
    rounds: Vec<Round>,
    /// Seconds of processor time that the service took.
    used: f64,
}

/// The questions of a round.
struct Round {
    asked: Vec<Asked>,
    /// What all cores had had when each was sent, and at the end.
    ticks: Vec<Ticks>,
}

/// What is told of rounds.
type Took = fn(&Round) -> Vec<Duration>;

impl Round {
    /// How long each took from when it was due.
    fn due(&self) -> Vec<Duration> {
        self.asked.iter().map(|asked| asked.from_due).collect()
    }

    /// The same from when it was sent.
    fn sent(&self) -> Vec<Duration> {
        self.asked.iter().map(|asked| asked.from_sent).collect()
    }

    /// The same of those in whose next moments the host kept nothing.
    fn undisturbed(&self) -> Vec<Duration> {
        let kept_nothing = |number: usize| {
            let until = (number + MOMENTS).min(self.asked.len());
            self.ticks[until].stolen_since(&self.ticks[number]) <= 0.0
        };
        let undisturbed = self.asked.iter().enumerate().filter(|(number, _)| kept_nothing(*number));
        undisturbed.map(|(_, asked)| asked.from_sent).collect()
    }

    /// The part of all cores that the host kept.
    fn stolen(&self) -> f64 {
        self.ticks[self.asked.len()].stolen_since(&self.ticks[0])
    }
}

impl Found {
    fn of(condition: Condition) -> Self {
        Self { condition, rounds: Vec::new(), used: 0.0 }
    }
}

pub(crate) async fn measure(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    // Keys and exports lie beside the tables.
    let place = data.folder().join("lake-with-keys");
    link_all(&data.lake(), &place)?;
    let lake = Lake::in_folder_unsynced(&place)?;
    let (own, of_neighbour) = (key(&lake, OTHER).await?, key(&lake, TenantId(0)).await?);
    let server = Server::with_keys(&place, redis, &own).await?;
    let mut links = Links::of_other(7);
    let range = dashboard_range();
    let mut set = || (0..RATE * SECONDS).map(|_| with_key(dashboard(links.next(), range), &own)).collect();
    let sets: Vec<Vec<Vec<u8>>> = (0..SETS).map(|_| set()).collect();
    let mut bases = [Condition::Alone, Condition::Program].map(Found::of);
    let mut neighbours = Kind::ALL.map(|kind| Found::of(Condition::Neighbour(kind)));
    let mut random = StdRng::seed_from_u64(11);
    for round in 0..ROUNDS {
        let set = &sets[(round % SETS) as usize];
        let mut order: Vec<&mut Found> = bases.iter_mut().chain(&mut neighbours).collect();
        order.shuffle(&mut random);
        for Found { condition, rounds, used } in order {
            // Asked for before: what they wait for is the doing of what there is beside them.
            in_turn(server.address, set).await?;
            // To start a program takes much, and is nobody's doing who asks.
            let mut beside = match condition {
                Condition::Alone => None,
                Condition::Program => Some(Process::start(&["busy".to_owned()])?),
                Condition::Neighbour(kind) => Some(Process::start(&[
                    "neighbour".to_owned(),
                    kind.name().to_owned(),
                    round.to_string(),
                    server.address.to_string(),
                    of_neighbour.clone(),
                ])?),
            };
            tokio::time::sleep(PAUSE).await;
            server.at_rest().await?;
            machine_at_rest().await?;
            beside.as_mut().map(Process::begin).transpose()?;
            let (before, mut ticks) = (server.processor(), Vec::new());
            let mut look = || Ticks::now().map(|now| ticks.push(now));
            let asked = at_rate(server.address, RATE, set.clone(), &mut look).await?;
            look()?;
            *used += server.processor() - before;
            drop(beside);
            let refused = asked.iter().filter(|asked| asked.refused).count();
            anyhow::ensure!(refused == 0, "{refused} questions of the tenant that asks little were refused");
            rounds.push(Round { asked, ticks });
        }
    }
    for Found { condition, rounds, used } in bases.iter().chain(&neighbours) {
        let name = condition.name();
        figures.latencies("isolation", &name, &together(rounds, Round::sent)?, [None, None]);
        let from_due = together(rounds, Round::due)?;
        figures.note("isolation", &format!("{name}: p99 from when it was due"), from_due.p99(), "ms", None);
        let undisturbed = format!("{name}, the host kept nothing");
        figures.latencies("isolation", &undisturbed, &together(rounds, Round::undisturbed)?, [None, None]);
        let cores = used / f64::from(SECONDS * ROUNDS);
        figures.note("isolation", &format!("{name}: cores that the service takes"), cores, "", None);
        let stolen = 100.0 * rounds.iter().map(Round::stolen).sum::<f64>() / f64::from(ROUNDS);
        figures.note("isolation", &format!("{name}: of all cores the host kept"), stolen, "%", None);
        let p99 = |round: &Round| anyhow::Ok(format!("{:.1}", Latencies::of(round.sent())?.p99()));
        let each = rounds.iter().map(p99).collect::<anyhow::Result<Vec<String>>>()?;
        say(&format!("{name}: p99 of each round in ms: {}", each.join(", ")));
    }
    let kinds: [(&str, Took); 2] = [("", Round::sent), (", the host kept nothing", Round::undisturbed)];
    for Found { condition, rounds, .. } in &neighbours {
        for (which, took) in kinds {
            for base in &bases {
                let name = format!("{}: p99, times that of {}{which}", condition.name(), base.condition.name());
                let (beside, base) = (&rounds[..], &base.rounds[..]);
                let (found, found_base) = (together(beside, took)?, together(base, took)?);
                if found.count().min(found_base.count()) < ENOUGH {
                    say(&format!("{name}: too few questions"));
                    continue;
                }
                figures.note("isolation", &name, found.p99() / found_base.p99(), "", Some(1.3));
                let [low, high] = times_by_chance(base, beside, took, &mut random)?;
                figures.note("isolation", "  one in twenty is less by chance", low, "", None);
                figures.note("isolation", "  one in twenty is more by chance", high, "", None);
            }
        }
    }
    drop(server);
    Ok(std::fs::remove_dir_all(place)?)
}

/// The latencies of all rounds.
fn together<'a>(rounds: impl IntoIterator<Item = &'a Round>, took: Took) -> anyhow::Result<Latencies> {
    Latencies::of(rounds.into_iter().flat_map(took).collect())
}

/// The ratio of two conditions' p99 as rounds drawn anew have it: its 5th and its 95th percentile.
fn times_by_chance(base: &[Round], beside: &[Round], took: Took, random: &mut StdRng) -> anyhow::Result<[f64; 2]> {
    let mut drawn: Vec<f64> = Vec::with_capacity(DRAWN);
    for _ in 0..DRAWN {
        let rounds: Vec<usize> = base.iter().map(|_| random.random_range(0..base.len())).collect();
        let p99 = |of: &[Round]| anyhow::Ok(together(rounds.iter().map(|round| &of[*round]), took)?.p99());
        drawn.push(p99(beside)? / p99(base)?);
    }
    drawn.sort_unstable_by(f64::total_cmp);
    Ok([drawn[DRAWN / 20], drawn[DRAWN - 1 - DRAWN / 20]])
}

/// A key that allows a tenant everything.
async fn key(lake: &Lake, tenant: TenantId) -> anyhow::Result<String> {
    let key = ApiKey::generate();
    let new = NewKey { tenant, scopes: Scopes::ALL, name: None, expires_at: None };
    AccessStore::new(lake.objects()).add_key(&KeyRecord::new(&key, new, Clock::system().now())).await?;
    Ok(key.expose().to_string())
}

/// Keeps every core but one busy, behind all others, from when whoever started this process tells it to begin until it lets go
/// of it.
pub(crate) fn keep_busy() {
    process::told_to_begin();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..cores.max(2) {
        std::thread::spawn(|| {
            // Where the system refuses, it is not behind, which shows.
            let _ = background::stand_back();
            loop {
                std::hint::spin_loop();
            }
        });
    }
    process::let_go();
}
