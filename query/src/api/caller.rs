//! Who asks, and about whom. The gate in front of the routes has found out who it is; here it is told to handlers, which
//! require a scope by the type that they take.
//!
//! A link is always one of the caller's: what another tenant's link has is answered like a link that nobody clicked, so
//! that ids cannot be tried out.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use linktide_common::access::{Principal, Scope};
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::json;

use crate::params::link_id;

/// Whoever may ask questions, also about one link alone: [`Principal::link`] and [`Principal::account`] tell what about.
pub(super) struct Reader(pub(super) Principal);

/// Whose links are asked about, by someone who may ask about all of them.
pub(super) struct Caller(pub(super) TenantId);

/// All links of the caller together.
pub(super) struct Account(pub(super) Subject);

/// The link that the path names.
pub(super) struct Link(pub(super) Subject);

/// Whoever may take data out, of all links of its tenant.
pub(super) struct Exporter(pub(super) Principal);

/// Whoever may change what others may do.
pub(super) struct Admin(pub(super) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Principal::of(parts, Scope::Read).cloned().map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(Principal::of(parts, Scope::Read)?.account()?.tenant()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(Principal::of(parts, Scope::Read)?.account()?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Link {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Principal::of(parts, Scope::Read)?.clone();
        Ok(Self(caller.link(named(parts, state).await?)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Exporter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = Principal::of(parts, Scope::Export)?;
        caller.account()?;
        Ok(Self(caller.clone()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = Principal::of(parts, Scope::Admin)?;
        caller.account()?;
        Ok(Self(caller.clone()))
    }
}

async fn named<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<LinkId, Problem> {
    let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|error| {
        Problem::new(ProblemKind::InvalidParameter, error.body_text()).with("parameter", json!("link_id"))
    })?;
    link_id("link_id", &id)
}
