//! `linktide keys` and `linktide share`: who may ask. A key or a share token is shown once, when it is made: nobody can show it
//! again, because nobody keeps it.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use linktide_batch::Access;
use linktide_common::access::{ApiKey, KeyRecord, NewKey, Scope, Share};
use linktide_common::bucket::Timestamp;
use linktide_common::clock::Clock;
use linktide_common::id::{LinkId, TenantId};
use serde_json::json;

use crate::cli::say;
use crate::config::{Config, Span};
use crate::jobs::{self, Tables};
use crate::services::access;

/// What is done with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key, and print it once
    Create(NewKeyOptions),
    /// The keys there are
    List {
        #[command(flatten)]
        tables: Tables,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// A key is one no longer, within seconds and everywhere
    Revoke {
        #[command(flatten)]
        tables: Tables,
        /// What `list` calls it: the part of the key between its underscores
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// A key that is made.
#[derive(Debug, Args)]
pub(crate) struct NewKeyOptions {
    #[command(flatten)]
    tables: Tables,
    /// Whose clicks it opens
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// What it allows, with commas between them: read, export, ingest, admin
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scope: Vec<Scope>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// How long it is one, such as 90d; for ever where nothing is said
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
}

/// What is done with share links.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ShareOptions {
    #[command(subcommand)]
    what: Option<ShareCommand>,
    #[command(flatten)]
    tables: Tables,
    /// The link that is shown
    #[arg(value_name = "LINK", required = true)]
    link: Option<LinkId>,
    /// Whose link that is
    #[arg(long, value_name = "TENANT", required = true)]
    tenant: Option<TenantId>,
    /// How long it is shown, such as 30d
    #[arg(long, value_name = "SPAN", required = true)]
    expires: Option<Span>,
}

#[derive(Debug, Subcommand)]
enum ShareCommand {
    /// The share links of a tenant that are neither revoked nor expired
    List {
        #[command(flatten)]
        tables: Tables,
        /// Whose
        #[arg(long, value_name = "TENANT")]
        tenant: TenantId,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// A share link is one no longer, within seconds and everywhere
    Revoke {
        #[command(flatten)]
        tables: Tables,
        /// Whose
        #[arg(long, value_name = "TENANT")]
        tenant: TenantId,
        /// What `list` calls it
        #[arg(value_name = "ID")]
        id: String,
    },
}

impl Keys {
    /// Where the keys are.
    pub(crate) fn tables(&self) -> &Tables {
        match self {
            Self::Create(new) => &new.tables,
            Self::List { tables, .. } | Self::Revoke { tables, .. } => tables,
        }
    }
}

impl ShareOptions {
    /// Where the share links are.
    pub(crate) fn tables(&self) -> &Tables {
        match &self.what {
            Some(ShareCommand::List { tables, .. } | ShareCommand::Revoke { tables, .. }) => tables,
            None => &self.tables,
        }
    }
}

/// `linktide keys`
///
/// # Errors
/// Where the lake cannot be read or written, or no key is called so.
pub(crate) async fn keys(config: &Config, what: Keys) -> anyhow::Result<()> {
    let lake = jobs::lake(config, what.tables(), Access::Read).await?;
    let (store, now) = (access::store(&lake), Clock::system().now());
    match what {
        Keys::Create(new) => {
            let key = ApiKey::generate();
            let expires_at = new.expires.map(|span| after(now, span)).transpose()?;
            let new =
                NewKey { tenant: new.tenant, scopes: new.scope.into_iter().collect(), name: new.name, expires_at };
            let record = KeyRecord::new(&key, new, now);
            store.add_key(&record).await?;
            if !config.access.is_required() {
                tracing::warn!("keys are asked for only where access.required is set: it is not, by these settings");
            }
            tracing::info!(id = key.id(), tenant = %record.tenant_id, scopes = %record.scopes, "the key is kept; it is shown this once");
            say(&key.expose())
        }
        Keys::List { json, .. } => {
            let keys = store.keys().await?;
            let state = |key: &KeyRecord, revoked| match key.expires_at {
                _ if revoked => "revoked",
                Some(at) if at <= now => "expired",
                _ => "valid",
            };
            if json {
                let told = |(key, revoked): &(KeyRecord, bool)| {
                    json!({
                        "id": key.id, "tenant_id": key.tenant_id, "scopes": key.scopes, "name": key.name,
                        "created_at": key.created_at.to_string(), "expires_at": key.expires_at.map(|at| at.to_string()),
                        "state": state(key, *revoked),
                    })
                };
                return say(&serde_json::to_string_pretty(&keys.iter().map(told).collect::<Vec<_>>())?);
            }
            say(&format!(
                "{:<12}  {:<8}  {:<24}  {:<7}  {:<20}  {}",
                "id", "tenant", "scopes", "state", "expires", "name"
            ))?;
            keys.iter().try_for_each(|(key, revoked)| {
                let expires = key.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
                let (tenant, scopes) = (key.tenant_id.to_string(), key.scopes.to_string());
                let name = key.name.as_deref().unwrap_or_default();
                say(format!(
                    "{:<12}  {tenant:<8}  {scopes:<24}  {:<7}  {expires:<20}  {name}",
                    key.id,
                    state(key, *revoked)
                )
                .trim_end())
            })
        }
        Keys::Revoke { id, .. } => {
            let id = id_of(&id);
            store
                .key(id)
                .await?
                .with_context(|| format!("no key is called `{id}`; `linktide keys list` tells which there are"))?;
            store.revoke(id, now).await?;
            say(&format!("{id} is revoked; every process knows it within {}", config.lake.look_every))
        }
    }
}

/// `linktide share`
///
/// # Errors
/// Where the lake cannot be read or written, or no share link is called so.
pub(crate) async fn share(config: &Config, options: ShareOptions) -> anyhow::Result<()> {
    let lake = jobs::lake(config, options.tables(), Access::Read).await?;
    let shares = access::shares(config, &lake, Clock::system())?;
    match options.what {
        Some(ShareCommand::List { tenant, json, .. }) => {
            let listed = shares.list(tenant).await?;
            let told = |share: &Share| json!({ "id": share.id, "link_id": share.link_id, "expires_at": share.expires_at.to_string() });
            if json {
                return say(&serde_json::to_string_pretty(&listed.iter().map(told).collect::<Vec<_>>())?);
            }
            say(&format!("{:<12}  {:<20}  {}", "id", "link", "expires"))?;
            listed.iter().try_for_each(|share| {
                say(&format!("{:<12}  {:<20}  {}", share.id, share.link_id.to_string(), share.expires_at))
            })
        }
        Some(ShareCommand::Revoke { tenant, id, .. }) => {
            anyhow::ensure!(
                shares.revoke(tenant, &id).await?,
                "tenant {tenant} has no share link `{id}`; `linktide share list` tells which there are"
            );
            say(&format!("{id} is revoked; every process knows it within {}", config.lake.look_every))
        }
        None => {
            let lacking = "which link of whose is shown, and how long? `linktide share --help` says more";
            let (link, tenant) = options.link.zip(options.tenant).context(lacking)?;
            let expires_at = after(shares.now(), options.expires.context(lacking)?)?;
            let (share, token) = shares.create(tenant, link, expires_at).await?;
            tracing::info!(id = &*share.id, expires = %share.expires_at, "the share link is kept; its token is shown this once");
            say(&token)
        }
    }
}

fn after(now: Timestamp, span: Span) -> anyhow::Result<Timestamp> {
    let at = i64::try_from(span.0.as_millis())
        .ok()
        .and_then(|ms| now.as_millis().checked_add(ms))
        .and_then(Timestamp::from_millis);
    at.filter(|at| *at > now).with_context(|| format!("{span} from now is no time; write 90d"))
}

/// The id of a key, also where someone gives the whole of it.
fn id_of(text: &str) -> &str {
    text.strip_prefix("lt_").and_then(|rest| rest.split_once('_')).map_or(text, |(id, _)| id)
}
