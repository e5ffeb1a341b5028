//! What a process without an API of its own answers: how it is, and what it measures.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::http;
use crate::config::Connections;

/// Answers `/healthz`, `/readyz` and `/metrics` until `stop`; `ready` says why the process is not.
pub(super) async fn serve<R>(
    listen: SocketAddr,
    ready: impl Fn() -> R + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> anyhow::Result<&'static str>
where
    R: Future<Output = Result<(), String>> + Send,
{
    let (_, listener) = http::listen(listen).await?;
    let readiness = move || {
        let ready = ready.clone();
        async move {
            ready()
                .await
                .map_or_else(|why| (StatusCode::SERVICE_UNAVAILABLE, why), |()| (StatusCode::OK, "ready".to_owned()))
        }
    };
    let router = Router::new()
        .route("/healthz", get(|| std::future::ready("healthy")))
        .route("/readyz", get(readiness))
        .route("/metrics", get(|| std::future::ready(linktide_common::metrics::render())));
    http::answer(listener, router, Connections::default(), stop).await;
    Ok("probes")
}
