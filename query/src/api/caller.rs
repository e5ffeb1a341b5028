//! Who asks, and about whom. Without keys there is one tenant, and everyone who reaches the address is it.
//!
//! A link is always one of the caller's: what another tenant's link has is answered like a link that nobody clicked, so
//! that ids cannot be tried out.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use linktide_common::id::{Subject, TenantId};
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::json;

use crate::params::link_id;

/// Whose links are asked about.
pub(super) struct Caller(pub(super) TenantId);

/// All links of the caller together.
pub(super) struct Account(pub(super) Subject);

/// The link that the path names.
pub(super) struct Link(pub(super) Subject);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(TenantId(0)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Caller(tenant) = Caller::from_request_parts(parts, state).await?;
        Ok(Self(Subject::Tenant(tenant)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Link {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Caller(tenant)) = Caller::from_request_parts(parts, state).await;
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|error| {
            Problem::new(ProblemKind::InvalidParameter, error.body_text()).with("parameter", json!("link_id"))
        })?;
        Ok(Self(Subject::Link(tenant, link_id("link_id", &id)?)))
    }
}
