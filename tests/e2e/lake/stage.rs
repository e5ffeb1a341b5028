//! A log in a real Kafka whose clock the test moves, lakes in a real S3 server behind a gateway, and the programs over both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::enrich::{AgentList, BotConfig, Enricher, GeoFiles, Points};
use linktide_common::id::{ClickId, Epoch, LinkId, TenantId};
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_common::log::{Append, LogWriter as _};
use linktide_common::publication::{Publication, PublicationStore};
use linktide_servers::{Gateway, Kafka, S3, python};
use mmdb_writer::Writer;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::oracle::{self, Oracle, Rolled};
use crate::harness::program;
use crate::speed::stage::{SALT, Stage as SpeedStage, Worker, enricher, opened};

const PARTITIONS: u32 = 10;
/// What the list of bots is called.
const LIST: &str = "own";
pub(super) const BUCKET: &str = "clicks";
/// How far the log's clock lies behind at first.
const BEHIND: u32 = 160 * 3600;
/// A machine that does other work as well may take its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A log, lakes over it, and what was sent.
pub(super) struct Stage {
    pub(super) s3: S3,
    pub(super) gateway: Gateway,
    kafka: Kafka,
    behind: u32,
    config: KafkaConfig,
    log: Arc<KafkaLog>,
    /// Topics that were logs before, with the watermark they began at.
    begun: Vec<(String, Epoch, Hour)>,
    folder: TempDir,
    enricher: Enricher,
    random: StdRng,
    sent: Vec<Append>,
    lives: usize,
    /// Links that were erased, with all they ever had.
    erased: Vec<(TenantId, LinkId)>,
    /// The database of places, once there is one.
    places: Option<PathBuf>,
    /// A list of bots, once there is one.
    bots: Option<PathBuf>,
    /// The first day of receipt whose raw clicks are kept.
    raw_since: Option<Day>,
}

impl Stage {
    pub(super) async fn new(seed: u64) -> Self {
        let (kafka, s3) = (Kafka::behind(BEHIND), S3::start(BUCKET));
        let gateway = Gateway::before(s3.port());
        let config = log_config(&kafka, "clicks", Epoch(0));
        let log = begun(&config).await;
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("salt.key"), SALT).unwrap();
        let enricher = enricher(GeoFiles::default(), BotConfig::default());
        let mut stage = Self {
            s3,
            gateway,
            kafka,
            behind: BEHIND,
            config,
            log,
            begun: Vec::new(),
            folder,
            enricher,
            random: StdRng::seed_from_u64(seed),
            sent: Vec::new(),
            lives: 0,
            erased: Vec::new(),
            places: None,
            bots: None,
            raw_since: None,
        };
        let watermark = Hour::of(stage.now());
        stage.begun.push(("clicks".to_owned(), Epoch(0), watermark));
        stage
    }

    /// What the log's clock says.
    pub(super) fn now(&self) -> Timestamp {
        Clock::system().now().plus_millis(-i64::from(self.behind) * 1000)
    }

    /// How many seconds the log's clock is behind.
    pub(super) fn behind(&self) -> u32 {
        self.behind
    }

    /// Ends the broker.
    pub(super) fn stop_log(&mut self) {
        self.kafka.stop();
    }

    /// Starts it again, with all that it had.
    pub(super) fn run_log(&mut self) {
        self.kafka.run();
    }

    /// Moves the log's clock, and returns the hour that it is in then.
    pub(super) fn advance(&mut self, hours: u32) -> Hour {
        self.behind -= hours * 3600;
        self.kafka.set_behind(self.behind);
        Hour::of(self.now())
    }

    /// Begins a lake at the time of the log.
    pub(super) async fn begin(&self, lake: &str) {
        let partitions = self.log.partitions().await.unwrap();
        let first = Publication::first(self.config.epoch, &partitions, "r".into(), self.now());
        self.publications(lake).publish(first).await.unwrap();
    }

    /// The publications of a lake, as another client of S3 finds them.
    pub(super) fn publications(&self, lake: &str) -> PublicationStore {
        let bucket = AmazonS3Builder::new()
            .with_endpoint(self.s3.url())
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_access_key_id(S3::ACCESS_KEY)
            .with_secret_access_key(S3::SECRET_KEY)
            .build()
            .unwrap();
        PublicationStore::new(Arc::new(PrefixStore::new(bucket, lake)))
    }

    pub(super) async fn newest(&self, lake: &str) -> Arc<Publication> {
        self.publications(lake).latest().await.unwrap().unwrap()
    }

    /// The log is another one from now on, in its next life.
    pub(super) async fn recreate_log(&mut self, watermark: Hour) {
        let epoch = Epoch(self.config.epoch.0 + 1);
        let topic = format!("clicks-{epoch}");
        self.config = log_config(&self.kafka, &topic, epoch);
        self.log = begun(&self.config).await;
        self.begun.push((topic, epoch, watermark));
    }

    pub(super) fn log_config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Sends clicks, with copies of older ones, late ones of some days, bots, previews and what is no click among them.
    pub(super) async fn send(&mut self, count: usize) {
        let mut records = Vec::new();
        for _ in 0..count {
            match self.random.random_range(0..20) {
                0 | 1 if !self.sent.is_empty() => {
                    let copied = self.random.random_range(0..self.sent.len());
                    records.push(self.sent[copied].clone());
                }
                2 => {
                    let key = ClickId(Uuid::from_u128(self.random.random()));
                    records.push(Append { key, payload: Bytes::from_static(b"{\"link_id\":") });
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
        let now = self.now();
        let random = &mut self.random;
        let late = if random.random_bool(0.3) { random.random_range(0..40 * 86_400_000) } else { 0 };
        let agents = [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        ];
        let id = Uuid::from_u128(random.random());
        let json = format!(
            r#"{{"tenant_id":{},"link_id":{},"click_id":"{id}","clicked_at":{},"ip":"203.0.113.{}","user_agent":"{}","referrer":"https://site{}.example/","language":"en","method":"{}"}}"#,
            random.random_range(0..2),
            random.random_range(0..6),
            now.plus_millis(-late).as_millis(),
            random.random::<u8>(),
            agents[random.random_range(0..agents.len())],
            random.random_range(0..3),
            if random.random_bool(0.05) { "HEAD" } else { "GET" },
        );
        let append = Append { key: ClickId(id), payload: Bytes::from(json) };
        self.sent.push(append.clone());
        append
    }

    /// The program over this log and this lake, which dies where `failpoints` say.
    pub(super) fn program(&self, command: &str, lake: &str, failpoints: &str) -> Command {
        let folder = self.folder.path();
        let mut program = program();
        program
            .args([command, "--lake", &format!("s3://{BUCKET}/{lake}")])
            .args(["--set", &format!("lake.endpoint={}", self.gateway.url()), "--set", "lake.allow_http=true"])
            .args(["--set", "lake.timeout=5s", "--set", "archive.commit_age=1s"])
            .args(["--set", &format!("kafka.brokers={}", self.config.brokers)])
            .args(["--set", &format!("kafka.topic={}", self.config.topic)])
            .args(["--set", &format!("kafka.epoch={}", self.config.epoch)])
            // The dead are noticed as soon as a broker allows it.
            .args(["--set", "kafka.settings.session.timeout.ms=6000"])
            .args(["--set", &format!("enrich.salt_key={}", folder.join("salt.key").display())])
            .env("LINKTIDE_LAKE__ACCESS_KEY", S3::ACCESS_KEY)
            .env("LINKTIDE_LAKE__SECRET_KEY", S3::SECRET_KEY)
            .env("FAILPOINTS", failpoints);
        if let Some(places) = &self.places {
            program.args(["--set", &format!("enrich.geoip={}", places.display())]);
        }
        if let Some(bots) = &self.bots {
            let list = format!("bots.agents=[{{name=\"{LIST}\",file=\"{}\"}}]", bots.display());
            program.args(["--set", &list]);
        }
        program
    }

    /// An archive that shares the partitions with others of its lake.
    pub(super) fn archive(&self, lake: &str) -> Worker {
        let mut program = self.program("archive", lake, "");
        program.args(["--set", &format!("kafka.group={lake}")]);
        Worker::of(program.stdout(Stdio::null()))
    }

    /// An archive that takes every partition at once, since nobody waits for the dead of its group.
    pub(super) fn lone_archive(&mut self, lake: &str, failpoints: &str) -> Worker {
        self.lives += 1;
        let mut program = self.program("archive", lake, failpoints);
        program.args(["--set", &format!("kafka.group={lake}-{}", self.lives)]);
        Worker::of(program.stdout(Stdio::null()))
    }

    /// Runs nightly once: whether it was content, and what it said.
    pub(super) async fn nightly(&self, lake: &str, failpoints: &str, more: &[&str]) -> (bool, String) {
        let mut program = self.program("nightly", lake, failpoints);
        program.args(more);
        tokio::task::spawn_blocking(move || SpeedStage::output(program)).await.unwrap()
    }

    /// Runs nightly until the hour is published.
    pub(super) async fn roll_up(&self, lake: &str, through: Hour) {
        let deadline = Instant::now() + PATIENCE;
        let limit = through.start().to_string();
        loop {
            let (content, told) = self.nightly(lake, "", &["--through", &limit]).await;
            if self.newest(lake).await.watermark >= through {
                return;
            }
            assert!(Instant::now() < deadline, "{lake} never came to {limit}: {content} {told}");
        }
    }

    /// What the log says, up to what is published.
    pub(super) fn oracle(&self) -> Oracle {
        let mut oracle = Oracle::default();
        for (topic, epoch, watermark) in &self.begun {
            oracle.read(&self.config.brokers, topic, *epoch, *watermark, &self.enricher);
        }
        oracle.forget(&self.erased);
        oracle
    }

    /// Erases a link, by a program that dies where `failpoints` say: whether it was content, and what it said.
    pub(super) async fn erase(&mut self, lake: &str, link: (TenantId, LinkId), failpoints: &str) -> (bool, String) {
        if !self.erased.contains(&link) {
            self.erased.push(link);
        }
        let mut program = self.program("erase", lake, failpoints);
        program.args(["--link", &format!("{}/{}", link.0, link.1)]);
        tokio::task::spawn_blocking(move || SpeedStage::output(program)).await.unwrap()
    }

    /// From now on there is a database of places: jobs are given it, and the log is read by it.
    pub(super) fn know_places(&mut self) {
        let path = self.folder.path().join("places.mmdb");
        let mut writer = Writer::builder("Test-City").build();
        let place = mmdb_writer::Value::map([("country_code", mmdb_writer::Value::from("DE"))]);
        writer.insert_value("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap(), place).unwrap();
        std::fs::write(&path, writer.to_bytes().unwrap()).unwrap();
        self.places = Some(path);
        self.learn();
    }

    /// From now on there is a list of bots, which has those that were people before.
    pub(super) fn know_bots(&mut self) {
        let path = self.folder.path().join("bots.txt");
        std::fs::write(&path, "bot: Firefox/125\n").unwrap();
        self.bots = Some(path);
        self.learn();
    }

    /// The log is read by what is known.
    fn learn(&mut self) {
        let list = |file: PathBuf| AgentList { name: LIST.to_owned(), file, weight: Points::new(100).unwrap() };
        let bots = BotConfig { agents: self.bots.clone().map(list).into_iter().collect(), ..BotConfig::default() };
        self.enricher = enricher(GeoFiles { city: self.places.clone(), asn: None }, bots);
    }

    /// From now on raw clicks of so many whole days before this one are kept alone.
    pub(super) fn raw_is_kept_for(&mut self, days: i32, today: Day) {
        self.raw_since = Some(Day(today.0 - days));
    }

    /// Looks at stored clicks again, by a program that dies where `failpoints` say: whether it was content, and what it said.
    pub(super) async fn backfill(&self, lake: &str, what: &str, failpoints: &str) -> (bool, String) {
        let mut program = self.program("backfill", lake, failpoints);
        program.arg(what);
        tokio::task::spawn_blocking(move || SpeedStage::output(program)).await.unwrap()
    }

    /// Compares all that a lake has published with the log, by readers of others.
    pub(super) async fn assert_kept(&self, lake: &str, what: &str) -> Rolled {
        let newest = self.newest(lake).await;
        let oracle = self.oracle();
        assert!(oracle.count_before(newest.watermark) > 100, "{what}: there is little to compare");
        let version = |table: &str| newest.tables[table];
        let raw = self.foreign(lake, "click_event", version("click_event"), oracle::RAW);
        let expected = oracle.raw(self.raw_since, newest.watermark);
        // What was received from the watermark on may be archived already.
        let until = newest.watermark.start().as_millis();
        let raw: Vec<Value> = raw.into_iter().filter(|row| row[6].as_i64().unwrap() < until).collect();
        let differs = raw.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert!(differs.is_none(), "{what}: {differs:?}");
        assert_eq!(raw.len(), expected.len(), "{what}");
        let mut rolled = Rolled::default();
        rolled.take_hours(&self.foreign(lake, "link_stats_hourly", version("link_stats_hourly"), oracle::HOURS));
        rolled.take_days(&self.foreign(lake, "link_stats_daily", version("link_stats_daily"), oracle::DAYS));
        rolled.take_values(&self.foreign(
            lake,
            "link_stats_dimension",
            version("link_stats_dimension"),
            oracle::VALUES,
        ));
        rolled.assert_is(&oracle.rolled(newest.watermark), what);
        rolled
    }

    /// The rows that a foreign reader finds in a version of a table.
    pub(super) fn foreign(&self, lake: &str, table: &str, version: u64, query: &str) -> Vec<Value> {
        let output = Command::new(python("python"))
            .arg("tests/foreign/read.py")
            .args([&self.s3.url(), BUCKET, lake, table, &version.to_string(), query])
            .envs([("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{table}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn log_config(kafka: &Kafka, topic: &str, epoch: Epoch) -> KafkaConfig {
    KafkaConfig {
        brokers: kafka.address(),
        topic: topic.to_owned(),
        least_partitions: PARTITIONS,
        epoch,
        settings: BTreeMap::new(),
    }
}

async fn begun(config: &KafkaConfig) -> Arc<KafkaLog> {
    let plan = TopicPlan { partitions: PARTITIONS, replication: 1, retention: Duration::from_secs(30 * 86_400) };
    KafkaLog::provision(config, &plan).await.unwrap();
    opened(config).await
}
