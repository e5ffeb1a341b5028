//! How fresh answers are now, without a question.

use axum::Json;
use axum::extract::State;
use linktide_common::problem::Problem;

use super::caller::Reader;
use crate::freshness::Freshness;
use crate::params::Parameters;
use crate::state::Query;

/// How fresh answers are now.
#[utoipa::path(get, path = "/v1/freshness", tag = "service", responses((status = 200, body = Freshness)))]
pub(super) async fn freshness(
    State(query): State<Query>,
    _asks: Reader,
    parameters: Parameters,
) -> Result<Json<Freshness>, Problem> {
    parameters.only(&[])?;
    Ok(Json(query.basis().await?.freshness(query.clock.now(), &query.config, Vec::new())))
}
