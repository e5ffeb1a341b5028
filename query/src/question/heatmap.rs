//! Counts by the hour of the week, on the clocks of the caller's zone.

use linktide_common::bucket::HourOfWeek;
use serde::Serialize;
use utoipa::ToSchema;

use super::Resolved;
use crate::answer::Answer;
use crate::needs::Needs;

/// Clicks by the hour of the week.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Heatmap {
    /// The sum of all hours.
    total: u64,
    /// Seven days from Monday on, each with its 24 hours from midnight on.
    hours: [[u64; 24]; 7],
}

pub(super) fn needs(question: &Resolved) -> Needs {
    match question.filter() {
        // Filtered clicks come by quarter as they are.
        Some(_) => question.sums(vec![question.range]),
        None => Needs { quarters: vec![question.range], ..Needs::default() },
    }
}

pub(super) fn answer(question: &Resolved, answer: &Answer) -> Heatmap {
    let mut heatmap = Heatmap { total: 0, hours: [[0; 24]; 7] };
    for (quarter, counts) in answer.totals(question.filter()).by_quarter(question.range) {
        let clicks = counts.clicks(question.asked.traffic);
        let HourOfWeek { weekday, hour } = HourOfWeek::of(quarter, &question.asked.zone);
        heatmap.total += clicks;
        heatmap.hours[weekday][hour] += clicks;
    }
    heatmap
}
