//! All layers in one process, over one folder. Production and tests begin them here.
//!
//! The process ends in this order: no more requests, the emitter's buffer into the log, workers flush and commit, the
//! log closes. A task that ends on its own is an outage: [`Services::run`] returns its error, and the process exits with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::routing::get;
use axum::{Json, Router};
use linktide_batch::reader::Tables;
use linktide_batch::{Archiver, Flusher, Lake, Nightly};
use linktide_common::clock::Clock;
use linktide_common::enrich::Enricher;
use linktide_common::id::Epoch;
use linktide_common::intake::Intake;
use linktide_common::log::LogWriter;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_ingest::{Emitter, LinkFile};
use linktide_query::{Query, QueryConfig};
use linktide_speed::SpeedWorker;
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{MemoryView, View};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{archive_config, door, emitter, enrichment, look_at_files, speed};
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
    /// Asks the archive for commits.
    pub flusher: Flusher,
    /// Tables, plans and publications.
    pub lake: Lake,
    rules_version: String,
    copy_window: u64,
    tasks: JoinSet<anyhow::Result<&'static str>>,
    workers: CancellationToken,
    requests: CancellationToken,
}

impl Services {
    /// Begins all layers over the folder `data`.
    ///
    /// # Errors
    /// Where the folder, an address or a file of the configuration cannot be used: nothing runs then.
    pub async fn spawn(config: &Config, data: &Path, clock: Clock) -> anyhow::Result<Self> {
        refuse_strangers(config.api.listen)?;
        let door = door(config)?;
        let log = open_log(config, data, &clock)?;
        let enricher = Arc::new(Enricher::new(enrichment(config, &data.join("salt.key"))?)?);
        let links = Arc::new(config.ingest.links.as_deref().map_or_else(|| Ok(LinkFile::none()), LinkFile::open)?);
        let folder = data.join("lake");
        let lake = if config.log.sync { Lake::in_folder(&folder) } else { Lake::in_folder_unsynced(&folder) }?;
        lake.publications().latest().await?;
        let listener = TcpListener::bind(config.api.listen)
            .await
            .with_context(|| format!("listening on {}", config.api.listen))?;
        let address = listener.local_addr()?;
        let intake = |layer| {
            Intake::new(layer, Box::new(log.reader()), Arc::clone(&enricher), clock.clone(), config.log.copy_window)
        };
        let (archiver, flusher) =
            Archiver::open(lake.clone(), intake("archive"), clock.clone(), archive_config(config)).await?;
        let view: Arc<dyn View> = Arc::new(MemoryView::new());
        let worker = SpeedWorker::new(intake("speed"), Arc::clone(&view), lake.publications().watch(), speed(config));
        let writer = Arc::clone(&log) as Arc<dyn LogWriter>;
        let emitter = Arc::new(Emitter::new(Arc::clone(&writer), clock.clone(), emitter(config)));
        let query = query(config, &lake, view, &clock);
        let door = linktide_ingest::router(writer, Arc::clone(&emitter), Arc::clone(&links), clock.clone(), door);

        let (workers, requests) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let stop = workers.clone();
        tasks.spawn(async move { Ok(archiver.run(stop).await.map(|()| "archive")?) });
        let stop = workers.clone();
        tasks.spawn(async move { Ok(worker.run(stop).await.map(|()| "speed")?) });
        let stop = requests.clone();
        tasks.spawn(async move { serve(listener, door.merge(linktide_query::router(query)), stop).await });
        let rules_version = enricher.rules_version();
        tasks.spawn(look_at_files(enricher, links, workers.clone()));
        tasks.spawn(schedule::follow(lake.clone(), config.lake.look_every.0, workers.clone()));
        let copy_window = config.log.copy_window;
        Ok(Self { address, clock, log, emitter, flusher, lake, rules_version, copy_window, tasks, workers, requests })
    }

    /// A nightly run over this process's tables.
    #[must_use]
    pub fn nightly(&self) -> Nightly {
        Nightly::new(self.lake.clone(), self.clock.clone(), self.rules_version.clone())
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
        let outage = tokio::select! {
            () = stop => None,
            ended = self.tasks.join_next() => Some(ended),
        };
        let ended = self.stop().await;
        match outage.flatten() {
            None => ended,
            Some(Ok(Ok(name))) => anyhow::bail!("the task {name} ended on its own"),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Ends in order: nothing that was acknowledged is lost, and nothing of it needs this to be so.
    ///
    /// # Errors
    /// What a task failed with while it ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.requests.cancel();
        self.emitter.shutdown(BUDGET).await;
        self.workers.cancel();
        let mut outcome = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                outcome = outcome.and(ended.map_err(anyhow::Error::from).and_then(|ended| ended.map(|_| ())));
            }
            outcome
        };
        let ended = tokio::time::timeout(BUDGET, all).await;
        self.log.close();
        ended.context("a task did not end in time").flatten()
    }
}

/// Without keys, everyone who reaches the address sees everything: only this machine may.
fn refuse_strangers(listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        listen.ip().is_loopback(),
        "api.listen is {listen}, but without keys linktide listens on this machine alone; use 127.0.0.1, and a proxy in front that knows who asks"
    );
    Ok(())
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

fn query(config: &Config, lake: &Lake, view: Arc<dyn View>, clock: &Clock) -> Query {
    let answers = QueryConfig {
        deadline: config.api.deadline.0,
        stale_after: config.api.stale_after.0,
        visitor: config.enrich.visitor,
    };
    let tables = Arc::new(Tables::new(lake.clone(), config.api.file_cache.0));
    Query::new(tables, SpeedReader::new(view), lake.publications().watch(), clock.clone(), answers)
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> anyhow::Result<&'static str> {
    let mut about = linktide_query::openapi();
    about.merge(linktide_ingest::openapi());
    let about = Arc::new(about);
    let router = router.route("/v1/openapi.json", get(move || std::future::ready(Json(about.as_ref().clone()))));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok("api")
}
