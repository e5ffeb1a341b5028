//! How many exports are streamed at once, and of whom: one tenant's leave room for another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long one waits for another to end.
const QUEUE_FOR: Duration = Duration::from_secs(5);

pub(super) struct Admission {
    all: Arc<Semaphore>,
    per_tenant: usize,
    running: Arc<Mutex<HashMap<TenantId, usize>>>,
}

/// Room for one export; it is given back when this is dropped.
pub(super) struct Ticket {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

struct Counted {
    tenant: TenantId,
    running: Arc<Mutex<HashMap<TenantId, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.tenant);
            }
        }
    }
}

impl Admission {
    pub(super) fn new(all: usize, per_tenant: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_tenant, running: Arc::default() }
    }

    /// Room for an export of a tenant, or that there is none now.
    pub(super) async fn admit(&self, tenant: TenantId) -> Result<Ticket, Problem> {
        let counted = self.count(tenant)?;
        match tokio::time::timeout(QUEUE_FOR, Arc::clone(&self.all).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Ticket { _permit: permit, _counted: counted }),
            _ => Err(busy(
                "as many exports as there may be are streamed now; try again, or take a job: POST /v1/exports"
                    .to_owned(),
            )),
        }
    }

    fn count(&self, tenant: TenantId) -> Result<Counted, Problem> {
        let mut running = self.running.lock();
        let count = running.entry(tenant).or_default();
        if *count >= self.per_tenant {
            return Err(busy(format!(
                "{} exports of yours are streamed now; wait for one to end, or take a job: POST /v1/exports",
                self.per_tenant
            )));
        }
        *count += 1;
        Ok(Counted { tenant, running: Arc::clone(&self.running) })
    }
}

fn busy(detail: String) -> Problem {
    Problem::new(ProblemKind::TooManyRequests, detail).retry_after(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tenant_has_its_share_and_leaves_room_for_another() {
        let admission = Admission::new(3, 2);
        let (one, other) = (TenantId(1), TenantId(2));
        let first = admission.admit(one).await.ok().unwrap();
        let _second = admission.admit(one).await.ok().unwrap();
        assert_eq!(admission.admit(one).await.err().unwrap().kind(), ProblemKind::TooManyRequests);
        let _third = admission.admit(other).await.ok().unwrap();
        assert_eq!(admission.admit(other).await.err().unwrap().kind(), ProblemKind::TooManyRequests, "all are taken");
        drop(first);
        let _fourth = admission.admit(other).await.ok().unwrap();
        assert!(admission.admit(one).await.is_err(), "all are taken again");
    }
}
