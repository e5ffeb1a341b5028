//! How much callers may ask: each tenant and each caller has a bucket of requests and a number that may run at once, and
//! each address a bucket for what comes without a key of its own: attempts that fail, and share links.
//!
//! A request costs its tenant and its caller one token each, or neither where either lacks one. It runs until its answer is
//! sent to the end, so that a client that reads slowly holds its own place and no other's.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use serde_json::json;

use super::principal::{Means, Principal};
use crate::bucket::Timestamp;
use crate::id::TenantId;
use crate::metrics;
use crate::problem::{Problem, ProblemKind};
use crate::rate::{Bucket, Left, Policy, Rate, Remembered, fields};

/// What one tenant or one caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests.
    pub rate: Rate,
    /// Requests that may run at once.
    pub concurrent: u64,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitConfig {
    /// Of all callers of a tenant together.
    pub tenant: Allowance,
    /// Of a key, a token's subject, or a share link.
    pub caller: Allowance,
    /// Of an address, without a key of its own.
    pub address: Rate,
    /// Tenants, callers and addresses that are remembered one by one.
    pub remembered: usize,
}

type Caller = (Means, Arc<str>);

/// What someone uses now.
#[derive(Debug)]
struct Use {
    bucket: Bucket,
    running: u64,
}

#[derive(Debug)]
struct State {
    tenants: Remembered<TenantId, Use>,
    callers: Remembered<Caller, Use>,
    addresses: Remembered<IpAddr, Bucket>,
}

/// Counts what is asked.
#[derive(Debug)]
pub(super) struct Limits {
    config: LimitConfig,
    state: Mutex<State>,
}

/// What was asked too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    name: &'static str,
    /// What may come at once, and a second; at once alone where it is about what runs.
    burst: u64,
    per_second: Option<u64>,
    wait_ms: u64,
}

/// A request that runs; where it ends, its place is free.
#[derive(Debug)]
pub(super) struct Running {
    limits: Arc<Limits>,
    tenant: TenantId,
    caller: Caller,
    /// Whether they were remembered by themselves when it began.
    known: (bool, bool),
}

impl Use {
    fn new(allowance: Allowance, now: Timestamp) -> Self {
        Self { bucket: Bucket::full(allowance.rate, now), running: 0 }
    }

    fn is_forgettable(&mut self, allowance: Allowance, now: Timestamp) -> bool {
        self.running == 0 && self.bucket.left(allowance.rate, now).full_in_ms == 0
    }

    fn admits(&mut self, name: &'static str, allowance: Allowance, now: Timestamp) -> Result<(), Over> {
        let Allowance { rate, concurrent } = allowance;
        if self.running >= concurrent {
            return Err(Over { name, burst: concurrent, per_second: None, wait_ms: 1000 });
        }
        let over = |wait_ms| Over { name, burst: rate.burst, per_second: Some(rate.per_second), wait_ms };
        self.bucket.has(rate, now, 1).map_err(over)
    }

    fn begin(&mut self) {
        self.bucket.take(1);
        self.running += 1;
    }
}

impl Limits {
    pub(super) fn new(config: LimitConfig, now: Timestamp) -> Self {
        let state = State {
            tenants: Remembered::new(config.remembered, Use::new(config.tenant, now)),
            callers: Remembered::new(config.remembered, Use::new(config.caller, now)),
            addresses: Remembered::new(config.remembered, Bucket::full(config.address, now)),
        };
        Self { config, state: Mutex::new(state) }
    }

    /// Lets a request of a caller begin, and tells of what is left to it.
    pub(super) fn begin(self: &Arc<Self>, principal: &Principal, now: Timestamp) -> Result<(Running, Told), Over> {
        let LimitConfig { tenant: of_tenant, caller: of_caller, .. } = self.config;
        let (id, caller) = (principal.tenant, (principal.means, Arc::clone(&principal.id)));
        let State { tenants, callers, .. } = &mut *self.state.lock();
        let tenant = tenants.of(id, now, || Use::new(of_tenant, now), |used| used.is_forgettable(of_tenant, now));
        let own =
            callers.of(caller.clone(), now, || Use::new(of_caller, now), |used| used.is_forgettable(of_caller, now));
        tenant.admits("tenant", of_tenant, now)?;
        own.admits("caller", of_caller, now)?;
        tenant.begin();
        own.begin();
        let told = Told {
            tenant: (tenant.bucket.left(of_tenant.rate, now), of_tenant.concurrent - tenant.running),
            caller: (own.bucket.left(of_caller.rate, now), of_caller.concurrent - own.running),
        };
        let known = (tenants.known(&id).is_some(), callers.known(&caller).is_some());
        Ok((Running { limits: Arc::clone(self), tenant: id, caller, known }, told))
    }

    /// What an address asks without a key of its own.
    pub(super) fn by_address(&self, address: IpAddr, now: Timestamp) -> Result<(), Over> {
        let rate = self.config.address;
        let mut state = self.state.lock();
        let full = |bucket: &mut Bucket| bucket.left(rate, now).full_in_ms == 0;
        let bucket = state.addresses.of(address, now, || Bucket::full(rate, now), full);
        let over = |wait_ms| Over { name: "address", burst: rate.burst, per_second: Some(rate.per_second), wait_ms };
        bucket.has(rate, now, 1).map_err(over)?;
        bucket.take(1);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock();
        let State { tenants, callers, .. } = &mut *state;
        // Whoever runs something is not forgotten.
        let tenant = if self.known.0 { tenants.known(&self.tenant) } else { Some(tenants.others()) };
        let caller = if self.known.1 { callers.known(&self.caller) } else { Some(callers.others()) };
        for used in [tenant, caller].into_iter().flatten() {
            used.running = used.running.saturating_sub(1);
        }
    }
}

impl From<Over> for Problem {
    fn from(over: Over) -> Self {
        let Over { name, burst, per_second, wait_ms } = over;
        metrics::ACCESS_LIMITED.with_label_values(&[name]).inc();
        let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let whose = match name {
            "tenant" => "all callers of this tenant together",
            "address" => "this address, without a key of its own,",
            _ => "this caller",
        };
        let detail = per_second.map_or_else(
            || format!("{whose} may have {burst} requests running at once; try again when one has ended"),
            |rate| format!("{whose} may send {rate} requests a second, and {burst} at once; try again in {seconds} s"),
        );
        let kind = if per_second.is_some() { "requests" } else { "concurrent-requests" };
        Self::new(ProblemKind::TooManyRequests, detail)
            .with("whose", json!(name))
            .with("limit", json!(kind))
            .with("per_second", json!(per_second))
            .with("burst", json!(burst))
            .with("retry_after", json!(seconds))
            .retry_after(seconds)
    }
}

/// What is left to a caller: of its buckets, and of what may run at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    tenant: (Left, u64),
    caller: (Left, u64),
}

impl Told {
    /// Adds it to an answer. What another limit has said there stands beside it.
    pub(super) fn to(self, response: &mut Response, limits: &Limits, principal: &Principal) {
        let LimitConfig { tenant, caller, .. } = limits.config;
        let of_tenant = principal.tenant.to_string();
        let running = |name, allowance: Allowance, left, whose| Policy {
            name,
            unit: Some("concurrent-requests"),
            quota: allowance.concurrent,
            window: None,
            whose,
            left,
            full_in: None,
        };
        let [policy, left] = fields(&[
            Policy::of("tenant", tenant.rate, self.tenant.0, &of_tenant),
            running("tenant-running", tenant, self.tenant.1, &of_tenant),
            Policy::of("caller", caller.rate, self.caller.0, &principal.id),
            running("caller-running", caller, self.caller.1, &principal.id),
        ]);
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The same answer, which runs until it is sent to the end.
pub(super) fn until_sent(response: Response, running: Running) -> Response {
    response.map(|body| if body.is_end_stream() { body } else { Body::new(Sent { body, running: Some(running) }) })
}

/// A body that frees its place when it has ended.
struct Sent {
    body: Body,
    running: Option<Running>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.running = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
