//! The functions that the nightly queries add to DataFusion's.
//!
//! - `visitors(visitor, sketch)`: the union of sketches and visitors as a sketch, or null where there are none.
//! - `visitors_count(sketch)`: how many visitors a sketch counted.
//! - `visitor_hashes(visitor)`: a visitor as a set of one, an empty one where there is none.
//! - `visitors_union(hashes)`: the union of sets, or null where it is too large or one of them is null.
//! - `by_value(quarter, clicks, bots, dimension, value, …)`: counts by value of each dimension and quarter of the day.
//! - `located(geo_pending)` and `judged(user_agent, clicked_at, bot_reason)`: what today's rules say of a network and of a user agent.
//!
//! Clicks and rows that were rolled up before go through the same aggregates: a click is one visitor, an old row a sketch.
//! So a rollup is added to by grouping both together, which is the law `rollup(A ∪ B) = rollup(A) + rollup(B)` itself.

mod aggregate;
mod by_value;
mod rules;
mod visitor_set;
mod visitors;

use std::sync::Arc;

use deltalake::datafusion::prelude::SessionContext;
use linktide_common::enrich::Rules;

/// Makes the functions known to queries of `context`.
pub(super) fn register(context: &SessionContext, today: &Arc<Rules>) {
    context.register_udaf(by_value::function());
    context.register_udaf(visitors::function());
    context.register_udf(visitors::count());
    context.register_udf(visitor_set::of_one());
    context.register_udaf(visitor_set::union());
    context.register_udf(rules::located(today));
    context.register_udf(rules::judged(today));
}
