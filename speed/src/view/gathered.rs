//! The sum of cells of several received hours, cut to what a question wants.

use std::sync::Arc;

use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::Text;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;
use rustc_hash::FxHashMap;

use super::{ByValue, Slice, Want};
use crate::series::{Series, ValueCounts};

pub(super) struct Gathered<'a> {
    want: &'a Want,
    totals: Series<Quarter, Counts>,
    /// By the dimension's place in [`Want::dimensions`].
    breakdowns: Vec<Breakdown>,
    visitors: Series<Hour, Sketch>,
    days: Series<Day, VisitorSet>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    guarded: bool,
}

#[derive(Default)]
struct Breakdown {
    values: FxHashMap<Text, Series<Quarter, Counts>>,
    /// Clicks with values that were left out.
    left_out: Series<Quarter, Counts>,
    guarded: bool,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(want: &'a Want) -> Self {
        Self {
            want,
            totals: Series::default(),
            breakdowns: want.dimensions.iter().map(|_| Breakdown::default()).collect(),
            visitors: Series::default(),
            days: Series::default(),
            first: None,
            last: None,
            guarded: false,
        }
    }

    /// Counts of a quarter; `left_out` where the breakdown of these clicks is.
    pub(super) fn total(&mut self, quarter: Quarter, counts: Counts, left_out: bool) {
        self.guarded |= left_out;
        let counts = Counts { repeats: if self.want.repeats { counts.repeats } else { 0 }, ..counts };
        if self.want.range.contains(quarter) {
            *self.totals.at(quarter) += counts;
            if left_out {
                self.breakdowns.iter_mut().for_each(|breakdown| *breakdown.left_out.at(quarter) += counts);
            }
        }
    }

    /// Event time of clicks that were counted.
    pub(super) fn seen(&mut self, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.first = [self.first, first].into_iter().flatten().min();
        self.last = self.last.max(last);
    }

    fn wanted(&mut self, dimension: Dimension, quarter: Quarter) -> Option<&mut Breakdown> {
        let place = self.want.dimensions.iter().position(|wanted| *wanted == dimension)?;
        self.want.range.contains(quarter).then(|| &mut self.breakdowns[place])
    }

    pub(super) fn value(&mut self, dimension: Dimension, value: &str, quarter: Quarter, counts: ValueCounts) {
        let Some(breakdown) = self.wanted(dimension, quarter) else { return };
        match breakdown.values.get_mut(value) {
            Some(series) => *series.at(quarter) += clicks(counts),
            None => *breakdown.values.entry(Text::from(value)).or_default().at(quarter) += clicks(counts),
        }
    }

    /// Clicks whose value of a dimension was left out.
    pub(super) fn left_out(&mut self, dimension: Dimension, quarter: Quarter, counts: ValueCounts) {
        let Some(breakdown) = self.wanted(dimension, quarter) else { return };
        *breakdown.left_out.at(quarter) += clicks(counts);
        breakdown.guarded = true;
    }

    pub(super) fn visitors(&mut self, hour: Hour, sketch: &Sketch) {
        self.visitors.at(hour).merge(sketch);
    }

    /// Visitors of an event day that were received in one hour, in which there were people; none where they are not known.
    pub(super) fn visitors_of_day(&mut self, day: Day, set: Option<&VisitorSet>) {
        if self.want.range.days_touched().contains(&day) {
            self.days.at(day).merge(set.unwrap_or(&VisitorSet::MANY));
        }
    }

    /// The answer, with [`NONE`] in each dimension for the clicks that are in no value.
    pub(super) fn into_slice(self, slice: Slice) -> Slice {
        let totals: Vec<(Quarter, Counts)> = self.totals.iter().copied().collect();
        let by_value = |breakdown: Breakdown| Arc::new(breakdown.into_values(&totals));
        let dimensions = self.want.dimensions.iter().copied();
        Slice {
            values: dimensions.zip(self.breakdowns.into_iter().map(by_value)).collect(),
            visitors: self.visitors.iter().map(|(hour, sketch)| (*hour, Arc::new(sketch.clone()))).collect(),
            days: self.days.into_entries().into_iter().map(|(day, set)| (day, Arc::new(set))).collect(),
            first: self.first,
            last: self.last,
            guarded: self.guarded,
            totals,
            ..slice
        }
    }
}

impl Breakdown {
    fn into_values(self, totals: &[(Quarter, Counts)]) -> ByValue {
        let mut listed = self.left_out;
        let mut values = Vec::with_capacity(self.values.len() + 1);
        for (value, series) in self.values {
            for (quarter, counts) in series.iter() {
                *listed.at(*quarter) += *counts;
            }
            values.push((value, series.into_entries()));
        }
        let none = totals.iter().map(|(quarter, all)| (*quarter, less(*all, *listed.at(*quarter))));
        let none: Vec<_> = none.filter(|(_, counts)| !counts.is_zero()).collect();
        if !none.is_empty() {
            values.push((Text::from(NONE), none));
        }
        ByValue { values, guarded: self.guarded }
    }
}

fn clicks(counts: ValueCounts) -> Counts {
    Counts { humans: counts.humans, bots: counts.bots, previews: 0, repeats: 0 }
}

/// Clicks without those of `other`, which are among them. Previews have no values.
fn less(counts: Counts, other: Counts) -> Counts {
    Counts {
        humans: counts.humans.saturating_sub(other.humans),
        bots: counts.bots.saturating_sub(other.bots),
        ..Counts::default()
    }
}
