//! `linktide stats`: one link, or all, at a glance.

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::chart::{bar, change, number, sparkline, visitors};
use super::{Which, freshness, name, text};

/// What is broken down.
const DIMENSIONS: [&str; 4] = ["country", "referrer", "device", "browser"];

/// Which link is described.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// A link's id or its slug; without it, all links together
    link: Option<String>,
    #[command(flatten)]
    which: Which,
}

/// Describes it.
///
/// # Errors
/// Where the service does not answer, no link has that slug, or an option is none.
pub(crate) async fn describe(asked: &Stats) -> anyhow::Result<String> {
    let link = match &asked.link {
        Some(link) => Some(link_id(asked, link).await?),
        None => None,
    };
    let compare = (asked.which.last != "all").then_some("previous");
    let unit = if ["24h", "7d"].contains(&asked.which.last.as_str()) { "hour" } else { "day" };
    let body = json!({
        "interval": asked.which.last, "traffic": asked.which.traffic, "timezone": asked.which.timezone,
        "questions": [
            { "ask": "summary", "link_id": link, "compare": compare },
            { "ask": "timeseries", "link_id": link, "unit": unit },
            { "ask": "breakdown", "link_id": link, "by": DIMENSIONS, "limit": 5 },
        ],
    });
    let answer = asked.which.service.post("/v1/query", &body).await?;
    if asked.which.json {
        return Ok(serde_json::to_string_pretty(&answer)?);
    }
    let [summary, series, values] = [0, 1, 2].map(|at| &answer["results"][at]["results"]);
    let title = link.as_deref().map_or_else(|| "all links".to_owned(), |link| name(link, &summary["label"]));
    let range = &answer["results"][0]["range"];
    let mut lines = vec![
        format!("{title}  ({}, {} to {})", asked.which.last, text(&range["start"]), text(&range["end"])),
        String::new(),
    ];
    lines.extend(totals(summary));
    let clicks: Vec<u64> = series.as_array().into_iter().flatten().map(|bucket| count(bucket, "clicks")).collect();
    lines.extend([String::new(), format!("  {}", sparkline(&clicks)), String::new()]);
    lines.extend(values.as_array().into_iter().flatten().flat_map(breakdown));
    lines.extend(freshness(&answer));
    Ok(lines.join("\n"))
}

/// The id of the link that is meant: digits are an id, anything else a slug.
async fn link_id(asked: &Stats, link: &str) -> anyhow::Result<String> {
    if !link.is_empty() && link.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(link.to_owned());
    }
    let slug = link.trim_start_matches('/');
    let search = url::form_urlencoded::Serializer::new(String::new()).append_pair("search", slug).finish();
    let found = asked.which.service.get(&format!("/v1/links?interval=all&traffic=all&limit=1000&{search}")).await?;
    let mut links = found["results"]["links"].as_array().into_iter().flatten();
    let link = links.find(|link| link["label"]["slug"] == slug);
    let link = link
        .with_context(|| format!("no link with clicks has the slug `{slug}`; `linktide top --search` finds links"))?;
    Ok(text(&link["link_id"]))
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

fn totals(summary: &Value) -> Vec<String> {
    let (uniques, then) = (&summary["uniques"], &summary["comparison"]);
    let (people, about) = visitors(uniques);
    // Of other traffic than people's nobody counts repeats.
    let unique = summary["unique_clicks"].as_u64().map(|unique| format!("{:>12}  without repeats", number(unique)));
    let clicks =
        format!("{:>12}  clicks    {}", number(count(summary, "clicks")), change(then["clicks_change"].as_f64()));
    let rest = [
        format!("{people:>12}  visitors  {} ({about}, each day's anew)", change(then["uniques_change"].as_f64()),),
        format!("{:>12}  bots", number(count(summary, "bots"))),
        format!("{:>12}  previews", number(count(summary, "previews"))),
    ];
    [clicks].into_iter().chain(unique).chain(rest).collect()
}

fn breakdown(of: &Value) -> Vec<String> {
    let values: Vec<&Value> = of["values"].as_array().into_iter().flatten().collect();
    let most = values.iter().map(|value| count(value, "clicks")).max().unwrap_or_default();
    let mut lines = vec![format!("  {}", text(&of["dimension"]))];
    lines.extend(values.into_iter().map(|value| {
        let clicks = count(value, "clicks");
        let share = value["share"].as_f64().unwrap_or_default() * 100.0;
        format!("{:>12}  {share:>5.1} %  {:<20}  {}", number(clicks), bar(clicks, most), text(&value["value"]))
    }));
    lines.push(String::new());
    lines
}
