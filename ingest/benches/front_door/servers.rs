//! The redirectors that are measured, each a process of its own, and their Kafkas.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use linktide_common::access::Gate;
use linktide_common::clock::Clock;
use linktide_common::id::Epoch;
use linktide_common::log::LogWriter;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_common::secret::Secret;
use linktide_ingest::{ChallengeConfig, Challenges, Emitter, EmitterConfig, IngestConfig, LinkFile};
use linktide_servers::Kafka;

/// How a redirector tracks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    /// As the first one: what differs between the two is the machine's noise.
    OffAgain,
    On,
    Gone,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OffAgain => "off, another process",
            Self::On => "on",
            Self::Gone => "on, and Kafka gone",
        }
    }
}

/// A Kafka that stays, and one that goes.
pub(crate) struct Brokers {
    stays: Kafka,
    goes: Kafka,
}

impl Brokers {
    pub(crate) fn start() -> Self {
        let (stays, goes) = (Kafka::start(), Kafka::start());
        // Brokers run elsewhere: their work is no part of what tracking costs a redirect.
        stays.stand_back();
        goes.stand_back();
        Self { stays, goes }
    }

    pub(crate) fn end_the_one_that_goes(&mut self) {
        self.goes.stop();
    }
}

/// The log in a Kafka, made where it is missing.
pub(crate) async fn log(brokers: String) -> Arc<KafkaLog> {
    let topic = "click-events".to_owned();
    let config = KafkaConfig { brokers, topic, least_partitions: 10, epoch: Epoch(0), settings: [].into() };
    let plan = TopicPlan { partitions: 10, replication: 1, retention: Duration::from_secs(86_400) };
    KafkaLog::provision(&config, &plan).await.expect("kafka makes topics");
    KafkaLog::open(config).await.expect("kafka answers")
}

/// A redirector; it ends with its owner.
pub(crate) struct Door {
    mode: Mode,
    program: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    process: Child,
    orders: Option<ChildStdin>,
}

impl Door {
    /// Starts one that `program` is, some build of this benchmark.
    pub(crate) fn start(program: &Path, mode: Mode, brokers: &Brokers) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let links = folder.path().join("links.csv");
        std::fs::write(&links, "slug,link_id,destination,title\nspring,7,https://shop.example/?utm_source=x,Spring\n")
            .expect("the folder can be written");
        let kafka = if mode == Mode::Gone { &brokers.goes } else { &brokers.stays };
        let mut process = Command::new(program)
            .args(["serve", if matches!(mode, Mode::Off | Mode::OffAgain) { "off" } else { "on" }, &kafka.address()])
            .arg(&links)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line).expect("it tells its address");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("the redirector said `{line}`"));
        let orders = process.stdin.take();
        Self { mode, program: program.to_owned(), address, folder, process, orders }
    }

    /// How it tracks, and which build it is.
    pub(crate) fn name(&self) -> String {
        let program = self.program.file_name().unwrap_or_default().to_string_lossy();
        format!("{}, {program}", self.mode.name())
    }

    /// What became of its clicks, by its metrics.
    pub(crate) fn counted(&self) -> String {
        let mut stream = std::net::TcpStream::connect(self.address).expect("it listens");
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let about = lines.filter(|line| line.starts_with("linktide_clicks_") || line.starts_with("linktide_emitter_"));
        about.map(|line| line.trim_start_matches("linktide_").to_owned()).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It has nothing to tell at its end.
        let _ = self.process.wait();
    }
}

/// A redirector, until its standard input ends.
pub(crate) fn serve(arguments: &[String]) {
    let [track, brokers, links] = arguments else { panic!("serve on|off BROKERS LINKS") };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let log: Arc<dyn LogWriter> = log(brokers.clone()).await;
        let clock = Clock::system();
        let emitter = Arc::new(Emitter::new(Arc::clone(&log), clock.clone(), EmitterConfig::default()));
        let links = Arc::new(LinkFile::open(links.as_ref()).expect("the links are right"));
        let config = IngestConfig { track: track == "on", ..IngestConfig::default() };
        let ready = linktide_ingest::Readiness::default();
        let challenges = Arc::new(Challenges::new(challenges(), Arc::clone(&emitter), clock.clone()));
        let router = linktide_ingest::router(log, Arc::clone(&emitter), links, challenges, clock, Gate::open(), config)
            .merge(linktide_ingest::health(ready));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        crate::print(&listener.local_addr().expect("it is bound").to_string());
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let served = axum::serve(listener, service);
        tokio::select! {
            served = async { served.await } => served.expect("it serves"),
            _ = end => {}
        }
        emitter.shutdown(Duration::from_millis(100)).await;
    });
    runtime.shutdown_background();
}

/// Challenges that none of the links puts.
fn challenges() -> ChallengeConfig {
    ChallengeConfig {
        key: Secret::new(vec![7; 32]),
        lifetime: Duration::from_secs(120),
        bits: 12,
        most: 10_000,
        captcha: None,
        suspicion: Arc::new(|_| false),
    }
}
