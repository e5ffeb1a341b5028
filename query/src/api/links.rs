//! Links: the top ones, and the questions about one.

use axum::Json;
use axum::extract::{Path, State};
use linktide_common::id::{LinkId, Subject};
use linktide_common::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::questions::{self, Breakdown, LinkLabel, Summary, TENANT, TimeBucket};
use crate::envelope::{Echo, Envelope, Meta, ResolvedRange};
use crate::merge;
use crate::params::{Parameters, link_id};
use crate::state::Query;

type Answered<T> = Result<Json<Envelope<T>>, Problem>;

fn subject(id: &str) -> Result<Subject, Problem> {
    Ok(Subject::Link(TENANT, link_id(id)?))
}

/// Counts of a link.
#[utoipa::path(get, path = "/v1/links/{link_id}/summary", tag = "links",
    params(("link_id" = String, Path), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query)),
    responses((status = 200, body = Envelope<Summary>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn summary(
    State(query): State<Query>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answered<Summary> {
    Ok(Json(questions::summary(&query, &parameters, subject(&id)?).await?))
}

/// Counts of a link over time, gapless.
#[utoipa::path(get, path = "/v1/links/{link_id}/timeseries", tag = "links",
    params(("link_id" = String, Path), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query), ("unit" = Option<String>, Query)),
    responses((status = 200, body = Envelope<Vec<TimeBucket>>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn timeseries(
    State(query): State<Query>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answered<Vec<TimeBucket>> {
    Ok(Json(questions::timeseries(&query, &parameters, subject(&id)?).await?))
}

/// Counts of a link by the values of dimensions.
#[utoipa::path(get, path = "/v1/links/{link_id}/breakdown", tag = "links",
    params(("link_id" = String, Path), ("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query), ("by" = String, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Envelope<Vec<Breakdown>>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn breakdown(
    State(query): State<Query>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answered<Vec<Breakdown>> {
    Ok(Json(questions::breakdown(&query, &parameters, subject(&id)?).await?))
}

/// The links with the most clicks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopLinks {
    /// Clicks of all links.
    total: u64,
    links: Vec<TopLink>,
    /// Clicks of the links that are not listed.
    other: u64,
}

/// A link with its clicks.
#[derive(Debug, Serialize, ToSchema)]
struct TopLink {
    link_id: String,
    clicks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LinkLabel>,
}

/// The links with the most clicks.
#[utoipa::path(get, path = "/v1/links", tag = "links",
    params(("start" = Option<String>, Query), ("end" = Option<String>, Query), ("interval" = Option<String>, Query), ("timezone" = Option<String>, Query), ("traffic" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Envelope<TopLinks>), (status = 400, description = "a parameter is unknown or cannot have its value")))]
pub(super) async fn top(State(query): State<Query>, parameters: Parameters) -> Answered<TopLinks> {
    parameters.only(&["limit"])?;
    let (asked, limit) = (parameters.asked()?, parameters.limit()?);
    let range = questions::range(&query, &asked, Subject::Tenant(TENANT)).await?;
    let mut answer = query.ask_links(TENANT, range).await?;
    let total = answer.links.values().map(|counts| counts.clicks(asked.traffic)).sum();
    let (listed, other) = merge::top(answer.links, asked.traffic, total, limit);
    let mut describe = |link: LinkId, clicks| TopLink {
        link_id: link.to_string(),
        clicks,
        label: answer.labels.remove(&link).map(LinkLabel::from),
    };
    let links = listed.into_iter().map(|listed| describe(listed.value, listed.clicks)).collect();
    let mut echo = Echo::new(&asked, None);
    echo.limit = Some(limit);
    let freshness = answer.basis.freshness(query.clock.now(), &query.config);
    let meta = Meta { freshness, range: ResolvedRange::new(range, &asked.zone) };
    Ok(Json(Envelope { results: TopLinks { total, links, other }, meta, query: echo }))
}
