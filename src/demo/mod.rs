//! `linktide demo`: a running Linktide with a believable past.
//!
//! The past is made by moving the injected clock through it: clicks are appended hour by hour, each night is archived
//! and rolled up as any other. It works in an empty folder only, because received time never goes back.

mod agents;
pub mod generator;
pub mod geography;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::log::{Append, LogWriter as _};

use crate::cli::{say, told_to_stop};
use crate::config::{Config, Span};
use crate::services::Services;
use generator::{Generator, World};

const HOUR_MS: i64 = 3_600_000;
/// Clicks a second, once the past is made.
const LIVE: u32 = 4;

/// What the demo makes.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Days of the past
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(i32).range(1..=400))]
    pub days: i32,
    /// Clicks in all those days, about
    #[arg(long, default_value_t = 1_000_000)]
    pub clicks: u32,
    /// What chance hangs on
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// A folder that holds everything, kept afterwards; without it a new one, deleted at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen: an address of this machine alone
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// Makes the past, then goes on with the present until told to stop.
///
/// # Errors
/// Where the folder or the address cannot be used.
pub async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let own = tempfile::tempdir().context("making a folder for the demo")?;
    let data = options.data.clone().unwrap_or_else(|| own.path().to_owned());
    let (mut services, mut generator) = begin(config.clone(), &options, &data).await?;
    services.roll_up_every(config.nightly.every.0);
    ready(&services).await?;
    say(&invitation(&services))?;
    let emitter = std::sync::Arc::clone(&services.emitter);
    let clock = services.clock.clone();
    let live = async move {
        let mut due = tokio::time::interval(Duration::from_secs(1) / LIVE);
        loop {
            due.tick().await;
            emitter.emit(generator.click_at(clock.now()));
        }
    };
    tokio::select! {
        outcome = services.run(told_to_stop()) => outcome,
        () = live => Ok(()),
    }
}

/// Begins all layers over `data`, with the past in them: the clock stands in the present afterwards.
///
/// # Errors
/// Where the folder or the address cannot be used.
pub async fn begin(mut config: Config, options: &Options, data: &Path) -> anyhow::Result<(Services, Generator)> {
    let made = data.join("lake").exists();
    std::fs::create_dir_all(data).with_context(|| format!("making {}", data.display()))?;
    let map = data.join("demo-city.mmdb");
    geography::write_database(&map)?;
    config.enrich.geoip.get_or_insert(map);
    // What can be made again need not survive a loss of power.
    config.log.sync = false;
    let generator = Generator::new(options.seed, World::default());
    if made {
        return Ok((Services::spawn(&config, data, Clock::system()).await?, generator));
    }
    // Each night is rolled up at once and forgotten: nobody asks while the past is made.
    config.speed.keep_behind = Span::seconds(0);
    let present = Clock::system().now();
    let first = Day(Day::of(present).0 - options.days);
    let services = Services::spawn(&config, data, Clock::manual(first.start())).await?;
    let mut past = Past { generator, services: &services, present, first, bar: bar(options) };
    past.make(options).await?;
    let generator = past.generator;
    services.clock.follow_system();
    Ok((services, generator))
}

fn bar(options: &Options) -> ProgressBar {
    let style = ProgressStyle::with_template("making {len} days  [{bar:40}] {pos} days, {msg}, {eta} left");
    let bar = ProgressBar::new(u64::from(options.days.unsigned_abs()));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

struct Past<'a> {
    generator: Generator,
    services: &'a Services,
    present: Timestamp,
    first: Day,
    bar: ProgressBar,
}

impl Past<'_> {
    async fn make(&mut self, options: &Options) -> anyhow::Result<()> {
        let hours = self.first.first_hour().0..Hour::of(self.present).0;
        let busyness = |hour: Hour, first: Day| Generator::busyness(hour, hour.day().0 - first.0);
        let all: f64 = hours.clone().map(|hour| busyness(Hour(hour), self.first)).sum();
        let mut made = 0;
        for hour in hours.map(Hour) {
            let clicks = f64::from(options.clicks) * busyness(hour, self.first) / all;
            made += self.fill(hour, clicks).await?;
            if hour.next().day() > hour.day() {
                self.services.clock.set(hour.next().start());
                self.close(hour.next()).await?;
                self.bar.set_message(format!("{made} clicks"));
                self.bar.inc(1);
            }
        }
        self.services.clock.set(self.present);
        self.bar.finish();
        Ok(())
    }

    /// Appends an hour's clicks at its last instant.
    async fn fill(&mut self, hour: Hour, clicks: f64) -> anyhow::Result<usize> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of clicks is small and positive"
        )]
        let clicks = clicks.round() as usize;
        self.services.clock.set(hour.start().plus_millis(HOUR_MS - 1));
        let records = (0..clicks).filter_map(|_| {
            let click = self.generator.click_in(hour);
            let mut json = Vec::with_capacity(512);
            click.to_json(&mut json);
            Some(Append { key: click.click_id?, payload: Bytes::from(json) })
        });
        self.services.log.append(records.collect()).await?;
        Ok(clicks)
    }

    /// The night: archived and rolled up as any other.
    async fn close(&self, hour: Hour) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.services.flusher.archived_through(hour.start()).await,
            "the archive ended while the past was made"
        );
        self.services.nightly().roll_up(Some(hour)).await?;
        Ok(())
    }
}

/// Waits until what was made is counted.
///
/// # Errors
/// Where the service does not answer.
pub async fn ready(services: &Services) -> anyhow::Result<()> {
    let place = format!("http://{}/readyz", services.address);
    let mut look = tokio::time::interval(Duration::from_millis(100));
    while !reqwest::get(&place).await?.status().is_success() {
        look.tick().await;
    }
    Ok(())
}

fn invitation(services: &Services) -> String {
    let url = format!("http://{}", services.address);
    format!(
        "\nlinktide runs on {url}, on this machine alone: open it in a browser; end it with Ctrl-C\n\n\
         What came in today, and how fresh that is:\n  curl '{url}/v1/account/summary?interval=24h'\n\
         The last 30 days in India:\n  curl '{url}/v1/account/timeseries?interval=30d&unit=day&timezone=Asia/Kolkata'\n\
         Where people come from:\n  curl '{url}/v1/account/breakdown?by=country,referrer_class&limit=5'\n"
    )
}
