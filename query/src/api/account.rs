//! The account: the questions about all links of a tenant together.

use axum::extract::State;
use linktide_common::problem::Problem;

use super::answered::{Answered, one};
use super::caller::Account;
use crate::envelope::Envelope;
use crate::params::Parameters;
use crate::question::{Breakdown, Heatmap, Kind, Summary, TimeBucket};
use crate::state::Query;

type Answer = Result<Answered, Problem>;

/// Counts of all links together.
#[utoipa::path(get, path = "/v1/account/summary", tag = "account", responses((status = 200, body = Envelope<Summary>)))]
pub(super) async fn summary(State(query): State<Query>, Account(all): Account, parameters: Parameters) -> Answer {
    one(&query, Kind::Summary, &parameters, all).await
}

/// Counts of all links together over time, gapless.
#[utoipa::path(get, path = "/v1/account/timeseries", tag = "account", responses((status = 200, body = Envelope<Vec<TimeBucket>>)))]
pub(super) async fn timeseries(State(query): State<Query>, Account(all): Account, parameters: Parameters) -> Answer {
    one(&query, Kind::Timeseries, &parameters, all).await
}

/// Counts of all links together by the values of dimensions.
#[utoipa::path(get, path = "/v1/account/breakdown", tag = "account", responses((status = 200, body = Envelope<Vec<Breakdown>>)))]
pub(super) async fn breakdown(State(query): State<Query>, Account(all): Account, parameters: Parameters) -> Answer {
    one(&query, Kind::Breakdown, &parameters, all).await
}

/// Counts of all links together by the hour of the week.
#[utoipa::path(get, path = "/v1/account/heatmap", tag = "account", responses((status = 200, body = Envelope<Heatmap>)))]
pub(super) async fn heatmap(State(query): State<Query>, Account(all): Account, parameters: Parameters) -> Answer {
    one(&query, Kind::Heatmap, &parameters, all).await
}
