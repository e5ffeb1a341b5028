//! `linktide top`: the links with the most clicks.

use clap::Args;
use serde_json::Value;

use super::chart::{bar, number};
use super::{Which, freshness, name, text};

/// Which links are listed.
#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    which: Which,
    /// How many
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Only those with this in slug, title or destination
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

/// Lists them.
///
/// # Errors
/// Where the service does not answer, or an option is none.
pub(crate) async fn describe(asked: &Top) -> anyhow::Result<String> {
    let limit = asked.limit.to_string();
    let search = asked.search.iter().map(|text| ("search", text.as_str()));
    let parameters = [
        ("interval", asked.which.last.as_str()),
        ("limit", &limit),
        ("traffic", &asked.which.traffic),
        ("timezone", &asked.which.timezone),
    ];
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters.into_iter().chain(search))
        .finish();
    let answer = asked.which.service.get(&format!("/v1/links?{query}")).await?;
    if asked.which.json {
        return Ok(serde_json::to_string_pretty(&answer)?);
    }
    let results = &answer["results"];
    let count = |value: &Value| value["clicks"].as_u64().unwrap_or_default();
    let links: Vec<&Value> = results["links"].as_array().into_iter().flatten().collect();
    let most = links.iter().map(|link| count(link)).max().unwrap_or_default();
    let unique = |link: &Value| link["unique_clicks"].as_u64();
    // Clicks without repeats are a column of their own, where they are told.
    let column = |text: String| {
        if links.iter().any(|link| unique(link).is_some()) { format!("{text:>12}  ") } else { String::new() }
    };
    let mut lines: Vec<String> = links
        .iter()
        .map(|link| {
            let (clicks, id) = (count(link), text(&link["link_id"]));
            let unique = column(unique(link).map_or_else(|| "–".to_owned(), number));
            format!("{:>12}  {unique}{:<20}  {}", number(clicks), bar(clicks, most), name(&id, &link["label"]))
        })
        .collect();
    let heading = column("no repeats".to_owned());
    if !heading.is_empty() {
        lines.insert(0, format!("{:>12}  {}", "clicks", heading.trim_end()));
    }
    let other = results["other"].as_u64().unwrap_or_default();
    if other > 0 {
        lines.push(format!("{:>12}  {}{:<20}  other links", number(other), column(String::new()), ""));
    }
    lines.push(format!(
        "{:>12}  clicks of {} links",
        number(results["total"].as_u64().unwrap_or_default()),
        results["count"]
    ));
    lines.extend(freshness(&answer));
    Ok(lines.join("\n"))
}
