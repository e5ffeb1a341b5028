//! What is measured: the query service in a process of its own, over a real Redis that holds a day, and a folder or a real
//! S3 server.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use linktide::config::{self, ByteSize, Config};
use linktide::services::QueryService;
use linktide_batch::Lake;
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::id::Epoch;
use linktide_common::log::LogReader as _;
use linktide_common::log::embedded::EmbeddedLog;
use linktide_servers::{Redis, S3};
use linktide_speed::view::{Limits, RedisConfig, RedisView, View};
use linktide_speed::{SpeedConfig, SpeedWorker};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, get, with_key};
use crate::data::{Data, LIVE};
use crate::{say, world};

const LOOK: Duration = Duration::from_millis(100);
const READY_WITHIN: Duration = Duration::from_secs(120);
const FRESHNESS: &str = "/v1/freshness";
const BUCKET: &str = "history";

/// A Redis that holds the live day.
pub(crate) async fn redis(data: &Data) -> anyhow::Result<Redis> {
    // A view refills from the log: what it holds needs no file.
    let redis = Redis::with(&["--maxmemory-policy", "noeviction", "--appendonly", "no"]);
    let began = Instant::now();
    let clock = Clock::manual(LIVE.next().start());
    let (log, lake) = (data.log(&clock)?, Lake::in_folder_unsynced(&data.lake())?);
    lake.publications().latest().await?;
    let intake = world::intake(log.reader(), data.folder(), clock)?;
    let config = RedisConfig { url: redis.url(), user: None, password: None, limits: Limits::default(), kept: 0 };
    let view = Arc::new(RedisView::new(&config)?);
    let stop = CancellationToken::new();
    let worker = SpeedWorker::new(
        intake,
        Arc::clone(&view) as Arc<dyn View>,
        lake.publications().watch(),
        SpeedConfig::default(),
    );
    let working = tokio::spawn(worker.run(stop.clone()));
    let mut due = tokio::time::interval(LOOK);
    while !caught_up(&log, &view).await? {
        anyhow::ensure!(!working.is_finished(), "the worker ended on its own");
        due.tick().await;
    }
    stop.cancel();
    working.await??;
    log.close();
    say(&format!("a day in redis, {:.0} s", began.elapsed().as_secs_f64()));
    Ok(redis)
}

async fn caught_up(log: &Arc<EmbeddedLog>, view: &RedisView) -> anyhow::Result<bool> {
    let (reader, held) = (log.reader(), view.held().await?);
    for partition in log.partitions() {
        let end = reader.bounds(partition).await?.high;
        if held.positions.get(&(Epoch(0), partition)).is_none_or(|position| position.offset < end) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An S3 server with a copy of a lake.
pub(crate) fn s3(lake: &Path) -> anyhow::Result<S3> {
    let s3 = S3::start(BUCKET);
    let copied =
        Command::new("cp").arg("-r").arg(lake.join("tables")).arg(lake.join("pub")).arg(s3.bucket(BUCKET)).status()?;
    anyhow::ensure!(copied.success(), "the lake cannot be copied to the bucket");
    Ok(s3)
}

/// The query service.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// A question that is answered once it is ready.
    look: Vec<u8>,
}

impl Server {
    /// Starts it over a folder, or over a server's bucket, and waits until it is ready.
    pub(crate) async fn start(lake: &Path, s3: Option<&S3>, redis: &Redis) -> anyhow::Result<Self> {
        Self::start_with(lake, s3.map(S3::url), redis, get(FRESHNESS)).await
    }

    /// Starts it over a folder for those who have a key, as `key` is one.
    pub(crate) async fn with_keys(lake: &Path, redis: &Redis, key: &str) -> anyhow::Result<Self> {
        Self::start_with(lake, Some("with-keys".to_owned()), redis, with_key(get(FRESHNESS), key)).await
    }

    async fn start_with(lake: &Path, how: Option<String>, redis: &Redis, look: Vec<u8>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", &redis.url()]).arg(lake).args(how);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the service")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it is piped")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the service said {line:?}"))?;
        let server = Self { process, address, look };
        server.at_rest().await?;
        Ok(server)
    }

    /// Waits until history is open and its footers are read, and nothing is done behind that.
    pub(crate) async fn at_rest(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut due = tokio::time::interval(LOOK);
        let mut client = Client::to(self.address).await?;
        // The first answer opens the publication; what it still does behind that is over when its processor time stands.
        let mut before = f64::NAN;
        loop {
            due.tick().await;
            let (status, _) = client.exchange(&self.look).await?;
            let used = self.processor();
            if status == 200 && used.to_bits() == before.to_bits() {
                return Ok(());
            }
            before = used;
            anyhow::ensure!(Instant::now() < deadline, "the service is not ready within {READY_WITHIN:?}");
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Seconds of processor time.
    pub(crate) fn processor(&self) -> f64 {
        crate::process::Used::by(&self.id().to_string()).processor
    }

    /// MiB of memory, at most.
    pub(crate) fn memory(&self) -> f64 {
        crate::process::Used::by(&self.id().to_string()).memory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Waits until the machine's cores have next to nothing to do, whoever kept them busy.
pub(crate) async fn machine_at_rest() -> anyhow::Result<()> {
    const BUSY_AT_MOST: f64 = 0.04;
    let deadline = Instant::now() + READY_WITHIN;
    let mut due = tokio::time::interval(2 * LOOK);
    due.tick().await;
    let mut before = Ticks::now()?;
    loop {
        due.tick().await;
        let now = Ticks::now()?;
        let (idle, all) = (now.idle - before.idle, now.all - before.all);
        if all > 0.0 && all - idle <= all * BUSY_AT_MOST {
            return Ok(());
        }
        before = now;
        anyhow::ensure!(Instant::now() < deadline, "other programs keep the machine busy for {READY_WITHIN:?}");
    }
}

/// What all cores together had so far, in ticks (`proc_stat(5)`).
pub(crate) struct Ticks {
    /// Of nothing to do.
    idle: f64,
    /// That the host kept for itself or for others.
    stolen: f64,
    all: f64,
}

impl Ticks {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let of_all = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("it names all cores")?;
        let ticks = of_all.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        // What guests had is in the first two.
        let [user, nice, system, idle, waiting, interrupts, soft, stolen, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat names no more than {} kinds of ticks", ticks.len());
        };
        let idle = idle + waiting;
        Ok(Self { idle, stolen, all: user + nice + system + idle + interrupts + soft + stolen })
    }

    /// The part of all ticks since then that the host kept.
    pub(crate) fn stolen_since(&self, before: &Self) -> f64 {
        (self.stolen - before.stolen) / (self.all - before.all).max(1.0)
    }
}

/// What the process of the service does.
pub(crate) async fn serve(redis: &str, lake: &Path, endpoint: Option<&str>, with_keys: bool) -> anyhow::Result<()> {
    let mut config = Config::default();
    config.api.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.redis.url = redis.to_owned();
    config.access.required = with_keys;
    if let Some(memory) = std::env::var_os("LINKTIDE_BENCH_CACHE") {
        config.api.file_cache = ByteSize(memory.to_string_lossy().parse()?);
    }
    config.lake.url = Some(match endpoint {
        Some(_) => format!("s3://{BUCKET}"),
        None => lake.to_string_lossy().into_owned(),
    });
    if let Some(endpoint) = endpoint {
        config.lake.endpoint = Some(endpoint.to_owned());
        config.lake.region = Some("us-east-1".to_owned());
        config.lake.allow_http = true;
        config.lake.access_key = Some(S3::ACCESS_KEY.to_owned());
        config.lake.secret_key = Some(config::Hidden(S3::SECRET_KEY.to_owned()));
    }
    let service = QueryService::spawn(&config, true).await?;
    say(&service.address.to_string());
    let (told, stop) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        crate::process::let_go();
        let _ = told.send(());
    });
    service.run(async { drop(stop.await) }).await
}

/// The instants between which the dashboard asks: thirty days, the last of which is live.
pub(crate) fn dashboard_range() -> (Hour, Hour) {
    (linktide_common::bucket::Day(LIVE.0 - 29).first_hour(), LIVE.next().first_hour())
}
