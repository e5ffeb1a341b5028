//! The servers of a benchmark, and workers in processes of their own, so that memory and processor time are theirs alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linktide_common::clock::Clock;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, VisitorIdentity};
use linktide_common::id::Epoch;
use linktide_common::intake::Intake;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_common::log::{LogReader, LogWriter as _};
use linktide_common::publication::{Publication, PublicationStore};
use linktide_common::secret::Secret;
use linktide_servers::{Kafka, Redis};
use linktide_speed::view::{Limits, RedisConfig, RedisView, View as _};
use linktide_speed::{SpeedConfig, SpeedWorker};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::clicks::{Clicks, write_countries};

pub(crate) const PARTITIONS: u32 = 10;
const AT_ONCE: usize = 20_000;

pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) redis: Redis,
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) view: RedisView,
    folder: TempDir,
}

fn kafka_config(brokers: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.to_owned(),
        topic: "click-events".to_owned(),
        least_partitions: PARTITIONS,
        epoch: Epoch(0),
        settings: [].into(),
    }
}

fn redis_config(url: &str, limits: Limits) -> RedisConfig {
    RedisConfig { url: url.to_owned(), user: None, password: None, limits, kept: 0 }
}

fn publications(folder: &Path) -> anyhow::Result<PublicationStore> {
    Ok(PublicationStore::new(Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder)?)))
}

impl Stage {
    /// An empty log, an empty view, and the first publication.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        // A view refills from the log: what it holds needs no file.
        let redis = Redis::with(&["--maxmemory-policy", "noeviction", "--appendonly", "no"]);
        let kafka = Kafka::start();
        let config = kafka_config(&kafka.address());
        let plan = TopicPlan { partitions: PARTITIONS, replication: 1, retention: Duration::from_secs(7 * 86_400) };
        KafkaLog::provision(&config, &plan).await?;
        let log = KafkaLog::open(config).await?;
        let folder = TempDir::new()?;
        write_countries(&folder.path().join("countries.mmdb"))?;
        let first = Publication::first(Epoch(0), &log.partitions().await?, "bench".into(), Clock::system().now());
        publications(folder.path())?.publish(first).await?;
        let view = RedisView::new(&redis_config(&redis.url(), Limits::default()))?;
        Ok(Self { kafka, redis, log, view, folder })
    }

    /// Appends so many clicks; records a second.
    pub(crate) async fn fill(
        &self,
        count: usize,
        mut next: impl FnMut(&mut Clicks) -> linktide_common::log::Append,
    ) -> anyhow::Result<()> {
        let mut clicks = Clicks::new(1);
        for _ in 0..count.div_ceil(AT_ONCE) {
            self.log.append((0..AT_ONCE).map(|_| next(&mut clicks)).collect()).await?;
        }
        Ok(())
    }

    pub(crate) fn worker(&self, limits: Limits) -> anyhow::Result<Worker> {
        let program = std::env::current_exe()?;
        let process = Command::new(program)
            .arg("worker")
            .args([self.kafka.address(), self.redis.url()])
            .arg(self.folder.path())
            .arg(limits.tenant_cells.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .context("starting a worker")?;
        Ok(Worker(process))
    }

    /// Records that are not in every shard yet.
    pub(crate) async fn behind(&self, reader: &dyn LogReader) -> anyhow::Result<u64> {
        let held = self.view.held().await?;
        let mut behind = 0;
        for partition in self.log.partitions().await? {
            let end = reader.bounds(partition).await?.high.0;
            let at = held.positions.get(&(Epoch(0), partition)).map_or(0, |position| position.offset.0);
            behind += end.saturating_sub(at);
        }
        Ok(behind)
    }
}

/// A worker in a process of its own.
pub(crate) struct Worker(Child);

impl Worker {
    /// Seconds of processor time, user and system, and the most memory it has had, in MiB.
    pub(crate) fn used(&self) -> (f64, f64) {
        let place = PathBuf::from(format!("/proc/{}", self.0.id()));
        let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        let status = read("status");
        let most = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        (processor_seconds(self.0.id()), most.unwrap_or_default() / 1024.0)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Seconds of processor time a process has used.
pub(crate) fn processor_seconds(process: u32) -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS_A_SECOND
}

/// What the process of a worker does.
pub(crate) async fn work(brokers: &str, redis: &str, folder: &Path, tenant_cells: usize) -> anyhow::Result<()> {
    let limits = Limits { tenant_cells, ..Limits::default() };
    let log = KafkaLog::open(kafka_config(brokers)).await?;
    let enrich = EnrichConfig {
        salt_secret: Secret::new(vec![7; 32]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles { city: Some(folder.join("countries.mmdb")), asn: None },
        floor_days: 3653,
    };
    let intake = Intake::new(
        "speed",
        Box::new(log.reader("linktide-speed")?),
        Arc::new(Enricher::new(enrich)?),
        Clock::system(),
        linktide_common::copies::CopyWindow::DEFAULT_REACH,
    );
    let publications = publications(folder)?;
    publications.latest().await?;
    let view = Arc::new(RedisView::new(&redis_config(redis, limits))?);
    let worker = SpeedWorker::new(intake, view, publications.watch(), SpeedConfig::default());
    let stop = CancellationToken::new();
    let told = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::read_to_string(std::io::stdin());
        told.cancel();
    });
    worker.run(stop).await?;
    Ok(())
}
