//! Webhooks of the caller.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use linktide_common::count::Traffic;
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::Admin;
use crate::state::Query;
use crate::webhook::{Attempt, Delivery, Event, Hook, HookKey, Over, Webhooks};

/// A webhook, as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookView {
    id: String,
    url: String,
    /// Null: all links together.
    link_id: Option<String>,
    /// `human`, `bot` or `all`.
    #[schema(value_type = String)]
    traffic: Traffic,
    event: Event,
    created_at: String,
    /// `active` or `disabled`.
    state: &'static str,
    /// Why it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What its requests are signed with: told once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// The webhooks of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookList {
    /// The newest first.
    results: Vec<WebhookView>,
}

/// An event, and how telling the receiver of it went.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryView {
    /// What `webhook-id` says, each time it is sent.
    id: String,
    fired_at: String,
    /// `pending`, `delivered` or `given_up`.
    state: &'static str,
    attempts: Vec<AttemptView>,
    /// What is sent.
    #[schema(value_type = Object)]
    body: Option<Box<RawValue>>,
}

/// One request to a receiver.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptView {
    at: String,
    /// What it answered.
    status: Option<u16>,
    /// Why it did not.
    error: Option<String>,
    milliseconds: u64,
}

/// The last events of a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryList {
    /// The newest first.
    results: Vec<DeliveryView>,
}

/// An event that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestSent {
    /// What `webhook-id` will say.
    id: String,
}

/// The webhooks of this process, where it has them.
pub(super) struct Enabled(Arc<Webhooks>);

impl FromRequestParts<Query> for Enabled {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, query: &Query) -> Result<Self, Problem> {
        let off = || {
            Problem::new(
                ProblemKind::NotFound,
                "this process has no webhooks: webhook.enabled is false, or webhook.key is not set",
            )
        };
        query.webhooks.clone().map(Self).ok_or_else(off)
    }
}

/// The webhook that the path names: one of the caller's, or none that anybody is told of.
pub(super) struct Named(HookKey);

impl FromRequestParts<Query> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, query: &Query) -> Result<Self, Problem> {
        let tenant = Admin::from_request_parts(parts, query).await?.0.tenant;
        let Path(id) = Path::<String>::from_request_parts(parts, query)
            .await
            .map_err(|error| Problem::new(ProblemKind::NotFound, error.body_text()))?;
        let parsed = Uuid::parse_str(&id).ok().filter(|parsed| parsed.to_string() == id);
        parsed.map(|id| Self(HookKey { tenant, id })).ok_or_else(no_hook)
    }
}

fn no_hook() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such webhook; GET /v1/webhooks lists yours")
}

/// Makes a webhook. Its secret is in this answer and in no other.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = Object, responses((status = 201, body = WebhookView)))]
pub(super) async fn create(
    State(query): State<Query>,
    Admin(caller): Admin,
    Enabled(webhooks): Enabled,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(ProblemKind::MalformedBody, format!("the body is no JSON: {error}")))?;
    let (hook, secret) = webhooks.subscribe(&query, caller.tenant, &body).await?;
    let place = format!("/v1/webhooks/{}", hook.key.id);
    let shown = WebhookView { secret: Some(secret), ..view(hook) };
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The caller's webhooks, the newest first.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", responses((status = 200, body = WebhookList)))]
pub(super) async fn list(Admin(caller): Admin, Enabled(webhooks): Enabled) -> Result<Json<WebhookList>, Problem> {
    Ok(Json(WebhookList { results: webhooks.hooks(caller.tenant).await?.into_iter().map(view).collect() }))
}

/// A webhook, as it stands.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", responses((status = 200, body = WebhookView)))]
pub(super) async fn show(Named(key): Named, Enabled(webhooks): Enabled) -> Result<Json<WebhookView>, Problem> {
    Ok(Json(view(webhooks.hook(key).await?.ok_or_else(no_hook)?)))
}

/// Ends a webhook for good.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(Named(key): Named, Enabled(webhooks): Enabled) -> Result<StatusCode, Problem> {
    webhooks.unsubscribe(key).await?.ok_or_else(no_hook)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last events of a webhook with their deliveries, the newest first.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", responses((status = 200, body = DeliveryList)))]
pub(super) async fn deliveries(Named(key): Named, Enabled(webhooks): Enabled) -> Result<Json<DeliveryList>, Problem> {
    webhooks.hook(key).await?.ok_or_else(no_hook)?;
    let results = webhooks.deliveries(key).await?.into_iter().map(delivery).collect();
    Ok(Json(DeliveryList { results }))
}

/// Sends an event of the type `test`, within a few seconds.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks", responses((status = 202, body = TestSent)))]
pub(super) async fn test(
    State(query): State<Query>,
    Named(key): Named,
    Enabled(webhooks): Enabled,
) -> Result<(StatusCode, Json<TestSent>), Problem> {
    let id = webhooks.test(&query, key).await?.ok_or_else(no_hook)?;
    Ok((StatusCode::ACCEPTED, Json(TestSent { id })))
}

fn view(hook: Hook) -> WebhookView {
    let subscription = hook.subscription;
    WebhookView {
        id: hook.key.id.to_string(),
        url: subscription.url,
        link_id: subscription.link_id.map(|link| link.to_string()),
        traffic: subscription.traffic,
        event: subscription.event,
        created_at: subscription.created_at.to_string(),
        state: if hook.disabled.is_some() { "disabled" } else { "active" },
        reason: hook.disabled,
        secret: None,
    }
}

fn delivery(delivery: Delivery) -> DeliveryView {
    let attempt = |attempt: Attempt| AttemptView {
        at: attempt.at.to_string(),
        status: attempt.status,
        error: attempt.error,
        milliseconds: attempt.milliseconds,
    };
    DeliveryView {
        id: delivery.message_id,
        fired_at: delivery.fired.to_string(),
        state: match delivery.over {
            None => "pending",
            Some(Over::Delivered) => "delivered",
            Some(Over::GivenUp) => "given_up",
        },
        attempts: delivery.attempts.into_iter().map(attempt).collect(),
        body: RawValue::from_string(delivery.body).ok(),
    }
}
