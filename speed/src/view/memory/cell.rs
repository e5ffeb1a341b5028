//! A cell as it is kept: what was received of one subject within one hour, by event time.

use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{SUSPECTED_RATE, Text};
use linktide_common::repeat::Visits;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;
use rustc_hash::FxHashMap;

use crate::fold::{Dictionary, FoldCell, quarter_of};
use crate::series::{Series, ValueCounts};
use crate::view::gathered::Gathered;

#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) totals: Series<Quarter, Counts>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// When each visitor of a link clicked.
    visits: FxHashMap<i64, Visits>,
    /// None where the tenant had too many cells when this one began.
    breakdown: Option<Breakdown>,
}

#[derive(Debug, Default)]
struct Breakdown {
    values: FxHashMap<(Dimension, Text), Series<Quarter, ValueCounts>>,
    /// How many fields the values have.
    fields: usize,
    left_out: Series<(Quarter, Dimension), ValueCounts>,
    visitors: Series<Hour, Sketch>,
    /// By event day.
    days: Series<Day, VisitorSet>,
}

impl Cell {
    pub(super) fn new(with_breakdown: bool) -> Self {
        Self { breakdown: with_breakdown.then(Breakdown::default), ..Self::default() }
    }

    pub(super) fn has_breakdown(&self) -> bool {
        self.breakdown.is_some()
    }

    /// Counts what became a repeat with what a fold counted of a link; says what did.
    pub(super) fn repeat(&mut self, fold: &FoldCell, received: Hour, window: u32) -> Series<Quarter, u64> {
        let (visitors, mut repeats) = fold.visits(received, window);
        for (visitor, visits) in visitors {
            let again = |at| *repeats.at(quarter_of(received, at)) += 1;
            self.visits.entry(visitor).or_default().add(&visits, window, again);
        }
        for (quarter, count) in repeats.iter() {
            self.totals.at(*quarter).repeats += count;
        }
        repeats
    }

    /// Adds what a fold counted; values of large dimensions only while there are fewer than `most` fields.
    pub(super) fn merge(&mut self, fold: &FoldCell, dictionary: &Dictionary, most: usize) {
        for (quarter, counts) in fold.totals.iter() {
            *self.totals.at(*quarter) += *counts;
        }
        self.first = [self.first, fold.first].into_iter().flatten().min();
        self.last = self.last.max(fold.last);
        let Some(breakdown) = &mut self.breakdown else { return };
        for (hour, visitors) in fold.visitors.iter() {
            breakdown.visitors.at(*hour).merge(&visitors.sketch());
        }
        for (day, set) in fold.visitors_by_day().iter() {
            breakdown.days.at(*day).merge(set);
        }
        for ((quarter, value), counts) in fold.values.iter() {
            breakdown.add(quarter, dictionary.get(value), counts, most);
        }
    }

    /// Counts clicks of a quarter as suspected because of their addresses' rate.
    pub(super) fn suspect(&mut self, quarter: Quarter, clicks: u64, most: usize) {
        if let (Some(breakdown), 1..) = (&mut self.breakdown, clicks) {
            let value = (Dimension::BotReason, SUSPECTED_RATE.into());
            breakdown.add(quarter, &value, ValueCounts { humans: clicks, bots: 0 }, most);
        }
    }

    pub(super) fn gather(&self, into: &mut Gathered<'_>, hours: Option<&std::ops::Range<Hour>>) {
        for (quarter, counts) in self.totals.iter() {
            into.total(*quarter, *counts, self.breakdown.is_none());
        }
        into.seen(self.first, self.last);
        if hours.is_some() {
            self.gather_days(into);
        }
        let Some(breakdown) = &self.breakdown else { return };
        for ((dimension, value), series) in &breakdown.values {
            for (quarter, counts) in series.iter() {
                into.value(*dimension, value, *quarter, *counts);
            }
        }
        for ((quarter, dimension), counts) in breakdown.left_out.iter() {
            into.left_out(*dimension, *quarter, *counts);
        }
        for (hour, sketch) in breakdown.visitors.iter() {
            if hours.is_some_and(|hours| hours.contains(hour)) {
                into.visitors(*hour, sketch);
            }
        }
    }

    /// Visitors of those days on which there were people.
    fn gather_days(&self, into: &mut Gathered<'_>) {
        let people = self.totals.iter().filter(|(_, counts)| counts.humans > 0);
        let mut days: Vec<Day> = people.map(|(quarter, _)| quarter.day()).collect();
        days.dedup();
        for day in days {
            let sets = self.breakdown.iter().flat_map(|breakdown| breakdown.days.iter());
            let set = sets.into_iter().find(|(known, _)| *known == day).map(|(_, set)| set);
            into.visitors_of_day(day, set);
        }
    }
}

impl Breakdown {
    fn add(&mut self, quarter: Quarter, (dimension, text): &(Dimension, Text), counts: ValueCounts, most: usize) {
        let full = self.fields >= most && !dimension.is_small();
        let key = (*dimension, Text::clone(text));
        let series = if full { self.values.get_mut(&key) } else { Some(self.values.entry(key).or_default()) };
        match series {
            Some(series) if !full || series.iter().any(|(known, _)| *known == quarter) => {
                let counted = series.at(quarter);
                self.fields += usize::from(*counted == ValueCounts::default());
                *counted += counts;
            }
            _ => *self.left_out.at((quarter, *dimension)) += counts,
        }
    }
}
