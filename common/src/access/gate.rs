//! The gate in front of the routes: whoever passes it is a [`Principal`], and nobody behind it sees a credential.
//!
//! 1. The one credential of a request is found: `Authorization: Bearer`, or a share token as `?share=`, which is taken out of
//!    the address, so that no log and no answer repeats it.
//! 2. It is checked: a key against what the lake holds, a token against its issuer's keys, a share token against the secret
//!    that it was signed with. Failures cost the address they come from.
//! 3. What the caller and its tenant may ask is counted, and told with the answer.
//!
//! While the keys have never been read, nobody is refused for good: the answer is 503. A lake that goes away later changes
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::key::{self, ApiKey};
use super::known::Known;
use super::limit::{LimitConfig, Limits, until_sent};
use super::principal::{Means, Principal, Scope};
use super::refusal::Denied;
use super::share::{self, Share};
use super::shares::Shares;
use super::store::{AccessError, AccessStore};
use super::token::Tokens;
use crate::address;
use crate::bucket::Timestamp;
use crate::clock::Clock;
use crate::metrics;
use crate::problem::{Problem, ProblemKind};
use crate::secret::Secret;

/// Bytes of the largest credential.
const LARGEST: usize = 8 << 10;
/// The parameter that carries a share token.
const PARAMETER: &str = "share";

/// The gate; clones share it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None where everyone passes.
    required: Option<Required>,
}

#[derive(Debug)]
struct Required {
    clock: Clock,
    limits: Arc<Limits>,
    trusted_proxies: usize,
    known: Option<Known>,
    /// Where it is not made by ourselves.
    share_secret: Option<Secret>,
    tokens: Option<Arc<Tokens>>,
}

/// A gate that asks who comes.
#[derive(Debug)]
pub struct GateConfig {
    /// What time it is.
    pub clock: Clock,
    /// How much callers may ask.
    pub limits: LimitConfig,
    /// How many proxies of our own stand in front, each adding to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// Where keys and share links are; without it there are none.
    pub store: Option<AccessStore>,
    /// What share links are signed with; without it the store's own secret.
    pub share_secret: Option<Secret>,
    /// Checks tokens of an identity provider; without it they are not taken.
    pub tokens: Option<Arc<Tokens>>,
}

impl Gate {
    /// A gate that is open: everyone is tenant 0 and may do everything. Only for an address that nobody else reaches.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Inner { required: None }))
    }

    /// A gate that asks who comes.
    #[must_use]
    pub fn required(config: GateConfig) -> Self {
        let GateConfig { clock, limits, trusted_proxies, store, share_secret, tokens } = config;
        let limits = Arc::new(Limits::new(limits, clock.now()));
        let known = store.map(Known::new);
        Self(Arc::new(Inner {
            required: Some(Required { clock, limits, trusted_proxies, known, share_secret, tokens }),
        }))
    }

    /// Whether it asks who comes.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.required.is_some()
    }

    /// Looks for keys and revocations that are new.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails: what was known goes on.
    pub async fn look(&self) -> Result<(), AccessError> {
        match self.0.required.as_ref().and_then(|required| required.known.as_ref()) {
            Some(known) => known.look().await,
            None => Ok(()),
        }
    }

    /// Whether there is neither a key nor an issuer of tokens, so that nobody passes.
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.0.required.as_ref().is_some_and(|required| {
            let book = required.known.as_ref().and_then(Known::book);
            required.tokens.is_none() && book.is_some_and(|book| book.is_empty())
        })
    }

    /// Makes and revokes share links; none where nobody is asked who comes, or where they could not be kept.
    #[must_use]
    pub fn shares(&self) -> Option<Shares> {
        let required = self.0.required.as_ref()?;
        let store = required.known.as_ref()?.store.clone();
        Some(Shares { store, secret: required.share_secret.clone(), clock: required.clock.clone() })
    }

    /// Whether a caller still is who it was, for answers that go on for long.
    #[must_use]
    pub fn holds(&self, principal: &Principal) -> bool {
        let Some(required) = &self.0.required else { return true };
        let expired = principal.expires_at.is_some_and(|at| at <= required.clock.now());
        let book = required.known.as_ref().and_then(Known::book);
        let revoked = match (principal.means, book) {
            (Means::Key, Some(book)) => book.is_revoked(&principal.id) || book.key(&principal.id).is_none(),
            (Means::Share, Some(book)) => book.is_revoked(&principal.id),
            _ => false,
        };
        !expired && !revoked
    }
}

impl Principal {
    /// Whoever sent a request, where it may do something.
    ///
    /// # Errors
    /// A problem where it may not, or where nobody asked who it is: a route outside the gate answers nobody, instead of
    /// everybody.
    pub fn of(parts: &Parts, scope: Scope) -> Result<&Self, Problem> {
        let caller = parts.extensions.get::<Self>();
        let caller = caller.ok_or_else(|| Problem::new(ProblemKind::Internal, "nobody asked who the caller is"))?;
        caller.may(scope)?;
        Ok(caller)
    }
}

/// Lets a request pass as the principal that it comes from, or refuses it.
pub async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let found = credential(&mut parts);
    let Some(required) = &gate.0.required else {
        parts.extensions.insert(Principal::open());
        return next.run(Request::from_parts(parts, body)).await;
    };
    let (principal, limits) = match required.admit(found, &parts).await {
        Ok(principal) => (principal, &required.limits),
        Err(problem) => return problem.into_response(),
    };
    let (running, told) = match limits.begin(&principal, required.clock.now()) {
        Ok(begun) => begun,
        Err(over) => return Problem::from(over).into_response(),
    };
    parts.extensions.insert(principal.clone());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    told.to(&mut response, limits, &principal);
    until_sent(response, running)
}

impl Required {
    async fn admit(&self, found: Result<Option<String>, Denied>, parts: &Parts) -> Result<Principal, Problem> {
        let now = self.clock.now();
        let checked = match found {
            Ok(Some(credential)) => self.check(&credential, now).await,
            Ok(None) => Err(Denied::Missing),
            Err(denied) => Err(denied),
        };
        let by_address = match &checked {
            Ok(principal) => principal.means == Means::Share,
            Err(denied) => *denied != Denied::NotKnownYet,
        };
        if by_address && let Some(address) = self.address(parts) {
            self.limits.by_address(address::network(address), now)?;
        }
        checked.map_err(|denied| {
            metrics::ACCESS_REFUSED.with_label_values(&[denied.reason()]).inc();
            denied.into()
        })
    }

    fn address(&self, parts: &Parts) -> Option<std::net::IpAddr> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        address::seen(&parts.headers, peer, self.trusted_proxies)
    }

    async fn check(&self, credential: &str, now: Timestamp) -> Result<Principal, Denied> {
        if credential.starts_with(share::PREFIX) {
            self.check_share(credential, now)
        } else if credential.starts_with(key::PREFIX) {
            self.check_key(credential, now)
        } else if credential.bytes().filter(|byte| *byte == b'.').count() == 2 {
            let tokens = self.tokens.as_ref().ok_or(Denied::NotTaken("tokens of an identity provider"))?;
            tokens.check(credential, now).await
        } else {
            Err(Denied::Malformed)
        }
    }

    fn check_key(&self, text: &str, now: Timestamp) -> Result<Principal, Denied> {
        let known = self.known.as_ref().ok_or(Denied::NotTaken("API keys"))?;
        let key = ApiKey::parse(text).ok_or(Denied::Malformed)?;
        let book = known.book().ok_or(Denied::NotKnownYet)?;
        // Hashed in either case, so that time says little of whether the id is known; it is no secret.
        let digest = key.digest();
        let record = book.key(key.id()).filter(|record| record.is_of(&digest)).ok_or(Denied::Key)?;
        if book.is_revoked(key.id()) {
            return Err(Denied::Revoked);
        }
        let principal = record.principal();
        if principal.expires_at.is_some_and(|at| at <= now) { Err(Denied::Expired) } else { Ok(principal) }
    }

    fn check_share(&self, text: &str, now: Timestamp) -> Result<Principal, Denied> {
        let known = self.known.as_ref().ok_or(Denied::NotTaken("share links"))?;
        // Without the list of revocations nobody knows whether it is one still.
        let book = known.book().ok_or(Denied::NotKnownYet)?;
        let secret = self.share_secret.as_ref().or_else(|| book.share_secret()).ok_or(Denied::Share)?;
        let share = Share::verify(text, secret).ok_or(Denied::Share)?;
        if book.is_revoked(&share.id) {
            return Err(Denied::Revoked);
        }
        if share.expires_at <= now { Err(Denied::Expired) } else { Ok(share.principal()) }
    }
}

/// The one credential of a request, taken out of it.
fn credential(parts: &mut Parts) -> Result<Option<String>, Denied> {
    let shared = take_parameter(&mut parts.uri);
    let bearer = bearer(&parts.headers);
    parts.headers.remove(header::AUTHORIZATION);
    let (shared, bearer) = (shared?, bearer?);
    match (shared, bearer) {
        (Some(_), Some(_)) => Err(Denied::Several),
        (Some(token), None) if !token.starts_with(share::PREFIX) => Err(Denied::Share),
        (found, None) | (None, found) => Ok(found),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Denied> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::Several);
    }
    let text = value.to_str().ok().filter(|text| text.len() <= LARGEST).ok_or(Denied::Malformed)?;
    let (scheme, credential) = text.trim().split_once(' ').ok_or(Denied::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::Malformed);
    }
    Ok(Some(credential.trim_start().to_owned()))
}

/// Takes the share token out of an address.
fn take_parameter(uri: &mut Uri) -> Result<Option<String>, Denied> {
    let Some(query) = uri.query() else { return Ok(None) };
    let is_ours = |pair: &&str| pair.split('=').next() == Some(PARAMETER);
    let mut found = query.split('&').filter(is_ours).map(|pair| pair.split_once('=').map_or("", |(_, value)| value));
    let Some(token) = found.next() else { return Ok(None) };
    let several = found.next().is_some();
    let token = token.to_owned();
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
    let place = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), rest.join("&")) };
    let mut whole = uri.clone().into_parts();
    whole.path_and_query = Some(PathAndQuery::try_from(place).map_err(|_| Denied::Malformed)?);
    *uri = Uri::from_parts(whole).map_err(|_| Denied::Malformed)?;
    if several { Err(Denied::Several) } else { Ok(Some(token)) }
}

#[cfg(test)]
mod tests;
