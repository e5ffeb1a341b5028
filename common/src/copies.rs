//! Which clicks are copies: a function of the log alone.
//!
//! A click is a copy when its id already stands in the same partition within the preceding `K` offsets. So every layer
//! drops the same ones, whatever its batches, cadence or restarts; whoever takes a partition over reads the preceding
//! `K` offsets first, without counting them. (A Bloom filter would lose clicks for good at each replay, a table by time
//! or one lost at restart would make totals depend on the cadence.)

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::id::{ClickId, Offset};

/// The ids of the last `K` offsets of one partition.
pub struct CopyWindow {
    reach: u64,
    last: FxHashMap<ClickId, Offset>,
    order: VecDeque<(Offset, ClickId)>,
}

impl CopyWindow {
    /// `K` by default.
    pub const DEFAULT_REACH: u64 = 1 << 18;

    /// A window that reaches `reach` offsets back.
    #[must_use]
    pub fn new(reach: u64) -> Self {
        Self { reach, last: FxHashMap::default(), order: VecDeque::new() }
    }

    /// Takes in the click at `offset`, which is higher than any before; tells whether it is a copy.
    pub fn see(&mut self, id: ClickId, offset: Offset) -> bool {
        let lowest = Offset(offset.0.saturating_sub(self.reach));
        while let Some((seen, old)) = self.order.front().copied().filter(|(seen, _)| *seen < lowest) {
            self.order.pop_front();
            if self.last.get(&old) == Some(&seen) {
                self.last.remove(&old);
            }
        }
        self.order.push_back((offset, id));
        self.last.insert(id, offset).is_some()
    }
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
