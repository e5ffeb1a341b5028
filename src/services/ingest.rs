//! The front door as a process of its own: collector, imports and redirector over Kafka.
//!
//! It listens before a broker has answered, and answers redirects whatever becomes of the log: clicks wait in the emitter.
//! A log that cannot be used at all (no topic, a topic that is not fit) ends the process.
//!
//! It ends in this order: unready, while those in front notice; no more requests; the emitter's buffer into the log.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use linktide_common::clock::Clock;
use linktide_common::log::kafka::KafkaLog;
use linktide_common::log::{Append, LogError, LogWriter, Marked};
use linktide_common::metrics;
use linktide_ingest::{Challenges, Emitter, LinkFile, Readiness};
use tokio_util::sync::CancellationToken;

use super::access::Entrance;
use super::tasks::Tasks;
use super::{challenge, door, door_rules, emitter, expire, http, kafka, lake, look_at_files};
use crate::config::Config;

/// How long requests that are being answered may take at the end.
const BUDGET: Duration = Duration::from_secs(10);

/// The front door.
pub struct FrontDoor {
    /// Where it listens.
    pub address: SocketAddr,
    /// The redirector's emitter.
    pub emitter: Arc<Emitter>,
    challenges: Arc<Challenges>,
    ready: Readiness,
    leave: Duration,
    drain: Duration,
    tasks: Tasks,
    requests: CancellationToken,
}

impl FrontDoor {
    /// Begins to listen. Brokers that do not answer are waited for meanwhile; with `fail_fast` they must answer first.
    ///
    /// # Errors
    /// Where a setting, the address or the file of links cannot be used: nothing runs then.
    pub async fn spawn(config: &Config, clock: Clock, fail_fast: bool) -> anyhow::Result<Self> {
        metrics::tell_build("ingest");
        let door = door(config)?;
        let links = Arc::new(config.ingest.links.as_deref().map_or_else(|| Ok(LinkFile::none()), LinkFile::open)?);
        let log = Arc::new(LateLog::default());
        if fail_fast {
            log.open(config, true).await?;
        }
        // Where keys lie is not waited for: redirects need none.
        let lake = config.lake.url.is_some().then(|| lake::place(&config.lake)).transpose()?;
        let entrance = Entrance::new(config, lake.as_ref(), &clock, config.ingest.trusted_proxies)?;
        let (address, listener) = http::listen(config.ingest.listen).await?;
        let writer = Arc::clone(&log) as Arc<dyn LogWriter>;
        let emitter = Arc::new(Emitter::new(Arc::clone(&writer), clock.clone(), emitter(config)));
        let ready = Readiness::default();
        let rules = door_rules(config)?;
        let challenge = challenge(&config.ingest.challenge, Arc::clone(&rules), clock.clone())?;
        let challenges = Arc::new(Challenges::new(challenge, Arc::clone(&emitter), clock.clone()));
        let router = linktide_ingest::router(
            writer,
            Arc::clone(&emitter),
            Arc::clone(&links),
            Arc::clone(&challenges),
            clock,
            entrance.gate.clone(),
            door,
        )
        .merge(linktide_ingest::health(ready.clone()));

        let requests = CancellationToken::new();
        let mut tasks = Tasks::default();
        let (about, bounds) = (linktide_ingest::openapi(), config.api.connections.clone());
        tasks.spawn(http::serve(listener, router, about, bounds, requests.clone()));
        entrance.follow(&mut tasks, &requests);
        tasks.spawn(look_at_files(rules, links, requests.clone()));
        tasks.spawn(expire(Arc::clone(&challenges), requests.clone()));
        let (settings, stop) = (config.clone(), requests.clone());
        tasks.spawn(async move {
            tokio::select! {
                opened = log.open(&settings, false) => opened?,
                () = stop.cancelled() => {}
            }
            stop.cancelled().await;
            Ok("log")
        });
        ready.set(true);
        let (leave, drain) = (config.ingest.leave.0, config.ingest.drain.0);
        Ok(Self { address, emitter, challenges, ready, leave, drain, tasks, requests })
    }

    /// Works until `stop`, or until a task ends on its own, which is an error.
    ///
    /// # Errors
    /// What ended the task.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let outage = self.tasks.until(stop).await;
        if outage.is_ok() {
            self.ready.set(false);
            tokio::time::sleep(self.leave).await;
        }
        outage.and(self.stop().await)
    }

    /// Ends in order: what was taken is in the log, or counted as dropped.
    ///
    /// # Errors
    /// What a task failed with while it ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.ready.set(false);
        self.requests.cancel();
        let ended = self.tasks.end_within(BUDGET).await;
        // Only now: a redirect that was being answered has emitted its click, or waits with it.
        self.challenges.close();
        self.emitter.shutdown(self.drain).await;
        ended
    }
}

/// A log that may not have been reached yet.
#[derive(Default)]
struct LateLog {
    log: OnceLock<Arc<KafkaLog>>,
}

impl LateLog {
    async fn open(&self, config: &Config, fail_fast: bool) -> anyhow::Result<()> {
        if self.log.get().is_none() {
            let log = kafka::open(&config.kafka, fail_fast).await?;
            tracing::info!(brokers = config.kafka.brokers, topic = config.kafka.topic, "the log is open");
            self.log.get_or_init(|| log);
        }
        Ok(())
    }

    fn get(&self) -> Result<&KafkaLog, LogError> {
        let away = || LogError::Unavailable("no broker has answered yet".to_owned());
        self.log.get().map(AsRef::as_ref).ok_or_else(away)
    }
}

#[async_trait]
impl LogWriter for LateLog {
    async fn append(&self, records: Vec<Append>) -> Result<(), LogError> {
        self.get()?.append(records).await
    }

    async fn append_marked(&self, mark: &str, records: Vec<Append>) -> Result<Marked, LogError> {
        self.get()?.append_marked(mark, records).await
    }
}
