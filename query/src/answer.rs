//! What both layers gave, added up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use linktide_common::bucket::{Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::filter::Filter;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::publication::Publication;
use linktide_common::sketch::Sketch;
use linktide_speed::reader::{ByValue, LinksSlice, Slice};

use crate::freshness::{Away, Basis};
use crate::merge::{self, Totals};
use crate::needs::Needs;

/// What history gave of a subject.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) totals: Totals,
    pub(crate) values: HashMap<(Dimension, Range), HashMap<Text, Counts>>,
    pub(crate) filtered: Vec<(Filter, Totals)>,
    pub(crate) visitors: HashMap<Range, Sketch>,
    pub(crate) label: Option<Label>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// What both layers gave of a subject.
pub(crate) struct Answer {
    pub(crate) basis: Basis,
    history: History,
    recent_values: Vec<(Dimension, Arc<ByValue>)>,
    recent_visitors: Vec<(Hour, Arc<Sketch>)>,
    /// Whether the speed layer left out values or visitors, because there were too many.
    pub(crate) guarded: bool,
}

impl Answer {
    /// Adds what both layers gave at one publication.
    pub(crate) fn of(
        publication: Arc<Publication>,
        needs: &Needs,
        history: Result<History, String>,
        recent: Result<Slice, Away>,
    ) -> Self {
        let batch = history.as_ref().map(|_| ()).map_err(Clone::clone);
        let mut history = history.unwrap_or_default();
        let (mut recent_values, mut recent_visitors, mut guarded) = (Vec::new(), Vec::new(), false);
        let speed = recent.map(|slice| {
            guarded = slice.is_guarded();
            history.first = [history.first, slice.first].into_iter().flatten().min();
            history.last = history.last.max(slice.last);
            history.label = later(history.label.take(), slice.label);
            for (filter, _) in needs.filters() {
                let recent = filtered(filter, &slice.values);
                match history.filtered.iter_mut().find(|(known, _)| known == filter) {
                    Some((_, totals)) => totals.recent = recent,
                    None => history.filtered.push((filter.clone(), Totals { recent, ..Totals::default() })),
                }
            }
            history.totals.recent = slice.totals.into_iter().collect();
            (recent_values, recent_visitors) = (slice.values, slice.visitors);
            slice.held
        });
        let basis = Basis { publication, speed, batch };
        Self { basis, history, recent_values, recent_visitors, guarded }
    }

    /// All clicks, or those that a filter which was asked about lets through.
    pub(crate) fn totals(&self, filter: Option<&Filter>) -> &Totals {
        static NOTHING: Totals = Totals::EMPTY;
        let Some(filter) = filter else { return &self.history.totals };
        self.history.filtered.iter().find(|(known, _)| known == filter).map_or(&NOTHING, |(_, totals)| totals)
    }

    /// Counts by value of a dimension in a range that was asked about.
    pub(crate) fn values(&self, dimension: Dimension, range: Range) -> HashMap<&Text, Counts> {
        let history = self.history.values.get(&(dimension, range)).into_iter().flatten();
        let recent = listed(&self.recent_values, dimension).map(|(value, series)| {
            let within = series.iter().filter(|(quarter, _)| range.contains(*quarter));
            (value, within.fold(Counts::default(), |sum, (_, counts)| sum + *counts))
        });
        merge::add(history.map(|(value, counts)| (value, *counts)), recent.filter(|(_, counts)| !counts.is_zero()))
    }

    /// Visitors of the whole hours of a range that was asked about.
    pub(crate) fn visitors(&self, range: Range) -> Sketch {
        let mut union = self.history.visitors.get(&range).cloned().unwrap_or_default();
        let hours = range.hours_touched();
        let recent = self.recent_visitors.iter().filter(|(hour, _)| hours.contains(hour));
        recent.for_each(|(_, sketch)| union.merge(sketch));
        union
    }

    pub(crate) fn label(&self) -> Option<&Label> {
        self.history.label.as_ref()
    }

    /// Event time of the first click of all, whatever was asked.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.history.first
    }

    /// Event time of the last click of all, whatever was asked.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.history.last
    }
}

/// The series of a dimension's values; a value may come twice.
fn listed(
    values: &[(Dimension, Arc<ByValue>)],
    dimension: Dimension,
) -> impl Iterator<Item = (&Text, &[(Quarter, Counts)])> {
    let of_dimension = values.iter().filter(move |(of, _)| *of == dimension);
    of_dimension.flat_map(|(_, by_value)| by_value.values.iter().map(|(value, series)| (value, &series[..])))
}

/// The recent clicks that a filter lets through.
fn filtered(filter: &Filter, values: &[(Dimension, Arc<ByValue>)]) -> BTreeMap<Quarter, Counts> {
    let mut found = BTreeMap::new();
    let through = listed(values, filter.dimension()).filter(|(value, _)| filter.matches(value));
    for (quarter, counts) in through.flat_map(|(_, series)| series) {
        *found.entry(*quarter).or_default() += *counts;
    }
    found
}

/// Counts and labels of links.
pub(crate) type LinkRows = (HashMap<LinkId, Counts>, HashMap<LinkId, Label>);

/// Clicks by link, of both layers.
pub(crate) struct LinksAnswer {
    pub(crate) basis: Basis,
    pub(crate) links: HashMap<LinkId, Counts>,
    pub(crate) labels: HashMap<LinkId, Label>,
}

impl LinksAnswer {
    /// Adds what both layers gave at one publication.
    pub(crate) fn of(
        publication: Arc<Publication>,
        history: Result<LinkRows, String>,
        recent: Result<LinksSlice, Away>,
    ) -> Self {
        let batch = history.as_ref().map(|_| ()).map_err(Clone::clone);
        let (links, mut labels) = history.unwrap_or_default();
        let mut newer = Vec::new();
        let speed = recent.map(|slice| {
            newer = slice.links;
            for (link, label) in slice.labels {
                let known = labels.remove(&link);
                labels.extend(later(known, Some(label)).map(|label| (link, label)));
            }
            slice.held
        });
        Self { basis: Basis { publication, speed, batch }, links: merge::add(links, newer), labels }
    }
}

fn later(one: Option<Label>, other: Option<Label>) -> Option<Label> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.is_later_than(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// All that was wanted, at one publication.
pub(crate) struct Answers {
    subjects: Vec<(Subject, Answer)>,
    links: Vec<((TenantId, Range), LinksAnswer)>,
}

impl Answers {
    pub(crate) fn new(subjects: Vec<(Subject, Answer)>, links: Vec<((TenantId, Range), LinksAnswer)>) -> Self {
        Self { subjects, links }
    }

    /// What was wanted of a subject.
    pub(crate) fn of(&self, subject: Subject) -> &Answer {
        let found = self.subjects.iter().find(|(known, _)| *known == subject);
        found.map(|(_, answer)| answer).expect("a question looks at what it wanted")
    }

    /// What was wanted of a tenant's links.
    pub(crate) fn links(&self, tenant: TenantId, range: Range) -> &LinksAnswer {
        let found = self.links.iter().find(|(known, _)| *known == (tenant, range));
        found.map(|(_, answer)| answer).expect("a question looks at what it wanted")
    }

    /// What each part rests on.
    pub(crate) fn bases(&self) -> impl Iterator<Item = &Basis> {
        let subjects = self.subjects.iter().map(|(_, answer)| &answer.basis);
        subjects.chain(self.links.iter().map(|(_, answer)| &answer.basis))
    }
}
