//! `linktide query`: the API over Redis and the tables, in a process of its own. Any number of them answer alike: none
//! keeps anything but caches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::routing::get;
use axum::{Json, Router};
use linktide_batch::reader::Tables;
use linktide_batch::{Access, Lake};
use linktide_common::clock::Clock;
use linktide_query::{Query, QueryConfig};
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{RedisView, View, ViewError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{lake, redis};
use crate::config::Config;
use crate::schedule;

/// The API alone.
pub struct QueryService {
    /// Where it listens.
    pub address: SocketAddr,
    lake: Lake,
    look_every: Duration,
    listener: TcpListener,
    router: Router,
}

impl QueryService {
    /// Opens both layers for reading. A Redis that does not answer is no reason to wait: history is answered without it,
    /// and says so; with `fail_fast` it ends the process.
    ///
    /// # Errors
    /// Where a setting is wrong or missing, Redis refuses us or evicts keys, the tables cannot be opened, or the address is
    /// taken or not of this machine alone.
    pub async fn spawn(config: &Config, fail_fast: bool) -> anyhow::Result<Self> {
        refuse_strangers(config.api.listen)?;
        let lake = lake::open(&config.lake, Access::Read, fail_fast).await?;
        let view = Arc::new(RedisView::new(&redis(config))?);
        match view.connect().await {
            Err(ViewError::Unavailable(why)) if !fail_fast => {
                tracing::warn!(why, "redis does not answer: recent clicks are missing until it does");
            }
            connected => connected?,
        }
        if lake.publications().latest().await?.is_none() {
            tracing::warn!("nothing is published yet: questions are refused until the archive has begun");
        }
        let (address, listener) = listen(config.api.listen).await?;
        let router = router(config, &lake, view, &Clock::system());
        Ok(Self { address, lake, look_every: config.lake.look_every.0, listener, router })
    }

    /// Answers until told to stop.
    ///
    /// # Errors
    /// What ended it.
    pub async fn run(self, told: impl Future<Output = ()>) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let followed = tokio::spawn(schedule::follow(self.lake, self.look_every, stop.clone()));
        let served = tokio::spawn(serve(self.listener, self.router, linktide_query::openapi(), stop.clone()));
        told.await;
        stop.cancel();
        served.await??;
        followed.await?.map(|_| ())
    }
}

/// Without keys, everyone who reaches the address sees everything: only this machine may.
pub(super) fn refuse_strangers(listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        listen.ip().is_loopback(),
        "api.listen is {listen}, but without keys linktide listens on this machine alone; use 127.0.0.1, and a proxy in front that knows who asks"
    );
    Ok(())
}

/// Listens, and tells where: a port of 0 is any that is free.
pub(super) async fn listen(at: SocketAddr) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
    Ok((listener.local_addr()?, listener))
}

/// The routes of the API over a view and the tables.
pub(super) fn router(config: &Config, lake: &Lake, view: Arc<dyn View>, clock: &Clock) -> Router {
    let answers = QueryConfig {
        deadline: config.api.deadline.0,
        stale_after: config.api.stale_after.0,
        visitor: config.enrich.visitor,
    };
    let tables = Arc::new(Tables::new(lake.clone(), config.api.file_cache.0));
    let query = Query::new(tables, SpeedReader::new(view), lake.publications().clone(), clock.clone(), answers);
    linktide_query::router(query)
}

/// Serves the routes, and what they are `about`, until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    about: impl Serialize,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    let about = Json(serde_json::to_value(about).context("describing the API")?);
    let router = router.route("/v1/openapi.json", get(move || std::future::ready(about.clone())));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok("api")
}
