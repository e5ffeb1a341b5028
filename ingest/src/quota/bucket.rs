//! A bucket of tokens that fills with time.
//!
//! It counts thousandths of tokens: so many tokens a second are so many thousandths a millisecond, and nothing is rounded.

use linktide_common::bucket::Timestamp;

/// So much a second, with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in a second; at least 1.
    pub per_second: u64,
    /// Tokens that are kept at most: what may come at once.
    pub burst: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Whole tokens.
    pub(super) tokens: u64,
    /// Milliseconds until it is full.
    pub(super) full_in_ms: u64,
}

pub(super) struct Bucket {
    thousandths: u64,
    filled: Timestamp,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Timestamp) -> Self {
        Self { thousandths: rate.burst.saturating_mul(1000), filled: now }
    }

    /// Whether it holds so many tokens now; if not, the milliseconds until it does.
    pub(super) fn has(&mut self, rate: Rate, now: Timestamp, tokens: u64) -> Result<(), u64> {
        self.fill(rate, now);
        match tokens.saturating_mul(1000).saturating_sub(self.thousandths) {
            0 => Ok(()),
            lacking => Err(lacking.div_ceil(rate.per_second.max(1))),
        }
    }

    pub(super) fn take(&mut self, tokens: u64) {
        self.thousandths = self.thousandths.saturating_sub(tokens.saturating_mul(1000));
    }

    pub(super) fn left(&mut self, rate: Rate, now: Timestamp) -> Left {
        self.fill(rate, now);
        let lacking = rate.burst.saturating_mul(1000) - self.thousandths;
        Left { tokens: self.thousandths / 1000, full_in_ms: lacking.div_ceil(rate.per_second.max(1)) }
    }

    /// A clock that runs back fills nothing, and takes nothing away.
    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let passed = u64::try_from(now.millis_since(self.filled)).unwrap_or_default();
        let more = self.thousandths.saturating_add(passed.saturating_mul(rate.per_second));
        self.thousandths = more.min(rate.burst.saturating_mul(1000));
        self.filled = self.filled.max(now);
    }
}
