//! `./dev bench export`: how fast clicks are exported, what memory that takes, and what it does to a dashboard beside it.
//!
//! One process serves and asks, over HTTP, on a past that the demo makes: the figures say what one core lets another have,
//! too. Nothing fails for being slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use linktide::config::{ByteSize, Config};
use linktide::demo::{self, Options};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Dashboards asked for, alone and beside an export.
const QUESTIONS: usize = 3000;
/// How far apart they are: a service that is not at its limit.
const PAUSE: Duration = Duration::from_millis(2);

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(text: &str) {
    println!("{text}");
}

fn main() -> anyhow::Result<()> {
    let clicks = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2_000_000);
    tokio::runtime::Runtime::new()?.block_on(run(clicks))
}

async fn run(clicks: u32) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::default();
    config.api.listen = ([127, 0, 0, 1], 0).into();
    config.log.reserve = ByteSize(0);
    config.export.stream_rows = usize::MAX >> 1;
    config.export.stream_bytes = ByteSize(1 << 40);
    let options = Options { days: 30, clicks, seed: 7, data: None, listen: None };
    let (services, _) = demo::begin(config, &options, folder.path()).await?;
    demo::ready(&services).await?;
    let url = format!("http://{}", services.address);
    for format in ["csv", "ndjson", "parquet", "arrow"] {
        let memory = Memory::watch();
        let (bytes, seconds) = streamed(&url, format).await?;
        let mib = bytes as f64 / f64::from(1 << 20);
        print(&format!(
            "streamed as {format:<8} {mib:>9.1} MiB in {seconds:>6.2} s, {:>6.1} MiB/s; {:>6.1} MiB of memory more than before",
            mib / seconds,
            memory.more()
        ));
    }
    let memory = Memory::watch();
    let (job, seconds) = made(&url).await?;
    let rows = job["result"]["rows"].as_f64().context("a job that is done tells its rows")?;
    print(&format!(
        "a job of {rows} clicks to Parquet: {seconds:.2} s, {:.0} thousand/s, {:.1} MiB of memory more than before",
        rows / seconds / 1000.0,
        memory.more()
    ));

    let alone = dashboards(&url).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let heavy = tokio::spawn(heavily(url.clone(), Arc::clone(&stop)));
    let beside = dashboards(&url).await?;
    stop.store(true, Ordering::Release);
    let exports = heavy.await??;
    print(&format!(
        "a link's 30 days over HTTP: p50 {:.2} ms, p99 {:.2} ms alone; {:.2} and {:.2} beside exports ({exports} of them meanwhile): p99 times {:.2}, wanted at most 1.3",
        alone.0,
        alone.1,
        beside.0,
        beside.1,
        beside.1 / alone.1
    ));
    services.stop().await
}

/// How much memory this process has at most from now on.
struct Memory {
    before: u64,
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    fn watch() -> Self {
        let before = resident();
        let (most, stop) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (seen, told) = (Arc::clone(&most), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while !told.load(Ordering::Acquire) {
                look.tick().await;
                seen.fetch_max(resident(), Ordering::AcqRel);
            }
        });
        Self { before, most, stop }
    }

    /// In MiB.
    fn more(self) -> f64 {
        self.stop.store(true, Ordering::Release);
        self.most.load(Ordering::Acquire).saturating_sub(self.before) as f64 / 1024.0
    }
}

/// KiB that this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The bytes of an export of all clicks, and how long it took.
async fn streamed(url: &str, format: &str) -> anyhow::Result<(u64, f64)> {
    let began = Instant::now();
    let place = format!("{url}/v1/account/export?interval=all&traffic=all&format={format}");
    let mut answer = reqwest::get(place).await?.error_for_status()?;
    let mut bytes = 0;
    while let Some(piece) = answer.chunk().await? {
        bytes += piece.len() as u64;
    }
    Ok((bytes, began.elapsed().as_secs_f64()))
}

/// A job of all clicks, once it is done, and how long it took.
async fn made(url: &str) -> anyhow::Result<(Value, f64)> {
    let (client, began) = (reqwest::Client::new(), Instant::now());
    let body = json!({ "format": "parquet", "interval": "all", "traffic": "all" });
    let job: Value =
        client.post(format!("{url}/v1/exports")).json(&body).send().await?.error_for_status()?.json().await?;
    let place = format!("{url}/v1/exports/{}", job["id"].as_str().unwrap_or_default());
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        look.tick().await;
        let job: Value = client.get(&place).send().await?.error_for_status()?.json().await?;
        match job["state"].as_str() {
            Some("done") => return Ok((job, began.elapsed().as_secs_f64())),
            Some("queued" | "running") => {}
            _ => anyhow::bail!("the job came to nothing: {job}"),
        }
    }
}

/// Exports all clicks again and again, as streams and as jobs; tells how many were whole.
async fn heavily(url: String, stop: Arc<AtomicBool>) -> anyhow::Result<usize> {
    let mut whole = 0;
    while !stop.load(Ordering::Acquire) {
        let (streamed, made) = tokio::join!(streamed(&url, "csv"), made(&url));
        streamed?;
        made?;
        whole += 2;
    }
    Ok(whole)
}

/// p50 and p99 of dashboards, in milliseconds.
async fn dashboards(url: &str) -> anyhow::Result<(f64, f64)> {
    let client = reqwest::Client::new();
    let mut times = Vec::with_capacity(QUESTIONS);
    let mut due = tokio::time::interval(PAUSE);
    for question in 0..QUESTIONS {
        due.tick().await;
        let body = json!({
            "interval": "30d",
            "questions": [
                { "ask": "timeseries", "link_id": (question % 200 + 1).to_string(), "unit": "hour" },
                { "ask": "breakdown", "link_id": (question % 200 + 1).to_string(), "by": "country,device,referrer,browser" },
                { "ask": "summary", "link_id": (question % 200 + 1).to_string() },
            ],
        });
        let began = Instant::now();
        client.post(format!("{url}/v1/query")).json(&body).send().await?.error_for_status()?.bytes().await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    // The first ones fill the caches.
    let mut times = times.split_off(QUESTIONS / 10);
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}
