//! `./dev bench`: how fast the hot paths are here, as a table and as JSON. Nothing fails for being slow.

mod bots;

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use linktide::config::{ByteSize, Config};
use linktide::demo::generator::{Generator, World};
use linktide::demo::{self, Options, geography};
use linktide::import;
use linktide::services::Services;
use linktide_common::bucket::Hour;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::enrich::{BotConfig, EnrichConfig, Enricher, GeoFiles, Stamp, VisitorIdentity};
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogError, LogWriter, Marked};
use linktide_common::secret::Secret;
use linktide_ingest::{Emitter, EmitterConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOUR: Hour = Hour(498_802);
const RUNS: usize = 5;

/// A figure: its name, what it should be, and the runs.
struct Figure {
    name: &'static str,
    unit: &'static str,
    wanted: f64,
    runs: Vec<f64>,
}

impl Figure {
    fn median(&self) -> f64 {
        let mut runs = self.runs.clone();
        runs.sort_by(f64::total_cmp);
        runs[runs.len() / 2]
    }
}

fn main() -> anyhow::Result<()> {
    let only: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let mut figures = Vec::new();
    if wants("parse") || wants("enrich") {
        let clicks = clicks(200_000);
        if wants("parse") {
            figures.push(parse("parse", 1000.0, &clicks));
            figures.push(parse("parse, with signals", 700.0, &bots::with_signals(&clicks)));
        }
        if wants("enrich") {
            figures.push(enrich(&clicks)?);
            figures.push(bots::enrich(&clicks)?);
        }
    }
    if wants("networks") {
        figures.extend(bots::networks()?);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if wants("emit") {
        figures.extend(runtime.block_on(emit())?);
    }
    if wants("import") {
        figures.push(runtime.block_on(import_lines())?);
    }
    if wants("summary") {
        figures.push(runtime.block_on(summary())?);
    }
    report(&figures)
}

fn report(figures: &[Figure]) -> anyhow::Result<()> {
    let mut table = format!("{:<44} {:>14} {:>14}\n", "", "median", "wanted");
    for figure in figures {
        writeln!(table, "{:<44} {:>14.2} {:>14} {}", figure.name, figure.median(), figure.wanted, figure.unit)?;
    }
    let json: Vec<_> = figures
        .iter()
        .map(|figure| serde_json::json!({"name": figure.name, "unit": figure.unit, "median": figure.median(), "wanted": figure.wanted, "runs": figure.runs}))
        .collect();
    let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let file = Path::new(&folder).join("bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&json)?)?;
    print(&format!("\n{table}\n{}", file.display()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn print(text: &str) {
    println!("{text}");
}

fn clicks(count: usize) -> Vec<Click> {
    let mut generator = Generator::new(1, World { links: 100_000, user_agents: 20_000, ..World::default() });
    (0..count).map(|_| generator.click_in(HOUR)).collect()
}

/// Runs `work` over `count` things several times; thousands a second.
fn rate(name: &'static str, wanted: f64, count: usize, mut work: impl FnMut()) -> Figure {
    work();
    let run = |_| {
        let began = Instant::now();
        work();
        count as f64 / began.elapsed().as_secs_f64() / 1000.0
    };
    Figure { name, unit: "thousand/s", wanted, runs: (0..RUNS).map(run).collect() }
}

fn parse(name: &'static str, wanted: f64, clicks: &[Click]) -> Figure {
    let json = |click: &Click| {
        let mut json = Vec::new();
        click.to_json(&mut json);
        json
    };
    let records: Vec<Vec<u8>> = clicks.iter().map(json).collect();
    rate(name, wanted, records.len(), || {
        for record in &records {
            black_box(Click::parse(black_box(record)).is_ok());
        }
    })
}

fn enricher(folder: &Path, bots: BotConfig) -> anyhow::Result<Enricher> {
    let map = folder.join("city.mmdb");
    geography::write_database(&map)?;
    let config = EnrichConfig {
        salt_secret: Secret::new(vec![7; 32]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles { city: Some(map), asn: None },
        floor_days: 3653,
    };
    Ok(Enricher::with_bots(config, bots)?)
}

fn enrich(clicks: &[Click]) -> anyhow::Result<Figure> {
    let folder = tempfile::tempdir()?;
    let enricher = enricher(folder.path(), BotConfig::default())?;
    Ok(enriched("enrich, warm, one core", 500.0, &enricher, clicks))
}

fn enriched(name: &'static str, wanted: f64, enricher: &Enricher, clicks: &[Click]) -> Figure {
    let stamp =
        Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at: HOUR.next().start() };
    let mut runs = Vec::new();
    for run in 0..=RUNS {
        // Copies are made outside the time that is taken.
        let copies = clicks.to_vec();
        let began = Instant::now();
        for click in copies {
            black_box(enricher.enrich(click, stamp).is_ok());
        }
        if run > 0 {
            runs.push(clicks.len() as f64 / began.elapsed().as_secs_f64() / 1000.0);
        }
    }
    Figure { name, unit: "thousand/s", wanted, runs }
}

/// A log that takes its time, or fails.
enum Trouble {
    Slow,
    Gone,
}

#[async_trait]
impl LogWriter for Trouble {
    async fn append(&self, _records: Vec<Append>) -> Result<(), LogError> {
        match self {
            Self::Slow => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(())
            }
            Self::Gone => Err(LogError::Unavailable("gone".to_owned())),
        }
    }

    async fn append_marked(&self, _mark: &str, records: Vec<Append>) -> Result<Marked, LogError> {
        self.append(records).await.map(|()| Marked::Appended)
    }
}

async fn emit() -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let log = EmbeddedLog::open(folder.path(), &EmbeddedConfig::default(), Clock::system())?;
    let logs: [(&'static str, Arc<dyn LogWriter>); 3] = [
        ("emit p99, the log fine", log),
        ("emit p99, the log slow", Arc::new(Trouble::Slow)),
        ("emit p99, the log gone", Arc::new(Trouble::Gone)),
    ];
    let mut figures = Vec::new();
    for (name, log) in logs {
        let emitter = Emitter::new(log, Clock::system(), EmitterConfig::default());
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let clicks = clicks(20_000);
            runs.push(tokio::task::block_in_place(|| p99(&emitter, clicks)));
        }
        emitter.shutdown(Duration::from_millis(10)).await;
        figures.push(Figure { name, unit: "µs", wanted: 2.0, runs });
    }
    Ok(figures)
}

fn p99(emitter: &Emitter, clicks: Vec<Click>) -> f64 {
    let mut times: Vec<Duration> = clicks
        .into_iter()
        .map(|click| {
            let began = Instant::now();
            emitter.emit(click);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e6
}

async fn import_lines() -> anyhow::Result<Figure> {
    const LINES: usize = 300_000;
    let folder = tempfile::tempdir()?;
    let mut runs = Vec::new();
    for run in 0..3 {
        let file = folder.path().join(format!("{run}.log"));
        std::fs::write(&file, access_log(run, LINES)?)?;
        let services = Services::spawn(&config(), &folder.path().join(run.to_string()), Clock::system()).await?;
        let options = import::Options {
            format: import::Format::Combined,
            url: format!("http://{}", services.address),
            links: None,
            shift_to_now: false,
            any_status: false,
            files: vec![file],
        };
        let began = Instant::now();
        published(&services).await;
        import::run(options).await?;
        runs.push(LINES as f64 / began.elapsed().as_secs_f64() / 1000.0);
        services.stop().await?;
    }
    Ok(Figure { name: "import, file to acknowledged", unit: "thousand/s", wanted: 60.0, runs })
}

fn access_log(seed: u64, lines: usize) -> anyhow::Result<String> {
    let mut generator = Generator::new(seed, World::default());
    let mut text = String::new();
    for _ in 0..lines {
        let click = generator.click_in(HOUR);
        let Click { ip: Some(ip), clicked_at: Some(at), slug: Some(slug), user_agent: Some(agent), referrer, .. } =
            click
        else {
            continue;
        };
        let at = jiff::Timestamp::from_millisecond(at.as_millis())?.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        writeln!(
            text,
            "{ip} - - [{at}] \"GET /{slug} HTTP/1.1\" 302 0 \"{}\" \"{agent}\"",
            referrer.as_deref().unwrap_or("-")
        )?;
    }
    Ok(text)
}

fn config() -> Config {
    let mut config = Config::default();
    config.api.listen = ([127, 0, 0, 1], 0).into();
    config.log.reserve = ByteSize(0);
    config
}

async fn published(services: &Services) {
    let mut publications = services.lake.publications().watch();
    // The service holds the other end for as long as it runs.
    let _ = publications.wait_for(Option::is_some).await;
}

async fn summary() -> anyhow::Result<Figure> {
    let folder = tempfile::tempdir()?;
    let options = Options { days: 60, clicks: 1_000_000, seed: 7, data: None, listen: None };
    let began = Instant::now();
    let (services, _) = demo::begin(config(), &options, folder.path()).await?;
    demo::ready(&services).await?;
    print(&format!("60 days with a million clicks were made in {:.1} s", began.elapsed().as_secs_f64()));
    let client = reqwest::Client::new();
    let mut runs = Vec::new();
    for request in 0..600 {
        let place = format!("http://{}/v1/links/{}/summary?interval=30d", services.address, request % 200 + 1);
        let began = Instant::now();
        client.get(place).send().await?.error_for_status()?.bytes().await?;
        if request >= 200 {
            runs.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    services.stop().await?;
    Ok(Figure { name: "30-day summary of a link over HTTP, p50", unit: "ms", wanted: 5.0, runs })
}
