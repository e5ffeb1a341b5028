//! Who may ask what, and how much: `[access]`.

use std::path::PathBuf;

use linktide_common::access::{Scope, Scopes};
use serde::{Deserialize, Serialize};

use super::Span;

/// Who may ask what, and how much.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Whether every question and every click needs a credential. A JWKS requires one, too. Without either, everyone who
    /// reaches the address is tenant 0, and the API listens on this machine alone.
    pub required: bool,
    /// How many proxies of our own stand in front of the API, each adding to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// The file of the secret that share links are signed with, at least 32 bytes, the same for every process; without it
    /// one is made in the lake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_secret: Option<PathBuf>,
    /// Tokens of an identity provider.
    pub jwt: Jwt,
    /// How much callers may ask.
    pub limits: Limits,
}

impl Access {
    /// Whether every question and every click needs a credential.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required || self.jwt.jwks.is_some()
    }
}

/// Tokens of an identity provider: JWTs signed by RS256, ES256 or EdDSA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// Where its public keys are: a file, or an `https://` address; `http://` on this machine alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// What `iss` must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What must be in `aud`, one of these.
    pub audience: Vec<String>,
    /// The claim that names the tenant: a number, or its digits.
    pub tenant_claim: String,
    /// The claim that names the scopes: with spaces between them, or an array.
    pub scope_claim: String,
    /// The scopes that a token may give; others are left out.
    pub scopes: Vec<Scope>,
    /// How far clocks may differ.
    pub leeway: Span,
    /// How often the public keys are fetched again.
    pub refresh: Span,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            jwks: None,
            issuer: None,
            audience: Vec::new(),
            tenant_claim: "tenant_id".to_owned(),
            scope_claim: "scope".to_owned(),
            scopes: [Scope::Read, Scope::Export].into_iter().collect::<Scopes>().iter().collect(),
            leeway: Span::seconds(30),
            refresh: Span::seconds(300),
        }
    }
}

/// How much callers may ask, of each process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second of all callers of a tenant together, over time.
    pub tenant_per_second: u64,
    /// Their requests at once.
    pub tenant_burst: u64,
    /// Their requests that may run at once.
    pub tenant_concurrent: u64,
    /// Requests a second of one key, subject of tokens, or share link, over time.
    pub caller_per_second: u64,
    /// Its requests at once.
    pub caller_burst: u64,
    /// Its requests that may run at once.
    pub caller_concurrent: u64,
    /// Failed attempts and requests by share link a second from one address, over time.
    pub address_per_second: u64,
    /// The same at once.
    pub address_burst: u64,
    /// Tenants, callers and addresses that are remembered one by one; those beyond share one limit.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tenant_per_second: 1000,
            tenant_burst: 2000,
            tenant_concurrent: 256,
            caller_per_second: 500,
            caller_burst: 1000,
            caller_concurrent: 128,
            address_per_second: 20,
            address_burst: 100,
            remembered: 10_000,
        }
    }
}
