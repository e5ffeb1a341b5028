//! `linktide speed`: one worker over Kafka and Redis. Any number of them share the partitions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linktide_batch::Access;
use linktide_common::clock::Clock;
use linktide_common::intake::Intake;
use linktide_common::log::kafka::KafkaLog;
use linktide_common::metrics;
use linktide_ingest::LinkFile;
use linktide_speed::SpeedWorker;
use linktide_speed::view::{Held, RedisView, View, ViewError};
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use super::{enricher, kafka, lake, look_at_files, probes, redis, salt_key, speed};
use crate::config::Config;
use crate::schedule;

const BUDGET: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(2);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// A partition that lies no further behind is caught up.
const CAUGHT_UP_SECONDS: u64 = 2;

/// A worker and what belongs to it.
pub struct SpeedService {
    log: Arc<KafkaLog>,
    view: Arc<RedisView>,
    tasks: Tasks,
    worker: SpeedWorker,
    stop: CancellationToken,
}

impl SpeedService {
    /// Connects to everything. Servers that do not answer are waited for, unless `fail_fast`.
    ///
    /// # Errors
    /// Where a setting is wrong or missing, a server refuses us or is unfit, or with `fail_fast` does not answer.
    pub async fn spawn(config: &Config, listen: Option<SocketAddr>, fail_fast: bool) -> anyhow::Result<Self> {
        metrics::tell_build("speed");
        let salt_key = salt_key(config)?;
        let lake = lake::open(&config.lake, Access::Read, fail_fast).await?;
        let view = Arc::new(RedisView::new(&redis(config))?);
        connect(&view, fail_fast).await?;
        let log = kafka::open(&config.kafka, fail_fast).await?;
        let enricher = enricher(config, salt_key)?;
        let rules = enricher.rules();
        let reader = Box::new(log.reader(&kafka::group(&config.kafka, "speed"))?);
        let intake = Intake::new("speed", reader, enricher, Clock::system(), config.log.copy_window);
        if lake.publications().latest().await?.is_none() {
            tracing::warn!(
                lake = config.lake.url,
                "nothing is published yet: partitions wait until the archive names them"
            );
        }
        let worker =
            SpeedWorker::new(intake, Arc::clone(&view) as Arc<dyn View>, lake.publications().watch(), speed(config));
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn(look_at_files(rules, LinkFile::none().into(), stop.clone()));
        tasks.spawn(schedule::follow(lake, config.lake.look_every.0, stop.clone()));
        if let Some(listen) = listen {
            let ready = Arc::clone(&view);
            let ready = move || {
                let view = Arc::clone(&ready);
                async move { view.held().await.map(|_| ()).map_err(|error| error.to_string()) }
            };
            tasks.spawn(probes::serve(listen, ready, stop.clone()));
        }
        Ok(Self { log, view, tasks, worker, stop })
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// What ended the worker.
    pub async fn run(self, told: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { log, mut tasks, worker, stop, .. } = self;
        let worked = stop.clone();
        tasks.spawn(async move { Ok(worker.run(worked).await.map(|()| "speed")?) });
        let outage = tasks.until(told).await;
        stop.cancel();
        let ended = tasks.end().await;
        // Others take the partitions over at once, instead of when this member is missed.
        log.close(BUDGET).await;
        outage.and(ended)
    }

    /// Empties the view, and fills it again together with whatever workers there are.
    ///
    /// # Errors
    /// What ended the worker.
    pub async fn rebuild(
        self,
        told: impl Future<Output = ()>,
        say: &dyn Fn(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        say("emptying the view")?;
        self.view.clear().await?;
        let view = Arc::clone(&self.view);
        let caught_up = async {
            let mut progress = Progress::default();
            let mut due = tokio::time::interval(PROGRESS_EVERY);
            loop {
                due.tick().await;
                match view.held().await {
                    Ok(held) if progress.is_whole(&held) => break,
                    Ok(held) => say(&progress.describe(&held))?,
                    Err(error) => say(&error.to_string())?,
                }
            }
            say("the view is whole again")
        };
        self.run(async {
            tokio::select! {
                () = told => {}
                told = caught_up => {
                    if let Err(error) = told {
                        tracing::warn!(%error, "progress cannot be told");
                    }
                }
            }
        })
        .await
    }
}

/// How a rebuild gets on.
struct Progress {
    began: Instant,
    /// Records to go when it was first known.
    all: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), all: 0 }
    }
}

impl Progress {
    fn is_whole(&self, held: &Held) -> bool {
        let known = held.positions.keys().all(|place| held.lags.contains_key(place));
        held.from.is_some()
            && known
            && !held.lags.is_empty()
            && held.lags.values().all(|lag| lag.seconds <= CAUGHT_UP_SECONDS)
    }

    fn describe(&mut self, held: &Held) -> String {
        let left: u64 = held.lags.values().map(|lag| lag.records()).sum();
        if held.lags.is_empty() {
            return "waiting for partitions".to_owned();
        }
        if left > self.all {
            *self = Self { began: Instant::now(), all: left };
        }
        let (done, seconds) = (self.all - left, self.began.elapsed().as_secs().max(1));
        let rate = (done / seconds).max(1);
        let from = held.from.map_or_else(String::new, |from| format!(", from {} on", from.start()));
        format!("{} of {} records{from}: {rate} a second, {} s left", done, self.all, left / rate)
    }
}

async fn connect(view: &RedisView, fail_fast: bool) -> anyhow::Result<()> {
    loop {
        match view.connect().await {
            Ok(()) => return Ok(()),
            Err(ViewError::Unavailable(why)) if !fail_fast => {
                tracing::warn!(why, "redis does not answer; trying again (--fail-fast ends instead)");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
