//! Commands for people: what a running Linktide says, in the terminal.

mod chart;
mod service;
mod stats;
mod status;
mod top;

pub(crate) use chart::number;
pub(crate) use service::Service;
pub(crate) use stats::{Stats, describe as stats};
pub(crate) use status::{Status, status};
pub(crate) use top::{Top, describe as top};

use clap::Args;
use serde_json::Value;

/// Which clicks are asked about, of which Linktide, and how they are shown.
#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    service: Service,
    /// Of which range: 24h, 7d, 30d, 90d, 12mo, mtd, qtd, ytd or all
    #[arg(long, value_name = "RANGE", default_value = "7d")]
    last: String,
    /// Whose clicks: human, bot or all
    #[arg(long, default_value = "human")]
    traffic: String,
    /// Whose days: a name of the IANA database
    #[arg(long, default_value = "UTC")]
    timezone: String,
    /// What the API answers, for programs
    #[arg(long)]
    json: bool,
}

/// A value as people read it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a link is called: its slug, or its id where it has none, and its title.
fn name(link_id: &str, label: &Value) -> String {
    let slug = label["slug"].as_str().map_or_else(|| format!("link {link_id}"), |slug| format!("/{slug}"));
    match label["title"].as_str() {
        Some(title) => format!("{slug}  {title}"),
        None => slug,
    }
}

/// How fresh an answer is, and what it lacks: a line, and one for each reason.
fn freshness(answer: &Value) -> Vec<String> {
    let freshness = &answer["meta"]["freshness"];
    let mut lines = vec![format!("as of {} ({} s ago)", text(&freshness["as_of"]), freshness["lag_seconds"])];
    for list in ["reasons", "gaps"] {
        lines.extend(freshness[list].as_array().into_iter().flatten().map(|reason| format!("! {}", text(reason))));
    }
    lines
}
