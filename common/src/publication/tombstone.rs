//! What says that a subject was erased, so that no refill, no increment and no old cell brings it back.

use serde::{Deserialize, Serialize};

use crate::bucket::{Hour, Timestamp};
use crate::id::{LinkId, Subject, TenantId};

/// The erasure of a link or of a tenant: of all its clicks received before an hour.
///
/// It ends at a whole hour because counts are kept by received hour: clicks of the subject that come in until then are
/// erased with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which link; none for all of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<LinkId>,
    /// Clicks received from this hour on count again.
    pub received_before: Hour,
    /// The plan that erases it: the number of its receipt.
    pub plan: u64,
}

impl Tombstone {
    /// The erasure of a subject.
    #[must_use]
    pub fn new(subject: Subject, received_before: Hour, plan: u64) -> Self {
        Self { tenant_id: subject.tenant(), link_id: subject.link(), received_before, plan }
    }

    /// What was erased.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.link_id.map_or(Subject::Tenant(self.tenant_id), |link| Subject::Link(self.tenant_id, link))
    }

    /// Whether a click was erased by it.
    #[must_use]
    pub fn covers(&self, tenant: TenantId, link: LinkId, received_at: Timestamp) -> bool {
        let same = self.tenant_id == tenant && self.link_id.is_none_or(|erased| erased == link);
        same && received_at < self.received_before.start()
    }

    /// Whether all that a subject had was erased by it.
    #[must_use]
    pub fn is_of(&self, subject: Subject) -> bool {
        self.tenant_id == subject.tenant() && (self.link_id.is_none() || self.link_id == subject.link())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstone_of_a_tenant_covers_its_links_and_one_of_a_link_itself_alone() {
        let (tenant, link, hour) = (TenantId(1), LinkId(2), Hour(10));
        let of_tenant = Tombstone::new(Subject::Tenant(tenant), hour, 0);
        let of_link = Tombstone::new(Subject::Link(tenant, link), hour, 0);
        let last = hour.start().plus_millis(-1);
        assert!(of_tenant.covers(tenant, LinkId(9), last) && of_link.covers(tenant, link, last));
        assert!(!of_link.covers(tenant, LinkId(9), last) && !of_link.covers(TenantId(9), link, last));
        assert!(!of_link.covers(tenant, link, hour.start()) && !of_tenant.covers(tenant, link, hour.start()));
        assert!(of_tenant.is_of(Subject::Link(tenant, link)) && of_tenant.is_of(Subject::Tenant(tenant)));
        assert!(of_link.is_of(Subject::Link(tenant, link)) && !of_link.is_of(Subject::Tenant(tenant)));
    }
}
