//! How many questions of one tenant are worked at, at once: its others wait in their order, before anything is done for them.
//!
//! Threads that are shared fairly are not enough. What a question does between two pieces of work is done by whoever answers
//! requests, and a tenant with hundreds of questions under way would crowd everybody else's there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::id::TenantId;
use crate::pool::PoolError;

/// Tenants that are remembered, at least: beyond that those who ask nothing are forgotten.
const REMEMBERED: usize = 1024;

/// The turns of all tenants.
pub struct Turns {
    each: usize,
    waiting_each: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
}

struct Tenant {
    turns: Arc<Semaphore>,
    /// Questions that wait for theirs.
    waiting: AtomicUsize,
}

/// A question's turn, which is over when it is dropped.
#[must_use]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// So many turns at once for a tenant, for which so many questions of it may wait.
    #[must_use]
    pub fn new(each: usize, waiting_each: usize) -> Self {
        Self { each: each.max(1), waiting_each, tenants: Mutex::default() }
    }

    /// A turn for a tenant, as soon as it has one.
    ///
    /// # Errors
    /// [`PoolError::OwnQueueFull`] where too many of its questions are waiting.
    pub async fn turn(&self, tenant: TenantId) -> Result<Turn, PoolError> {
        let tenant = self.tenant(tenant);
        let turns = Arc::clone(&tenant.turns);
        let permit = match Arc::clone(&turns).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::begin(&tenant.waiting, self.waiting_each)?;
                turns.acquire_owned().await.map_err(|_| PoolError::Broken)?
            }
        };
        Ok(Turn { _permit: permit })
    }

    fn tenant(&self, id: TenantId) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock();
        if tenants.len() >= REMEMBERED && !tenants.contains_key(&id) {
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1 || tenant.turns.available_permits() < self.each);
        }
        let tenant = || Tenant { turns: Arc::new(Semaphore::new(self.each)), waiting: AtomicUsize::new(0) };
        Arc::clone(tenants.entry(id).or_insert_with(|| Arc::new(tenant())))
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Result<Self, PoolError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(waiting);
        if before < most { Ok(waiting) } else { Err(PoolError::OwnQueueFull(before)) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    #[tokio::test]
    async fn tenant_has_its_turns_in_order_and_another_one_waits_for_none_of_them() {
        let turns = Turns::new(2, 2);
        let (first, second) = (turns.turn(ONE).await.unwrap(), turns.turn(ONE).await.unwrap());
        let (mut third, mut fourth) = (Box::pin(turns.turn(ONE)), Box::pin(turns.turn(ONE)));
        assert!(futures::poll!(&mut third).is_pending() && futures::poll!(&mut fourth).is_pending());
        assert_eq!(turns.turn(ONE).await.err(), Some(PoolError::OwnQueueFull(2)));
        drop(turns.turn(OTHER).await.unwrap());
        drop(second);
        assert!(futures::poll!(&mut fourth).is_pending(), "it is the third one's turn");
        let Poll::Ready(Ok(third)) = futures::poll!(&mut third) else { panic!("a turn was free") };
        // Whoever does not wait any more has no turn.
        drop(fourth);
        drop((first, third));
        drop((turns.turn(ONE).await.unwrap(), turns.turn(ONE).await.unwrap()));
        let tenant = turns.tenant(ONE);
        assert_eq!((tenant.turns.available_permits(), tenant.waiting.load(Ordering::Relaxed)), (2, 0));
    }

    #[tokio::test]
    async fn tenants_who_ask_nothing_are_forgotten_and_those_who_do_keep_their_turns() {
        let turns = Turns::new(1, 1);
        let held = turns.turn(ONE).await.unwrap();
        for tenant in 0..2 * REMEMBERED as u64 {
            drop(turns.turn(TenantId(1000 + tenant)).await.unwrap());
        }
        assert!(turns.tenants.lock().len() <= REMEMBERED);
        assert!(futures::poll!(Box::pin(turns.turn(ONE))).is_pending());
        drop(held);
    }
}
