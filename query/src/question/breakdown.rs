//! Counts by the values of dimensions.

use linktide_common::dimension::{Dimension, OTHER};
use serde::Serialize;
use utoipa::ToSchema;

use super::Resolved;
use crate::answer::Answer;
use crate::merge;
use crate::needs::Needs;

#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) by: Vec<Dimension>,
    pub(super) limit: usize,
}

/// A dimension with its most frequent values.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Breakdown {
    dimension: &'static str,
    /// The sum of all values.
    total: u64,
    values: Vec<ValueCount>,
}

/// A value of a dimension.
#[derive(Debug, Serialize, ToSchema)]
struct ValueCount {
    /// The value; `(none)` is a click without one, `(other)` all values that are not listed.
    value: String,
    clicks: u64,
    /// Its part of the total, 0 to 1.
    share: f64,
}

impl Ask {
    pub(super) fn needs(&self, question: &Resolved) -> Needs {
        let values = self.by.iter().map(|dimension| (*dimension, question.range)).collect();
        Needs { values, ..question.sums(vec![question.range]) }
    }

    pub(super) fn answer(&self, question: &Resolved, answer: &Answer) -> Vec<Breakdown> {
        let (traffic, filter) = (question.asked.traffic, question.filter());
        let total = answer.totals(filter).within(question.range).sum().clicks(traffic);
        let describe = |dimension: &Dimension| {
            let values = answer.values(*dimension, question.range).into_iter();
            // A value that a sender called `(other)` is counted among the others, or the name would stand twice.
            let listed =
                values.filter(|(value, _)| *value != OTHER && filter.is_none_or(|filter| filter.matches(value)));
            let (listed, rest) = merge::top(listed, traffic, total, self.limit);
            let count = |value: &str, clicks: u64| ValueCount {
                value: value.to_owned(),
                clicks,
                share: clicks as f64 / total.max(1) as f64,
            };
            let other = (rest > 0).then(|| count(OTHER, rest));
            let values = listed.into_iter().map(|listed| count(listed.value, listed.clicks)).chain(other).collect();
            Breakdown { dimension: dimension.name(), total, values }
        };
        self.by.iter().map(describe).collect()
    }
}
