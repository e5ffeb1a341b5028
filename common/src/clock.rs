//! The one clock. Nothing else asks the system for the time, so that tests and the demo can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::bucket::Timestamp;

const FOLLOWS_SYSTEM: i64 = i64::MIN;

/// What time it is: the system's, or one that is moved by hand. Clones share it.
#[derive(Debug, Clone)]
pub struct Clock {
    moved: Arc<AtomicI64>,
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self { moved: Arc::new(AtomicI64::new(FOLLOWS_SYSTEM)) }
    }

    /// A clock that stands at `now` until it is moved.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self { moved: Arc::new(AtomicI64::new(now.as_millis())) }
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.moved.load(Ordering::Acquire) {
            FOLLOWS_SYSTEM => system_now(),
            ms => Timestamp::from_millis(ms).expect("only timestamps are stored"),
        }
    }

    /// Moves a manual clock; a system clock becomes manual.
    pub fn set(&self, now: Timestamp) {
        self.moved.store(now.as_millis(), Ordering::Release);
    }

    /// Lets the clock follow the system from now on.
    pub fn follow_system(&self) {
        self.moved.store(FOLLOWS_SYSTEM, Ordering::Release);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
fn system_now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).ok().and_then(Timestamp::from_millis).unwrap_or(Timestamp::MAX)
}
