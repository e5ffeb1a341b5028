//! Links: the list of them, the questions about one, and several side by side.

use axum::extract::State;
use linktide_common::problem::Problem;

use super::answered::{Answered, one};
use super::caller::{Caller, Link};
use crate::envelope::Envelope;
use crate::params::Parameters;
use crate::question::{Breakdown, ComparedLink, Heatmap, Kind, Summary, TimeBucket, TopLinks, account};
use crate::state::Query;

type Answer = Result<Answered, Problem>;

/// Counts of a link.
#[utoipa::path(get, path = "/v1/links/{link_id}/summary", tag = "links", responses((status = 200, body = Envelope<Summary>)))]
pub(super) async fn summary(State(query): State<Query>, Link(link): Link, parameters: Parameters) -> Answer {
    one(&query, Kind::Summary, &parameters, link).await
}

/// Counts of a link over time, gapless.
#[utoipa::path(get, path = "/v1/links/{link_id}/timeseries", tag = "links", responses((status = 200, body = Envelope<Vec<TimeBucket>>)))]
pub(super) async fn timeseries(State(query): State<Query>, Link(link): Link, parameters: Parameters) -> Answer {
    one(&query, Kind::Timeseries, &parameters, link).await
}

/// Counts of a link by the values of dimensions.
#[utoipa::path(get, path = "/v1/links/{link_id}/breakdown", tag = "links", responses((status = 200, body = Envelope<Vec<Breakdown>>)))]
pub(super) async fn breakdown(State(query): State<Query>, Link(link): Link, parameters: Parameters) -> Answer {
    one(&query, Kind::Breakdown, &parameters, link).await
}

/// Counts of a link by the hour of the week.
#[utoipa::path(get, path = "/v1/links/{link_id}/heatmap", tag = "links", responses((status = 200, body = Envelope<Heatmap>)))]
pub(super) async fn heatmap(State(query): State<Query>, Link(link): Link, parameters: Parameters) -> Answer {
    one(&query, Kind::Heatmap, &parameters, link).await
}

/// Links by their clicks or one by one, page by page.
#[utoipa::path(get, path = "/v1/links", tag = "links", responses((status = 200, body = Envelope<TopLinks>)))]
pub(super) async fn list(State(query): State<Query>, Caller(tenant): Caller, parameters: Parameters) -> Answer {
    one(&query, Kind::Links, &parameters, account(tenant)).await
}

/// Several links side by side.
#[utoipa::path(get, path = "/v1/compare", tag = "links", responses((status = 200, body = Envelope<Vec<ComparedLink>>)))]
pub(super) async fn compare(State(query): State<Query>, Caller(tenant): Caller, parameters: Parameters) -> Answer {
    one(&query, Kind::Compare, &parameters, account(tenant)).await
}
