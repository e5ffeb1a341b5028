//! `linktide query`: the API over Redis and the tables, in a process of its own. Any number of them answer alike: none
//! keeps anything but caches.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use linktide_batch::reader::Tables;
use linktide_batch::reader::raw::RawClicks;
use linktide_batch::{Access, Lake};
use linktide_common::clock::Clock;
use linktide_common::secret::Secret;
use linktide_query::{ExportConfig, Exports, Presign, Query, QueryConfig, WebhookConfig, Webhooks};
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{RedisView, View, ViewError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use super::{http, lake, redis, secret_file};
use crate::config::{ByteSize, Config};
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
        // Exports and webhooks are kept in the lake.
        let writes = config.export.enabled || (config.webhook.enabled && config.webhook.key.is_some());
        let access = if writes { Access::Write } else { Access::Read };
        let lake = lake::open(&config.lake, access, fail_fast).await?;
        let own = lake::of(&config.lake)?;
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
        let query = query(config, &lake, own, view, None, &Clock::system())?;
        let router = linktide_query::router(query.clone());
        Ok(Self { address, lake, look_every: config.lake.look_every.0, listener, router, query })
    }

    /// Answers until told to stop, or until a task ends on its own, which is an error.
    ///
    /// # Errors
    /// What ended it.
    pub async fn run(self, told: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn(schedule::follow(self.lake, self.look_every, stop.clone()));
        tasks.spawn(work_of(self.query, stop.clone()));
        tasks.spawn(http::serve(self.listener, self.router, linktide_query::openapi(), stop.clone()));
        let outage = tasks.until(told).await;
        stop.cancel();
        outage.and(tasks.end_within(BUDGET).await)
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

/// The API over a view and the tables. Exports read and write through a connection of their `own`: whatever they move, no
/// question waits behind it.
pub(super) fn query(
    config: &Config,
    lake: &Lake,
    own: Lake,
    view: Arc<dyn View>,
    key: Option<&Path>,
    clock: &Clock,
) -> anyhow::Result<Query> {
    let answers = QueryConfig {
        deadline: config.api.deadline.0,
        stale_after: config.api.stale_after.0,
        visitor: config.enrich.visitor,
    };
    let tables = Arc::new(Tables::new(lake.clone(), config.api.file_cache.0));
    let query = Query::new(tables, SpeedReader::new(view), lake.publications().clone(), clock.clone(), answers);
    let objects = own.objects();
    let query = if config.export.enabled { query.exporting(Arc::new(exports(config, own)?)) } else { query };
    Ok(match webhook_key(config, key)? {
        Some(key) => query.telling(Arc::new(Webhooks::new(objects, key, webhooks(config)?))),
        None => query,
    })
}

/// What the API does beside answering.
pub(super) async fn work_of(query: Query, stop: CancellationToken) -> anyhow::Result<&'static str> {
    query.work(stop).await;
    Ok("exports and webhooks")
}

/// The secret that secrets of webhooks are made from: that of the settings, or the process's `own`.
fn webhook_key(config: &Config, own: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    if !config.webhook.enabled {
        return Ok(None);
    }
    if let Some(place) = &config.webhook.key {
        anyhow::ensure!(
            place.exists(),
            "webhook.key names {}, which is not there: give the same file of 32 random bytes to every process",
            place.display()
        );
    }
    let place = config.webhook.key.as_deref().or(own);
    let key = place.map(|place| secret_file(place, "the secret of webhooks")).transpose()?;
    anyhow::ensure!(
        key.as_ref().is_none_or(|key| key.expose().len() >= 32),
        "the secret of webhooks has less than 32 bytes, and could be guessed"
    );
    Ok(key)
}

fn webhooks(config: &Config) -> anyhow::Result<WebhookConfig> {
    let settings = &config.webhook;
    anyhow::ensure!(
        settings.every.0 >= Duration::from_millis(100) && !settings.timeout.0.is_zero(),
        "webhook.every is 100ms at least, and webhook.timeout more than nothing; they are {} and {}",
        settings.every,
        settings.timeout
    );
    Ok(WebhookConfig {
        every: settings.every.0,
        timeout: settings.timeout.0,
        retries: settings.retries.iter().map(|span| span.0).collect(),
        disable_after: settings.disable_after,
        per_tenant: settings.per_tenant,
        allow_private: settings.allow_private,
    })
}

fn exports(config: &Config, lake: Lake) -> anyhow::Result<Exports> {
    let settings = &config.export;
    anyhow::ensure!(
        settings.streams > 0 && settings.streams_per_tenant > 0 && settings.jobs_per_tenant > 0 && settings.part.0 > 0,
        "export.streams, export.streams_per_tenant, export.jobs_per_tenant and export.part are 1 at least; export.enabled=false turns exports off"
    );
    let a_week = Duration::from_secs(7 * 86_400);
    anyhow::ensure!(
        settings.url_valid_for.0 <= a_week && settings.lease.0 >= Duration::from_secs(1),
        "export.url_valid_for is a week at most, and export.lease a second at least; they are {} and {}",
        settings.url_valid_for,
        settings.lease
    );
    let bytes = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    let export = ExportConfig {
        threads: settings.threads,
        streams: settings.streams,
        streams_per_tenant: settings.streams_per_tenant,
        stream_rows: settings.stream_rows,
        stream_bytes: settings.stream_bytes.0,
        jobs_per_tenant: settings.jobs_per_tenant,
        part_bytes: bytes(settings.part),
        lease: settings.lease.0,
        keep: settings.keep.0,
        address_valid_for: settings.url_valid_for.0,
        ..ExportConfig::default()
    };
    let presign = lake.presigner().map(|presigner| -> Presign {
        Arc::new(move |objects, valid_for| {
            let presigner = presigner.clone();
            Box::pin(async move { presigner.addresses(&objects, valid_for).await })
        })
    });
    let objects = lake.objects();
    Ok(Exports::new(RawClicks::new(lake, bytes(settings.memory))?, objects, presign, export)?)
}
