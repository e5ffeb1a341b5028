//! Addresses that click often, as one shard follows them.

use linktide_common::bucket::Hour;
use linktide_common::id::Subject;
use rustc_hash::FxHashMap;

use crate::fold::{AddressMinute, FOLLOWED_MINUTES, MOST_ADDRESSES, Pace};

/// A minute of an address, on a subject and within a received hour.
type Key = (Subject, Hour, i64, i64);

#[derive(Debug, Default)]
struct Sums {
    samples: u64,
    clicks: u64,
}

/// What came of each address lately, and before.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// The minute of received time in which `now` was begun.
    began: Option<i64>,
    now: FxHashMap<Key, Sums>,
    before: FxHashMap<Key, Sums>,
}

impl Rates {
    /// Adds what came of an address in a minute, as a fold tells that ends in the minute `received`. Returns how many clicks
    /// are suspected because of it.
    pub(super) fn add(
        &mut self,
        (subject, hour): (Subject, Hour),
        more: &AddressMinute,
        pace: Pace,
        received: i64,
    ) -> u64 {
        if self.began.is_none_or(|began| received - began >= FOLLOWED_MINUTES) || self.now.len() >= MOST_ADDRESSES {
            self.before = std::mem::take(&mut self.now);
            self.began = Some(received);
        }
        let key = (subject, hour, more.minute, more.address);
        let sums = self.now.entry(key).or_insert_with(|| self.before.remove(&key).unwrap_or_default());
        let before = sums.samples;
        sums.samples += more.samples;
        sums.clicks += more.clicks;
        match sums.samples > pace.most_samples {
            true if before > pace.most_samples => more.clicks,
            true => sums.clicks,
            false => 0,
        }
    }
}
