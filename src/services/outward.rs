//! What leaves the service beside answers: exports, and webhooks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linktide_batch::Lake;
use linktide_batch::reader::raw::RawClicks;
use linktide_common::secret::Secret;
use linktide_query::{ExportConfig, Exports, Presign, Query, WebhookConfig, Webhooks};

use super::secret_file;
use crate::config::{ByteSize, Config};

/// The API with what the settings want of both, kept in `lake`. Without a key in the settings, secrets of webhooks are made
/// from that in the file `own`.
pub(super) fn with_exports_and_webhooks(
    config: &Config,
    query: Query,
    lake: Lake,
    own: Option<&Path>,
) -> anyhow::Result<Query> {
    let objects = lake.objects();
    let query = if config.export.enabled { query.exporting(Arc::new(exports(config, lake)?)) } else { query };
    Ok(match webhook_key(config, own)? {
        Some(key) => query.telling(Arc::new(Webhooks::new(objects, key, webhooks(config)?))),
        None => query,
    })
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
