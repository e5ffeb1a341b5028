//! Merging: pure functions of what both layers gave.

use std::collections::{BTreeMap, HashMap};
use std::ops;

use linktide_common::bucket::{Bucket, Day, Hour, QUARTERS_PER_DAY, Quarter, Range, Timestamp};
use linktide_common::count::{Counts, Traffic};

use crate::metrics;

/// Counts of a subject by event time, as both layers have them. No click is in both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    /// Batch's whole UTC days.
    pub(crate) days: BTreeMap<Day, Counts>,
    /// Batch's quarters, where a bucket is no whole days; an hour that no bucket cuts stands as a whole at its first one.
    pub(crate) quarters: BTreeMap<Quarter, Counts>,
    /// Speed's quarters.
    pub(crate) recent: BTreeMap<Quarter, Counts>,
}

/// What a range holds, by layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ByLayer {
    pub(crate) batch: Counts,
    pub(crate) speed: Counts,
}

impl ByLayer {
    pub(crate) fn sum(self) -> Counts {
        self.batch + self.speed
    }
}

impl Totals {
    /// Nothing at all.
    pub(crate) const EMPTY: Self = Self { days: BTreeMap::new(), quarters: BTreeMap::new(), recent: BTreeMap::new() };

    pub(crate) fn within(&self, range: Range) -> ByLayer {
        let cut = range.cut();
        ByLayer {
            batch: sum(&self.days, cut.days) + quarters(&self.quarters, cut.head) + quarters(&self.quarters, cut.tail),
            speed: quarters(&self.recent, range),
        }
    }
}

fn quarters(counts: &BTreeMap<Quarter, Counts>, range: Range) -> Counts {
    sum(counts, range.start..range.end)
}

/// Most buckets have no part in most of these.
fn sum<K: Ord>(counts: &BTreeMap<K, Counts>, range: ops::Range<K>) -> Counts {
    if range.is_empty() || counts.is_empty() {
        return Counts::default();
    }
    counts.range(range).fold(Counts::default(), |sum, (_, counts)| sum + *counts)
}

impl Totals {
    /// Each quarter of a range that was asked for quarter by quarter; one may come twice.
    pub(crate) fn by_quarter(&self, range: Range) -> impl Iterator<Item = (Quarter, Counts)> {
        let layers = [&self.quarters, &self.recent].into_iter();
        layers.flat_map(move |layer| layer.range(range.start..range.end)).map(|(quarter, counts)| (*quarter, *counts))
    }
}

/// The quarters of history that the buckets need beside whole days: few ranges that cover all edges.
pub(crate) fn edges(buckets: &[Range]) -> Vec<Range> {
    disjoint(buckets.iter().flat_map(|range| {
        let cut = range.cut();
        [cut.head, cut.tail]
    }))
}

/// Few ranges that cover all of these, in order and apart from one another.
pub(crate) fn disjoint(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut ranges: Vec<Range> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut found: Vec<Range> = Vec::new();
    for range in ranges {
        match found.last_mut() {
            // A day between two ranges costs less to read along than to leave out.
            Some(last) if range.start.0 - last.end.0 <= QUARTERS_PER_DAY => last.end = last.end.max(range.end),
            _ => found.push(range),
        }
    }
    found
}

/// What ranges have beside some others, which are in order and apart from one another.
pub(crate) fn without(ranges: impl IntoIterator<Item = Range>, others: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    for mut range in ranges {
        for other in others {
            let common = range.intersect(*other);
            if !common.is_empty() {
                left.push(Range::new(range.start, common.start));
                range = Range::new(common.end, range.end);
            }
        }
        left.push(range);
    }
    left.retain(|range| !range.is_empty());
    left
}

/// Which layers answered a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) batch: bool,
    pub(crate) speed: bool,
}

/// Which layers a bucket rests on: batch where its time begins before the watermark, speed where it ends behind it, and
/// whichever has given a click of its time, a late or an early one. A layer that did not answer is never among them.
pub(crate) fn layers(range: Range, watermark: Hour, counts: ByLayer, answered: Answered) -> &'static [&'static str] {
    let border = watermark.first_quarter();
    let batch = answered.batch && (range.start < border || !counts.batch.is_zero());
    let speed = answered.speed && (range.end > border || !counts.speed.is_zero());
    match (batch, speed) {
        (true, true) => &["batch", "speed"],
        (true, false) => &["batch"],
        (false, true) => &["speed"],
        (false, false) => &[],
    }
}

/// Whether a bucket may still lack clicks of its time: the range cuts it off, its time is not over as far as the answer
/// knows, or the layer that owns its time did not answer.
///
/// Clicks that come in late, after their time was over, make no bucket partial: any bucket may get them.
pub(crate) fn partial(bucket: &Bucket, watermark: Hour, as_of: Timestamp, answered: Answered) -> bool {
    // A click may be up to five minutes ahead of its received time, so the first quarter behind the watermark is batch's too.
    let of_batch = bucket.range.start <= watermark.first_quarter();
    bucket.clipped || bucket.range.end.start() > as_of || (of_batch && !answered.batch)
}

/// A listed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed<K> {
    pub(crate) value: K,
    pub(crate) clicks: u64,
}

/// The `limit` most frequent values, and what all others have together: `total` less the listed, so that sums hold.
pub(crate) fn top<K: Ord>(
    counts: impl IntoIterator<Item = (K, Counts)>,
    traffic: Traffic,
    total: u64,
    limit: usize,
) -> (Vec<Listed<K>>, u64) {
    let listed = counts.into_iter().map(|(value, counts)| Listed { value, clicks: counts.clicks(traffic) });
    let mut listed: Vec<_> = listed.filter(|listed| listed.clicks > 0).collect();
    listed.sort_by(|one, other| other.clicks.cmp(&one.clicks).then_with(|| one.value.cmp(&other.value)));
    let sum = |listed: &[Listed<K>]| listed.iter().map(|listed| listed.clicks).sum::<u64>();
    sums_agree(sum(&listed), total);
    listed.truncate(limit);
    let rest = total.saturating_sub(sum(&listed));
    (listed, rest)
}

/// The promise that values never exceed their total: both were read at one watermark, and each click has one value.
fn sums_agree(values: u64, total: u64) {
    debug_assert!(values <= total, "the values sum to {values}, the total is {total}");
    if values > total {
        metrics::SUMS_DISAGREE.inc();
        tracing::error!(values, total, "the values of a breakdown exceed their total");
    }
}

/// Adds what both layers counted under the same key.
pub(crate) fn add<K: Eq + std::hash::Hash>(
    one: impl IntoIterator<Item = (K, Counts)>,
    other: impl IntoIterator<Item = (K, Counts)>,
) -> HashMap<K, Counts> {
    let mut sums: HashMap<K, Counts> = HashMap::new();
    for (key, counts) in one.into_iter().chain(other) {
        *sums.entry(key).or_default() += counts;
    }
    sums
}

/// The whole UTC hours that a range touches, as a range.
pub(crate) fn whole_hours(hours: &ops::Range<Hour>) -> Range {
    Range::new(hours.start.first_quarter(), hours.end.first_quarter())
}

/// What the UTC days that a range touches have beside its whole hours: at most one range before and one behind it.
pub(crate) fn beside_in_days(range: Range) -> Vec<Range> {
    let (hours, days) = (whole_hours(&range.hours_touched()), Range::of_days(range.days_touched()));
    let beside = [Range::new(days.start, hours.start), Range::new(hours.end, days.end)];
    beside.into_iter().filter(|rest| !range.is_empty() && !rest.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use linktide_common::bucket::{Unit, Zone, buckets};
    use proptest::prelude::*;

    use super::*;
    use crate::needs::{Edges, Needs};

    fn any_zone() -> impl Strategy<Value = Zone> {
        let names = [
            "UTC",
            "Asia/Kolkata",
            "Asia/Kathmandu",
            "America/St_Johns",
            "Australia/Lord_Howe",
            "America/New_York",
            "Pacific/Apia",
        ];
        prop::sample::select(names.to_vec()).prop_map(|name| Zone::parse(name).unwrap())
    }

    fn any_unit() -> impl Strategy<Value = Unit> {
        prop::sample::select(Unit::NAMES.iter().map(|(_, unit)| *unit).collect::<Vec<_>>())
    }

    const ORIGIN: i32 = 1_900_000;

    proptest! {
        /// Clicks anywhere, received on either side of any watermark: timeseries = total = plain count.
        #[test]
        fn sums_agree_over_every_seam(
            clicks in prop::collection::vec((0i32..4000, any::<bool>(), any::<bool>()), 0..200),
            zone in any_zone(), unit in any_unit(), start in 0i32..3000, len in 1i32..2500,
            one_by_one in prop::option::of((0i32..3800, 1i32..200)),
        ) {
            let range = Range::new(Quarter(ORIGIN + start), Quarter(ORIGIN + start + len));
            // What another question about the same subject wants quarter by quarter.
            let one_by_one = one_by_one.map(|(start, len)| Range::new(Quarter(ORIGIN + start), Quarter(ORIGIN + start + len)));
            let mut totals = Totals::default();
            let mut plain = Counts::default();
            let mut stored: BTreeMap<Quarter, Counts> = BTreeMap::new();
            for (quarter, batch, bot) in clicks {
                let quarter = Quarter(ORIGIN + quarter);
                let counts = Counts { humans: u64::from(!bot), bots: u64::from(bot), previews: 0, repeats: 0 };
                if range.contains(quarter) {
                    plain += counts;
                }
                if batch {
                    *totals.days.entry(quarter.day()).or_default() += counts;
                    *stored.entry(quarter).or_default() += counts;
                } else {
                    *totals.recent.entry(quarter).or_default() += counts;
                }
            }
            let cut: Vec<Bucket> = buckets(range, unit, &zone).unwrap();
            let ranges: Vec<Range> = cut.iter().map(|bucket| bucket.range).collect();
            // Only the edges are fetched, most of them by the hour, as the service does.
            for question in [&ranges[..], &[range][..]] {
                totals.quarters.clear();
                let quarters = one_by_one.into_iter().collect();
                let needs = Needs { sums: question.to_vec(), quarters, ..Needs::default() };
                let Edges { hours, quarters } = needs.edges();
                for edge in &quarters {
                    let fetched = stored.range(edge.start..edge.end).map(|(quarter, counts)| (*quarter, *counts));
                    totals.quarters.extend(fetched);
                }
                for edge in hours.iter().map(whole_hours) {
                    prop_assert!(quarters.iter().all(|quarters| quarters.intersect(edge).is_empty()));
                    for (quarter, counts) in stored.range(edge.start..edge.end) {
                        *totals.quarters.entry(quarter.hour().first_quarter()).or_default() += *counts;
                    }
                }
                let sum = question.iter().fold(Counts::default(), |sum, range| sum + totals.within(*range).sum());
                prop_assert_eq!(sum, plain);
                if let Some(range) = one_by_one {
                    let stored = stored.range(range.start..range.end).map(|(quarter, counts)| (*quarter, *counts));
                    let recent = totals.recent.range(range.start..range.end).map(|(quarter, counts)| (*quarter, *counts));
                    prop_assert_eq!(totals.by_quarter(range).collect::<Vec<_>>(), stored.chain(recent).collect::<Vec<_>>());
                }
            }
        }

        /// However the clicks of a subject are spread over layers and values: a complete breakdown is its total.
        #[test]
        fn breakdown_is_the_total_over_every_seam(
            clicks in prop::collection::vec((0i32..900, 0u8..6, any::<bool>(), any::<bool>()), 0..200),
            start in 0i32..800, len in 1i32..800,
        ) {
            let range = Range::new(Quarter(ORIGIN + start), Quarter(ORIGIN + start + len));
            let mut plain = Counts::default();
            let mut layers: [HashMap<u8, Counts>; 2] = Default::default();
            for (quarter, value, batch, bot) in clicks {
                if range.contains(Quarter(ORIGIN + quarter)) {
                    let counts = Counts { humans: u64::from(!bot), bots: u64::from(bot), previews: 0, repeats: 0 };
                    plain += counts;
                    *layers[usize::from(batch)].entry(value).or_default() += counts;
                }
            }
            let [batch, speed] = layers;
            let sums = add(batch, speed);
            for traffic in [Traffic::Human, Traffic::Bot, Traffic::All] {
                let (listed, rest) = top(sums.clone(), traffic, plain.clicks(traffic), usize::MAX);
                prop_assert_eq!((listed.iter().map(|listed| listed.clicks).sum::<u64>(), rest), (plain.clicks(traffic), 0));
            }
        }

        #[test]
        fn listed_and_other_are_the_total(values in prop::collection::vec((0u8..20, 0u64..9, 0u64..9), 0..60), limit in 1usize..9) {
            let counts = add(values.iter().map(|(value, humans, bots)| (*value, Counts { humans: *humans, bots: *bots, previews: 0, repeats: 0 })), []);
            for traffic in [Traffic::Human, Traffic::Bot, Traffic::All] {
                let total = counts.values().map(|counts| counts.clicks(traffic)).sum();
                let (listed, rest) = top(counts.clone(), traffic, total, limit);
                prop_assert_eq!(listed.iter().map(|listed| listed.clicks).sum::<u64>() + rest, total);
                prop_assert!(listed.len() <= limit && listed.is_sorted_by(|one, other| one.clicks >= other.clicks));
            }
        }
    }

    const W: Hour = Hour(480_000);
    const BOTH: Answered = Answered { batch: true, speed: true };

    fn hours(from: i32, to: i32) -> Range {
        Range::new(Hour(W.0 + from).first_quarter(), Hour(W.0 + to).first_quarter())
    }

    #[test]
    fn bucket_rests_on_the_owners_of_its_time_and_on_whoever_gave_clicks() {
        let one = Counts { humans: 1, ..Counts::default() };
        let (late, early) =
            (ByLayer { speed: one, ..ByLayer::default() }, ByLayer { batch: one, ..ByLayer::default() });
        let rests = |range, counts, answered| layers(range, W, counts, answered);
        assert_eq!(rests(hours(-2, -1), ByLayer::default(), BOTH), ["batch"]);
        assert_eq!(rests(hours(-2, 0), ByLayer::default(), BOTH), ["batch"]);
        assert_eq!(rests(hours(-2, -1), late, BOTH), ["batch", "speed"]);
        assert_eq!(rests(hours(-1, 1), ByLayer::default(), BOTH), ["batch", "speed"]);
        assert_eq!(rests(hours(0, 1), ByLayer::default(), BOTH), ["speed"]);
        assert_eq!(rests(hours(0, 1), early, BOTH), ["batch", "speed"]);
        assert_eq!(rests(hours(-1, 1), ByLayer::default(), Answered { speed: false, ..BOTH }), ["batch"]);
        assert_eq!(rests(hours(-2, -1), ByLayer::default(), Answered { batch: false, ..BOTH }), [""; 0]);
    }

    #[test]
    fn bucket_is_partial_where_clicks_of_its_time_may_be_lacking() {
        let as_of = Hour(W.0 + 2).start();
        let partial = |range, clipped, answered| partial(&Bucket { range, clipped }, W, as_of, answered);
        assert!(!partial(hours(1, 2), false, BOTH));
        assert!(partial(hours(1, 2), true, BOTH));
        assert!(partial(hours(2, 3), false, BOTH));
        let without = Answered { batch: false, ..BOTH };
        assert!(partial(hours(-1, 0), false, without) && partial(hours(0, 1), false, without));
        assert!(!partial(hours(1, 2), false, without));
    }
}
