//! Share links: who may make them, list and revoke them, over HTTP. What they open is the gate's to say.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use linktide_common::access::{AccessError, Share, Shares};
use linktide_common::bucket::Timestamp;
use linktide_common::id::LinkId;
use linktide_common::problem::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::caller::Admin;
use crate::params::Parameters;
use crate::state::Query;

/// The largest body: a request for a share link is small.
const LARGEST: usize = 4096;
/// How long a share link may be one.
const LONGEST_DAYS: i64 = 366;
const DAY_MS: i64 = 86_400_000;

/// A share link that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The link it shows; a number, or its digits.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    link_id: LinkId,
    /// From when on it shows it no longer: an instant, at most 366 days from now.
    expires_at: String,
}

/// A share link, without its token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    /// What it is revoked by.
    id: String,
    link_id: String,
    expires_at: String,
}

/// A share link, with its token: it is told this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Made {
    /// What it is revoked by.
    id: String,
    link_id: String,
    expires_at: String,
    /// What shows the link: as `?share=` or as a bearer token.
    token: String,
}

/// A tenant's share links.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AllListed {
    /// Those that are neither revoked nor expired, those that expire first before the others.
    share_links: Vec<Listed>,
}

type Sent = Result<Bytes, axum::extract::rejection::BytesRejection>;

/// Makes a share link: it shows one link's numbers to whoever has its token.
#[utoipa::path(post, path = "/v1/share-links", tag = "share links", request_body = Wanted,
    responses((status = 201, description = "its token is told this once", body = Made)))]
pub(super) async fn create(
    State(query): State<Query>,
    Admin(caller): Admin,
    parameters: Parameters,
    body: Sent,
) -> Result<Response, Problem> {
    parameters.only(&[])?;
    let shares = shares(&query)?;
    let Wanted { link_id, expires_at } = wanted(body)?;
    let expires_at = expiry(&expires_at, shares.now())?;
    let subject = caller.link(link_id)?;
    let made = shares.create(subject.tenant(), link_id, expires_at).await;
    let (share, token) = made.map_err(|error| refused(&error))?;
    know(&query).await;
    let Listed { id, link_id, expires_at } = share.into();
    tracing::info!(id, by = &*caller.id, tenant = %caller.tenant, "a share link was made");
    Ok((StatusCode::CREATED, Json(Made { id, link_id, expires_at, token })).into_response())
}

/// The share links there are.
#[utoipa::path(get, path = "/v1/share-links", tag = "share links", responses((status = 200, body = AllListed)))]
pub(super) async fn list(
    State(query): State<Query>,
    Admin(caller): Admin,
    parameters: Parameters,
) -> Result<Json<AllListed>, Problem> {
    parameters.only(&[])?;
    // Where no keys are asked for there are none.
    let listed = match query.gate.shares() {
        Some(shares) => shares.list(caller.tenant).await.map_err(|error| refused(&error))?,
        None => Vec::new(),
    };
    Ok(Json(AllListed { share_links: listed.into_iter().map(Listed::from).collect() }))
}

/// Revokes a share link: within seconds it shows nothing any more.
#[utoipa::path(delete, path = "/v1/share-links/{id}", tag = "share links",
    params(("id" = String, Path, description = "what the share link is called")),
    responses((status = 204, description = "it shows nothing any more")))]
pub(super) async fn revoke(
    State(query): State<Query>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<StatusCode, Problem> {
    parameters.only(&[])?;
    let own = shares(&query)?.revoke(caller.tenant, &id).await.map_err(|error| refused(&error))?;
    if !own {
        // Another tenant's is told as one that never was.
        let id: String = id.chars().take(60).collect();
        return Err(Problem::new(ProblemKind::NotFound, format!("there is no share link `{id}`")));
    }
    know(&query).await;
    tracing::info!(id, by = &*caller.id, tenant = %caller.tenant, "a share link was revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn shares(query: &Query) -> Result<Shares, Problem> {
    query.gate.shares().ok_or_else(|| {
        let detail = "there are no share links where no keys are asked for: set access.required";
        Problem::new(ProblemKind::NotFound, detail)
    })
}

/// This process knows at once what it has done itself; where it cannot, it will in a moment.
async fn know(query: &Query) {
    if let Err(error) = query.gate.look().await {
        tracing::warn!(%error, "keys cannot be read; those that are known go on");
    }
}

fn wanted(body: Sent) -> Result<Wanted, Problem> {
    let body = body.map_err(|error| Problem::new(ProblemKind::MalformedBody, error.body_text()))?;
    if body.len() > LARGEST {
        let detail = format!("a request for a share link has at most {LARGEST} bytes");
        return Err(Problem::new(ProblemKind::PayloadTooLarge, detail).with("limit", json!(LARGEST)));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let example = r#"{"link_id": "42", "expires_at": "2027-01-01T00:00:00Z"}"#;
        Problem::new(ProblemKind::MalformedBody, format!("the body is no share link: {error}; send {example}"))
    })
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = |detail: String| Problem::parameter("expires_at", text, detail);
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| Timestamp::from_millis(at.as_millisecond()));
    let at = at.ok_or_else(|| wrong("`expires_at` is an instant such as 2027-01-01T00:00:00Z".to_owned()))?;
    if at <= now || at > now.plus_millis(LONGEST_DAYS * DAY_MS) {
        return Err(wrong(format!("`expires_at` lies between now and {LONGEST_DAYS} days from now")));
    }
    Ok(at)
}

fn refused(error: &AccessError) -> Problem {
    match error {
        AccessError::TooManyShares(_) => Problem::new(ProblemKind::Conflict, error.to_string()),
        AccessError::Unavailable(_) | AccessError::Unreadable { .. } => {
            tracing::error!(%error, "share links cannot be kept");
            Problem::new(ProblemKind::NotReady, "share links cannot be kept now; try again in a moment").retry_after(5)
        }
    }
}

impl From<Share> for Listed {
    fn from(share: Share) -> Self {
        let (id, link_id, expires_at) = (share.id.to_string(), share.link_id.to_string(), share.expires_at.to_string());
        Self { id, link_id, expires_at }
    }
}
