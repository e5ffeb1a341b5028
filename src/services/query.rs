//! `linktide query`: the API over Redis and the tables, in a process of its own. Any number of them answer alike: none
//! keeps anything but caches.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use linktide_batch::reader::Tables;
use linktide_batch::{Access, Lake};
use linktide_common::clock::Clock;
use linktide_common::metrics;
use linktide_query::{Query, QueryConfig};
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{RedisView, View, ViewError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::access::{self, Entrance};
use super::tasks::Tasks;
use super::{http, lake, outward, redis};
use crate::config::{Config, Connections};
use crate::schedule;

/// How long questions that are being answered may take at the end.
const BUDGET: Duration = Duration::from_secs(10);

/// The API alone.
pub struct QueryService {
    /// Where it listens.
    pub address: SocketAddr,
    lake: Lake,
    look_every: Duration,
    listener: TcpListener,
    router: Router,
    query: Query,
    entrance: Entrance,
    bounds: Connections,
    stop: CancellationToken,
}

impl QueryService {
    /// Opens both layers for reading. A Redis that does not answer is no reason to wait: history is answered without it,
    /// and says so; with `fail_fast` it ends the process.
    ///
    /// # Errors
    /// Where a setting is wrong or missing, Redis refuses us or evicts keys, the tables cannot be opened, or the address is
    /// taken or not of this machine alone.
    pub async fn spawn(config: &Config, fail_fast: bool) -> anyhow::Result<Self> {
        metrics::tell_build("query");
        access::refuse_strangers(&config.access, config.api.listen)?;
        // Exports and webhooks are kept in the lake.
        let writes = config.export.enabled || (config.webhook.enabled && config.webhook.key.is_some());
        let access = if writes { Access::Write } else { Access::Read };
        let lake = lake::open(&config.lake, access, fail_fast).await?;
        let own = lake::place(&config.lake)?;
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
        let (address, listener) = http::listen(config.api.listen).await?;
        let clock = Clock::system();
        let entrance = Entrance::new(config, Some(&lake), &clock, config.access.trusted_proxies)?;
        let stop = CancellationToken::new();
        let reader = SpeedReader::new(Arc::clone(&view) as Arc<dyn View>).with_apart(Arc::new(view.apart()));
        let query = query(config, &lake, own, reader, None, &clock, &entrance, stop.clone())?;
        let router = linktide_query::router(query.clone());
        let (look_every, bounds) = (config.lake.look_every.0, config.api.connections.clone());
        Ok(Self { address, lake, look_every, listener, router, query, entrance, bounds, stop })
    }

    /// Answers until told to stop, or until a task ends on its own, which is an error.
    ///
    /// # Errors
    /// What ended it.
    pub async fn run(self, told: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (mut tasks, stop) = (Tasks::default(), self.stop);
        tasks.spawn(schedule::follow(self.lake, self.look_every, stop.clone()));
        tasks.spawn(work_of(self.query));
        self.entrance.follow(&mut tasks, &stop);
        let about = linktide_query::openapi();
        tasks.spawn(http::serve(self.listener, self.router, about, self.bounds, stop.clone()));
        let outage = tasks.until(told).await;
        stop.cancel();
        outage.and(tasks.end_within(BUDGET).await)
    }
}

/// The API over a view and the tables. Exports read and write through a connection of their `own`: whatever they move, no
/// question waits behind it. It ends with `stop`.
#[expect(clippy::too_many_arguments, reason = "what an API is made of")]
pub(super) fn query(
    config: &Config,
    lake: &Lake,
    own: Lake,
    speed: SpeedReader,
    key: Option<&Path>,
    clock: &Clock,
    entrance: &Entrance,
    stop: CancellationToken,
) -> anyhow::Result<Query> {
    let answers = QueryConfig {
        deadline: config.api.deadline.0,
        stale_after: config.api.stale_after.0,
        visitor: config.enrich.visitor,
        exact_visitors: config.api.exact_visitors.0.map(|most| most as usize),
        repeats: config.repeats.windows(),
        live_every: config.api.live_every.0,
        live_streams: config.api.live_streams,
    };
    let tables = Arc::new(Tables::new(lake.clone(), config.api.file_cache.0));
    let (ahead, publications, over) = (Arc::clone(&tables), lake.publications().watch(), stop.clone());
    // It opens what is published before anybody asks; whoever asks earlier opens it all the same.
    tokio::spawn(async move { ahead.keep_ready(publications, over).await });
    let query = Query::new(tables, speed, lake.publications().clone(), clock.clone(), answers, stop);
    outward::with_exports_and_webhooks(config, query.behind(entrance.gate.clone()), own, key)
}

/// What the API does beside answering.
pub(super) async fn work_of(query: Query) -> anyhow::Result<&'static str> {
    query.work().await;
    Ok("exports and webhooks")
}
