//! `linktide status`: how fresh a running Linktide is, and what it lacks.

use serde_json::Value;

use super::{Service, text};

/// Describes it in a few lines.
///
/// # Errors
/// Where it does not answer.
pub(crate) async fn describe(service: &Service) -> anyhow::Result<String> {
    let answer = service.get("/v1/freshness").await?;
    let layers = &answer["layers"];
    // Nobody knows what a view holds that does not answer.
    let holds = match &layers["speed"]["held_from"] {
        Value::Null => String::new(),
        from => format!(", holds from {}", text(from)),
    };
    let mut lines = vec![
        format!("as of             {}  ({} s ago)", text(&answer["as_of"]), answer["lag_seconds"]),
        format!("complete through  {}", text(&answer["complete_through"])),
        format!("speed             {}{holds}", text(&layers["speed"]["state"])),
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
