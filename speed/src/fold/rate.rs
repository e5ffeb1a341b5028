//! The early sign of rate: an address that seems to click too often in a minute.
//!
//! The verdict is history's, which sees every click. Here one click in several is a sample, by its id: whether an address
//! exceeds the pace depends on its clicks alone, not on flushes, nor on how many workers share the log, and most clicks
//! cost nothing. Clicks that have a reason already are not looked at.

use linktide_common::bucket::Quarter;
use linktide_common::click::Kind;
use linktide_common::enrich::EnrichedClick;
use linktide_common::id::ClickId;
use linktide_common::visitors::short;

/// Addresses that a shard follows before it begins to forget those it has not seen since.
pub(crate) const MOST_ADDRESSES: usize = 16_384;
/// Minutes of received time after which it does as well.
pub(crate) const FOLLOWED_MINUTES: i64 = 2;

/// Samples that an address may have in a minute at least: their number strays by a quarter.
const SAMPLES: u32 = 16;
pub(super) const MINUTE_MS: i64 = 60_000;

/// How many clicks of one address in one minute are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// One in so many clicks is a sample, as a power of two.
    one_in: u32,
    /// Samples above which the address is suspected.
    pub(crate) most_samples: u64,
}

impl Pace {
    /// More clicks than that in a minute.
    #[must_use]
    pub fn above(clicks: u32) -> Self {
        let one_in = (clicks / SAMPLES).max(1).ilog2();
        Self { one_in, most_samples: u64::from(clicks >> one_in) }
    }

    /// Whether a click is a sample: the high bits of its id's halves multiplied by the golden ratio (Knuth 1973, section 6.4).
    #[must_use]
    pub fn samples(self, id: ClickId) -> bool {
        let (high, low) = id.0.as_u64_pair();
        let mixed = (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.leading_zeros() >= self.one_in
    }
}

/// A click of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    address: i64,
    minute: i64,
    quarter: Quarter,
    sample: bool,
}

impl Seen {
    /// What is to be remembered of a click.
    pub(super) fn of(click: &EnrichedClick, pace: Pace) -> Option<Self> {
        let address =
            click.ip_hash.filter(|_| click.kind == Kind::Click && click.bot.is_none() && click.suspected.is_none())?;
        let minute = click.clicked_at.as_millis().div_euclid(MINUTE_MS);
        let (quarter, sample) = (Quarter::of(click.clicked_at), pace.samples(click.click_id));
        Some(Self { address: short(&address.0), minute, quarter, sample })
    }
}

/// The clicks of one address in one minute of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressMinute {
    /// Eight bytes of the address's hash.
    pub(crate) address: i64,
    /// Counted from 1970.
    pub(crate) minute: i64,
    /// Those that are samples; at least one.
    pub(crate) samples: u64,
    /// All of them.
    pub(crate) clicks: u64,
    /// The quarter that the minute lies in.
    pub(crate) quarter: Quarter,
}

/// The minutes of addresses that have a sample.
pub(super) fn sampled(seen: &[Seen]) -> Vec<AddressMinute> {
    if !seen.iter().any(|seen| seen.sample) {
        return Vec::new();
    }
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    let minutes = seen.chunk_by(|one, other| (one.address, one.minute) == (other.address, other.minute));
    let counted = minutes.map(|clicks| AddressMinute {
        address: clicks[0].address,
        minute: clicks[0].minute,
        samples: clicks.iter().filter(|click| click.sample).count() as u64,
        clicks: clicks.len() as u64,
        quarter: clicks[0].quarter,
    });
    counted.filter(|minute| minute.samples > 0).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn few_clicks_are_all_samples_and_many_are_sampled() {
        for (clicks, one_in, most) in [(1, 1, 1), (31, 1, 31), (32, 2, 16), (300, 16, 18), (10_000, 512, 19)] {
            let pace = Pace::above(clicks);
            assert_eq!((1 << pace.one_in, pace.most_samples), (one_in, most), "{clicks}");
            let ids = 200_000;
            let samples = (0..ids).filter(|number| pace.samples(ClickId(uuid(*number)))).count();
            let expected = (ids / one_in) as usize;
            assert!(samples.abs_diff(expected) * 8 <= expected, "one in {one_in}: {samples} of {ids}");
        }
    }

    /// As ids of clicks are: a time and random bits, here those of a counter.
    fn uuid(number: u32) -> Uuid {
        let random = u128::from(number).wrapping_mul(0x2545_f491_4f6c_dd1d_8a5c_d789_635d_2dff) >> 54;
        Uuid::from_u128((1_764_000_000_000 << 80) | (7 << 76) | (2 << 62) | (random & ((1 << 62) - 1)))
    }
}
