//! Visitors while they are few: each of them, by 64 bits of the salted hash that sketches count.
//!
//! The salt is another one each UTC day, so a set is of one day, and sets of several days have no visitor in common. A set that outgrows [`MOST`] forgets whom it holds and is many for ever, so that however parts are put
//! together, the whole is the same: the union of known sets while it has no more than `MOST` members, and otherwise many.
//! `MOST` belongs to the format of what is stored. A setting in its place would make that law depend on when it was changed.
//!
//! Two visitors of a day share their 64 bits with a probability of 1 in 2 × 10^15 among 128.

/// The most visitors that are kept one by one.
pub const MOST: usize = 128;

/// What a visitor is known by in a set: the first eight bytes of the salted hash, the highest first, as a signed number.
#[must_use]
pub fn short(hash: &[u8]) -> i64 {
    let mut first = [0; 8];
    let length = hash.len().min(first.len());
    first[..length].copy_from_slice(&hash[..length]);
    i64::from_be_bytes(first)
}

/// Visitors of one UTC day: each of them, or that they are too many to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorSet(Option<Vec<i64>>);

impl Default for VisitorSet {
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

impl VisitorSet {
    /// More than can be told, or than was ever kept.
    pub const MANY: Self = Self(None);

    /// The members, each once, in order; none where they are many.
    #[must_use]
    pub fn members(&self) -> Option<&[i64]> {
        self.0.as_deref()
    }

    /// How many bytes its members take in memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, Vec::capacity) * size_of::<i64>()
    }

    /// Adds a visitor by its [`short`] hash.
    pub fn insert(&mut self, visitor: i64) {
        let Some(members) = &mut self.0 else { return };
        if let Err(place) = members.binary_search(&visitor) {
            if members.len() == MOST {
                *self = Self::MANY;
                return;
            }
            if members.is_empty() {
                // Most links have one visitor a day.
                members.reserve_exact(1);
            }
            members.insert(place, visitor);
        }
    }

    /// Adds everyone in `other`.
    pub fn merge(&mut self, other: &Self) {
        match other.members() {
            Some(members) => members.iter().for_each(|visitor| self.insert(*visitor)),
            None => *self = Self::MANY,
        }
    }
}

impl FromIterator<i64> for VisitorSet {
    fn from_iter<T: IntoIterator<Item = i64>>(visitors: T) -> Self {
        let mut set = Self::default();
        visitors.into_iter().for_each(|visitor| set.insert(visitor));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plain(visitors: &[i64]) -> VisitorSet {
        let members: BTreeSet<i64> = visitors.iter().copied().collect();
        if members.len() > MOST { VisitorSet::MANY } else { VisitorSet(Some(members.into_iter().collect())) }
    }

    #[test]
    fn visitor_is_known_by_the_first_eight_bytes() {
        assert_eq!(short(&[0, 0, 0, 0, 0, 0, 1, 2, 99, 99]), 0x102);
        assert_eq!(short(&[0xff; 16]), -1);
        assert_eq!(short(&[1]), 1 << 56);
    }

    #[test]
    fn one_more_than_the_most_are_many() {
        let mut set: VisitorSet = (0..MOST).map(|visitor| i64::try_from(visitor).unwrap()).collect();
        set.insert(5);
        assert_eq!(set.members().map(<[i64]>::len), Some(MOST));
        set.insert(-1);
        assert_eq!(set, VisitorSet::MANY);
        set.insert(-1);
        set.merge(&VisitorSet::default());
        assert_eq!(set, VisitorSet::MANY);
    }

    proptest! {
        /// The law that rollups rest on: parts that are cut and joined anyhow are the whole.
        #[test]
        fn parts_in_any_order_are_the_whole(
            parts in prop::collection::vec(prop::collection::vec(-90i64..90, 0..80), 0..6),
        ) {
            let whole = plain(&parts.concat());
            let sets: Vec<VisitorSet> = parts.iter().map(|part| part.iter().copied().collect()).collect();
            let union = |sets: &mut dyn Iterator<Item = &VisitorSet>| {
                sets.fold(VisitorSet::default(), |mut union, set| { union.merge(set); union })
            };
            prop_assert_eq!(&union(&mut sets.iter()), &whole);
            prop_assert_eq!(&union(&mut sets.iter().rev()), &whole);
            let (left, right) = sets.split_at(sets.len() / 2);
            let halves = [union(&mut left.iter()), union(&mut right.iter())];
            prop_assert_eq!(&union(&mut halves.iter()), &whole);
        }
    }
}
