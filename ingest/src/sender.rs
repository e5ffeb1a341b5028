//! Who sends: whoever the gate in front of the collector and the imports has let in, with the scope `ingest`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use linktide_common::access::{Means, Principal, Scope};
use linktide_common::click::{Reject, RejectReason};
use linktide_common::id::TenantId;
use linktide_common::problem::Problem;

/// The sender of clicks.
pub(crate) struct Sender {
    /// Whose clicks it sends.
    pub(crate) tenant: TenantId,
    /// Whether it was asked who it is.
    is_known: bool,
}

impl Sender {
    /// The tenant of a record: the sender's, where the record says none, which is 0 as well. It may say another one only
    /// where nobody is asked who sends, and everyone is trusted.
    pub(crate) fn tenant_of(&self, said: TenantId, any_tenant: bool) -> Result<TenantId, Reject> {
        if said == self.tenant || said == TenantId::default() {
            return Ok(self.tenant);
        }
        if any_tenant && !self.is_known {
            return Ok(said);
        }
        let way_out = if self.is_known {
            "a key sends its own tenant's clicks"
        } else {
            "ingest.any_tenant lets a sender name any"
        };
        let detail = format!("tenant {said} is not the sender's; {way_out}");
        Err(Reject { reason: RejectReason::ForeignTenant, field: Some("tenant_id"), detail, position: None })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let sender = Principal::of(parts, Scope::Ingest)?;
        Ok(Self { tenant: sender.tenant, is_known: sender.means != Means::Open })
    }
}
