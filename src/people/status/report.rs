//! What `linktide status` found out: values alone, as `--json` shows them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::SignedDuration;
use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::clock::Clock;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::exposition::{Figures, Sample, whole};

/// How long after midnight UTC the day before is to be published, whatever the cadence; the alert has the same.
const CLOSED_WITHIN_MS: i64 = 4 * 3_600_000;

/// Whether someone is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// All that is known is well.
    Ok,
    /// Something is not: `faults` says what.
    Attention,
    /// The service does not answer, or not to whoever asks.
    Unknown,
}

impl From<State> for ExitCode {
    /// 2 is a command line that is wrong.
    fn from(state: State) -> Self {
        match state {
            State::Ok => Self::SUCCESS,
            State::Attention => Self::from(1),
            State::Unknown => Self::from(3),
        }
    }
}

/// All of it. What nobody told is none.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) state: State,
    /// What is not well now, each a sentence.
    pub(super) faults: Vec<String>,
    /// What none of the processes asked could tell, and which one can.
    pub(super) unknown: Vec<String>,
    /// When this was found out, by this machine's clock.
    pub(super) checked_at: String,
    /// What `/v1/freshness` answers.
    pub(super) freshness: Option<Value>,
    /// How far readers of the log lie behind, by layer.
    pub(super) lag: BTreeMap<String, Lag>,
    pub(super) nightly: Option<Nightly>,
    pub(super) audits: Option<Audits>,
    pub(super) clicks: Option<Clicks>,
    /// Records in the log that are no clicks, by reason, as the archive counts them since it began.
    pub(super) rejected: Option<BTreeMap<String, u64>>,
    /// Records that the collector refused, by reason, since it began.
    pub(super) refused: Option<BTreeMap<String, u64>>,
    /// Of this program.
    pub(super) version: &'static str,
    /// The one that was asked, first, and others.
    pub(super) processes: Vec<Process>,
}

/// How far a layer's readers lie behind the end of the log: the slowest partition, and all together.
#[derive(Debug, Default, Serialize)]
pub(super) struct Lag {
    pub(super) seconds: u64,
    pub(super) records: u64,
}

/// Runs since the process began.
#[derive(Debug, Serialize)]
pub(super) struct Nightly {
    pub(super) last: Option<Run>,
    /// How many, by what came of them: `published`, `nothing` or `failed`.
    pub(super) runs: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) outcome: String,
    pub(super) at: String,
}

/// Audits since the process began.
#[derive(Debug, Serialize)]
pub(super) struct Audits {
    /// By how many clicks the layers differed in the newest audit that could compare them.
    pub(super) drift_clicks: u64,
    /// How many, by what came of them: `agreed`, `drift` or `not_compared`.
    pub(super) audits: BTreeMap<String, u64>,
}

/// Clicks handed to emitters since they began.
#[derive(Debug, Serialize)]
pub(super) struct Clicks {
    pub(super) emitted: u64,
    /// Lost for good, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
}

impl Clicks {
    pub(super) fn lost(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// A process, as it describes itself.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub(super) url: String,
    /// Why it tells nothing of what it measures.
    pub(super) away: Option<String>,
    pub(super) layer: Option<String>,
    pub(super) version: Option<String>,
    pub(super) began: Option<String>,
    /// None where it does not say.
    pub(super) ready: Option<bool>,
    /// Why it is not ready.
    pub(super) why: Option<String>,
}

type Answer = Result<(StatusCode, String), String>;

impl Process {
    pub(super) fn of(url: String, metrics: Answer, ready: Answer, samples: &[Sample]) -> Self {
        let named = |name: &str| samples.iter().find(|sample| sample.name == name);
        let build = |label: &str| named("linktide_build_info").and_then(|build| build.labels.get(label)).cloned();
        let away = match metrics {
            Err(why) => Some(why),
            Ok((status, _)) if !status.is_success() => Some(format!("does not tell what it measures ({status})")),
            Ok(_) if samples.is_empty() => Some("does not tell what it measures".to_owned()),
            Ok(_) => None,
        };
        let (ready, why) = match ready {
            Ok((StatusCode::SERVICE_UNAVAILABLE, why)) => (Some(false), Some(reason(&why))),
            Ok((status, _)) if status.is_success() => (Some(true), None),
            _ => (None, None),
        };
        let began = named("process_start_time_seconds").and_then(|began| instant(began.value));
        Self { url, away, layer: build("layer"), version: build("version"), began, ready, why }
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        let why = match (&self.away, self.ready) {
            (Some(away), _) => away.clone(),
            (None, Some(false)) => format!("is not ready: {}", self.why.as_deref().unwrap_or("it does not say why")),
            (None, _) => return None,
        };
        Some(format!("{} at {} {why}", self.layer.as_deref().unwrap_or("the process"), self.url))
    }
}

/// The words of a refusal: a problem document's, or all of it.
fn reason(text: &str) -> String {
    let problem: Option<Value> = serde_json::from_str(text).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or(text).trim().to_owned()
}

fn instant(seconds: f64) -> Option<String> {
    jiff::Timestamp::from_second(i64::try_from(whole(seconds)).ok()?).ok().map(|at| at.to_string())
}

impl Report {
    /// What was said, put together.
    pub(super) fn of(freshness: Option<Value>, service: Process, others: Vec<Process>, figures: &Figures) -> Self {
        let mut report = Self {
            freshness,
            lag: lag(figures),
            nightly: nightly(figures),
            audits: audits(figures),
            clicks: clicks(figures),
            rejected: rejected(figures),
            refused: figures
                .counts("linktide_collected_records_total", "outcome")
                .map(|_| figures.counts("linktide_refused_records_total", "reason").unwrap_or_default()),
            ..Self::unknown(String::new())
        };
        report.faults = report.freshness.as_ref().map(lacks).unwrap_or_default();
        report.faults.extend(report.overdue(now()));
        report.faults.extend(others.iter().filter_map(Process::fault));
        report.faults.extend(failed(report.nightly.as_ref(), &others));
        report.faults.extend(stopped(figures));
        if let Some(audits) = report.audits.as_ref().filter(|audits| audits.drift_clicks > 0) {
            report.faults.push(format!("speed and batch differ by {} clicks: linktide audit", audits.drift_clicks));
        }
        report.unknown = report.missing(&service);
        report.processes = std::iter::once(service).chain(others).collect();
        report.state = if report.faults.is_empty() { State::Ok } else { State::Attention };
        report
    }

    /// Nobody answers.
    pub(super) fn unknown(why: String) -> Self {
        Self {
            state: State::Unknown,
            faults: vec![why],
            unknown: Vec::new(),
            checked_at: now().to_string(),
            freshness: None,
            lag: BTreeMap::new(),
            nightly: None,
            audits: None,
            clicks: None,
            rejected: None,
            refused: None,
            version: env!("CARGO_PKG_VERSION"),
            processes: Vec::new(),
        }
    }

    pub(super) fn with_fault(mut self, fault: String) -> Self {
        self.faults.insert(0, fault);
        self.state = State::Attention;
        self
    }

    /// This one, that knows what an earlier one had: counts alone do not tell whether clicks are lost now.
    pub(super) fn behind(self, earlier: &Self) -> Self {
        let lost = |report: &Self| report.clicks.as_ref().map(Clicks::lost);
        match (lost(earlier), lost(&self)) {
            (Some(before), Some(now)) if now > before => {
                self.with_fault(format!("{} clicks were dropped since the last look", now - before))
            }
            _ => self,
        }
    }

    /// A day that should be published by now.
    fn overdue(&self, now: Timestamp) -> Option<String> {
        let complete = self.freshness.as_ref()?["complete_through"].as_str()?;
        let today = Hour::of(now).day().start();
        let late = parsed(complete)? < parsed(&today.to_string())? && now.millis_since(today) >= CLOSED_WITHIN_MS;
        late.then(|| format!("yesterday is not closed: all is complete through {complete} alone"))
    }

    fn missing(&self, service: &Process) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(away) = &service.away {
            missing.push(format!("what the service measures, and its version: {} {away}", service.url));
        }
        let of = [
            ("clicks emitted and dropped, and records refused", self.clicks.is_none(), "ingest"),
            ("records rejected, and the archive's lag", self.rejected.is_none(), "archive"),
            ("the last nightly run, and drift", self.nightly.is_none(), "nightly --every"),
        ];
        let of = of.into_iter().filter(|(_, missing, _)| *missing);
        missing.extend(of.map(|(what, _, layer)| format!("{what}: name a `linktide {layer}` by --process")));
        missing
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn parsed(at: &str) -> Option<jiff::Timestamp> {
    at.parse().ok()
}

/// How long ago an instant was, by the clock that a report was made by.
pub(super) fn since(at: &str, checked_at: &str) -> Option<SignedDuration> {
    Some(parsed(checked_at)?.duration_since(parsed(at)?))
}

/// Reasons and gaps of an answer.
fn lacks(freshness: &Value) -> Vec<String> {
    let list = |name: &str| freshness[name].as_array().into_iter().flatten().filter_map(Value::as_str);
    list("reasons").chain(list("gaps")).map(str::to_owned).collect()
}

fn lag(figures: &Figures) -> BTreeMap<String, Lag> {
    let mut lags: BTreeMap<String, Lag> = BTreeMap::new();
    let layer = |sample: &Sample| sample.labels.get("layer").cloned().unwrap_or_default();
    for sample in figures.named("linktide_log_lag_seconds") {
        let lag = lags.entry(layer(sample)).or_default();
        lag.seconds = lag.seconds.max(whole(sample.value));
    }
    for sample in figures.named("linktide_log_lag_records") {
        lags.entry(layer(sample)).or_default().records += whole(sample.value);
    }
    lags
}

fn nightly(figures: &Figures) -> Option<Nightly> {
    let runs = figures.counts("linktide_nightly_runs_total", "outcome")?;
    let runs_at = figures.named("linktide_nightly_last_run_timestamp_seconds");
    let last = runs_at.max_by(|one, other| one.value.total_cmp(&other.value)).and_then(|run| {
        Some(Run { outcome: run.labels.get("outcome").cloned().unwrap_or_default(), at: instant(run.value)? })
    });
    Some(Nightly { last, runs })
}

fn audits(figures: &Figures) -> Option<Audits> {
    let audits = figures.counts("linktide_audits_total", "outcome")?;
    Some(Audits { drift_clicks: figures.count("linktide_audit_drift_clicks").unwrap_or_default(), audits })
}

fn clicks(figures: &Figures) -> Option<Clicks> {
    let emitted = figures.count("linktide_clicks_emitted_total")?;
    let mut dropped = figures.counts("linktide_clicks_dropped_total", "reason").unwrap_or_default();
    dropped.retain(|_, clicks| *clicks > 0);
    Some(Clicks { emitted, dropped })
}

/// The archive reads each record once, whatever other layers do.
fn rejected(figures: &Figures) -> Option<BTreeMap<String, u64>> {
    let of_archive = |sample: &&Sample| sample.labels.get("layer").is_some_and(|layer| layer == "archive");
    figures.named("linktide_log_lag_seconds").find(of_archive)?;
    let mut rejected = BTreeMap::new();
    for sample in figures.named("linktide_records_left_out_total").filter(of_archive) {
        let reason = sample.labels.get("reason").cloned().unwrap_or_default();
        if reason != "copy" && sample.value > 0.0 {
            *rejected.entry(reason).or_default() += whole(sample.value);
        }
    }
    Some(rejected)
}

/// A run that failed. A process of nightly alone says by its readiness whether that still matters: once the tables are
/// there again and nothing is due, it runs nothing.
fn failed(nightly: Option<&Nightly>, processes: &[Process]) -> Option<String> {
    let last = nightly?.last.as_ref().filter(|run| run.outcome == "failed")?;
    let told = processes.iter().any(|process| process.layer.as_deref() == Some("nightly") && process.ready.is_some());
    (!told).then(|| format!("the nightly run of {} failed: its log says why", last.at))
}

fn stopped(figures: &Figures) -> Vec<String> {
    let stopped = figures.named("linktide_partitions_stopped").filter(|sample| sample.value > 0.0);
    let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    let words = |sample: &Sample| {
        let [layer, partition, reason] = ["layer", "partition", "reason"].map(|name| label(sample, name));
        format!("{layer} reads partition {partition} no further: {reason}")
    };
    stopped.map(words).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::people::status::exposition::parse;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(parsed(text).unwrap().as_millisecond()).unwrap()
    }

    fn of(figures: &str) -> Report {
        let mut all = Figures::default();
        all.add(parse(figures));
        let ok = |text: &str| Ok((StatusCode::OK, text.to_owned()));
        Report::of(None, Process::of("here".into(), ok(figures), ok("ready"), &parse(figures)), Vec::new(), &all)
    }

    #[test]
    fn yesterday_is_due_at_four() {
        let freshness = json!({ "complete_through": "2026-03-01T23:00:00Z" });
        let report = Report { freshness: Some(freshness), ..Report::unknown(String::new()) };
        assert_eq!(report.overdue(at("2026-03-02T03:59:59Z")), None);
        assert!(report.overdue(at("2026-03-02T04:00:00Z")).unwrap().starts_with("yesterday is not closed"));
        let freshness = json!({ "complete_through": "2026-03-02T00:00:00Z" });
        let closed = Report { freshness: Some(freshness), ..report };
        assert_eq!(closed.overdue(at("2026-03-02T23:00:00Z")), None);
    }

    #[test]
    fn what_needs_someone_is_what_is_wrong_now() {
        let well = of("linktide_clicks_emitted_total 7\nlinktide_clicks_dropped_total{reason=\"expired\"} 3\n");
        assert_eq!((well.state, well.clicks.as_ref().unwrap().lost()), (State::Ok, 3));
        assert!(well.unknown.iter().any(|unknown| unknown.contains("linktide archive")), "{:?}", well.unknown);
        let more =
            of("linktide_clicks_emitted_total 7\nlinktide_clicks_dropped_total{reason=\"expired\"} 5\n").behind(&well);
        assert_eq!(more.faults, ["2 clicks were dropped since the last look"]);

        let wrong = of("linktide_nightly_runs_total{outcome=\"failed\"} 1\n\
                        linktide_nightly_last_run_timestamp_seconds{outcome=\"published\"} 5\n\
                        linktide_nightly_last_run_timestamp_seconds{outcome=\"failed\"} 6\n\
                        linktide_audits_total{outcome=\"drift\"} 1\nlinktide_audit_drift_clicks 9\n\
                        linktide_partitions_stopped{layer=\"speed\",partition=\"3\",reason=\"clock_ahead\"} 1\n");
        assert_eq!(
            wrong.faults,
            [
                "the nightly run of 1970-01-01T00:00:06Z failed: its log says why",
                "speed reads partition 3 no further: clock_ahead",
                "speed and batch differ by 9 clicks: linktide audit",
            ]
        );
        assert_eq!(wrong.state, State::Attention);
        let mended = of("linktide_nightly_runs_total{outcome=\"failed\"} 1\n\
                         linktide_nightly_last_run_timestamp_seconds{outcome=\"published\"} 7\n\
                         linktide_nightly_last_run_timestamp_seconds{outcome=\"failed\"} 6\n");
        assert_eq!((mended.state, mended.nightly.unwrap().last.unwrap().outcome.as_str()), (State::Ok, "published"));
    }

    #[test]
    fn process_that_is_not_ready_says_why_in_its_own_words() {
        let metrics = "linktide_build_info{version=\"1.2.3\",layer=\"nightly\"} 1\n";
        let process = |ready: &str| {
            let ready = Ok((StatusCode::SERVICE_UNAVAILABLE, ready.to_owned()));
            Process::of("http://n".into(), Ok((StatusCode::OK, metrics.to_owned())), ready, &parse(metrics))
        };
        assert_eq!(
            process("the last run failed: no bucket").fault().unwrap(),
            "nightly at http://n is not ready: the last run failed: no bucket"
        );
        assert!(process("{\"detail\": \"counting\"}").fault().unwrap().ends_with("not ready: counting"));
        let gone = Process::of("http://n".into(), Err("does not answer".into()), Err("does not answer".into()), &[]);
        assert_eq!(gone.fault().unwrap(), "the process at http://n does not answer");
    }
}
