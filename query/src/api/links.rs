//! Links: the top ones, and the questions about one.

use axum::Json;
use axum::extract::State;
use linktide_common::id::{LinkId, Subject};
use linktide_common::problem::Problem;

use super::caller::{Caller, Link};
use super::questions::{self, Question};
use super::results::{Breakdown, LinkLabel, Summary, TimeBucket, TopLink, TopLinks};
use crate::envelope::Envelope;
use crate::merge;
use crate::params::{self, Parameters};
use crate::state::Query;

type Answered<T> = Result<Json<Envelope<T>>, Problem>;

/// Counts of a link.
#[utoipa::path(get, path = "/v1/links/{link_id}/summary", tag = "links", responses((status = 200, body = Envelope<Summary>)))]
pub(super) async fn summary(
    State(query): State<Query>,
    Link(subject): Link,
    parameters: Parameters,
) -> Answered<Summary> {
    Ok(Json(questions::summary(&query, &parameters, subject).await?))
}

/// Counts of a link over time, gapless.
#[utoipa::path(get, path = "/v1/links/{link_id}/timeseries", tag = "links", responses((status = 200, body = Envelope<Vec<TimeBucket>>)))]
pub(super) async fn timeseries(
    State(query): State<Query>,
    Link(subject): Link,
    parameters: Parameters,
) -> Answered<Vec<TimeBucket>> {
    Ok(Json(questions::timeseries(&query, &parameters, subject).await?))
}

/// Counts of a link by the values of dimensions.
#[utoipa::path(get, path = "/v1/links/{link_id}/breakdown", tag = "links", responses((status = 200, body = Envelope<Vec<Breakdown>>)))]
pub(super) async fn breakdown(
    State(query): State<Query>,
    Link(subject): Link,
    parameters: Parameters,
) -> Answered<Vec<Breakdown>> {
    Ok(Json(questions::breakdown(&query, &parameters, subject).await?))
}

/// The links with the most clicks.
#[utoipa::path(get, path = "/v1/links", tag = "links", responses((status = 200, body = Envelope<TopLinks>)))]
pub(super) async fn top(
    State(query): State<Query>,
    Caller(tenant): Caller,
    parameters: Parameters,
) -> Answered<TopLinks> {
    let (asked, limit) = (parameters.asked(params::LINKS)?, parameters.limit()?);
    let traffic = asked.traffic;
    let question = Question::resolve(&query, asked, Subject::Tenant(tenant)).await?;
    let mut answer = query.ask_links(&question.at, tenant, question.range).await?;
    let total = answer.links.values().map(|counts| counts.clicks(traffic)).sum();
    let (listed, other) = merge::top(answer.links, traffic, total, limit);
    let mut describe = |link: LinkId, clicks| TopLink {
        link_id: link.to_string(),
        clicks,
        label: answer.labels.remove(&link).map(LinkLabel::from),
    };
    let links = listed.into_iter().map(|listed| describe(listed.value, listed.clicks)).collect();
    let results = TopLinks { total, links, other };
    Ok(Json(question.envelope(&query, &answer.basis, results, |echo| echo.limit = Some(limit))))
}
