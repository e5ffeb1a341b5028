//! `linktide status`: how fresh a running Linktide is, what it lacks, and whether that needs someone.
//!
//! What it says comes from three places, and what none of them tells it calls unknown, never zero:
//!
//! - `/v1/freshness` of the service: layers, `as_of`, the watermark, the newest publication.
//! - `/metrics` and `/readyz` of the service and of each `--process`: runs, audits, drops, rejects, lag, versions. A
//!   `standalone` is all layers, so that its own are enough; otherwise each layer is a process and knows its part.
//! - The clock of this machine, for what is overdue.

mod exposition;
mod report;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::Url;
use tokio::task::JoinHandle;

use self::exposition::{Figures, Sample};
use self::report::{Process, Report, State};
use super::Service;
use super::service::Refused;
use crate::cli::say;
use crate::client;
use crate::config::Span;

/// How long a process may take to say what it measures.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clears a terminal and goes to its first letter.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What is asked, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    service: Service,
    /// Another process of the same Linktide, asked for /metrics and /readyz; may be given several times
    #[arg(long = "process", value_name = "URL", env = "LINKTIDE_PROCESSES", value_delimiter = ',', value_parser = process)]
    processes: Vec<Url>,
    /// One JSON document, for programs; with --watch one a line
    #[arg(long)]
    json: bool,
    /// Look again every so often, until Ctrl-C
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "2s", value_parser = every)]
    watch: Option<Span>,
}

fn process(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    url.ok_or_else(|| format!("`{text}` is no address; write http://archive:9101"))
}

fn every(text: &str) -> Result<Span, String> {
    let every: Span = text.parse()?;
    if every.0.is_zero() { Err("write how long to wait, such as 2s".to_owned()) } else { Ok(every) }
}

/// Tells it once, or until `told` to stop; ends with what [`State`] says of the last look.
///
/// # Errors
/// Where it cannot be written.
pub(crate) async fn status(asked: &Status, told: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let mut report = look(asked).await?;
    let Some(every) = asked.watch else {
        match (asked.json, report.state) {
            (true, _) => say(&serde_json::to_string_pretty(&report)?)?,
            (false, State::Unknown) => {
                // Nothing is left to be told where even this cannot be written.
                let _ = writeln!(std::io::stderr(), "linktide: {}", report.faults.join("; "));
            }
            (false, _) => say(&text::lines(&report).join("\n"))?,
        }
        return Ok(report.state.into());
    };
    let mut told = std::pin::pin!(told);
    let begins = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    loop {
        if asked.json {
            say(&serde_json::to_string(&report)?)?;
        } else {
            say(&format!("{begins}{}\n", text::lines(&report).join("\n")))?;
        }
        tokio::select! {
            () = &mut told => return Ok(report.state.into()),
            () = tokio::time::sleep(every.0) => {}
        }
        let next = tokio::select! {
            () = &mut told => return Ok(report.state.into()),
            next = look(asked) => next?,
        };
        report = next.behind(&report);
    }
}

/// Asks everyone at once.
async fn look(asked: &Status) -> anyhow::Result<Report> {
    // The key is for the service alone: no other process asks for one.
    let strangers = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let ask = |url: String| tokio::spawn(measured(strangers.clone(), url));
    let service = ask(asked.service.base().to_owned());
    let others: Vec<_> = asked.processes.iter().map(|url| ask(url.as_str().trim_end_matches('/').to_owned())).collect();
    let freshness = asked.service.ask(client::http(PATIENCE * 3)?, "/v1/freshness").await;
    let (mut figures, mut processes) = (Figures::default(), Vec::new());
    let (service, samples) = joined(service).await?;
    figures.add(samples);
    for other in others {
        let (process, samples) = joined(other).await?;
        figures.add(samples);
        processes.push(process);
    }
    Ok(match freshness {
        Ok(freshness) => Report::of(Some(freshness), service, processes, &figures),
        // It is there, and says why it does not answer.
        Err(error) => match error.downcast::<Refused>() {
            Ok(refused) if refused.status.is_server_error() => {
                Report::of(None, service, processes, &figures).with_fault(refused.to_string())
            }
            Ok(refused) => Report::unknown(refused.to_string()),
            Err(error) => Report::unknown(format!("{error:#}")),
        },
    })
}

async fn joined(asked: JoinHandle<(Process, Vec<Sample>)>) -> anyhow::Result<(Process, Vec<Sample>)> {
    Ok(asked.await?)
}

/// What a process says of itself.
async fn measured(client: reqwest::Client, url: String) -> (Process, Vec<Sample>) {
    let get = async |path: &str| {
        let answer = client.get(format!("{url}{path}")).send().await.map_err(|_| "does not answer".to_owned())?;
        let status = answer.status();
        answer.text().await.map(|text| (status, text)).map_err(|_| "does not answer to the end".to_owned())
    };
    let (metrics, ready) = tokio::join!(get("/metrics"), get("/readyz"));
    let samples = match &metrics {
        Ok((status, text)) if status.is_success() => exposition::parse(text),
        _ => Vec::new(),
    };
    (Process::of(url, metrics, ready, &samples), samples)
}
