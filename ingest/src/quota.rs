//! Quotas at the door: how many clicks and bytes a second a tenant may send.
//!
//! Each tenant has two buckets of tokens, one for clicks and one for bytes, that fill with time up to their burst. A record
//! is taken where both hold what it costs. The tenants that are remembered are bounded: those with full buckets are
//! forgotten, because a new one's are full too, and those for whom there is no room share one pair of buckets, so a flood
//! of made-up tenants wins nothing.

mod answer;

use linktide_common::bucket::Timestamp;
use linktide_common::clock::Clock;
use linktide_common::id::TenantId;
use linktide_common::rate::{Bucket, Rate, Remembered};
use parking_lot::Mutex;

pub(crate) use answer::{OverQuota, with_fields};

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
    tenants: Mutex<Remembered<TenantId, Buckets>>,
}

impl Quotas {
    pub(crate) fn new(config: QuotaConfig, clock: Clock) -> Self {
        let others = Buckets::full(&config, clock.now());
        Self { tenants: Mutex::new(Remembered::new(config.tenants, others)), config, clock }
    }

    /// Takes the tokens for a record of so many bytes, or none where either bucket lacks them.
    pub(crate) fn admit(&self, tenant: TenantId, bytes: usize) -> Result<(), OverQuota> {
        let (now, QuotaConfig { clicks, bytes: rate, .. }) = (self.clock.now(), &self.config);
        let mut tenants = self.tenants.lock();
        let buckets = self.of(&mut tenants, tenant, now);
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
        self.tenants.lock().len()
    }

    fn of<'a>(
        &self,
        tenants: &'a mut Remembered<TenantId, Buckets>,
        tenant: TenantId,
        now: Timestamp,
    ) -> &'a mut Buckets {
        let config = &self.config;
        tenants.of(tenant, now, || Buckets::full(config, now), |buckets| buckets.are_full(config, now))
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
