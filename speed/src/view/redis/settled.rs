//! What a reader keeps of hours that are over: once every partition's received time has passed an hour, nothing is added
//! to what was received in it, and a hot link's live day is read when an hour is over instead of with each question. What came
//! in since is read with each question, in one go with the state of the view, which tells whether what is kept still stands.

use std::collections::BTreeMap;
use std::ops;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use linktide_common::bucket::{Day, Hour, Quarter, Range};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::id::Subject;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::view::{ByValue, Held, Slice, ViewError, Want};

/// How often a read begins again because an hour has begun that it did not ask for.
const ATTEMPTS: usize = 4;
/// Subjects that are expected; a bound by memory is beside it.
const SUBJECTS: usize = 1 << 12;
/// What an entry, a value and a quarter take in memory, about.
const ENTRY: usize = 512;
const VALUE: usize = 64;
const QUARTER: usize = 32;

/// What is kept of received hours that are over.
pub(super) trait Over {
    /// The received hours that it is of.
    fn hours(&self) -> &ops::Range<Hour>;

    /// The state of the view that it was read at.
    fn held(&self) -> &Held;

    /// Whether a view in this state still gives the same, and nothing more is over: one that was set back or begun anew is to
    /// be read as it is, and a partition that was not there before may have given clicks of an hour that was over for the
    /// others.
    fn stands(&self, now: &Held) -> bool {
        let (then, hours) = (self.held(), self.hours());
        let is_same_view = (now.from, now.beginnings) == (then.from, then.beginnings);
        is_same_view
            && now.positions.keys().eq(then.positions.keys())
            && over(now).map_or(hours.start, |over| over.max(hours.start)) == hours.end
    }
}

/// What was read beside what is kept.
pub(super) struct ReadOn<K, T> {
    /// What is kept, where it stands.
    pub(super) known: Option<Arc<K>>,
    /// The received hours that were read: those behind what is kept.
    pub(super) hours: ops::Range<Hour>,
    /// The state of the view when they were.
    pub(super) held: Held,
    pub(super) read: T,
}

impl<K, T> ReadOn<K, T> {
    /// The hour before which what was read stays as it is.
    pub(super) fn over(&self) -> Hour {
        over(&self.held).map_or(self.hours.start, |over| over.clamp(self.hours.start, self.hours.end))
    }
}

/// Reads the hours behind what is kept, or from the hour `from` on where nothing is, or nothing that stands. `read` is told the
/// hours, and whether they are behind something kept, and tells the state of the view of the same moment. `newest` is the
/// hour behind the newest received one as it was last seen: where another has begun since, all is read again.
pub(super) async fn read_on<K: Over, T, R: Future<Output = Result<(Held, T), ViewError>>>(
    newest: &AtomicI32,
    from: Hour,
    mut known: Option<Arc<K>>,
    read: impl Fn(ops::Range<Hour>, bool) -> R,
) -> Result<ReadOn<K, T>, ViewError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let start = known.as_ref().map_or(from, |known| known.hours().end);
        let hours = start..Hour(newest.load(Ordering::Relaxed)).max(start);
        let (held, read) = read(hours.clone(), known.is_some()).await?;
        let begun = begun(&held);
        newest.store(begun.map_or(i32::MIN, |hour| hour.0), Ordering::Relaxed);
        if known.as_ref().is_some_and(|known| !known.stands(&held)) {
            known = None;
        } else if begun <= Some(hours.end) || attempts >= ATTEMPTS {
            return Ok(ReadOn { known, hours, held, read });
        }
    }
}

/// The hour behind the newest one in which a view in this state has received anything.
fn begun(held: &Held) -> Option<Hour> {
    held.positions.values().map(|position| Hour::of(position.received_at).next()).max()
}

/// The hour before which a view in this state receives nothing any more.
fn over(held: &Held) -> Option<Hour> {
    held.positions.values().map(|position| Hour::of(position.received_at)).min()
}

/// What a subject received in hours that are over, whatever its event time.
pub(super) struct Settled {
    /// The received hours that it is of.
    hours: ops::Range<Hour>,
    /// The dimensions that it is broken down by.
    dimensions: Vec<Dimension>,
    /// The event hours whose visitors were read; none where nobody asked for visitors.
    visitors_of: Option<ops::Range<Hour>>,
    /// Whether repeats of a tenant's links were read.
    repeats: bool,
    /// All of it, and the state it was read at.
    slice: Slice,
}

impl Over for Settled {
    fn hours(&self) -> &ops::Range<Hour> {
        &self.hours
    }

    fn held(&self) -> &Held {
        &self.slice.held
    }
}

impl Settled {
    pub(super) fn new(hours: ops::Range<Hour>, want: &Want, slice: Slice) -> Self {
        let visitors_of = want.visitors.then(|| want.range.hours_touched());
        Self { hours, dimensions: want.dimensions.clone(), visitors_of, repeats: want.repeats, slice }
    }

    /// Whether it holds all that is wanted of its hours.
    fn covers(&self, want: &Want) -> bool {
        let visitors = || {
            let hours = want.range.hours_touched();
            self.visitors_of.as_ref().is_some_and(|of| of.start <= hours.start && of.end >= hours.end)
        };
        want.dimensions.iter().all(|dimension| self.dimensions.contains(dimension))
            && (!want.visitors || visitors())
            && (!want.repeats || self.repeats)
    }

    /// What was received since, and what is wanted of this. Visitors that were read later take the place of these: whoever
    /// came since is among them.
    pub(super) fn with(&self, recent: Slice, want: &Want) -> Slice {
        let wanted = |quarter: &Quarter| want.range.contains(*quarter);
        let mut totals: BTreeMap<Quarter, Counts> = recent.totals.into_iter().collect();
        for (quarter, counts) in self.slice.totals.iter().filter(|(quarter, _)| wanted(quarter)) {
            let repeats = if want.repeats { counts.repeats } else { 0 };
            *totals.entry(*quarter).or_default() += Counts { repeats, ..*counts };
        }
        let whole = self.slice.totals.iter().all(|(quarter, _)| wanted(quarter));
        let mut values = recent.values;
        for (dimension, by_value) in &self.slice.values {
            if want.dimensions.contains(dimension) {
                let by_value = if whole { Arc::clone(by_value) } else { Arc::new(cut(by_value, want.range)) };
                values.push((*dimension, by_value));
            }
        }
        let mut visitors: BTreeMap<Hour, Arc<Sketch>> = BTreeMap::new();
        let mut days: BTreeMap<Day, Arc<VisitorSet>> = BTreeMap::new();
        if want.visitors {
            let touched = want.range.days_touched();
            days.extend(self.slice.days.iter().filter(|(day, _)| touched.contains(day)).cloned());
            // Each is of the hours it was received in alone.
            for (day, set) in recent.days {
                let known = days.entry(day).or_default();
                Arc::make_mut(known).merge(&set);
            }
            let hours = want.range.hours_touched();
            let kept = self.slice.visitors.iter().filter(|(hour, _)| hours.contains(hour)).cloned();
            visitors.extend(kept.chain(recent.visitors));
        }
        Slice {
            totals: totals.into_iter().collect(),
            values,
            visitors: visitors.into_iter().collect(),
            days: days.into_iter().collect(),
            first: [self.slice.first, recent.first].into_iter().flatten().min(),
            last: self.slice.last.max(recent.last),
            guarded: self.slice.guarded || recent.guarded,
            held: recent.held,
            label: recent.label,
        }
    }

    fn size(&self) -> usize {
        let values = self.slice.values.iter().flat_map(|(_, by_value)| &by_value.values);
        let values: usize = values.map(|(text, series)| VALUE + text.len() + QUARTER * series.len()).sum();
        let visitors: usize = self.slice.visitors.iter().map(|(_, sketch)| QUARTER + sketch.as_bytes().len()).sum();
        let days: usize = self.slice.days.iter().map(|(_, set)| QUARTER + set.capacity()).sum();
        ENTRY + QUARTER * self.slice.totals.len() + values + visitors + days
    }
}

/// Clicks of a range alone.
fn cut(by_value: &ByValue, range: Range) -> ByValue {
    let within = |(value, series): &(Text, Vec<(Quarter, Counts)>)| {
        let series: Vec<_> = series.iter().filter(|(quarter, _)| range.contains(*quarter)).copied().collect();
        (!series.is_empty()).then(|| (Text::clone(value), series))
    };
    ByValue { values: by_value.values.iter().filter_map(within).collect(), guarded: by_value.guarded }
}

#[derive(Clone)]
struct BySize;

impl Weighter<Subject, Arc<Settled>> for BySize {
    fn weight(&self, _subject: &Subject, settled: &Arc<Settled>) -> u64 {
        settled.size() as u64
    }
}

/// Settled hours of the subjects that are asked about.
pub(super) struct Kept(Cache<Subject, Arc<Settled>, BySize>);

impl Kept {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(SUBJECTS, bytes as u64, BySize))
    }

    /// What is kept of a subject from the hour `from` on, where it holds what is wanted.
    pub(super) fn find(&self, subject: Subject, from: Hour, want: &Want) -> Option<Arc<Settled>> {
        let known = self.0.get(&subject)?;
        (known.hours.start == from && known.covers(want)).then_some(known)
    }

    /// What is to be read anew, so that it holds what is wanted and what was wanted before.
    pub(super) fn widened(&self, subject: Subject, want: &Want) -> Want {
        let mut want = want.clone();
        let Some(known) = self.0.get(&subject) else { return want };
        want.dimensions.extend(&known.dimensions);
        want.dimensions.sort_unstable();
        want.dimensions.dedup();
        want.repeats |= known.repeats;
        want
    }

    /// Lets go of all of it.
    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn keep(&self, subject: Subject, settled: Settled) -> Arc<Settled> {
        let settled = Arc::new(settled);
        self.0.insert(subject, Arc::clone(&settled));
        settled
    }
}
