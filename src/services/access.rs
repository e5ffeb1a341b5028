//! Who passes, as every process with a door asks it: keys and share links of the lake, and tokens of an identity provider.
//!
//! Nothing waits for either: a door opens at once, and says that it does not know yet until it does.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linktide_batch::Lake;
use linktide_common::access::{AccessStore, Allowance, Gate, GateConfig, LimitConfig, Shares, TokenConfig, Tokens};
use linktide_common::clock::Clock;
use linktide_common::rate::Rate;
use linktide_common::secret::Secret;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use crate::config::{Access, Config};

/// How long the identity provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a failure it is asked again at the latest.
const AGAIN: Duration = Duration::from_secs(10);
/// Bytes of the largest set of keys.
const LARGEST: usize = 1 << 20;

/// The gate of a process, and what keeps it up to date.
pub(super) struct Entrance {
    pub(super) gate: Gate,
    look_every: Duration,
    tokens: Option<(Arc<Tokens>, Jwks, Duration)>,
}

impl Entrance {
    /// The gate that the settings want. `lake` is where keys are; a process without one takes tokens alone.
    ///
    /// # Errors
    /// Where a setting is wrong or missing.
    pub(super) fn new(config: &Config, lake: Option<&Lake>, clock: &Clock, proxies: usize) -> anyhow::Result<Self> {
        let (access, look_every) = (&config.access, config.lake.look_every.0);
        let tokens = tokens(access)?;
        if !access.is_required() {
            return Ok(Self { gate: Gate::open(), look_every, tokens: None });
        }
        anyhow::ensure!(
            lake.is_some() || tokens.is_some(),
            "access is required, but there is neither a lake with keys nor a JWKS: set lake.url or access.jwt.jwks"
        );
        let gate = Gate::required(GateConfig {
            clock: clock.clone(),
            limits: limits(&access.limits)?,
            trusted_proxies: proxies,
            store: lake.map(store),
            share_secret: share_secret(access)?,
            tokens: tokens.as_ref().map(|(tokens, ..)| Arc::clone(tokens)),
        });
        Ok(Self { gate, look_every, tokens })
    }

    /// Keeps it up to date until `stop`.
    pub(super) fn follow(self, tasks: &mut Tasks, stop: &CancellationToken) {
        if !self.gate.is_required() {
            return;
        }
        tasks.spawn(follow_keys(self.gate, self.look_every, stop.clone()));
        if let Some((tokens, jwks, refresh)) = self.tokens {
            tasks.spawn(follow_issuer(tokens, jwks, refresh, stop.clone()));
        }
    }
}

/// Without keys, everyone who reaches the address sees everything: only this machine may.
pub(super) fn refuse_strangers(access: &Access, listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::ensure!(
        listen.ip().is_loopback() || access.is_required(),
        "api.listen is {listen}, but without keys linktide listens on this machine alone; use 127.0.0.1, or set access.required (docs/access.md)"
    );
    Ok(())
}

/// Who reaches an address, in words.
pub(crate) fn reach(access: &Access, address: SocketAddr) -> &'static str {
    match (access.is_required(), address.ip().is_loopback()) {
        (true, true) => "on this machine alone, to whoever has a key",
        (true, false) => "to whoever reaches it and has a key",
        (false, true) => "on this machine alone: no keys are asked for",
        (false, false) => "to whoever reaches it: no keys are asked for",
    }
}

/// Where keys and share links are: beside the tables.
pub(crate) fn store(lake: &Lake) -> AccessStore {
    AccessStore::new(lake.objects())
}

/// Share links of a lake.
pub(crate) fn shares(config: &Config, lake: &Lake, clock: Clock) -> anyhow::Result<Shares> {
    Ok(Shares::new(store(lake), share_secret(&config.access)?, clock))
}

fn share_secret(access: &Access) -> anyhow::Result<Option<Secret>> {
    let Some(path) = &access.share_secret else { return Ok(None) };
    let secret = std::fs::read(path).with_context(|| format!("access.share_secret is {}", path.display()))?;
    anyhow::ensure!(
        secret.len() >= 32,
        "access.share_secret: {} has {} bytes, and a secret has at least 32",
        path.display(),
        secret.len()
    );
    Ok(Some(Secret::new(secret)))
}

/// A limit that can never be met would be a door that is shut without saying so.
fn limits(limits: &crate::config::Limits) -> anyhow::Result<LimitConfig> {
    let numbers = [
        ("tenant_per_second", limits.tenant_per_second),
        ("tenant_burst", limits.tenant_burst),
        ("tenant_concurrent", limits.tenant_concurrent),
        ("caller_per_second", limits.caller_per_second),
        ("caller_burst", limits.caller_burst),
        ("caller_concurrent", limits.caller_concurrent),
        ("address_per_second", limits.address_per_second),
        ("address_burst", limits.address_burst),
    ];
    if let Some((name, _)) = numbers.iter().find(|(_, number)| *number == 0) {
        anyhow::bail!("access.limits.{name} is 0: nobody could ask anything; give at least 1");
    }
    let rate = |per_second, burst| Rate { per_second, burst };
    Ok(LimitConfig {
        tenant: Allowance {
            rate: rate(limits.tenant_per_second, limits.tenant_burst),
            concurrent: limits.tenant_concurrent,
        },
        caller: Allowance {
            rate: rate(limits.caller_per_second, limits.caller_burst),
            concurrent: limits.caller_concurrent,
        },
        address: rate(limits.address_per_second, limits.address_burst),
        remembered: limits.remembered,
    })
}

/// Where an identity provider's keys are.
enum Jwks {
    File(std::path::PathBuf),
    Address(reqwest::Client, reqwest::Url),
}

impl fmt::Display for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // Whoever is named by a password in it is not.
            Self::Address(_, url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
        }
    }
}

fn tokens(access: &Access) -> anyhow::Result<Option<(Arc<Tokens>, Jwks, Duration)>> {
    let jwt = &access.jwt;
    let Some(place) = &jwt.jwks else {
        anyhow::ensure!(
            jwt.issuer.is_none() && jwt.audience.is_empty(),
            "access.jwt has an issuer or an audience, but no jwks: say where the issuer's keys are"
        );
        return Ok(None);
    };
    let issuer =
        jwt.issuer.clone().context("access.jwt.jwks is set, but not access.jwt.issuer: whose tokens are taken?")?;
    anyhow::ensure!(
        !jwt.audience.is_empty(),
        "access.jwt.jwks is set, but not access.jwt.audience: a token made for someone else would be taken"
    );
    let tokens = Tokens::new(TokenConfig {
        issuer,
        audience: jwt.audience.clone(),
        tenant_claim: jwt.tenant_claim.clone(),
        scope_claim: jwt.scope_claim.clone(),
        scopes: jwt.scopes.iter().copied().collect(),
        leeway: jwt.leeway.0,
    });
    let jwks = if place.contains("://") { address(place)? } else { Jwks::File(place.into()) };
    if let Jwks::File(path) = &jwks {
        let keys = std::fs::read(path).with_context(|| format!("access.jwt.jwks is {place}"))?;
        tokens.replace(&keys).with_context(|| format!("access.jwt.jwks is {place}"))?;
    }
    Ok(Some((Arc::new(tokens), jwks, jwt.refresh.0)))
}

/// Whoever can change what comes over the network can sign tokens: only over TLS, or from this machine.
fn address(place: &str) -> anyhow::Result<Jwks> {
    let url: reqwest::Url = place.parse().with_context(|| format!("access.jwt.jwks is {place}"))?;
    let local = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        None => false,
    };
    anyhow::ensure!(
        url.scheme() == "https" || (url.scheme() == "http" && local),
        "access.jwt.jwks is {place}; write a file, an https:// address, or http:// on this machine"
    );
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
    Ok(Jwks::Address(client, url))
}

impl Jwks {
    async fn fetch(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(path) => Ok(tokio::fs::read(path).await?),
            Self::Address(client, url) => {
                let mut response = client.get(url.clone()).send().await?.error_for_status()?;
                let mut keys = Vec::new();
                while let Some(chunk) = response.chunk().await? {
                    anyhow::ensure!(keys.len() + chunk.len() <= LARGEST, "it is larger than {LARGEST} bytes");
                    keys.extend_from_slice(&chunk);
                }
                Ok(keys)
            }
        }
    }
}

/// Looks for keys and revocations of other processes, such as `linktide keys`.
async fn follow_keys(gate: Gate, every: Duration, stop: CancellationToken) -> anyhow::Result<&'static str> {
    let (mut reached, mut asked_for_one) = (true, false);
    loop {
        match gate.look().await {
            Ok(()) if gate.knows_nobody() && !asked_for_one => {
                tracing::warn!("there is no key yet, so nobody can ask; `linktide keys create` makes one");
                asked_for_one = true;
            }
            Ok(()) if !reached => {
                tracing::info!("keys can be read again");
                reached = true;
            }
            Ok(()) => {}
            Err(error) => {
                // Once is enough: what is known goes on.
                if reached {
                    tracing::warn!(%error, "keys cannot be read; those that are known go on");
                }
                reached = false;
            }
        }
        if tokio::time::timeout(every, stop.cancelled()).await.is_ok() {
            return Ok("keys");
        }
    }
}

/// Fetches the keys of an identity provider, every so often and when a token names one that is not known.
async fn follow_issuer(
    tokens: Arc<Tokens>,
    jwks: Jwks,
    refresh: Duration,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    loop {
        let fetched = jwks.fetch().await.and_then(|keys| Ok(tokens.replace(&keys)?));
        let wait = match fetched {
            Ok(()) => refresh,
            Err(error) => {
                tracing::warn!(%jwks, error = format!("{error:#}"), "the issuer's keys cannot be read; those that are known go on");
                tokens.not_fetched();
                refresh.min(AGAIN)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok("issuer"),
            () = tokens.wanted() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
