//! What a sender is told of its quotas: the fields of every answer, and the problem where all is over the quota.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers-10 (27 September 2025), section 3 and 4: structured fields,
//! a list of named policies (`q` quota, `qu` its unit, `w` window in seconds, `pk` whose it is) and of what is left of each
//! (`r` left, `t` seconds until the quota is whole again). Of a bucket the quota is its burst, and the window is the time
//! in which it fills. A click counts as a request, the unit where none is named.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::json;

use super::bucket::{Left, Rate};
use super::{Limit, QuotaConfig, Quotas};

/// A record that a tenant has no quota for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverQuota {
    pub(crate) tenant: TenantId,
    pub(super) limit: Limit,
    pub(super) rate: Rate,
    pub(super) wait_ms: u64,
}

impl OverQuota {
    /// Whole seconds after which it has.
    pub(crate) fn retry_after(&self) -> u32 {
        u32::try_from(self.wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }

    /// The same in words.
    pub(crate) fn detail(&self) -> String {
        let Self { tenant, rate: Rate { per_second, burst }, .. } = self;
        format!(
            "tenant {tenant} may send {per_second} {} a second, and {burst} at once; send it again in {} s",
            self.limit.name(),
            self.retry_after()
        )
    }

    /// The answer where every record was over a quota. Its status has no kind of its own among the problems.
    pub(crate) fn into_response(self) -> Response {
        let problem = Problem::new(ProblemKind::LogUnavailable, self.detail())
            .with("type", json!("/problems/over-quota"))
            .with("title", json!("Over the quota"))
            .with("status", json!(StatusCode::TOO_MANY_REQUESTS.as_u16()))
            .with("tenant_id", json!(self.tenant))
            .with("limit", json!(self.limit.name()))
            .with("per_second", json!(self.rate.per_second))
            .with("burst", json!(self.rate.burst))
            .with("retry_after", json!(self.retry_after()))
            .retry_after(self.retry_after());
        let mut response = problem.into_response();
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
    }
}

impl Limit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clicks => "clicks",
            Self::Bytes => "bytes",
        }
    }
}

/// The answer with the fields that tell what is left to a tenant.
pub(crate) fn with_fields(mut response: Response, quotas: &Quotas, tenant: TenantId) -> Response {
    let (clicks, bytes) = {
        let now = quotas.clock.now();
        let mut state = quotas.state.lock();
        let buckets = state.buckets(tenant, &quotas.config, now);
        (buckets.clicks.left(quotas.config.clicks, now), buckets.bytes.left(quotas.config.bytes, now))
    };
    let [policy, left] = fields(&quotas.config, tenant, clicks, bytes);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(header::HeaderName::from_static(name), value);
        }
    }
    response
}

fn fields(config: &QuotaConfig, tenant: TenantId, clicks: Left, bytes: Left) -> [String; 2] {
    let window = |rate: Rate| rate.burst.div_ceil(rate.per_second.max(1)).max(1);
    let whose = base64(tenant.to_string().as_bytes());
    let policy = format!(
        "\"clicks\";q={};w={};pk=:{whose}:, \"bytes\";q={};qu=\"content-bytes\";w={};pk=:{whose}:",
        config.clicks.burst,
        window(config.clicks),
        config.bytes.burst,
        window(config.bytes),
    );
    let left = format!(
        "\"clicks\";r={};t={};pk=:{whose}:, \"bytes\";r={};t={};pk=:{whose}:",
        clicks.tokens,
        clicks.full_in_ms.div_ceil(1000),
        bytes.tokens,
        bytes.full_in_ms.div_ceil(1000),
    );
    [policy, left]
}

/// Base 64 of RFC 4648, section 4, as byte sequences of structured fields are written.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if shown { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lists_of_named_policies() {
        let [policy, left] = fields(
            &QuotaConfig::default(),
            TenantId(42),
            Left { tokens: 99_990, full_in_ms: 1 },
            Left { tokens: 7, full_in_ms: 7_999 },
        );
        assert_eq!(policy, r#""clicks";q=100000;w=10;pk=:NDI=:, "bytes";q=67108864;qu="content-bytes";w=8;pk=:NDI=:"#);
        assert_eq!(left, r#""clicks";r=99990;t=1;pk=:NDI=:, "bytes";r=7;t=8;pk=:NDI=:"#);
    }

    #[test]
    fn base_64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("?>~", "Pz5+")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
