//! The functions that the nightly queries add to DataFusion's.
//!
//! - `visitors(visitor, sketch)`: the union of sketches and visitors as a sketch, or null where there are none.
//! - `visitors_count(sketch)`: how many visitors a sketch counted.
//! - `by_quarter(quarter, clicks, bots)`: counts by quarter of the day, as three lists of one length.
//! - `located(geo_pending)` and `judged(user_agent, clicked_at, bot_reason)`: what today's rules say of a network and of a user agent.
//!
//! Clicks and rows that were rolled up before go through the same aggregates: a click is one visitor, an old row a sketch.
//! So a rollup is added to by grouping both together, which is the law `rollup(A ∪ B) = rollup(A) + rollup(B)` itself.

mod by_quarter;
mod rules;
mod visitors;

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, BooleanArray};
use deltalake::datafusion::prelude::SessionContext;
use linktide_common::enrich::Rules;

/// Makes the functions known to queries of `context`.
pub(super) fn register(context: &SessionContext, today: &Arc<Rules>) {
    context.register_udaf(by_quarter::function().into());
    context.register_udaf(visitors::function().into());
    context.register_udf(visitors::count());
    context.register_udf(rules::located(today));
    context.register_udf(rules::judged(today));
}

/// The rows to take in, each with its group.
fn taken(groups: &[usize], filter: Option<&BooleanArray>) -> impl Iterator<Item = (usize, usize)> {
    let taken = move |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
    groups.iter().copied().enumerate().filter(move |(row, _)| taken(*row))
}
