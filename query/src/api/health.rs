//! Whether the process lives, whether it should be asked, and what it measures.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::json;

use crate::state::Query;

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, description = "it lives")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the process should be asked: something is published, and the last hours have been counted once.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses((status = 200, description = "it is ready")))]
pub(super) async fn readyz(State(query): State<Query>) -> Result<&'static str, Problem> {
    let basis = query.basis().await?;
    let now = query.clock.now();
    if query.has_caught_up(basis.caught_up(now, &query.config)) {
        return Ok("ready\n");
    }
    let freshness = basis.freshness(now, &query.config, Vec::new());
    let detail = format!("the last hours are still being counted: answers are as of {}", freshness.as_of);
    Err(Problem::new(ProblemKind::NotReady, detail).with("reasons", json!(freshness.reasons)).retry_after(1))
}

/// What the process measures, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, description = "metrics of Prometheus' text format")))]
pub(super) async fn metrics(State(query): State<Query>) -> Response {
    // Nobody may be asking anything, and the figure of the last question would stand.
    if let Ok(basis) = query.basis().await {
        basis.measure(query.clock.now());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], linktide_common::metrics::render()).into_response()
}
