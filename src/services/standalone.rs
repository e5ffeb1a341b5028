//! All layers in one process, over one folder. Production and tests begin them here.
//!
//! The process ends in this order: no more requests, the emitter's buffer into the log, workers flush and commit, the
//! log closes. A task that ends on its own is an outage: [`Services::run`] returns its error, and the process exits with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linktide_batch::{Archiver, Flusher, Lake, Nightly, NightlyConfig, Recounter};
use linktide_common::clock::Clock;
use linktide_common::enrich::Rules;
use linktide_common::id::Epoch;
use linktide_common::intake::Intake;
use linktide_common::log::LogWriter;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::metrics;
use linktide_ingest::{Challenges, Emitter, LinkFile};
use linktide_speed::SpeedWorker;
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{MemoryView, View};
use tokio_util::sync::CancellationToken;

use super::access::{self, Entrance};
use super::tasks::Tasks;
use super::{
    archive_config, challenge, door, emitter, enricher, expire, http, look_at_files, nightly_config, query, recounter,
    speed,
};
use crate::config::Config;
use crate::schedule;

/// How long each step of the end may take.
const BUDGET: Duration = Duration::from_secs(10);

/// All layers of one process.
pub struct Services {
    /// Where the API listens.
    pub address: SocketAddr,
    /// The clock of all layers.
    pub clock: Clock,
    /// The log, for those who write to it directly.
    pub log: Arc<EmbeddedLog>,
    /// The emitter of this process.
    pub emitter: Arc<Emitter>,
    challenges: Arc<Challenges>,
    /// Asks the archive for commits.
    pub flusher: Flusher,
    /// Tables, plans and publications.
    pub lake: Lake,
    rules: Arc<Rules>,
    nightly: NightlyConfig,
    recounter: Option<Recounter>,
    copy_window: u64,
    tasks: Tasks,
    workers: CancellationToken,
    requests: CancellationToken,
}

impl Services {
    /// Begins all layers over the folder `data`.
    ///
    /// # Errors
    /// Where the folder, an address or a file of the configuration cannot be used: nothing runs then.
    pub async fn spawn(config: &Config, data: &Path, clock: Clock) -> anyhow::Result<Self> {
        metrics::tell_build("standalone");
        access::refuse_strangers(&config.access, config.api.listen)?;
        let door = door(config)?;
        let log = open_log(config, data, &clock)?;
        let enricher = enricher(config, &data.join("salt.key"))?;
        let links = Arc::new(config.ingest.links.as_deref().map_or_else(|| Ok(LinkFile::none()), LinkFile::open)?);
        let folder = data.join("lake");
        let lake = if config.log.sync { Lake::in_folder(&folder) } else { Lake::in_folder_unsynced(&folder) }?;
        lake.publications().latest().await?;
        let entrance = Entrance::new(config, Some(&lake), &clock, config.access.trusted_proxies)?;
        let (address, listener) = http::listen(config.api.listen).await?;
        let intake = |layer| {
            Intake::new(layer, Box::new(log.reader()), Arc::clone(&enricher), clock.clone(), config.log.copy_window)
        };
        let (archiver, flusher) =
            Archiver::open(lake.clone(), intake("archive"), clock.clone(), archive_config(config)).await?;
        let view: Arc<dyn View> = Arc::new(MemoryView::new());
        let worker = SpeedWorker::new(intake("speed"), Arc::clone(&view), lake.publications().watch(), speed(config));
        let writer = Arc::clone(&log) as Arc<dyn LogWriter>;
        let emitter = Arc::new(Emitter::new(Arc::clone(&writer), clock.clone(), emitter(config)));
        let gate = entrance.gate.clone();
        let rules = enricher.rules();
        let challenge = challenge(&config.ingest.challenge, Arc::clone(&rules), clock.clone())?;
        let challenges = Arc::new(Challenges::new(challenge, Arc::clone(&emitter), clock.clone()));
        let door = linktide_ingest::router(
            writer,
            Arc::clone(&emitter),
            Arc::clone(&links),
            Arc::clone(&challenges),
            clock.clone(),
            gate,
            door,
        );
        let recounter = config.nightly.audit.then(|| recounter(SpeedReader::new(Arc::clone(&view))));
        let (workers, requests) = (CancellationToken::new(), CancellationToken::new());
        let (key, own, stop) = (data.join("webhook.key"), lake.clone(), requests.clone());
        let query = query::query(config, &lake, own, SpeedReader::new(view), Some(&key), &clock, &entrance, stop)?;
        let router = door.merge(linktide_query::router(query.clone()));
        let mut about = linktide_query::openapi();
        about.merge(linktide_ingest::openapi());

        let mut tasks = Tasks::default();
        let stop = workers.clone();
        tasks.spawn(async move { Ok(archiver.run(stop).await.map(|()| "archive")?) });
        let stop = workers.clone();
        tasks.spawn(async move { Ok(worker.run(stop).await.map(|()| "speed")?) });
        tasks.spawn(http::serve(listener, router, about, config.api.connections.clone(), requests.clone()));
        entrance.follow(&mut tasks, &workers);
        tasks.spawn(query::work_of(query));
        tasks.spawn(look_at_files(Arc::clone(&rules), links, workers.clone()));
        tasks.spawn(expire(Arc::clone(&challenges), workers.clone()));
        tasks.spawn(schedule::follow(lake.clone(), config.lake.look_every.0, workers.clone()));
        let (nightly, copy_window) = (nightly_config(config), config.log.copy_window);
        Ok(Self {
            address,
            clock,
            log,
            emitter,
            challenges,
            flusher,
            lake,
            rules,
            nightly,
            recounter,
            copy_window,
            tasks,
            workers,
            requests,
        })
    }

    /// A nightly run over this process's tables.
    #[must_use]
    pub fn nightly(&self) -> Nightly {
        let nightly =
            Nightly::new(self.lake.clone(), self.clock.clone(), Arc::clone(&self.rules), self.nightly.clone());
        match &self.recounter {
            Some(recounter) => nightly.auditing(Arc::clone(recounter)),
            None => nightly,
        }
    }

    /// Rolls up every so often from now on.
    pub fn roll_up_every(&mut self, every: Duration) {
        let (nightly, log) = (self.nightly(), Arc::clone(&self.log));
        let schedule = schedule::Schedule {
            every,
            clock: self.clock.clone(),
            lake: self.lake.clone(),
            flusher: self.flusher.clone(),
            log,
            copy_window: self.copy_window,
        };
        let stop = self.workers.clone();
        self.tasks.spawn(async move { schedule.run(&nightly, stop).await });
    }

    /// Works until `stop`, or until a task ends on its own, which is an error.
    ///
    /// # Errors
    /// What ended the task.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let outage = self.tasks.until(stop).await;
        outage.and(self.stop().await)
    }

    /// Ends in order: nothing that was acknowledged is lost, and nothing of it needs this to be so.
    ///
    /// # Errors
    /// What a task failed with while it ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.requests.cancel();
        self.challenges.close();
        self.emitter.shutdown(BUDGET).await;
        self.workers.cancel();
        let ended = self.tasks.end_within(BUDGET).await;
        self.log.close();
        ended
    }
}

fn open_log(config: &Config, data: &Path, clock: &Clock) -> anyhow::Result<Arc<EmbeddedLog>> {
    let log = EmbeddedConfig {
        partitions: config.log.partitions,
        sync: config.log.sync,
        reserve: config.log.reserve.0,
        epoch: Epoch(0),
    };
    Ok(EmbeddedLog::open(data, &log, clock.clone())?)
}
