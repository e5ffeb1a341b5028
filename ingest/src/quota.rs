//! Quotas at the door: how many clicks and bytes a second a tenant may send.
//!
//! Each tenant has two buckets of tokens, one for clicks and one for bytes, that fill with time up to their burst. A record
//! is taken where both hold what it costs. The tenants that are remembered are bounded: those with full buckets are
//! forgotten, because a new one's are full too, and those for whom there is no room share one pair of buckets, so a flood
//! of made-up tenants wins nothing.

mod answer;
mod bucket;

use linktide_common::bucket::Timestamp;
use linktide_common::clock::Clock;
use linktide_common::id::TenantId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

pub(crate) use answer::{OverQuota, with_fields};
use bucket::Bucket;
pub use bucket::Rate;

/// What a tenant may send.
#[derive(Debug, Clone)]
pub struct QuotaConfig {
    /// Clicks.
    pub clicks: Rate,
    /// Bytes of records, unpacked.
    pub bytes: Rate,
    /// Tenants that are remembered one by one.
    pub tenants: usize,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            clicks: Rate { per_second: 10_000, burst: 100_000 },
            bytes: Rate { per_second: 8 << 20, burst: 64 << 20 },
            tenants: 10_000,
        }
    }
}

/// Which of its quotas a tenant has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Clicks,
    Bytes,
}

/// The buckets of a tenant.
struct Buckets {
    clicks: Bucket,
    bytes: Bucket,
}

pub(crate) struct Quotas {
    config: QuotaConfig,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    tenants: FxHashMap<TenantId, Buckets>,
    /// Of those for whom there is no room.
    others: Buckets,
    swept: Timestamp,
}

/// Tenants with full buckets are not looked for more often.
const SWEEP_MS: i64 = 1000;

impl Quotas {
    pub(crate) fn new(config: QuotaConfig, clock: Clock) -> Self {
        let others = Buckets::full(&config, clock.now());
        let state = State { tenants: FxHashMap::default(), others, swept: Timestamp::MIN };
        Self { config, clock, state: Mutex::new(state) }
    }

    /// Takes the tokens for a record of so many bytes, or none where either bucket lacks them.
    pub(crate) fn admit(&self, tenant: TenantId, bytes: usize) -> Result<(), OverQuota> {
        let (now, QuotaConfig { clicks, bytes: rate, .. }) = (self.clock.now(), &self.config);
        let mut state = self.state.lock();
        let buckets = state.buckets(tenant, &self.config, now);
        let over = |limit, rate, wait_ms| OverQuota { tenant, limit, rate, wait_ms };
        let bytes = bytes as u64;
        buckets.clicks.has(*clicks, now, 1).map_err(|wait_ms| over(Limit::Clicks, *clicks, wait_ms))?;
        buckets.bytes.has(*rate, now, bytes).map_err(|wait_ms| over(Limit::Bytes, *rate, wait_ms))?;
        buckets.clicks.take(1);
        buckets.bytes.take(bytes);
        Ok(())
    }

    /// Tenants that are remembered.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.state.lock().tenants.len()
    }
}

impl State {
    fn buckets(&mut self, tenant: TenantId, config: &QuotaConfig, now: Timestamp) -> &mut Buckets {
        if !self.tenants.contains_key(&tenant) {
            if self.tenants.len() >= config.tenants && now.millis_since(self.swept) >= SWEEP_MS {
                self.swept = now;
                self.tenants.retain(|_, buckets| !buckets.are_full(config, now));
            }
            if self.tenants.len() >= config.tenants {
                return &mut self.others;
            }
        }
        self.tenants.entry(tenant).or_insert_with(|| Buckets::full(config, now))
    }
}

impl Buckets {
    fn full(config: &QuotaConfig, now: Timestamp) -> Self {
        Self { clicks: Bucket::full(config.clicks, now), bytes: Bucket::full(config.bytes, now) }
    }

    fn are_full(&mut self, config: &QuotaConfig, now: Timestamp) -> bool {
        self.clicks.left(config.clicks, now).full_in_ms == 0 && self.bytes.left(config.bytes, now).full_in_ms == 0
    }
}

#[cfg(test)]
mod tests;
