//! Which clicks are copies: a function of the log alone.
//!
//! A click is a copy when its id already stands in the same partition within the preceding `K` offsets. So every layer
//! drops the same ones, whatever its batches, cadence or restarts; whoever takes a partition over reads the preceding
//! `K` offsets first, without counting them. (A Bloom filter would lose clicks for good at each replay, a table by time
//! or one lost at restart would make totals depend on the cadence.)
//!
//! Ten partitions of 2^18 ids stand in memory all the time, so they are kept small: a ring holds the ids by their offsets,
//! and a hash table holds the places of the ring, 21 bytes an id together.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;

use crate::id::{ClickId, Offset};

/// The ids of the last `K` offsets of one partition.
pub struct CopyWindow {
    /// The id at each offset of the window; what stands at an offset without a click means nothing.
    ring: Vec<u128>,
    /// The place of the last click of each id. Every place here is within reach.
    places: HashTable<u32>,
    /// The offset that was seen last.
    newest: Option<Offset>,
}

impl CopyWindow {
    /// `K` by default.
    pub const DEFAULT_REACH: u64 = 1 << 18;

    /// A window that reaches `reach` offsets back, at most four billion.
    #[must_use]
    pub fn new(reach: u64) -> Self {
        let reach = u32::try_from(reach).unwrap_or(u32::MAX).min(u32::MAX - 1);
        // Its own place and those it reaches back to. Memory that was never written takes none.
        Self { ring: vec![0; reach as usize + 1], places: HashTable::new(), newest: None }
    }

    /// Takes in the click at `offset`, which is higher than any before; tells whether it is a copy.
    pub fn see(&mut self, id: ClickId, offset: Offset) -> bool {
        self.forget_to(offset);
        let place = self.place(offset);
        let id = id.0.as_u128();
        self.ring[place as usize] = id;
        let ring = &self.ring;
        let (same, hash_of) = (|other: &u32| ring[*other as usize] == id, |place: &u32| hash(ring[*place as usize]));
        match self.places.entry(hash(id), same, hash_of) {
            Entry::Occupied(mut seen) => {
                *seen.get_mut() = place;
                true
            }
            Entry::Vacant(unseen) => {
                unseen.insert(place);
                false
            }
        }
    }

    /// Forgets what stands where the offsets up to and including `offset` will stand: all of it is out of reach.
    fn forget_to(&mut self, offset: Offset) {
        let newest = self.newest.replace(offset);
        let Some(passed) = newest.and_then(|newest| offset.0.checked_sub(newest.0)) else { return };
        if passed >= self.ring.len() as u64 {
            self.places.clear();
            return;
        }
        for offset in offset.0 - passed + 1..=offset.0 {
            let place = self.place(Offset(offset));
            // An id that came again has another place, and an offset without a click has none.
            if let Ok(old) = self.places.find_entry(hash(self.ring[place as usize]), |other| *other == place) {
                old.remove();
            }
        }
    }

    fn place(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 % self.ring.len() as u64).expect("the ring has fewer than 2^32 places")
    }
}

fn hash(id: u128) -> u64 {
    FxBuildHasher.hash_one(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn copy_is_an_id_seen_within_reach(ids in prop::collection::vec((0u128..12, 1u64..4), 1..200), reach in 1u64..20) {
            let mut window = CopyWindow::new(reach);
            let (mut offset, mut seen) = (0, Vec::new());
            for (id, step) in ids {
                offset += step;
                let copy = seen.iter().any(|(other, at)| *other == id && offset - at <= reach);
                prop_assert_eq!(window.see(ClickId(Uuid::from_u128(id)), Offset(offset)), copy);
                seen.push((id, offset));
            }
        }
    }
}
