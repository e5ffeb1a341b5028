//! A log in a real Kafka, clicks into it, workers in processes of their own, and what they are held to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::prelude::*;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::enrich::{BotConfig, EnrichConfig, Enricher, GeoFiles, Stamp, VisitorIdentity};
use linktide_common::id::{ClickId, Epoch, Offset, PartitionId};
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_common::log::{Append, LogReader as _, LogWriter as _};
use linktide_common::publication::{Publication, PublicationStore};
use linktide_common::secret::Secret;
use linktide_servers::Kafka;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;
use uuid::Uuid;

use super::oracle::{Counted, Oracle};
use crate::harness::program;

pub(crate) const SALT: [u8; 32] = [7; 32];
const PARTITIONS: u32 = 10;
/// A machine that does other work as well may take its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// One broker for all tests but those that stop it.
static KAFKA: LazyLock<Mutex<Kafka>> = LazyLock::new(|| Mutex::new(Kafka::start()));

pub(super) fn shared_broker() -> String {
    KAFKA.lock().unwrap_or_else(std::sync::PoisonError::into_inner).address()
}

/// A topic with its publications, and the plain count of what was sent to it.
pub(crate) struct Stage {
    pub(super) log: Arc<KafkaLog>,
    pub(super) publications: PublicationStore,
    config: KafkaConfig,
    folder: TempDir,
    enricher: Enricher,
    random: StdRng,
    sent: Vec<Append>,
    poisoned: usize,
    oracle: Oracle,
}

impl Stage {
    pub(super) async fn new(brokers: &str, topic: &str, seed: u64) -> Self {
        let config = KafkaConfig {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            least_partitions: PARTITIONS,
            epoch: Epoch(0),
            settings: BTreeMap::new(),
        };
        let plan = TopicPlan { partitions: PARTITIONS, replication: 1, retention: Duration::from_secs(86_400) };
        KafkaLog::provision(&config, &plan).await.unwrap();
        let log = opened(&config).await;
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("salt.key"), SALT).unwrap();
        let objects = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let publications = PublicationStore::new(Arc::new(objects));
        let partitions = log.partitions().await.unwrap();
        let first = Publication::first(Epoch(0), &partitions, "r".into(), Clock::system().now());
        publications.publish(first).await.unwrap();
        let enricher = enricher(GeoFiles::default(), BotConfig::default());
        let random = StdRng::seed_from_u64(seed);
        Self {
            log,
            publications,
            config,
            folder,
            enricher,
            random,
            sent: Vec::new(),
            poisoned: 0,
            oracle: Oracle::default(),
        }
    }

    /// Sends clicks, with copies of older ones, late ones, bots, previews and what is no click among them.
    pub(super) async fn send(&mut self, count: usize) {
        let mut records = Vec::new();
        for _ in 0..count {
            match self.random.random_range(0..20) {
                0 if !self.sent.is_empty() => {
                    let copied = self.random.random_range(0..self.sent.len());
                    records.push(self.sent[copied].clone());
                }
                1 => {
                    let key = ClickId(Uuid::from_u128(self.random.random()));
                    records.push(Append { key, payload: Bytes::from_static(b"{\"link_id\":") });
                    self.poisoned += 1;
                }
                _ => records.push(self.click()),
            }
        }
        // The same batch again after an error is nothing but copies.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.log.append(records.clone()).await {
            assert!(Instant::now() < deadline, "{error}");
        }
    }

    fn click(&mut self) -> Append {
        let random = &mut self.random;
        let now = Clock::system().now();
        let late = if random.random_bool(0.2) { random.random_range(0..3 * 86_400_000) } else { 0 };
        let agents = [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        ];
        let id = Uuid::from_u128(random.random());
        let json = format!(
            r#"{{"tenant_id":{},"link_id":{},"click_id":"{id}","clicked_at":{},"ip":"10.0.{}.{}","user_agent":"{}","referrer":"https://site{}.example/","language":"en","method":"{}"}}"#,
            random.random_range(0..3),
            // A few links have most of it.
            random.random_range(0..60) * random.random_range(0..60) / 60,
            now.plus_millis(-late).as_millis(),
            random.random_range(0..4),
            random.random::<u8>(),
            agents[random.random_range(0..agents.len())],
            random.random_range(0..5),
            if random.random_bool(0.05) { "HEAD" } else { "GET" },
        );
        // Late enough that no clamp depends on when it is received.
        let stamp = Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at: now };
        let click = Click::parse(json.as_bytes()).unwrap();
        self.oracle.count(&self.enricher.enrich(click, stamp).unwrap());
        let append = Append { key: ClickId(id), payload: Bytes::from(json) };
        self.sent.push(append.clone());
        append
    }

    /// The program over this log and this Redis.
    pub(super) fn program(&self, command: &str, redis: &str) -> std::process::Command {
        let folder = self.folder.path();
        let mut program = program();
        program
            .args([command, "--lake"])
            .arg(folder)
            .args(["--set", &format!("kafka.brokers={}", self.config.brokers)])
            .args(["--set", &format!("kafka.topic={}", self.config.topic)])
            .args(["--set", &format!("kafka.group={}", self.config.topic)])
            // The dead are noticed as soon as a broker allows it.
            .args(["--set", "kafka.settings.session.timeout.ms=6000"])
            .args(["--set", &format!("redis.url={redis}")])
            // Nothing is left out here: late clicks of three days fill cells.
            .args(["--set", "speed.cell_fields=1000000"])
            .args(["--set", &format!("enrich.salt_key={}", folder.join("salt.key").display())]);
        program
    }

    /// A worker, which dies where `failpoints` say.
    pub(super) fn worker(&self, redis: &str, failpoints: &str) -> Worker {
        let mut program = self.program("speed", redis);
        Worker::of(program.env("FAILPOINTS", failpoints).stdout(Stdio::null()))
    }

    /// The API over this log's tables and this Redis.
    pub(super) fn api(&self, redis: &str) -> Api {
        let mut program = self.program("query", redis);
        program.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        Api::of(&mut program)
    }

    /// How many clicks and previews of tenant 0 were sent.
    pub(super) fn sent_of_tenant(&self) -> u64 {
        self.oracle.clicks_of("0")
    }

    /// People's clicks on each link of tenant 0, and those that are no repeats.
    pub(super) fn people_of_tenant(&self) -> BTreeMap<String, (u64, u64)> {
        self.oracle.people_of("0")
    }

    /// Runs a program to its end: whether it was content, and what it wrote.
    pub(crate) fn output(mut program: std::process::Command) -> (bool, String) {
        let output = program.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), text)
    }

    /// Waits until every shard has what was in the log when this was called, and compares all of it.
    pub(super) async fn assert_counted(self, redis: &Client, nodes: &[String], what: &str) {
        self.until_counted(redis).await;
        let keys = keys(nodes).await;
        Counted::read(redis, &keys).await.assert_is(&self.oracle.into_counted(), what);
    }

    /// Waits until every shard has what is in the log now.
    pub(super) async fn until_counted(&self, redis: &Client) {
        let ends = self.ends().await;
        Self::until("all is counted", async || counted_up_to(redis, &ends).await).await;
    }

    async fn ends(&self) -> BTreeMap<PartitionId, u64> {
        let reader = self.log.reader(&format!("{}-ends", self.config.topic)).unwrap();
        let mut ends = BTreeMap::new();
        for partition in self.log.partitions().await.unwrap() {
            ends.insert(partition, reader.bounds(partition).await.unwrap().high.0);
        }
        ends
    }

    /// Adds partitions to the topic until there are `count`.
    pub(super) async fn add_partition(&self, count: usize) {
        add_partition(&self.config, count).await;
    }

    /// Records that were sent and are no clicks.
    pub(super) fn poisoned(&self) -> usize {
        self.poisoned
    }

    pub(super) fn brokers(&self) -> &str {
        &self.config.brokers
    }

    /// Waits until something holds.
    pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(100));
        while !holds().await {
            assert!(Instant::now() < deadline, "never: {what}");
            look.tick().await;
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.config.epoch
    }
}

/// Adds partitions to a topic until there are `count`.
pub(crate) async fn add_partition(config: &KafkaConfig, count: usize) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let more = NewPartitions::new(&config.topic, count);
    let added = admin.create_partitions([&more], &AdminOptions::new()).await.unwrap();
    assert!(added.iter().all(Result::is_ok), "{added:?}");
}

/// What the programs enrich by, with their salt.
pub(crate) fn enricher(geo: GeoFiles, bots: BotConfig) -> Enricher {
    let config =
        EnrichConfig { salt_secret: Secret::new(SALT.to_vec()), visitor: VisitorIdentity::Ip, geo, floor_days: 3653 };
    Enricher::with_bots(config, bots).unwrap()
}

/// The log, once the broker knows the topic that was just made.
pub(crate) async fn opened(config: &KafkaConfig) -> Arc<KafkaLog> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match KafkaLog::open(config.clone()).await {
            Ok(log) => return log,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

async fn counted_up_to(redis: &Client, ends: &BTreeMap<PartitionId, u64>) -> bool {
    for shard in 0..256 {
        let positions: Result<BTreeMap<String, String>, _> = redis.hgetall(format!("{{s{shard}}}:positions")).await;
        let Ok(positions) = positions else { return false };
        let offset =
            |partition: &PartitionId| positions.get(&format!("0/{partition}"))?.split(':').next()?.parse::<u64>().ok();
        if !ends.iter().all(|(partition, end)| offset(partition).is_some_and(|offset| offset >= *end)) {
            return false;
        }
    }
    true
}

/// The keys of each of these servers.
async fn keys(nodes: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for node in nodes {
        let client = connect(node).await;
        let mut cursor = "0".to_owned();
        loop {
            let (next, keys): (String, Vec<String>) = client.scan_page(cursor, "{s*", Some(1000), None).await.unwrap();
            all.extend(keys);
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    all
}

/// A client that has nothing to do with the product's.
pub(super) async fn connect(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap())
        .set_policy(ReconnectPolicy::new_constant(0, 100))
        .build()
        .unwrap();
    client.init().await.unwrap();
    client
}

/// The API in a process of its own.
pub(crate) struct Api {
    _process: Worker,
    url: String,
}

impl Api {
    pub(crate) fn of(program: &mut std::process::Command) -> Self {
        let mut process = Worker::of(program);
        let mut line = String::new();
        let told = process.0.stdout.take().unwrap();
        BufReader::new(told).read_line(&mut line).unwrap();
        let url = line.split([' ', ',']).find(|word| word.starts_with("http://"));
        Self { url: url.unwrap_or_else(|| panic!("it said `{line}`")).to_owned(), _process: process }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn get(&self, path: &str) -> serde_json::Value {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

/// A worker in a process of its own.
pub(crate) struct Worker(Child);

impl Worker {
    pub(crate) fn of(program: &mut std::process::Command) -> Self {
        Self(program.spawn().unwrap())
    }

    /// Whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until it has died of itself.
    pub(crate) async fn dies(mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while self.runs() {
            assert!(Instant::now() < deadline, "{what}: it lives");
            look.tick().await;
        }
        assert!(!self.0.wait().unwrap().success(), "{what}");
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops it in its tracks.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) {
        self.signal("-TERM");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
