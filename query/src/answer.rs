//! What both layers gave, added up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use linktide_batch::reader;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::filter::Filter;
use linktide_common::headroom::giving_way;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::publication::Publication;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;
use linktide_speed::reader::{ByValue, LinksSlice, Slice};

use crate::freshness::{Away, Basis};
use crate::merge::{self, Totals};
use crate::needs::{Needs, Told};

/// What history gave of a subject.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) totals: Totals,
    pub(crate) values: HashMap<Range, reader::Values>,
    pub(crate) filtered: Vec<(Filter, Totals)>,
    pub(crate) visitors: HashMap<Range, reader::Visitors>,
    pub(crate) label: Option<Label>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// How many visitors there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visitors {
    /// They were counted one by one.
    Exact(u64),
    /// A sketch estimates them.
    Estimate(u64),
}

impl Visitors {
    pub(crate) fn count(self) -> u64 {
        let (Self::Exact(count) | Self::Estimate(count)) = self;
        count
    }
}

/// What both layers gave of a subject.
pub(crate) struct Answer {
    pub(crate) basis: Basis,
    history: History,
    recent_values: Vec<(Dimension, Arc<ByValue>)>,
    recent_visitors: Vec<(Hour, Arc<Sketch>)>,
    recent_days: Vec<(Day, Arc<VisitorSet>)>,
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
        let (mut recent_values, mut recent_visitors, mut recent_days) = (Vec::new(), Vec::new(), Vec::new());
        let mut guarded = false;
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
            (recent_values, recent_visitors, recent_days) = (slice.values, slice.visitors, slice.days);
            slice.held
        });
        let basis = Basis { publication, speed, batch };
        Self { basis, history, recent_values, recent_visitors, recent_days, guarded }
    }

    /// All clicks, or those that a filter which was asked about lets through.
    pub(crate) fn totals(&self, filter: Option<&Filter>) -> &Totals {
        static NOTHING: Totals = Totals::EMPTY;
        let Some(filter) = filter else { return &self.history.totals };
        self.history.filtered.iter().find(|(known, _)| known == filter).map_or(&NOTHING, |(_, totals)| totals)
    }

    /// Counts by value of a dimension in a range that was asked about.
    pub(crate) fn values(&self, dimension: Dimension, range: Range) -> HashMap<&str, Counts> {
        let history = self.history.values.get(&range).into_iter().flat_map(|values| values.of(dimension));
        let recent = listed(&self.recent_values, dimension).map(|(value, series)| {
            let within = series.iter().filter(|(quarter, _)| range.contains(*quarter));
            (&**value, within.fold(Counts::default(), |sum, (_, counts)| sum + *counts))
        });
        merge::add(history, recent.filter(|(_, counts)| !counts.is_zero()))
    }

    /// Visitors of the whole hours of a range that was asked about: one by one where there are no more than `most` on each
    /// UTC day of it, and else as a sketch tells.
    pub(crate) fn visitors(&self, range: Range, most: Option<usize>) -> Visitors {
        let exact = most.and_then(|most| self.exact_visitors(range, most));
        exact.map_or_else(|| Visitors::Estimate(self.sketch(range).count()), Visitors::Exact)
    }

    /// Sets are of whole days. So they answer where nobody came on these days beside the range's hours, and where every layer
    /// that has clicks of them knows everyone.
    fn exact_visitors(&self, range: Range, most: usize) -> Option<u64> {
        if self.basis.batch.is_err() || matches!(self.basis.speed, Err(Away::Failed(_))) {
            return None;
        }
        let beside = merge::beside_in_days(range).into_iter().flat_map(|rest| self.history.totals.by_quarter(rest));
        if beside.into_iter().any(|(_, counts)| counts.humans > 0) {
            return None;
        }
        let touched = range.days_touched();
        let stored = self.history.visitors.get(&range).into_iter().flat_map(reader::Visitors::days);
        let mut days: BTreeMap<Day, Cow<'_, VisitorSet>> = stored.map(|(day, set)| (day, Cow::Borrowed(set))).collect();
        for (day, set) in self.recent_days.iter().filter(|(day, _)| touched.contains(day)) {
            days.entry(*day).or_default().to_mut().merge(set);
        }
        let few = |set: &Cow<'_, VisitorSet>| set.members().is_some_and(|members| members.len() <= most);
        if !days.values().all(few) {
            return None;
        }
        // Salts are of a day, so hardly anyone is in two sets; a sketch, too, would count whoever is once.
        let mut all: Vec<i64> = days.values().flat_map(|set| set.members().unwrap_or_default()).copied().collect();
        all.sort_unstable();
        all.dedup();
        Some(all.len() as u64)
    }

    fn sketch(&self, range: Range) -> Sketch {
        let mut union = self.history.visitors.get(&range).map(reader::Visitors::sketch).unwrap_or_default();
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
    /// Links of whose recent clicks it is not known how many are repeats.
    unsure: HashSet<LinkId>,
    /// Why labels or repeats are missing that were to be told.
    pub(crate) untold: Vec<String>,
}

impl LinksAnswer {
    /// Adds what both layers gave at one publication.
    pub(crate) fn of(
        publication: Arc<Publication>,
        history: Result<LinkRows, String>,
        recent: Result<LinksSlice, Away>,
    ) -> Self {
        let batch = history.as_ref().map(|_| ()).map_err(Clone::clone);
        let (links, labels) = history.unwrap_or_default();
        let (mut newer, mut newer_labels, mut unsure) = (Vec::new(), Vec::new(), HashSet::new());
        let speed = recent.map(|slice| {
            (newer, newer_labels) = (slice.links, slice.labels);
            unsure.extend(giving_way(&newer).filter(|(_, counts)| counts.humans > 0).map(|(link, _)| *link));
            slice.held
        });
        let links = merge::add(giving_way(links), giving_way(newer));
        let basis = Basis { publication, speed, batch };
        let mut answer = Self { basis, links, labels, unsure, untold: Vec::new() };
        answer.add_labels(newer_labels);
        answer
    }

    /// The links on the pages that are told.
    pub(crate) fn listed(&self, told: &[Told]) -> BTreeSet<LinkId> {
        let pages = told.iter().filter_map(|told| match told {
            Told::Listed(ask) => Some(ask.listed(self).links),
            Told::All { .. } => None,
        });
        pages.flatten().map(|(link, _)| link).collect()
    }

    /// Links beside those on pages whose recent repeats are to be read: where those of all are told, and there are no more
    /// than `most`.
    pub(crate) fn beside_pages(&self, told: &[Told], most: usize) -> impl Iterator<Item = LinkId> {
        let all = told.iter().any(|told| matches!(told, Told::All { repeats: true })) && self.unsure.len() <= most;
        self.unsure.iter().filter(move |_| all).copied()
    }

    /// Adds labels, of which the later one of a link is told.
    pub(crate) fn add_labels(&mut self, labels: impl IntoIterator<Item = (LinkId, Label)>) {
        for (link, label) in giving_way(labels) {
            let known = self.labels.remove(&link);
            self.labels.extend(later(known, Some(label)).map(|label| (link, label)));
        }
    }

    /// Adds the recent repeats and labels of links, as the speed layer told them of each.
    pub(crate) fn add_recent(&mut self, told: Vec<(LinkId, Slice)>) {
        for (link, slice) in told {
            if let Ok(held) = &mut self.basis.speed {
                *held = std::mem::take(held).and(&slice.held);
            }
            if self.unsure.remove(&link) {
                let repeats: u64 = slice.totals.iter().map(|(_, counts)| counts.repeats).sum();
                self.links.entry(link).or_default().repeats += repeats;
            }
            self.add_labels(slice.label.map(|label| (link, label)));
        }
    }

    /// Clicks of people that are no repeats, of one of the links; none where that is not known of all of them.
    pub(crate) fn unique_clicks(&self, link: LinkId) -> Option<u64> {
        let counts = self.links.get(&link).filter(|_| !self.unsure.contains(&link))?;
        Some(counts.unique())
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
