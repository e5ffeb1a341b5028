//! A cell: what was received of one subject within one hour, by event time.

use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::click::Kind;
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{EnrichedClick, Text};
use linktide_common::sketch::Sketch;
use rustc_hash::FxHashMap;

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
                self.0.push((key, V::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter()
    }

    fn merge(&mut self, other: Self, mut add: impl FnMut(&mut V, V)) {
        for (key, value) in other.0 {
            add(self.at(key), value);
        }
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

/// What was received of one subject within one hour.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Cell {
    pub(crate) totals: Series<Quarter, Counts>,
    /// By the dimension's place in [`Dimension::ALL`].
    pub(crate) values: Vec<FxHashMap<Text, Series<Quarter, ValueCounts>>>,
    /// Visitors that are people, by event hour.
    pub(crate) visitors: Series<Hour, Sketch>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

impl Cell {
    /// Counts a click.
    pub(crate) fn add(&mut self, click: &EnrichedClick) {
        let quarter = Quarter::of(click.clicked_at);
        let totals = self.totals.at(quarter);
        if click.kind == Kind::Preview {
            totals.previews += 1;
            return;
        }
        let person = click.bot.is_none();
        if person {
            totals.humans += 1;
        } else {
            totals.bots += 1;
        }
        self.first = Some(self.first.map_or(click.clicked_at, |first| first.min(click.clicked_at)));
        self.last = self.last.max(Some(click.clicked_at));
        if let (true, Some(visitor)) = (person, click.visitor) {
            self.visitors.at(quarter.hour()).insert(&visitor.0);
        }
        self.values.resize_with(Dimension::ALL.len(), FxHashMap::default);
        for (dimension, values) in Dimension::ALL.iter().zip(&mut self.values) {
            let value = dimension.value(click);
            if !values.contains_key(value) {
                values.insert(value.into(), Series::default());
            }
            let Some(series) = values.get_mut(value) else { continue };
            let counts = series.at(quarter);
            if person {
                counts.humans += 1;
            } else {
                counts.bots += 1;
            }
        }
    }

    /// Adds what another fold counted of the same subject and hour.
    pub(crate) fn merge(&mut self, other: Self) {
        self.totals.merge(other.totals, |mine, theirs| *mine += theirs);
        self.visitors.merge(other.visitors, |mine, theirs| mine.merge(&theirs));
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.values.resize_with(self.values.len().max(other.values.len()), FxHashMap::default);
        for (mine, theirs) in self.values.iter_mut().zip(other.values) {
            for (value, series) in theirs {
                mine.entry(value).or_default().merge(series, |mine, theirs| {
                    mine.humans += theirs.humans;
                    mine.bots += theirs.bots;
                });
            }
        }
    }
}
