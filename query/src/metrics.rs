//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use linktide_common::metrics::{counter, counters, gauge};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge};

/// Answers that lacked a layer.
pub(crate) static LAYERS_AWAY: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("linktide_answers_without_layer_total", "Answers that lacked a layer", &["layer"]));

/// Exports, by how they were handed over, their format and what came of them.
pub(crate) static EXPORTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Exports, by how they were handed over, their format and what came of them";
    counters("linktide_exports_total", help, &["way", "format", "outcome"])
});

/// Thresholds and milestones that were reached.
pub(crate) static WEBHOOK_EVENTS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_webhook_events_total", "Thresholds and milestones that were reached"));

/// Events of webhooks that are over, by what came of them.
pub(crate) static WEBHOOK_DELIVERIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Events of webhooks that are over, by what came of them";
    counters("linktide_webhook_deliveries_total", help, &["outcome"])
});

/// How far answers lie behind the present, in seconds.
pub(crate) static LAG: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_as_of_lag_seconds", "How far answers lie behind the present, in seconds"));

/// Questions that began again because the watermark moved under them.
pub(crate) static RESTARTS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_questions_restarted_total", "Questions that began again because the watermark moved under them")
});

/// Breakdowns whose values exceeded their total: a fault of a layer.
pub(crate) static SUMS_DISAGREE: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_sums_disagreeing_total", "Breakdowns whose values exceeded their total: a fault of a layer")
});

/// How long requests took, by route and status.
static REQUESTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "How long requests took, by route and status";
    let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let options = HistogramOpts::new("linktide_query_request_seconds", help).buckets(buckets);
    let requests = HistogramVec::new(options, &["route", "status"]).expect("a metric's name is valid");
    prometheus::register(Box::new(requests.clone())).expect("a metric is registered once");
    requests
});

/// Shows what has not happened yet as 0: a counter that first appears with its first event shows no increase.
pub(crate) fn begin() {
    LazyLock::force(&SUMS_DISAGREE);
    for layer in ["batch", "speed"] {
        LAYERS_AWAY.with_label_values(&[layer]);
    }
}

/// Measures each request under the route it matched: paths of callers never become labels.
pub(crate) async fn measure(route: MatchedPath, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    REQUESTS.with_label_values(&[route.as_str(), status.as_str()]).observe(begun.elapsed().as_secs_f64());
    response
}
