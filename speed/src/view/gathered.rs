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
    values: FxHashMap<(Dimension, Text), Series<Quarter, Counts>>,
    /// Clicks with values that were left out.
    left_out: FxHashMap<(Dimension, Quarter), Counts>,
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
            left_out: FxHashMap::default(),
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
                for dimension in &self.want.dimensions {
                    *self.left_out.entry((*dimension, quarter)).or_default() += counts;
                }
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

    pub(super) fn value(&mut self, dimension: Dimension, value: &Text, quarter: Quarter, counts: ValueCounts) {
        *self.values.entry((dimension, Text::clone(value))).or_default().at(quarter) += clicks(counts);
    }

    /// Clicks whose value of a dimension was left out.
    pub(super) fn left_out(&mut self, dimension: Dimension, quarter: Quarter, counts: ValueCounts) {
        self.guarded = true;
        *self.left_out.entry((dimension, quarter)).or_default() += clicks(counts);
    }

    pub(super) fn visitors(&mut self, hour: Hour, sketch: &Sketch) {
        self.visitors.at(hour).merge(sketch);
    }

    /// The answer, with [`NONE`] in each dimension for the clicks that are in no value.
    pub(super) fn into_slice(self, slice: Slice) -> Slice {
        let mut listed = self.left_out;
        let mut values = Vec::new();
        for ((dimension, value), series) in self.values {
            for (quarter, counts) in series.iter() {
                *listed.entry((dimension, *quarter)).or_default() += *counts;
                values.push((dimension, Text::clone(&value), *quarter, *counts));
            }
        }
        let none = Text::from(NONE);
        for dimension in &self.want.dimensions {
            for (quarter, all) in self.totals.iter() {
                let rest = less(*all, listed.get(&(*dimension, *quarter)).copied().unwrap_or_default());
                if !rest.is_zero() {
                    values.push((*dimension, Text::clone(&none), *quarter, rest));
                }
            }
        }
        Slice {
            totals: self.totals.iter().copied().collect(),
            values,
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

/// Clicks without those of `other`, which are among them. Previews have no values.
fn less(counts: Counts, other: Counts) -> Counts {
    Counts {
        humans: counts.humans.saturating_sub(other.humans),
        bots: counts.bots.saturating_sub(other.bots),
        previews: 0,
    }
}
