//! Small building blocks of cells.

use std::ops::AddAssign;

/// A small map kept as a sorted list: a cell holds few quarters, and mostly the newest is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series<K, V>(Vec<(K, V)>);

impl<K: Ord + Copy, V: Default> Series<K, V> {
    pub(crate) fn at(&mut self, key: K) -> &mut V {
        let place = match self.0.last() {
            Some((last, _)) if *last == key => self.0.len() - 1,
            Some((last, _)) if *last > key => match self.0.binary_search_by_key(&key, |(known, _)| *known) {
                Ok(place) => place,
                Err(place) => {
                    self.0.insert(place, (key, V::default()));
                    place
                }
            },
            _ => {
                // Most hold one entry for ever; a vector would make room for four.
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.push((key, V::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }

    pub(crate) fn into_entries(self) -> Vec<(K, V)> {
        self.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }
}

impl<K, V> Default for Series<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Clicks with one value of a dimension. Previews count in no dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ValueCounts {
    pub(crate) humans: u64,
    pub(crate) bots: u64,
}

impl AddAssign for ValueCounts {
    fn add_assign(&mut self, other: Self) {
        self.humans += other.humans;
        self.bots += other.bots;
    }
}
