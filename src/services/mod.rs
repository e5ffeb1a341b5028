//! The one place of wiring: which layers run in this process, and over what.

pub(crate) mod access;
pub mod archive;
mod docs;
mod http;
pub mod ingest;
pub mod kafka;
pub mod lake;
mod outward;
mod probes;
mod query;
mod speed;
mod standalone;
mod tasks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linktide_batch::{ArchiveConfig, NightlyConfig, Recount, Recounter};
use linktide_common::click::limits;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, Reload};
use linktide_common::secret::Secret;
use linktide_ingest::{EmitterConfig, IngestConfig, LinkFile, QuotaConfig, Rate};
use linktide_speed::SpeedConfig;
use linktide_speed::reader::{Held, SpeedReader};
use linktide_speed::view::{Limits, RedisConfig, RedisView};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Quota};

pub use query::QueryService;
pub use speed::SpeedService;
pub use standalone::Services;

const LOOK_AT_FILES: Duration = Duration::from_secs(2);

/// The secret that every process makes the same salts from.
fn salt_key(config: &Config) -> anyhow::Result<&Path> {
    config.enrich.salt_key.as_deref().context(
        "enrich.salt_key is not set: every process of a linktide must make the same salts; name the same file of 32 random bytes to all of them",
    )
}

fn enrichment(config: &Config, salt_key: &Path) -> anyhow::Result<EnrichConfig> {
    Ok(EnrichConfig {
        salt_secret: secret_file(salt_key, "the secret of salts")?,
        visitor: config.enrich.visitor,
        geo: geo_files(config),
        floor_days: floor_days(config),
    })
}

fn archive_config(config: &Config) -> ArchiveConfig {
    ArchiveConfig {
        commit_clicks: config.archive.commit_clicks,
        commit_age: config.archive.commit_age.0,
        ..ArchiveConfig::default()
    }
}

/// How the tables are kept.
pub(crate) fn nightly_config(config: &Config) -> NightlyConfig {
    NightlyConfig {
        rate_bots: config.nightly.rate_bots.0,
        repeats: config.repeats.windows(),
        raw_days: config.retention.raw_days,
        publications: config.retention.publications.0,
        log: config.kafka.retention.0,
        ..NightlyConfig::default()
    }
}

/// The files that places are looked up in.
pub(crate) fn geo_files(config: &Config) -> GeoFiles {
    GeoFiles { city: config.enrich.geoip.clone(), asn: config.enrich.asn.clone() }
}

fn speed(config: &Config) -> SpeedConfig {
    SpeedConfig {
        flush_interval: config.speed.flush_interval.0,
        keep_behind: config.speed.keep_behind.0,
        fold_clicks: config.speed.fold_clicks,
        repeats: config.repeats.windows(),
        ..SpeedConfig::default()
    }
}

/// The view that workers write and questions read.
fn redis(config: &Config) -> RedisConfig {
    RedisConfig {
        url: config.redis.url.clone(),
        user: config.redis.user.clone(),
        password: config.redis.password.as_ref().map(|password| password.0.clone()),
        limits: Limits { cell_fields: config.speed.cell_fields, tenant_cells: config.speed.tenant_cells },
        kept: usize::try_from(config.api.recent_cache.0).unwrap_or(usize::MAX),
    }
}

/// How the speed layer counts what an increment adds, for the audit.
pub(crate) fn recounter(reader: SpeedReader) -> Recounter {
    Arc::new(move |received| {
        let reader = reader.clone();
        Box::pin(async move {
            let counted = reader.counted(received).await.map_err(|error| error.to_string())?;
            let Held { positions, from: held_from, .. } = counted.held;
            Ok(Recount { positions, held_from, links: counted.links })
        })
    })
}

/// The same over the view in Redis; none where the settings want no audit.
pub(crate) fn redis_recounter(config: &Config) -> anyhow::Result<Option<Recounter>> {
    if !config.nightly.audit {
        return Ok(None);
    }
    let view = Arc::new(RedisView::new(&redis(config))?);
    Ok(Some(recounter(SpeedReader::new(view))))
}

fn floor_days(config: &Config) -> i64 {
    i64::try_from(config.enrich.oldest.0.as_secs() / 86_400).unwrap_or(i64::MAX / 86_400_000)
}

/// A secret of this machine: made once, and readable by its owner alone.
fn secret_file(path: &Path, what: &str) -> anyhow::Result<Secret> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let named = || format!("{what} in {}", path.display());
    if path.exists() {
        return Ok(Secret::new(std::fs::read(path).with_context(named)?));
    }
    let secret: [u8; 32] = rand::random();
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(named)?;
    file.write_all(&secret).and_then(|()| file.sync_all()).with_context(named)?;
    Ok(Secret::new(secret.to_vec()))
}

fn emitter(config: &Config) -> EmitterConfig {
    EmitterConfig {
        buffer_clicks: config.ingest.buffer_clicks,
        buffer_bytes: usize::try_from(config.ingest.buffer.0).unwrap_or(usize::MAX),
        expiry: config.ingest.expiry.0,
        rate: config.ingest.rate,
        ..EmitterConfig::default()
    }
}

fn door(config: &Config) -> anyhow::Result<IngestConfig> {
    let ingest = &config.ingest;
    Ok(IngestConfig {
        body_bytes: usize::try_from(ingest.body.0).unwrap_or(usize::MAX),
        floor_days: floor_days(config),
        trusted_proxies: ingest.trusted_proxies,
        any_tenant: ingest.any_tenant,
        quotas: quotas(&ingest.quota)?,
        ack_within: ingest.ack_within.0,
        track: ingest.track,
    })
}

/// A quota that can never be met would be a door that is shut without saying so.
fn quotas(quota: &Quota) -> anyhow::Result<QuotaConfig> {
    let clicks = Rate { per_second: quota.clicks_per_second, burst: quota.clicks_burst };
    let bytes = Rate { per_second: quota.bytes_per_second.0, burst: quota.bytes_burst.0 };
    anyhow::ensure!(
        clicks.per_second > 0 && clicks.burst > 0 && bytes.per_second > 0,
        "ingest.quota has {} clicks a second, {} at once and {} bytes a second: none of them may be 0",
        clicks.per_second,
        clicks.burst,
        bytes.per_second
    );
    anyhow::ensure!(
        bytes.burst >= limits::RECORD as u64,
        "ingest.quota.bytes_burst is {}, but one record may have 64KiB: give at least so much",
        quota.bytes_burst
    );
    Ok(QuotaConfig { clicks, bytes, tenants: quota.tenants })
}

/// Takes newer GeoIP databases and links; a broken file leaves what is in use.
async fn look_at_files(
    enricher: Arc<Enricher>,
    links: Arc<LinkFile>,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    let mut due = tokio::time::interval(LOOK_AT_FILES);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => {}
        }
        let (enricher, links) = (Arc::clone(&enricher), Arc::clone(&links));
        tokio::task::spawn_blocking(move || {
            match enricher.reload() {
                Reload::Unchanged => {}
                Reload::Replaced => {
                    tracing::info!(rules = enricher.rules_version(), "newer GeoIP databases are in use")
                }
                Reload::Kept(error) => tracing::error!(%error, "a GeoIP database is broken; the old one stays"),
            }
            reload(&links);
        })
        .await?;
    }
    Ok("files")
}

fn reload(links: &LinkFile) {
    match links.reload() {
        Ok(false) => {}
        Ok(true) => tracing::info!("the redirector's links were read again"),
        Err(error) => tracing::error!(%error, "the redirector's links are broken; the old ones stay"),
    }
}
