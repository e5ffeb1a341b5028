//! A report as people read it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::chart::number;
use super::super::text;
use super::report::{Process, Report, State, since};

/// It in lines: what is wrong first, then the facts, then what is not known.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![match report.state {
        State::Ok => "all is well".to_owned(),
        State::Attention => "this needs someone".to_owned(),
        State::Unknown => "nothing is known".to_owned(),
    }];
    lines.extend(report.faults.iter().map(|fault| format!("! {fault}")));
    lines.push(String::new());
    lines.extend(report.freshness.iter().flat_map(|freshness| layers(report, freshness)));
    lines.extend(facts(report).into_iter().map(|(name, text)| fact(name, &text)));
    lines.extend(report.processes.iter().map(|process| fact("process", &described(process, &report.checked_at))));
    lines.extend(report.unknown.iter().map(|unknown| format!("? {unknown}")));
    lines
}

fn fact(name: &str, text: &str) -> String {
    format!("{name:<17} {text}")
}

/// What `/v1/freshness` says.
fn layers(report: &Report, freshness: &Value) -> Vec<String> {
    let (speed, batch) = (&freshness["layers"]["speed"], &freshness["layers"]["batch"]);
    let ago = |at: &Value| at.as_str().map_or_else(String::new, |at| ago(at, &report.checked_at));
    // Nobody knows what a view holds that does not answer.
    let holds = match &speed["held_from"] {
        Value::Null => String::new(),
        from => format!(", holds from {}", text(from)),
    };
    let as_of = match &speed["as_of"] {
        Value::Null => String::new(),
        as_of => format!(", as of {}", text(as_of)),
    };
    let published = format!("publication {} of {}", batch["publication"], text(&batch["published_at"]));
    vec![
        fact("as of", &format!("{} ({} behind)", text(&freshness["as_of"]), span(freshness["lag_seconds"].as_i64()))),
        fact(
            "complete through",
            &format!("{}{}", text(&freshness["complete_through"]), ago(&freshness["complete_through"])),
        ),
        fact("speed", &format!("{}{as_of}{holds}", text(&speed["state"]))),
        fact("batch", &format!("{}, {published}{}", text(&batch["state"]), ago(&batch["published_at"]))),
    ]
}

/// What processes measure.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    for (layer, name) in [("speed", "speed reads"), ("archive", "archive reads")] {
        if let Some(lag) = report.lag.get(layer) {
            let behind = span(i64::try_from(lag.seconds).ok());
            facts.push((name, format!("{behind} behind, {} records to go", number(lag.records))));
        }
    }
    if let Some(nightly) = &report.nightly {
        let last = nightly.last.as_ref().map_or_else(
            || "none since the process began".to_owned(),
            |run| format!("{} at {}{}", run.outcome, run.at, ago(&run.at, &report.checked_at)),
        );
        let failed = nightly.runs.get("failed").copied().unwrap_or_default();
        let failures = if failed > 0 { format!("; {} failed so far", number(failed)) } else { String::new() };
        facts.push(("nightly run", format!("{last}{failures}")));
    }
    if let Some(audits) = &report.audits {
        let of = |outcome: &str| number(audits.audits.get(outcome).copied().unwrap_or_default());
        let [agreed, drift, not_compared] = ["agreed", "drift", "not_compared"].map(of);
        facts.push((
            "drift",
            format!(
                "{} clicks; of all audits {agreed} agreed, {drift} differed, {not_compared} could not compare",
                number(audits.drift_clicks)
            ),
        ));
    }
    if let Some(clicks) = &report.clicks {
        let all = clicks.lost() + clicks.emitted;
        facts
            .push(("dropped", format!("{} of {} clicks{}", number(clicks.lost()), number(all), list(&clicks.dropped))));
    }
    for (name, counts) in [("records rejected", &report.rejected), ("records refused", &report.refused)] {
        if let Some(counts) = counts {
            facts.push((name, format!("{}{}", number(counts.values().sum()), list(counts))));
        }
    }
    facts.push(("this program", report.version.to_owned()));
    facts
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {}", number(*count))).collect();
    if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) }
}

fn described(process: &Process, checked_at: &str) -> String {
    let Some(layer) = &process.layer else {
        return format!("{} {}", process.url, process.away.as_deref().unwrap_or("does not say what it is"));
    };
    let version = process.version.as_deref().unwrap_or("of no version");
    let ready = match process.ready {
        Some(true) => ", ready",
        Some(false) => ", not ready",
        None => "",
    };
    let began = process.began.as_deref().map_or_else(String::new, |at| format!(", began{}", ago(at, checked_at)));
    format!("{layer} {version} at {}{ready}{began}", process.url)
}

fn ago(at: &str, checked_at: &str) -> String {
    since(at, checked_at).map_or_else(String::new, |since| format!(" ({} ago)", span(Some(since.as_secs()))))
}

/// A number of seconds in the units that matter.
fn span(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds else { return "?".to_owned() };
    match seconds.max(0) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_units_that_matter() {
        let told = [-1, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|seconds| span(Some(seconds)));
        assert_eq!(told, ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h 0 min", "47 h 59 min", "2 d 0 h"]);
        assert_eq!(ago("2026-01-01T00:00:00Z", "2026-01-01T00:01:00.5Z"), " (60 s ago)");
    }
}
