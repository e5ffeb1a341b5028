//! The one place of wiring: which layers run in this process, and over what.

pub(crate) mod access;
pub mod archive;
mod docs;
mod http;
pub mod ingest;
pub mod kafka;
pub mod lake;
pub(crate) mod nightly;
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
use linktide_common::click::edge::EdgeKey;
use linktide_common::click::limits;
use linktide_common::clock::Clock;
use linktide_common::enrich::{BotConfig, EnrichConfig, Enricher, GeoFiles, Level, Reload, Rules};
use linktide_common::secret::Secret;
use linktide_ingest::{
    CaptchaConfig, ChallengeConfig, Challenges, EmitterConfig, IngestConfig, LinkFile, MOST_BITS, QuotaConfig, Rate,
};
use linktide_speed::SpeedConfig;
use linktide_speed::reader::{Held, SpeedReader};
use linktide_speed::view::{Limits, RedisConfig, RedisView};
use tokio_util::sync::CancellationToken;

use crate::config::{Captcha, Challenge, Config, Hidden, Ingest, Quota};

pub use query::QueryService;
pub use speed::SpeedService;
pub use standalone::Services;

const LOOK_AT_FILES: Duration = Duration::from_secs(2);
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Bytes that a secret of the configuration needs at least.
const SHORTEST_SECRET: usize = 16;

/// The secret that every process makes the same salts from.
fn salt_key(config: &Config) -> anyhow::Result<&Path> {
    config.enrich.salt_key.as_deref().context(
        "enrich.salt_key is not set: every process of a linktide must make the same salts; name the same file of 32 random bytes to all of them",
    )
}

fn enricher(config: &Config, salt_key: &Path) -> anyhow::Result<Arc<Enricher>> {
    enricher_of(config, secret_file(salt_key, "the secret of salts")?)
}

/// The one function over all clicks, with salts of its own making.
pub(crate) fn enricher_of(config: &Config, salt_secret: Secret) -> anyhow::Result<Arc<Enricher>> {
    let enrich = EnrichConfig {
        salt_secret,
        visitor: config.enrich.visitor,
        geo: geo_files(config),
        floor_days: floor_days(config),
    };
    Ok(Arc::new(Enricher::with_bots(enrich, config.bots.clone())?))
}

/// What the front door tells suspects by: places are nothing to it.
fn door_rules(config: &Config) -> anyhow::Result<Arc<Rules>> {
    let files = GeoFiles { city: None, asn: config.enrich.asn.clone() };
    Ok(Arc::new(Rules::with_bots(files, config.bots.clone())?))
}

/// What stored clicks are looked at again by.
pub(crate) fn rules(config: &Config) -> anyhow::Result<Arc<Rules>> {
    Ok(Arc::new(Rules::with_bots(geo_files(config), config.bots.clone())?))
}

/// Reads every file that settings name and a running process would look at again: lists, databases, links.
///
/// # Errors
/// All that are not there or broken.
pub(crate) fn check_files(config: &Config) -> anyhow::Result<()> {
    let links = config.ingest.links.as_deref().map_or_else(|| Ok(LinkFile::none()), LinkFile::open);
    let lists = Rules::with_bots(GeoFiles { city: None, asn: None }, config.bots.clone());
    let databases = Rules::with_bots(geo_files(config), BotConfig::default());
    let problems: Vec<String> = [
        links.map(drop).map_err(anyhow::Error::from),
        lists.map(drop).map_err(anyhow::Error::from),
        databases.map(drop).map_err(anyhow::Error::from),
    ]
    .into_iter()
    .filter_map(Result::err)
    .map(|problem| format!("\n  {problem:#}"))
    .collect();
    anyhow::ensure!(
        problems.is_empty(),
        "files of the configuration have {} problem(s){}",
        problems.len(),
        problems.concat()
    );
    Ok(())
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
fn geo_files(config: &Config) -> GeoFiles {
    GeoFiles { city: config.enrich.geoip.clone(), asn: config.enrich.asn.clone() }
}

fn speed(config: &Config) -> SpeedConfig {
    SpeedConfig {
        flush_interval: config.speed.flush_interval.0,
        keep_behind: config.speed.keep_behind.0,
        fold_clicks: config.speed.fold_clicks,
        repeats: config.repeats.windows(),
        rate: config.nightly.rate_bots.0,
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
        edge: edge(ingest)?,
    })
}

/// Whose signature under signals is believed. A secret that can be guessed would let anybody sign.
pub(crate) fn edge(ingest: &Ingest) -> anyhow::Result<Option<Arc<EdgeKey>>> {
    let Some(secret) = &ingest.edge_secret else { return Ok(None) };
    let secret = long_enough(secret, "ingest.edge_secret")?;
    Ok(Some(Arc::new(EdgeKey::new(secret, ingest.edge_fresh.0))))
}

fn long_enough(secret: &Hidden, key: &str) -> anyhow::Result<Secret> {
    let bytes = secret.0.as_bytes().to_vec();
    anyhow::ensure!(
        bytes.len() >= SHORTEST_SECRET,
        "{key} has {} bytes: give it at least {SHORTEST_SECRET}, chosen at random",
        bytes.len()
    );
    Ok(Secret::new(bytes))
}

/// How challenges are put. Suspects are those of the rules in force.
fn challenge(challenge: &Challenge, rules: Arc<Rules>, clock: Clock) -> anyhow::Result<ChallengeConfig> {
    anyhow::ensure!(
        challenge.bits <= MOST_BITS,
        "ingest.challenge.bits is {}: beyond {MOST_BITS} people wait for seconds",
        challenge.bits
    );
    let key = match &challenge.secret {
        Some(secret) => long_enough(secret, "ingest.challenge.secret")?,
        None => Secret::new(rand::random::<[u8; 32]>().to_vec()),
    };
    Ok(ChallengeConfig {
        key,
        lifetime: challenge.lifetime.0,
        bits: challenge.bits,
        most: challenge.most,
        captcha: challenge.captcha.as_ref().map(captcha).transpose()?,
        suspicion: Arc::new(move |click| rules.level(click, clock.now()) == Level::Suspected),
    })
}

fn captcha(captcha: &Captcha) -> anyhow::Result<CaptchaConfig> {
    let secret = captcha.secret.as_ref().context("ingest.challenge.captcha.secret is not set")?;
    Ok(CaptchaConfig {
        provider: captcha.provider,
        site_key: captcha.site_key.clone(),
        secret: Secret::new(secret.0.as_bytes().to_vec()),
        verify_url: captcha.verify_url.clone(),
        script_url: captcha.script_url.clone(),
    })
}

/// Lets challenges expire; at the end, those that wait are handed to the emitter, which ends later.
async fn expire(challenges: Arc<Challenges>, stop: CancellationToken) -> anyhow::Result<&'static str> {
    let mut due = tokio::time::interval(EXPIRE_EVERY);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => challenges.expire(),
        }
    }
    Ok("challenges")
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

/// Takes newer GeoIP databases, lists of bots and links; a broken file leaves what is in use.
async fn look_at_files(
    rules: Arc<Rules>,
    links: Arc<LinkFile>,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    let mut due = tokio::time::interval(LOOK_AT_FILES);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = due.tick() => {}
        }
        let (rules, links) = (Arc::clone(&rules), Arc::clone(&links));
        tokio::task::spawn_blocking(move || {
            for looked in rules.reload() {
                match looked {
                    Reload::Unchanged => {}
                    Reload::Replaced => {
                        tracing::info!(rules = rules.version(), "newer databases or lists are in use")
                    }
                    Reload::Kept(error) => tracing::error!(%error, "a file of rules is broken; the old ones stay"),
                }
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
