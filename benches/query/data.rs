//! The history that questions are asked about: thirty nights of clicks by the product's own archive and nightly runs, under
//! a clock that is moved, and a day behind them that only the log has.
//!
//! Each day has a seed of its own. A day that was cut short is appended again as a whole: its ids are the same, so the
//! layers drop what they have as copies. So whatever was made is kept, and the next run goes on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use linktide::demo::generator::{Generator, World};
use linktide_batch::{ArchiveConfig, Archiver, Flusher, Lake, Nightly, NightlyConfig};
use linktide_common::bucket::{Day, Hour};
use linktide_common::clock::Clock;
use linktide_common::copies::CopyWindow;
use linktide_common::enrich::{GeoFiles, Rules};
use linktide_common::id::{LinkId, Offset, TenantId};
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogReader as _, LogWriter as _};
use tokio_util::sync::CancellationToken;

use crate::{say, world};

/// 31 May 2026: the nights end on the 29 June, when a month has nearly as many files as it ever has.
pub(crate) const FIRST: Day = Day(20_604);
pub(crate) const NIGHTS: i32 = 30;
/// The day that is in the view alone.
pub(crate) const LIVE: Day = Day(FIRST.0 + NIGHTS);
pub(crate) const LINKS: u32 = 100_000;

const HOUR_MS: i64 = 3_600_000;
const AT_ONCE: usize = 20_000;
/// Bumped when the clicks or the files of a night become others.
const VERSION: u32 = 5;

/// Where it lies.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    folder: PathBuf,
    clicks: usize,
}

impl Data {
    /// What is made of so many clicks a day: in the folder the environment names, or beside the build output.
    pub(crate) fn of(clicks: usize) -> anyhow::Result<Self> {
        let place = match std::env::var_os("LINKTIDE_BENCH_DATA") {
            Some(place) => PathBuf::from(place),
            None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache/linktide/bench"),
        };
        Ok(Self { folder: place.join(format!("query-{VERSION}-{clicks}")), clicks })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.join("lake")
    }

    /// Makes what is not there yet.
    pub(crate) async fn make(&self) -> anyhow::Result<()> {
        let whole = self.folder.join("whole");
        if whole.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        world::write_cities(&self.folder)?;
        let lake = Lake::in_folder_unsynced(&self.lake())?;
        let reached = lake.publications().latest().await?.map_or(FIRST.start(), |newest| newest.watermark.start());
        let clock = Clock::manual(reached);
        let log = self.log(&clock)?;
        let intake = world::intake(log.reader(), &self.folder, clock.clone())?;
        let (archiver, flusher) = Archiver::open(lake.clone(), intake, clock.clone(), ArchiveConfig::default()).await?;
        let stop = CancellationToken::new();
        let archiving = tokio::spawn(archiver.run(stop.clone()));
        let first = Day::of(reached).0.max(FIRST.0);
        for day in (first..LIVE.0).map(Day) {
            let began = Instant::now();
            self.append(&log, &clock, day).await?;
            let appended = began.elapsed();
            night(&lake, &clock, &flusher, day).await?;
            trim(&log).await?;
            say(&format!(
                "night {} of {NIGHTS}: appended in {:.0} s, archived and rolled up in {:.0} s",
                day.0 - FIRST.0 + 1,
                appended.as_secs_f64(),
                (began.elapsed() - appended).as_secs_f64()
            ));
        }
        stop.cancel();
        archiving.await??;
        self.append(&log, &clock, LIVE).await?;
        log.close();
        std::fs::write(whole, "")?;
        Ok(())
    }

    /// The same history a night further, when the month has turned, in a lake of its own.
    pub(crate) async fn turned(&self) -> anyhow::Result<PathBuf> {
        let (place, whole) = (self.folder.join("lake-turned"), self.folder.join("turned"));
        if whole.exists() {
            return Ok(place);
        }
        link_all(&self.lake(), &place)?;
        let lake = Lake::in_folder_unsynced(&place)?;
        lake.publications().latest().await?;
        let clock = Clock::manual(LIVE.next().start());
        let log = self.log(&clock)?;
        let intake = world::intake(log.reader(), &self.folder, clock.clone())?;
        let (archiver, flusher) = Archiver::open(lake.clone(), intake, clock.clone(), ArchiveConfig::default()).await?;
        let stop = CancellationToken::new();
        let archiving = tokio::spawn(archiver.run(stop.clone()));
        let began = Instant::now();
        night(&lake, &clock, &flusher, LIVE).await?;
        say(&format!("the night on which the month turns: {:.0} s", began.elapsed().as_secs_f64()));
        stop.cancel();
        archiving.await??;
        log.close();
        std::fs::write(whole, "")?;
        Ok(place)
    }

    /// The log of all days.
    pub(crate) fn log(&self, clock: &Clock) -> anyhow::Result<Arc<EmbeddedLog>> {
        let config = EmbeddedConfig { sync: false, reserve: 0, ..EmbeddedConfig::default() };
        Ok(EmbeddedLog::open(&self.folder.join("log"), &config, clock.clone())?)
    }

    async fn append(&self, log: &EmbeddedLog, clock: &Clock, day: Day) -> anyhow::Result<()> {
        let seed = u64::from(day.0.unsigned_abs());
        let mut generator = Generator::new(seed, World { links: LINKS, user_agents: 20_000, ..World::default() });
        let hours = day.first_hour().0..day.next().first_hour().0;
        let all: f64 = hours.clone().map(|hour| Generator::busyness(Hour(hour), 0)).sum();
        for hour in hours.map(Hour) {
            clock.set(hour.start().plus_millis(HOUR_MS - 1));
            let mut left = part(self.clicks, Generator::busyness(hour, 0) / all);
            while left > 0 {
                let count = left.min(AT_ONCE);
                log.append((0..count).map(|_| record(&mut generator, hour)).collect()).await?;
                left -= count;
            }
        }
        Ok(())
    }
}

/// A lake again, of the same files.
pub(crate) fn link_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let linked = Command::new("cp").arg("-rl").arg(from).arg(to).status()?;
    anyhow::ensure!(linked.success(), "{} cannot be linked to {}", from.display(), to.display());
    Ok(())
}

/// The night behind a day: archived and rolled up as any other.
async fn night(lake: &Lake, clock: &Clock, flusher: &Flusher, day: Day) -> anyhow::Result<()> {
    let to = day.next().first_hour();
    clock.set(to.start());
    anyhow::ensure!(flusher.archived_through(to.start()).await, "the archive ended on its own");
    let rules = Arc::new(Rules::load(GeoFiles::default())?);
    Nightly::new(lake.clone(), clock.clone(), rules, NightlyConfig::default()).roll_up(Some(to)).await?;
    Ok(())
}

/// Lets go of what is archived, but for what copies are known by.
async fn trim(log: &Arc<EmbeddedLog>) -> anyhow::Result<()> {
    for partition in log.partitions() {
        let end = log.reader().bounds(partition).await?.high;
        log.trim(partition, Offset(end.0.saturating_sub(CopyWindow::DEFAULT_REACH))).await?;
    }
    Ok(())
}

/// A tenant beside the one that needs no key.
pub(crate) const OTHER: TenantId = TenantId(1);

/// Whose link it is: one in ten is the other tenant's.
pub(crate) fn tenant_of(link: LinkId) -> TenantId {
    if link.0 % 10 == 9 { OTHER } else { TenantId(0) }
}

fn record(generator: &mut Generator, hour: Hour) -> Append {
    let mut click = generator.click_in(hour);
    click.tenant_id = tenant_of(click.link_id);
    let mut json = Vec::with_capacity(512);
    click.to_json(&mut json);
    Append { key: click.click_id.expect("generated clicks have ids"), payload: Bytes::from(json) }
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
