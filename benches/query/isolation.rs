//! What a tenant in a loop costs another one: history of one tenant's links at a gentle rate, alone, then beside another
//! tenant whose loops ask for all its links and for dashboards that nobody asked for before; in rounds, because few questions
//! decide what a 99th percentile is.
//!
//! A processor that is never idle has a price whoever keeps it busy. So each round asks beside another program, too, whose
//! threads do nothing but stand back and count.
//!
//! The reader is asked directly: who asks is known to it, whatever stands before it.

use std::sync::Arc;
use std::time::Duration;

use linktide_batch::Lake;
use linktide_batch::reader::{BatchError, Snapshot, Tables};
use linktide_common::background;
use linktide_common::bucket::Range;
use linktide_common::dimension::Dimension;
use linktide_common::id::{LinkId, Subject, TenantId};
use tokio::task::JoinSet;

use crate::ask::{BY, Links};
use crate::data::{Data, OTHER};
use crate::figures::{Figures, Latencies};
use crate::process::{self, Process};
use crate::servers::dashboard_range;

/// Questions a second of the tenant that is measured.
const RATE: u32 = 50;
const SECONDS: u32 = 8;
const ROUNDS: usize = 5;
/// What the other one asks at once, again and again.
const LOOPS: u64 = 32;
const MEMORY: u64 = 256 << 20;

pub(crate) async fn measure(data: &Data, figures: &mut Figures) -> anyhow::Result<()> {
    let lake = Lake::in_folder_unsynced(&data.lake())?;
    let newest = lake.publications().latest().await?.ok_or_else(|| anyhow::anyhow!("nothing is published"))?;
    let tables = Tables::new(lake, MEMORY);
    tables.prepare(&newest).await?;
    let snapshot = tables.at(&newest).await?;
    // The same links each time, asked for before: what they wait for is the other's doing.
    paced(&snapshot).await?;
    let (mut alone, mut busy) = (Vec::new(), Vec::new());
    let mut beside: [Vec<Latencies>; 2] = Default::default();
    for round in 0..ROUNDS {
        alone.push(paced(&snapshot).await?);
        let counting = Process::start(&["busy".to_owned()])?;
        busy.push(paced(&snapshot).await?);
        drop(counting);
        for (heavy, beside) in [true, false].into_iter().zip(&mut beside) {
            let mut loops = JoinSet::new();
            for number in 0..LOOPS {
                let (snapshot, seed) = (Arc::clone(&snapshot), LOOPS * round as u64 + number);
                loops.spawn(async move { again_and_again(&snapshot, heavy, seed).await });
            }
            beside.push(paced(&snapshot).await?);
            loops.shutdown().await;
        }
    }
    figures.latencies("isolation", "a tenant alone", &Latencies::all(&alone), [None, None]);
    figures.latencies("isolation", "beside another program", &Latencies::all(&busy), [None, None]);
    let times = median_times(&busy, &alone);
    figures.note("isolation", "beside another program: p99, times, median of the rounds", times, "", None);
    for (name, beside) in ["all links of another in a loop", "dashboards of another in a loop"].iter().zip(&beside) {
        figures.latencies("isolation", &format!("beside {name}"), &Latencies::all(beside), [None, None]);
        for (of, base) in [("alone", &alone), ("beside another program", &busy)] {
            let name = format!("beside {name}: p99, times that {of}, median of the rounds");
            figures.note("isolation", &name, median_times(beside, base), "", Some(1.3));
        }
    }
    Ok(())
}

fn median_times(of: &[Latencies], base: &[Latencies]) -> f64 {
    let mut times: Vec<f64> = of.iter().zip(base).map(|(of, base)| of.p99() / base.p99()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Keeps every processor busy, behind all others, until whoever started this process lets go of it.
pub(crate) fn keep_busy() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores {
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

fn range() -> Range {
    let (first, last) = dashboard_range();
    Range::new(first.first_quarter(), last.first_quarter())
}

async fn again_and_again(snapshot: &Snapshot, heavy: bool, seed: u64) -> Result<(), BatchError> {
    let mut links = Links::alike(seed);
    loop {
        if heavy {
            snapshot.links(TenantId(0), range()).await?;
        } else {
            dashboard(snapshot, Subject::Link(TenantId(0), LinkId(links.next()))).await?;
        }
    }
}

/// Questions of the other tenant at a fixed rate; latency counts from when each was due.
async fn paced(snapshot: &Arc<Snapshot>) -> anyhow::Result<Latencies> {
    let mut links = Links::of_other(7);
    let mut asked = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..RATE * SECONDS {
        let due = began + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(due).await;
        let (snapshot, subject) = (Arc::clone(snapshot), Subject::Link(OTHER, LinkId(links.next())));
        asked.spawn(async move {
            dashboard(&snapshot, subject).await?;
            Ok::<_, BatchError>(due.elapsed())
        });
    }
    Latencies::of(asked.join_all().await.into_iter().collect::<Result<_, _>>()?)
}

/// History's part of a dashboard.
async fn dashboard(snapshot: &Snapshot, subject: Subject) -> Result<(), BatchError> {
    let dimensions: Vec<Dimension> =
        Dimension::ALL.iter().copied().filter(|dimension| BY.contains(&dimension.name())).collect();
    tokio::try_join!(
        snapshot.days(subject, range().days_touched()),
        snapshot.quarters(subject, range()),
        snapshot.values(subject, &dimensions, range()),
        snapshot.visitors(subject, range().hours_touched()),
    )?;
    Ok(())
}
