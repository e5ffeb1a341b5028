//! Counts over time, gapless.

use linktide_common::bucket::{Bucket, Unit};
use serde::Serialize;
use utoipa::ToSchema;

use super::Resolved;
use crate::answer::Answer;
use crate::envelope::instant;
use crate::freshness::Basis;
use crate::merge;

#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) unit: Unit,
}

/// A bucket of a timeseries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeBucket {
    start: String,
    end: String,
    /// Clicks of the traffic asked for.
    clicks: u64,
    /// Clicks of people without repeats; null as in a summary.
    unique_clicks: Option<u64>,
    /// Clicks of machines.
    bots: u64,
    /// HEAD requests; null under a filter, since they have no values.
    previews: Option<u64>,
    /// The layers it rests on.
    #[schema(value_type = Vec<String>)]
    layers: &'static [&'static str],
    /// Whether the range cuts it off, or its time is not over.
    partial: bool,
}

/// The buckets of the question, of one subject.
pub(super) fn answer(question: &Resolved, answer: &Answer, basis: &Basis) -> Vec<TimeBucket> {
    let (zone, totals) = (&question.asked.zone, answer.totals(question.filter()));
    let watermark = basis.publication.watermark;
    let (as_of, answered) = (basis.as_of(), basis.answered());
    let whole = question.filter().is_none();
    // A bucket begins where the one before it ends: an instant is written once.
    let mut end = question.buckets.first().map_or_else(String::new, |first| instant(first.range.start, zone));
    let describe = |bucket: &Bucket| {
        let start = std::mem::replace(&mut end, instant(bucket.range.end, zone));
        let by_layer = totals.within(bucket.range);
        let counts = by_layer.sum();
        TimeBucket {
            start,
            end: end.clone(),
            clicks: counts.clicks(question.asked.traffic),
            unique_clicks: question.unique_clicks(counts),
            bots: counts.bots,
            previews: whole.then_some(counts.previews),
            layers: merge::layers(bucket.range, watermark, by_layer, answered),
            partial: merge::partial(bucket, watermark, as_of, answered),
        }
    };
    question.buckets.iter().map(describe).collect()
}
