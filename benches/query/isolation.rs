//! What a neighbour costs: dashboards of one tenant's links at a gentle rate, over HTTP with a key of its own, alone, then
//! beside another tenant that asks without a pause; in short rounds, so that all of them see the same machine. Percentiles are
//! of the questions of all rounds together: of those of one round, one or two decide what the 99th is.
//!
//! Latency is told from when a question was sent, and its 99th percentile from when it was due, too: the client shares the
//! machine with the service and its neighbours, and what holds up its timers is no answer that a tenant waits for.
//!
//! A processor that is never idle has a price whoever keeps it busy. So each round asks beside another program, too, which
//! leaves a core free, as the service does, and does nothing but stand back and count.

use linktide_batch::Lake;
use linktide_common::access::{AccessStore, ApiKey, KeyRecord, NewKey, Scopes};
use linktide_common::background;
use linktide_common::clock::Clock;
use linktide_common::id::TenantId;
use linktide_servers::Redis;

use crate::ask::{Links, dashboard};
use crate::client::with_key;
use crate::data::{Data, OTHER, link_all};
use crate::figures::{Figures, Latencies};
use crate::load::{AtRate, at_rate};
use crate::neighbour::Kind;
use crate::process::{self, Process};
use crate::servers::{Server, dashboard_range};

/// Questions a second of the tenant that is measured.
const RATE: u32 = 50;
const SECONDS: u32 = 3;
const ROUNDS: u32 = 18;
/// Sets of links that rounds take turns at: those whose answers take long are few.
const SETS: u32 = 2;

pub(crate) async fn measure(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    // Keys and exports lie beside the tables.
    let place = data.folder().join("lake-with-keys");
    link_all(&data.lake(), &place)?;
    let lake = Lake::in_folder_unsynced(&place)?;
    let (own, of_neighbour) = (key(&lake, OTHER).await?, key(&lake, TenantId(0)).await?);
    let server = Server::with_keys(&place, redis, &own).await?;
    // The same links each time, asked for before: what they wait for is the neighbour's doing.
    let mut links = Links::of_other(7);
    let range = dashboard_range();
    let mut set = || (0..RATE * SECONDS).map(|_| with_key(dashboard(links.next(), range), &own)).collect();
    let sets: Vec<Vec<Vec<u8>>> = (0..SETS).map(|_| set()).collect();
    let ask = async |round: u32| {
        let found = at_rate(server.address, RATE, sets[(round % SETS) as usize].clone()).await?;
        anyhow::ensure!(found.refused == 0, "{} questions of the tenant that asks little were refused", found.refused);
        Ok(found)
    };
    for set in 0..SETS {
        ask(set).await?;
    }
    let (mut alone, mut busy) = (Vec::new(), Vec::new());
    let mut beside: [(Vec<AtRate>, f64); Kind::ALL.len()] = Default::default();
    for round in 0..ROUNDS {
        alone.push(ask(round).await?);
        let counting = Process::start(&["busy".to_owned()])?;
        busy.push(ask(round).await?);
        drop(counting);
        for (kind, (beside, used)) in Kind::ALL.into_iter().zip(&mut beside) {
            let neighbour = Process::start(&[
                "neighbour".to_owned(),
                kind.name().to_owned(),
                round.to_string(),
                server.address.to_string(),
                of_neighbour.clone(),
            ])?;
            let before = server.processor();
            beside.push(ask(round).await?);
            *used += server.processor() - before;
            drop(neighbour);
            server.at_rest().await?;
        }
    }
    let alone = told(figures, "a tenant alone", &alone);
    let busy = told(figures, "beside another program", &busy);
    figures.note("isolation", "beside another program: p99, times that alone", busy.p99() / alone.p99(), "", None);
    for (kind, (beside, used)) in Kind::ALL.into_iter().zip(&beside) {
        let name = kind.name();
        let beside = told(figures, &format!("beside {name}"), beside);
        let cores = used / f64::from(SECONDS * ROUNDS);
        figures.note("isolation", &format!("beside {name}: cores that the service takes"), cores, "", None);
        for (of, base) in [("alone", &alone), ("beside another program", &busy)] {
            let times = beside.p99() / base.p99();
            figures.note("isolation", &format!("beside {name}: p99, times that {of}"), times, "", Some(1.3));
        }
    }
    drop(server);
    Ok(std::fs::remove_dir_all(place)?)
}

/// Notes the latencies of all rounds; those from when questions were sent.
fn told(figures: &mut Figures, name: &str, rounds: &[AtRate]) -> Latencies {
    let from_sent = Latencies::together(rounds.iter().map(|round| &round.from_sent));
    figures.latencies("isolation", name, &from_sent, [None, None]);
    let from_due = Latencies::together(rounds.iter().map(|round| &round.from_due));
    figures.note("isolation", &format!("{name}: p99 from when it was due"), from_due.p99(), "ms", None);
    from_sent
}

/// A key that allows a tenant everything.
async fn key(lake: &Lake, tenant: TenantId) -> anyhow::Result<String> {
    let key = ApiKey::generate();
    let new = NewKey { tenant, scopes: Scopes::ALL, name: None, expires_at: None };
    AccessStore::new(lake.objects()).add_key(&KeyRecord::new(&key, new, Clock::system().now())).await?;
    Ok(key.expose().to_string())
}

/// Keeps every core but one busy, behind all others, until whoever started this process lets go of it.
pub(crate) fn keep_busy() {
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
