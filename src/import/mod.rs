//! `linktide import`: access logs and clicks in JSON into a running Linktide, each content once.

mod chunks;
mod combined;
mod source;
mod summary;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use linktide_common::bucket::Timestamp;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::id::{LinkId, TenantId};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::cli::say;
use crate::client;
use chunks::{Chunk, Chunks, Refusal, Rules};
use combined::Reading;
use source::Source;
use summary::Summary;

/// Where a Linktide listens if nothing else is said.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Chunks read ahead of those that are sent.
const AHEAD: usize = 4;
const ATTEMPTS: u32 = 5;

/// What is imported, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What a line is: of an access log in the combined format, or a click in JSON
    #[arg(long, value_enum, default_value_t = Format::Combined)]
    pub format: Format,
    /// Where Linktide listens
    #[arg(long = "to", value_name = "URL", default_value = DEFAULT_URL)]
    pub url: String,
    /// A CSV file `path,link_id` that gives paths their ids; others have an id derived from the path
    #[arg(long, value_name = "FILE")]
    pub links: Option<PathBuf>,
    /// Move all times so that the last line happened now
    #[arg(long)]
    pub shift_to_now: bool,
    /// Take requests that were answered with an error, too
    #[arg(long)]
    pub any_status: bool,
    /// Files, `-` for standard input; .gz and .zst are unpacked
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Apache's and nginx's combined format.
    Combined,
    /// The documented JSON of a click.
    Json,
}

/// Imports all files, one after the other, and says what became of them.
///
/// # Errors
/// Where a file cannot be read or Linktide does not take it; what was taken before stays, and counts once.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::new(&options.url).await?;
    let mut summary = Summary::new(client.complete_through);
    for path in &options.files {
        let path = path.clone();
        let source = tokio::task::spawn_blocking(move || Source::open(&path)).await??;
        import(&client, source, &options, &mut summary).await?;
    }
    say(&summary.to_string())
}

async fn import(client: &Client, source: Source, options: &Options, summary: &mut Summary) -> anyhow::Result<()> {
    let rules = Rules {
        format: options.format,
        reading: Reading { any_status: options.any_status },
        tenant: TenantId(0),
        links: options.links.as_deref().map(read_links).transpose()?.unwrap_or_default(),
        shift_ms: if options.shift_to_now { shift(&source, options.format)? } else { 0 },
    };
    let bar = bar(&source);
    let (digest, name) = (source.digest.clone(), source.name.clone());
    let (send, mut chunks) = mpsc::channel::<std::io::Result<Chunk>>(AHEAD);
    let reader = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut chunks = Chunks::new(source.reader()?, &source.digest, rules);
        while let Some(chunk) = chunks.next()? {
            // Whoever listened has failed, and says so.
            if send.blocking_send(Ok(chunk)).is_err() {
                break;
            }
        }
        Ok(())
    });
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.with_context(|| format!("reading {name}"))?;
        let outcome = client.put(&digest, &chunk).await?;
        bar.inc(chunk.bytes);
        summary.take(&name, chunk, outcome);
    }
    reader.await?.with_context(|| format!("reading {name}"))?;
    bar.finish_and_clear();
    Ok(())
}

fn bar(source: &Source) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}  [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left");
    let bar = ProgressBar::new(source.size).with_message(source.name.clone());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// What must be added to each time so that the last line happened now.
fn shift(source: &Source, format: Format) -> anyhow::Result<i64> {
    let last = source.last_line.trim_ascii();
    let text = String::from_utf8_lossy(last);
    let time = match format {
        Format::Combined => {
            combined::parse(&text, Reading { any_status: true }).ok().and_then(|click| click.clicked_at)
        }
        Format::Json => Click::parse(last).ok().and_then(|click| click.clicked_at),
    };
    let time = time.with_context(|| format!("the last line of {} has no time to shift by", source.name))?;
    Ok(Clock::system().now().millis_since(time))
}

fn read_links(path: &Path) -> anyhow::Result<HashMap<String, LinkId>> {
    #[derive(Deserialize)]
    struct Row {
        path: String,
        link_id: LinkId,
    }
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).with_context(|| path.display().to_string())?;
    let rows = reader.deserialize::<Row>().map(|row| row.map(|row| (row.path, row.link_id)));
    rows.collect::<Result<_, _>>().with_context(|| path.display().to_string())
}

/// A Linktide that takes chunks.
struct Client {
    http: reqwest::Client,
    url: String,
    /// The watermark when the import began: what lies before it comes late.
    complete_through: Option<Timestamp>,
}

/// What Linktide says of a chunk.
#[derive(Debug, Deserialize)]
pub(crate) struct ChunkOutcome {
    pub(crate) taken: usize,
    pub(crate) already: bool,
    pub(crate) refused: Vec<RefusedRecord>,
}

/// A click of a chunk that Linktide refuses.
#[derive(Debug, Deserialize)]
pub(crate) struct RefusedRecord {
    index: usize,
    reason: String,
    detail: String,
}

impl RefusedRecord {
    /// The refusal with the number of its line.
    fn in_lines(self, lines: &[u64]) -> Refusal {
        Refusal { line: lines.get(self.index).copied().unwrap_or_default(), reason: self.reason, detail: self.detail }
    }
}

impl Client {
    async fn new(url: &str) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let http = client::http(Duration::from_secs(120))?;
        let answer = http.get(format!("{url}/v1/freshness")).send().await;
        let answer = answer.with_context(|| {
            format!("no linktide answers at {url}; start one with `linktide standalone`, or name it by --to")
        })?;
        let unauthorized = answer.status() == reqwest::StatusCode::UNAUTHORIZED;
        let freshness: serde_json::Value =
            answer.json().await.with_context(|| format!("what answers at {url} is no linktide"))?;
        if unauthorized {
            let detail = freshness["detail"].as_str().unwrap_or_default();
            anyhow::bail!("{url}: {detail}; the environment gives a key with the scope ingest as {}", client::KEY);
        }
        // A key that may send need not be one that may ask.
        let through = freshness["complete_through"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let complete_through = through.and_then(|through| Timestamp::from_millis(through.as_millisecond()));
        Ok(Self { http, url, complete_through })
    }

    /// Sends a chunk until it is taken; sent twice, it counts once.
    async fn put(&self, digest: &str, chunk: &Chunk) -> anyhow::Result<ChunkOutcome> {
        let place = format!("{}/v1/imports/{digest}/chunks/{}", self.url, chunk.number);
        let mut attempt = 1;
        loop {
            let failed = match self.http.put(&place).body(chunk.body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer.json().await?),
                Ok(answer) if answer.status().is_client_error() => {
                    anyhow::bail!("chunk {} is refused: {}", chunk.number, answer.text().await?)
                }
                Ok(answer) => anyhow::anyhow!("{}", answer.text().await?),
                Err(error) => error.into(),
            };
            if attempt == ATTEMPTS {
                return Err(failed.context(format!(
                    "chunk {} was not taken; run the import again, nothing counts twice",
                    chunk.number
                )));
            }
            tokio::time::sleep(Duration::from_millis(200) * 2u32.pow(attempt)).await;
            attempt += 1;
        }
    }
}
