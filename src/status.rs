//! `linktide status`: what a running Linktide says of itself.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::client;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the service at `url`, and describes it in a few lines.
///
/// # Errors
/// Where it does not answer.
pub(crate) async fn describe(url: &str) -> anyhow::Result<String> {
    let place = format!("{}/v1/freshness", url.trim_end_matches('/'));
    let answer = client::http(PATIENCE)?.get(&place).send().await;
    let response = answer.with_context(|| format!("no linktide answers at {url}; is it running?"))?;
    let answer: Value = response.json().await.with_context(|| format!("what answers at {url} is no linktide"))?;
    if let Some(detail) = answer["detail"].as_str() {
        anyhow::bail!("{url}: {detail}");
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let layers = &answer["layers"];
    let mut lines = vec![
        format!("as of             {}  ({} s ago)", text(&answer["as_of"]), answer["lag_seconds"]),
        format!("complete through  {}", text(&answer["complete_through"])),
        format!(
            "speed             {}, holds from {}",
            text(&layers["speed"]["state"]),
            text(&layers["speed"]["held_from"])
        ),
        format!(
            "batch             {}, publication {} of {}",
            text(&layers["batch"]["state"]),
            layers["batch"]["publication"],
            text(&layers["batch"]["published_at"])
        ),
    ];
    for (name, list) in [("stale", &answer["reasons"]), ("missing", &answer["gaps"])] {
        lines.extend(list.as_array().into_iter().flatten().map(|reason| format!("{name:<17} {}", text(reason))));
    }
    Ok(lines.join("\n"))
}
