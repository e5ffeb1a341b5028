//! The API: a file a resource, thin handlers.

mod account;
mod answered;
mod caller;
mod exports;
mod freshness;
mod health;
mod links;
mod live;
mod many;
mod openapi;
mod openapi_files;
mod page;
mod shares;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use linktide_common::access::guard;
use linktide_common::problem::{Problem, ProblemKind};

use crate::metrics;
use crate::state::Query;

pub use openapi::openapi;

/// The routes of the query service. `/v1/openapi.json` is the wiring's: it tells of the front door too.
pub fn router(query: Query) -> Router {
    metrics::begin();
    Router::new()
        .route("/v1/query", post(many::query).layer(DefaultBodyLimit::max(many::LARGEST)))
        .route("/v1/links", get(links::list))
        .route("/v1/compare", get(links::compare))
        .route("/v1/links/{link_id}/summary", get(links::summary))
        .route("/v1/links/{link_id}/timeseries", get(links::timeseries))
        .route("/v1/links/{link_id}/breakdown", get(links::breakdown))
        .route("/v1/links/{link_id}/heatmap", get(links::heatmap))
        .route("/v1/links/{link_id}/live", get(live::link))
        .route("/v1/account/live", get(live::account))
        .route("/v1/account/summary", get(account::summary))
        .route("/v1/account/timeseries", get(account::timeseries))
        .route("/v1/account/breakdown", get(account::breakdown))
        .route("/v1/links/{link_id}/export", get(exports::of_link))
        .route("/v1/account/export", get(exports::of_account))
        .route("/v1/exports", get(exports::list).post(exports::create))
        .route("/v1/exports/{id}", get(exports::show).delete(exports::cancel))
        .route("/v1/exports/{id}/parts/{number}", get(exports::part))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/v1/webhooks/{id}", get(webhooks::show).delete(webhooks::delete))
        .route("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/v1/webhooks/{id}/test", post(webhooks::test))
        .route("/v1/account/heatmap", get(account::heatmap))
        .route("/v1/freshness", get(freshness::freshness))
        .route("/v1/share-links", get(shares::list).post(shares::create))
        .route("/v1/share-links/{id}", delete(shares::revoke))
        .route_layer(from_fn(answered::unless_known))
        // All of the above needs a credential, what is below needs none.
        .route_layer(from_fn_with_state(query.gate.clone(), guard))
        .route("/", get(page::index).route_layer(from_fn(answered::unless_known)))
        .route("/assets/{name}", get(page::asset))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route_layer(from_fn(metrics::measure))
        .with_state(query)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(ProblemKind::NotFound, format!("nothing is at `{path}`; /v1/openapi.json says what there is"))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        format!("{method} is not for {}; /v1/openapi.json says what is", uri.path()),
    )
}

#[cfg(test)]
pub(crate) mod tests;
