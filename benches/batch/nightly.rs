//! One day of clicks rolled up, and the same counts by other engines from the same raw files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use linktide::demo::generator::Generator;
use linktide_batch::{ArchiveConfig, Archiver, Lake, Nightly, NightlyConfig, Stage};
use linktide_common::bucket::{Day, Hour};
use linktide_common::clock::Clock;
use linktide_common::enrich::{GeoFiles, Rules};
use linktide_common::log::LogWriter as _;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_servers::python;
use tokio_util::sync::CancellationToken;

use crate::process::{Process, Used};
use crate::sizes::{Sizes, files};
use crate::{say, world};

/// A Thursday.
const DAY: Day = Day(20_783);
const HOUR_MS: i64 = 3_600_000;
const AT_ONCE: usize = 20_000;

/// Makes a day of clicks, has it rolled up, and asks other engines for the same.
pub(crate) async fn measure(clicks: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let lake = folder.path().join("lake");
    fill(folder.path(), &lake, clicks).await?;
    let table = lake.join("tables/click_event");
    let raw = files(&table)?;
    let sizes = Sizes::of(&raw)?;
    say(&format!("\n{} clicks of one day, {:.1} bytes each in {} files", sizes.rows, sizes.a_row(), sizes.files));
    let peers = link_all(&raw, &folder.path().join("peers"))?;
    let to = DAY.next().first_hour();
    drop(Process::start(&["roller".to_owned(), lake.to_string_lossy().into_owned(), to.0.to_string()])?);
    let sorted = Sizes::of(&files(&table)?.difference(&raw).cloned().collect())?;
    say(&format!("click_event, sorted: {:.1} bytes a click in {} files", sorted.a_row(), sorted.files));
    say(&sorted.table());
    ask_peers(&peers, &lake)
}

/// Archives a day, hour by hour.
async fn fill(folder: &Path, lake: &Path, clicks: usize) -> anyhow::Result<()> {
    world::write_cities(folder)?;
    let clock = Clock::manual(DAY.start());
    let config = EmbeddedConfig { sync: false, reserve: 0, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(&folder.join("log"), &config, clock.clone())?;
    let intake = world::intake(log.reader(), folder, clock.clone())?;
    let lake = Lake::in_folder_unsynced(lake)?;
    let (archiver, flusher) = Archiver::open(lake, intake, clock.clone(), ArchiveConfig::default()).await?;
    let stop = CancellationToken::new();
    let archiving = tokio::spawn(archiver.run(stop.clone()));
    let mut generator = world::generator();
    let hours = DAY.first_hour().0..DAY.next().first_hour().0;
    let all: f64 = hours.clone().map(|hour| Generator::busyness(Hour(hour), 0)).sum();
    for hour in hours.map(Hour) {
        clock.set(hour.start().plus_millis(HOUR_MS - 1));
        let mut left = part(clicks, Generator::busyness(hour, 0) / all);
        while left > 0 {
            let count = left.min(AT_ONCE);
            log.append(world::records(&mut generator, hour, count)).await?;
            left -= count;
        }
        clock.set(hour.next().start());
        anyhow::ensure!(flusher.archived_through(hour.next().start()).await, "the archive ended on its own");
    }
    stop.cancel();
    archiving.await??;
    log.close();
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number of clicks is small and positive"
)]
fn part(clicks: usize, share: f64) -> usize {
    (clicks as f64 * share).round() as usize
}

/// The same files in another folder: they stay there when the table lets go of them.
fn link_all<'a>(files: impl IntoIterator<Item = &'a PathBuf>, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    for file in files {
        std::fs::hard_link(file, folder.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(folder.to_owned())
}

/// What the process of the nightly run does.
pub(crate) async fn work(lake: &Path, to: Hour) -> anyhow::Result<()> {
    let lake = Lake::in_folder_unsynced(lake)?;
    let rules = Arc::new(Rules::load(GeoFiles::default())?);
    let began = Instant::now();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&steps);
    let tell = move |stage: Stage| {
        told.lock().unwrap_or_else(PoisonError::into_inner).push((stage, began.elapsed(), Used::here()));
    };
    let clock = Clock::manual(to.start().plus_millis(HOUR_MS));
    let nightly = Nightly::new(lake, clock, rules, NightlyConfig::default()).telling(tell);
    let outcome = nightly.roll_up(Some(to)).await?;
    let (seconds, used) = (began.elapsed().as_secs_f64(), Used::here());
    for (stage, after, used) in steps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        say(&format!(
            "  {:>6.1} s, processor {:>6.1} s, {:>5.0} MiB: {stage:?}",
            after.as_secs_f64(),
            used.processor,
            used.memory
        ));
    }
    say(&format!(
        "linktide: {seconds:.1} s, processor {:.1} s, {:.0} MiB at most: {outcome:?}",
        used.processor, used.memory
    ));
    Ok(())
}

/// DuckDB and ClickHouse, each in a process of its own. How many rows their tables and
/// ours have tells whether they did the same.
fn ask_peers(raw: &Path, lake: &Path) -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/batch/peers.py");
    for engine in ["duckdb", "clickhouse"] {
        let ended = Command::new(python("python")).arg(&script).arg(engine).arg(raw).status()?;
        anyhow::ensure!(ended.success(), "{engine} failed");
        for table in ["hourly", "daily", "dimension"] {
            let theirs = raw.with_extension(engine).join(format!("{table}.parquet"));
            let theirs = Sizes::of(&[theirs].into())?.rows;
            let ours = Sizes::of(&files(&lake.join(format!("tables/link_stats_{table}")))?)?.rows;
            say(&format!("  {table}: {theirs} rows, ours {ours}"));
        }
    }
    Ok(())
}
