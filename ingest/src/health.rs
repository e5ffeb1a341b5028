//! What a process that is the front door alone says of itself: whether it lives, whether it should be asked, and what it
//! measures. The places are those of the API.
//!
//! It is ready from its start until it is told to end. A log that is away does not make it unready: redirects are answered
//! all the same, and clicks wait in the emitter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use linktide_common::problem::{Problem, ProblemKind};

/// Whether the process should be asked. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether it should, from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// `/healthz`, `/readyz` and `/metrics`, and what is told where nothing is.
pub fn health(ready: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ready)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
}

async fn readyz(State(ready): State<Readiness>) -> Result<&'static str, Problem> {
    if ready.0.load(Ordering::Acquire) {
        return Ok("ready\n");
    }
    Err(Problem::new(ProblemKind::NotReady, "this process begins or ends; ask another").retry_after(1))
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], linktide_common::metrics::render()).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(ProblemKind::NotFound, format!("nothing is at `{path}`"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, format!("{method} is not for {}", uri.path()))
}
