//! What questions need of a subject: several questions about one subject are read at once.

use std::ops;

use linktide_common::bucket::{Day, Hour, Range};
use linktide_common::dimension::Dimension;
use linktide_common::filter::Filter;
use linktide_common::id::{Subject, TenantId};

use crate::merge;
use crate::question::LinksAsk;

/// What is needed of a subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Needs {
    /// Ranges whose counts are summed.
    pub(crate) sums: Vec<Range>,
    /// Ranges whose quarters are needed one by one.
    pub(crate) quarters: Vec<Range>,
    /// Counts by the values of a dimension.
    pub(crate) values: Vec<(Dimension, Range)>,
    /// Clicks that a filter lets through.
    pub(crate) filtered: Vec<(Filter, Range)>,
    /// Ranges whose visitors are counted.
    pub(crate) visitors: Vec<Range>,
    /// Its first and its last click of all, whatever the ranges.
    pub(crate) seen: bool,
    pub(crate) label: bool,
    /// Whether repeats are among the counts.
    pub(crate) repeats: bool,
}

impl Needs {
    /// What several questions need together, each thing once.
    pub(crate) fn add(&mut self, other: Self) {
        fn join<T: PartialEq>(these: &mut Vec<T>, those: Vec<T>) {
            for one in those {
                if !these.contains(&one) {
                    these.push(one);
                }
            }
        }
        // There may be thousands of buckets, and twice the same ones costs little: only edges of them are read.
        self.sums.extend(other.sums);
        join(&mut self.quarters, other.quarters);
        join(&mut self.values, other.values);
        join(&mut self.filtered, other.filtered);
        join(&mut self.visitors, other.visitors);
        self.seen |= other.seen;
        self.label |= other.label;
        self.repeats |= other.repeats;
    }

    /// The whole days that are read from history, every one where first and last clicks are asked for.
    pub(crate) fn days(&self) -> Option<ops::Range<Day>> {
        if self.seen {
            return Some(Day(i32::MIN)..Day(i32::MAX));
        }
        let days = self.sums.iter().map(|range| range.cut().days).filter(|days| !days.is_empty());
        days.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
    }

    /// What is read from history beside whole days.
    pub(crate) fn edges(&self) -> Edges {
        let bounds = self.sums.iter().flat_map(|range| [range.start, range.end]);
        let cut = bounds.filter(|bound| bound.hour().first_quarter() != *bound);
        let cut = cut.map(|bound| Range::new(bound, bound.next()));
        let whole = |range: Range| merge::whole_hours(&range.hours_touched());
        // Of an hour, either all quarters are read or none: what is read of it as one would hold them again.
        let quarters = merge::disjoint(self.quarters.iter().copied().chain(cut).map(whole));
        let touched = merge::edges(&self.sums).into_iter().map(whole);
        let hours = merge::without(touched, &quarters).into_iter().map(Range::hours_touched);
        Edges { hours: hours.collect(), quarters }
    }

    /// The ranges that are broken down, each once.
    pub(crate) fn ranges_by_value(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = self.values.iter().map(|(_, range)| *range).collect();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        ranges.dedup();
        ranges
    }

    /// The clicks that each filter is asked about: each filter once, its ranges disjoint.
    pub(crate) fn filters(&self) -> Vec<(&Filter, Vec<Range>)> {
        let mut filters: Vec<(&Filter, Vec<Range>)> = Vec::new();
        for (filter, range) in &self.filtered {
            match filters.iter_mut().find(|(known, _)| *known == filter) {
                Some((_, ranges)) => ranges.push(*range),
                None => filters.push((filter, vec![*range])),
            }
        }
        filters.into_iter().map(|(filter, ranges)| (filter, merge::disjoint(ranges))).collect()
    }

    /// The dimensions whose values the speed layer is asked for.
    pub(crate) fn dimensions(&self) -> Vec<Dimension> {
        let of_filters = self.filtered.iter().map(|(filter, _)| filter.dimension());
        let mut dimensions: Vec<_> = self.values.iter().map(|(dimension, _)| *dimension).chain(of_filters).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        dimensions
    }

    /// The range that holds all of it.
    pub(crate) fn span(&self) -> Option<Range> {
        let ranges = self.sums.iter().chain(&self.quarters).chain(&self.visitors).copied();
        let ranges = ranges.chain(self.values.iter().map(|(_, range)| *range));
        let ranges = ranges.chain(self.filtered.iter().map(|(_, range)| *range));
        ranges.reduce(|one, other| Range::new(one.start.min(other.start), one.end.max(other.end)))
    }
}

/// Parts of history beside whole days: no two have anything in common.
pub(crate) struct Edges {
    /// Hours that no bucket cuts: each is read as one.
    pub(crate) hours: Vec<ops::Range<Hour>>,
    /// Ranges of whole hours of which some are cut, or whose quarters are needed one by one.
    pub(crate) quarters: Vec<Range>,
}

/// What questions need of all subjects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Each subject once.
    pub(crate) subjects: Vec<(Subject, Needs)>,
    /// Each tenant and range once.
    pub(crate) links: Vec<LinksNeeds>,
}

/// What is needed of a tenant's links: counts of each, and more of some.
#[derive(Debug, Clone)]
pub(crate) struct LinksNeeds {
    pub(crate) tenant: TenantId,
    pub(crate) range: Range,
    /// Those whose labels are told, and repeats.
    pub(crate) told: Vec<Told>,
}

/// Some of a tenant's links of which more is told than their clicks.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Those on a page of the list, known when their clicks are: more of them is read link by link.
    Listed(LinksAsk),
    /// All, perhaps with their repeats.
    All { repeats: bool },
}

impl LinksNeeds {
    /// Whether labels of all links are needed: for all to be told, or for those to be found that are.
    pub(crate) fn all_labels(&self) -> bool {
        self.told.iter().any(|told| match told {
            Told::Listed(ask) => ask.is_search(),
            Told::All { .. } => true,
        })
    }
}

impl Wanted {
    /// Adds what is needed of a subject.
    pub(crate) fn subject(&mut self, subject: Subject, needs: Needs) {
        match self.subjects.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, known)) => known.add(needs),
            None => self.subjects.push((subject, needs)),
        }
    }

    /// Whose questions they are: all of them are one caller's.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        let subjects = self.subjects.iter().map(|(subject, _)| subject.tenant());
        subjects.chain(self.links.iter().map(|needs| needs.tenant)).next()
    }

    /// Adds the links of a tenant, some of which are told.
    pub(crate) fn links(&mut self, tenant: TenantId, range: Range, told: Told) {
        match self.links.iter_mut().find(|known| (known.tenant, known.range) == (tenant, range)) {
            Some(known) => known.told.push(told),
            None => self.links.push(LinksNeeds { tenant, range, told: vec![told] }),
        }
    }
}
