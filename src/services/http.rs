//! Listening and answering, as every process does that has an API.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::docs;

/// Listens, and tells where: a port of 0 is any that is free.
pub(super) async fn listen(at: SocketAddr) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
    Ok((listener.local_addr()?, listener))
}

/// Serves the routes, and what they are `about` under `/v1/openapi.json` and, for people, `/docs`, until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    about: impl Serialize,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    let about = serde_json::to_value(about).context("describing the API")?;
    let page = docs::page(&about);
    let router = router
        .route("/docs", get(move || std::future::ready(docs::response(page.clone()))))
        .route("/docs/style.css", get(docs::style))
        .route("/v1/openapi.json", get(move || std::future::ready(Json(about.clone()))));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok("api")
}
