//! The lake, as every process opens it: a folder of this machine, or a bucket.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use linktide_batch::{Access, BatchError, Lake, RuleState, Ruled, RulesPlan, S3Config, S3Keys, provision_rules};

use crate::config::{self, Span};

const AGAIN: Duration = Duration::from_secs(2);

/// Opens the lake, once it can be used. A server that does not answer is waited for, unless `fail_fast`.
///
/// # Errors
/// Where a setting is wrong or missing, the bucket is missing, refuses us or is unfit, or with `fail_fast` where its server
/// does not answer.
pub async fn open(config: &config::Lake, access: Access, fail_fast: bool) -> anyhow::Result<Lake> {
    let (url, lake) = (url(config)?, place(config)?);
    loop {
        match lake.check(access).await {
            Ok(()) => return Ok(lake),
            Err(BatchError::Unavailable(why)) if !fail_fast => {
                tracing::warn!(lake = url, why, "the lake cannot be reached; trying again (--fail-fast ends instead)");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The lake, without a question whether it can be used.
///
/// # Errors
/// Where a setting is wrong or missing.
pub fn place(config: &config::Lake) -> anyhow::Result<Lake> {
    let url = url(config)?;
    Ok(if url.contains("://") { Lake::in_bucket(&bucket(url, config)?)? } else { Lake::in_folder(Path::new(url))? })
}

fn url(config: &config::Lake) -> anyhow::Result<&str> {
    config.url.as_deref().context(
        "lake.url is not set: where are tables and publications? give --lake with a folder or s3://bucket/prefix",
    )
}

/// How the bucket at `url` is reached.
fn bucket(url: &str, config: &config::Lake) -> anyhow::Result<S3Config> {
    let keys = match (&config.access_key, &config.secret_key) {
        (Some(access), Some(secret)) => Some(S3Keys { access: access.clone(), secret: secret.0.clone() }),
        (None, None) => None,
        _ => anyhow::bail!("lake.access_key and lake.secret_key belong together: set both, or neither"),
    };
    Ok(S3Config {
        url: url.parse().with_context(|| format!("lake.url is {url}; write s3://bucket/prefix, or a folder"))?,
        endpoint: config.endpoint.clone(),
        region: config.region.clone(),
        keys,
        allow_http: config.allow_http,
        virtual_hosted: config.virtual_hosted,
        timeout: config.timeout.0,
    })
}

/// Makes the bucket's rules that are missing, and tells of each how it stands. With `dry_run` it only tells.
///
/// # Errors
/// Where a rule is not as the settings want it or would harm the tables, in which case nothing is changed, or the bucket is
/// missing, refuses us, or its server does not answer or knows no rules.
pub async fn provision(
    config: &config::Lake,
    dry_run: bool,
    tell: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let plan = RulesPlan {
        cold_after_days: days("lake.cold_after", config.cold_after, 30)?,
        cold_class: config.cold_class,
        old_versions_days: days("lake.old_versions", config.old_versions, 1)?,
    };
    let rules = provision_rules(&bucket(url(config)?, config)?, &plan, dry_run).await?;
    for rule in &rules {
        tell(&described(rule))?;
    }
    let wrong: Vec<_> =
        rules.iter().filter(|ruled| matches!(ruled.state, RuleState::Wrong(_))).map(|ruled| &*ruled.rule).collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "rules stand in the way: {}; nothing was changed, change them or the settings under [lake] (docs/s3.md says how)",
        wrong.join(", ")
    );
    Ok(())
}

/// Whole days: the bucket's rules know nothing smaller.
fn days(name: &str, span: Span, least: i32) -> anyhow::Result<i32> {
    let days = i32::try_from(span.0.as_secs() / 86_400).unwrap_or(i32::MAX);
    anyhow::ensure!(
        days >= least && span == Span::days(u64::from(days.unsigned_abs())),
        "{name} is {span}; write whole days, at least {least}d"
    );
    Ok(days)
}

fn described(ruled: &Ruled) -> String {
    let rule = &ruled.rule;
    match &ruled.state {
        RuleState::Created => format!("{rule}: created"),
        RuleState::Right => format!("{rule}: right"),
        RuleState::Missing => format!("{rule}: missing"),
        RuleState::Wrong(what) => format!("{rule}: {what}"),
    }
}
