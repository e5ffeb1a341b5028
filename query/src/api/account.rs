//! The account: the questions about all links of a tenant together.

use axum::Json;
use axum::extract::State;
use linktide_common::id::Subject;
use linktide_common::problem::Problem;

use super::questions::{self, Breakdown, Summary, TENANT, TimeBucket};
use crate::envelope::Envelope;
use crate::params::Parameters;
use crate::state::Query;

type Answered<T> = Result<Json<Envelope<T>>, Problem>;

const WHOLE: Subject = Subject::Tenant(TENANT);

/// Counts of all links together.
#[utoipa::path(get, path = "/v1/account/summary", tag = "account",
    params(("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query)),
    responses((status = 200, body = Envelope<Summary>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn summary(State(query): State<Query>, parameters: Parameters) -> Answered<Summary> {
    Ok(Json(questions::summary(&query, &parameters, WHOLE).await?))
}

/// Counts of all links together over time, gapless.
#[utoipa::path(get, path = "/v1/account/timeseries", tag = "account",
    params(("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query), ("unit" = Option<String>, Query)),
    responses((status = 200, body = Envelope<Vec<TimeBucket>>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn timeseries(State(query): State<Query>, parameters: Parameters) -> Answered<Vec<TimeBucket>> {
    Ok(Json(questions::timeseries(&query, &parameters, WHOLE).await?))
}

/// Counts of all links together by the values of dimensions.
#[utoipa::path(get, path = "/v1/account/breakdown", tag = "account",
    params(("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query), ("by" = String, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Envelope<Vec<Breakdown>>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn breakdown(State(query): State<Query>, parameters: Parameters) -> Answered<Vec<Breakdown>> {
    Ok(Json(questions::breakdown(&query, &parameters, WHOLE).await?))
}
