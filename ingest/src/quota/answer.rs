//! What a sender is told of its quotas: the fields of every answer, and the problem where all is over the quota. A click
//! counts as a request, the unit where none is named.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::rate::{Policy, Rate, fields};
use serde_json::json;

use super::{Limit, Quotas};

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

    /// The answer where every record was over a quota.
    pub(crate) fn into_response(self) -> Response {
        Problem::new(ProblemKind::OverQuota, self.detail())
            .with("tenant_id", json!(self.tenant))
            .with("limit", json!(self.limit.name()))
            .with("per_second", json!(self.rate.per_second))
            .with("burst", json!(self.rate.burst))
            .with("retry_after", json!(self.retry_after()))
            .retry_after(self.retry_after())
            .into_response()
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
    let (now, config) = (quotas.clock.now(), &quotas.config);
    let (clicks, bytes) = {
        let mut tenants = quotas.tenants.lock();
        let buckets = quotas.of(&mut tenants, tenant, now);
        (buckets.clicks.left(config.clicks, now), buckets.bytes.left(config.bytes, now))
    };
    let whose = tenant.to_string();
    let [policy, left] = fields(&[
        Policy::of("clicks", config.clicks, clicks, &whose),
        Policy::of("bytes", config.bytes, bytes, &whose).in_unit("content-bytes"),
    ]);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(header::HeaderName::from_static(name), value);
        }
    }
    response
}
