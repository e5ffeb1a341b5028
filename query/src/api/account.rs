//! The account: the questions about all links of a tenant together.

use axum::Json;
use axum::extract::State;
use linktide_common::problem::Problem;

use super::caller::Account;
use super::questions;
use super::results::{Breakdown, Summary, TimeBucket};
use crate::envelope::Envelope;
use crate::params::Parameters;
use crate::state::Query;

type Answered<T> = Result<Json<Envelope<T>>, Problem>;

/// Counts of all links together.
#[utoipa::path(get, path = "/v1/account/summary", tag = "account", responses((status = 200, body = Envelope<Summary>)))]
pub(super) async fn summary(
    State(query): State<Query>,
    Account(subject): Account,
    parameters: Parameters,
) -> Answered<Summary> {
    Ok(Json(questions::summary(&query, &parameters, subject).await?))
}

/// Counts of all links together over time, gapless.
#[utoipa::path(get, path = "/v1/account/timeseries", tag = "account", responses((status = 200, body = Envelope<Vec<TimeBucket>>)))]
pub(super) async fn timeseries(
    State(query): State<Query>,
    Account(subject): Account,
    parameters: Parameters,
) -> Answered<Vec<TimeBucket>> {
    Ok(Json(questions::timeseries(&query, &parameters, subject).await?))
}

/// Counts of all links together by the values of dimensions.
#[utoipa::path(get, path = "/v1/account/breakdown", tag = "account", responses((status = 200, body = Envelope<Vec<Breakdown>>)))]
pub(super) async fn breakdown(
    State(query): State<Query>,
    Account(subject): Account,
    parameters: Parameters,
) -> Answered<Vec<Breakdown>> {
    Ok(Json(questions::breakdown(&query, &parameters, subject).await?))
}
