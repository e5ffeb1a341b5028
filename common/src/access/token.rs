//! Tokens of an identity provider: JWTs (RFC 7519), signed with one of the keys that it publishes as a JWKS (RFC 7517).
//!
//! 1. The token's `kid` names the key, and the key alone says which algorithm it is for: RS256, ES256 or EdDSA. A token that
//!    says another one is refused, so that nobody signs with HS256 and a public key for the secret, or with `none` at all.
//! 2. The signature is checked before any claim is looked at.
//! 3. `iss`, `aud` and `exp` must be there and right, `nbf` right where it is there, by the injected clock with some leeway.
//! 4. A claim names the tenant, another the scopes. Scopes that tokens are not to give are left out.
//!
//! The keys are replaced by whoever fetches them. A token with a `kid` that is not among them asks for a fetch, at most once
//! a while, and waits for it a moment: that is how a provider changes its keys. A fetch that fails leaves the last keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use super::jws::{Jws, VerifyingKey};
use super::principal::{Means, Principal, Scopes};
use super::refusal::Denied;
use crate::bucket::Timestamp;
use crate::id::TenantId;

/// A fetch for an unknown `kid` is not asked for more often.
const AGAIN_MS: i64 = 30_000;
/// How long a request waits for a fetch that it asked for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Letters of a subject that are kept.
const SUBJECT: usize = 100;

/// What is asked of tokens.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// Whose they are: `iss`.
    pub issuer: String,
    /// For whom they are: one of these is in `aud`.
    pub audience: Vec<String>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names the scopes: a text with spaces between them, or an array.
    pub scope_claim: String,
    /// The scopes that a token may give.
    pub scopes: Scopes,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is not JSON of the form.
    #[error("it is no JWKS: {0}")]
    Malformed(String),
    /// None of its keys is for RS256, ES256 or EdDSA.
    #[error("it has no key for RS256, ES256 or EdDSA signatures")]
    NoKey,
}

/// Checks tokens.
pub struct Tokens {
    config: TokenConfig,
    keys: ArcSwapOption<Vec<VerifyingKey>>,
    wanted: Notify,
    wanted_at: AtomicI64,
    fetched: watch::Sender<u64>,
}

impl Tokens {
    /// Checks tokens once keys are known.
    #[must_use]
    pub fn new(config: TokenConfig) -> Self {
        Self {
            config,
            keys: ArcSwapOption::empty(),
            wanted: Notify::new(),
            wanted_at: AtomicI64::new(i64::MIN),
            fetched: watch::Sender::new(0),
        }
    }

    /// Takes the keys of a JWKS in place of those before.
    ///
    /// # Errors
    /// [`JwksError`]: then those before stay.
    pub fn replace(&self, jwks: &[u8]) -> Result<(), JwksError> {
        let keys = verifying_keys(jwks)?;
        self.keys.store(Some(Arc::new(keys)));
        self.fetched.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Tells that a fetch was in vain: whoever waits for it waits no longer.
    pub fn not_fetched(&self) {
        self.fetched.send_modify(|count| *count += 1);
    }

    /// Waits until a token asks for a fetch.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(super) async fn check(&self, token: &str, now: Timestamp) -> Result<Principal, Denied> {
        match self.check_once(token, now) {
            Err(Denied::UnknownTokenKey) if self.want(now) => {
                let mut fetched = self.fetched.subscribe();
                self.wanted.notify_one();
                // In vain or not: what is known then decides.
                let _ = tokio::time::timeout(PATIENCE, fetched.changed()).await;
                self.check_once(token, now)
            }
            checked => checked,
        }
    }

    /// Whether a fetch may be asked for now.
    fn want(&self, now: Timestamp) -> bool {
        let (now, last) = (now.as_millis(), self.wanted_at.load(Ordering::Acquire));
        let due = last == i64::MIN || !(last..last.saturating_add(AGAIN_MS)).contains(&now);
        due && self.wanted_at.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn check_once(&self, token: &str, now: Timestamp) -> Result<Principal, Denied> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(Denied::NotKnownYet)?;
        let jws = Jws::parse(token).map_err(Denied::Token)?;
        let key = match &jws.kid {
            Some(kid) => keys.iter().find(|key| key.kid.as_ref() == Some(kid)),
            None if keys.len() == 1 => keys.first(),
            None => return Err(Denied::Token("its header has no `kid`, and the issuer has several keys")),
        };
        let claims = jws.claims(key.ok_or(Denied::UnknownTokenKey)?).map_err(Denied::Token)?;
        self.principal(&claims, now)
    }

    fn principal(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Principal, Denied> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.config.issuer) {
            return Err(Denied::Token("its `iss` is another one"));
        }
        if !self.is_for_us(claims.get("aud")) {
            return Err(Denied::Token("its `aud` is another one"));
        }
        let leeway = i64::try_from(self.config.leeway.as_millis()).unwrap_or(i64::MAX);
        let expires_at = instant(claims, "exp")?.ok_or(Denied::Token("it has no `exp`"))?;
        let expires_at = Timestamp::from_millis(expires_at.saturating_add(leeway)).unwrap_or(Timestamp::MAX);
        if now >= expires_at {
            return Err(Denied::Expired);
        }
        if instant(claims, "nbf")?.is_some_and(|from| now.as_millis() < from.saturating_sub(leeway)) {
            return Err(Denied::Token("it is not valid yet"));
        }
        let tenant = claims.get(&self.config.tenant_claim).cloned().map(TenantId::deserialize);
        let tenant = tenant.and_then(Result::ok).ok_or(Denied::NoTenant)?;
        let subject: String = claims.get("sub").and_then(Value::as_str).unwrap_or("-").chars().take(SUBJECT).collect();
        Ok(Principal {
            tenant,
            scopes: scopes(claims.get(&self.config.scope_claim)).and(self.config.scopes),
            means: Means::Token,
            id: subject.into(),
            link: None,
            expires_at: Some(expires_at),
        })
    }
}

impl Tokens {
    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let ours = |name: &Value| name.as_str().is_some_and(|name| self.config.audience.iter().any(|own| own == name));
        match audience {
            Some(Value::Array(names)) => names.iter().any(ours),
            Some(name) => ours(name),
            None => false,
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A claim that is an instant, in milliseconds: whole seconds or parts of them.
fn instant(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Denied> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds =
        value.as_f64().filter(|seconds| seconds.abs() < 1e12).ok_or(Denied::Token("its `exp` or `nbf` is no time"))?;
    #[expect(clippy::cast_possible_truncation, reason = "it is below 2^53")]
    Ok(Some((seconds * 1000.0) as i64))
}

/// The scopes that are ours; providers have others.
fn scopes(claim: Option<&Value>) -> Scopes {
    match claim {
        Some(Value::String(text)) => text.split_whitespace().filter_map(|name| name.parse().ok()).collect(),
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str()?.parse().ok()).collect(),
        _ => Scopes::default(),
    }
}

fn verifying_keys(jwks: &[u8]) -> Result<Vec<VerifyingKey>, JwksError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(jwks).map_err(|error| JwksError::Malformed(error.to_string()))?;
    // Keys of other kinds stand beside ours: they are not for us.
    let keys: Vec<_> = set.keys.into_iter().filter_map(VerifyingKey::parse).collect();
    if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(keys) }
}

#[cfg(test)]
mod tests;
