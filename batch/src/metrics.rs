//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::{counter, counters, gauge, gauges};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Clicks committed to `click_event`.
pub(crate) static ARCHIVED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_archive_clicks_total", "Clicks committed to click_event"));

/// Commits that another writer came before.
pub(crate) static CONFLICTS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_table_conflicts_total", "Commits that another writer came before"));

/// Runs of nightly, by what came of them: `published`, `nothing` or `failed`.
pub(crate) static RUNS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_nightly_runs_total", "Runs of nightly: published, nothing or failed", &["outcome"])
});

/// When nightly last ran, by what came of it, in seconds since 1970.
pub(crate) static LAST_RUN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "When nightly last ran, by what came of it, in seconds since 1970";
    gauges("linktide_nightly_last_run_timestamp_seconds", help, &["outcome"])
});

/// Audits of increments, by what came of them: `agreed`, `drift` or `not_compared`.
pub(crate) static AUDITS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_audits_total", "Audits of increments: agreed, drift or not_compared", &["outcome"])
});

/// Clicks by which speed and batch differed in the newest audit that could compare them.
pub(crate) static AUDIT_DRIFT: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Clicks by which speed and batch differed in the newest audit that could compare them";
    gauge("linktide_audit_drift_clicks", help)
});

/// Shows what has not happened yet as 0: a counter that first appears with its first event shows no increase.
pub(crate) fn begin() {
    LazyLock::force(&CONFLICTS);
    LazyLock::force(&AUDIT_DRIFT);
    for outcome in ["published", "nothing", "failed"] {
        RUNS.with_label_values(&[outcome]);
    }
    for outcome in ["agreed", "drift", "not_compared"] {
        AUDITS.with_label_values(&[outcome]);
    }
}
