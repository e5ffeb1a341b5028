//! The sum of cells of several received hours, cut to what a question wants.

use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::Text;
use linktide_common::sketch::Sketch;
use rustc_hash::FxHashMap;

use super::{Slice, Want};
use crate::series::{Series, ValueCounts};

pub(super) struct Gathered<'a> {
    want: &'a Want,
    totals: Series<Quarter, Counts>,
    values: FxHashMap<(Dimension, Text), Counts>,
    /// Clicks with values that were left out, by the dimension's place in [`Dimension::ALL`].
    left_out: [Counts; Dimension::ALL.len()],
    visitors: Series<Hour, Sketch>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    guarded: bool,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(want: &'a Want) -> Self {
        Self {
            want,
            totals: Series::default(),
            values: FxHashMap::default(),
            left_out: [Counts::default(); Dimension::ALL.len()],
            visitors: Series::default(),
            first: None,
            last: None,
            guarded: false,
        }
    }

    /// Counts of a quarter; `whole` where the breakdown of these clicks was left out.
    pub(super) fn total(&mut self, quarter: Quarter, counts: Counts, left_out: bool) {
        self.guarded |= left_out;
        if self.want.range.contains(quarter) {
            *self.totals.at(quarter) += counts;
            if left_out {
                let clicks = Counts { previews: 0, ..counts };
                self.left_out.iter_mut().for_each(|sum| *sum += clicks);
            }
        }
    }

    /// Event time of clicks that were counted.
    pub(super) fn seen(&mut self, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.first = [self.first, first].into_iter().flatten().min();
        self.last = self.last.max(last);
    }

    pub(super) fn wants(&self, dimension: Dimension, quarter: Quarter) -> bool {
        self.want.range.contains(quarter) && self.want.dimensions.contains(&dimension)
    }

    pub(super) fn value(&mut self, dimension: Dimension, value: &Text, counts: ValueCounts) {
        *self.values.entry((dimension, Text::clone(value))).or_default() += clicks(counts);
    }

    /// Clicks whose value of a dimension was left out.
    pub(super) fn left_out(&mut self, dimension: Dimension, counts: ValueCounts) {
        self.guarded = true;
        self.left_out[dimension as usize] += clicks(counts);
    }

    pub(super) fn visitors(&mut self, hour: Hour, sketch: &Sketch) {
        self.visitors.at(hour).merge(sketch);
    }

    /// The answer, with [`NONE`] in each dimension for the clicks that are in no value.
    pub(super) fn into_slice(self, slice: Slice) -> Slice {
        let all = self.totals.iter().fold(Counts::default(), |sum, (_, counts)| sum + *counts);
        let mut none: FxHashMap<Dimension, Counts> = self
            .want
            .dimensions
            .iter()
            .map(|dimension| (*dimension, less(all, self.left_out[*dimension as usize])))
            .collect();
        for ((dimension, _), counts) in &self.values {
            none.entry(*dimension).and_modify(|rest| *rest = less(*rest, *counts));
        }
        let none = none.into_iter().filter(|(_, counts)| !Counts { previews: 0, ..*counts }.is_zero());
        let none = none.map(|(dimension, counts)| (dimension, Text::from(NONE), Counts { previews: 0, ..counts }));
        let values = self.values.into_iter().map(|((dimension, value), counts)| (dimension, value, counts));
        Slice {
            totals: self.totals.iter().copied().collect(),
            values: values.chain(none).collect(),
            visitors: self.visitors.iter().cloned().collect(),
            first: self.first,
            last: self.last,
            guarded: self.guarded,
            ..slice
        }
    }
}

fn clicks(counts: ValueCounts) -> Counts {
    Counts { humans: counts.humans, bots: counts.bots, previews: 0 }
}

/// Counts without those of `other`, which are among them.
fn less(counts: Counts, other: Counts) -> Counts {
    Counts {
        humans: counts.humans.saturating_sub(other.humans),
        bots: counts.bots.saturating_sub(other.bots),
        previews: counts.previews,
    }
}
