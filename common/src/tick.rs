//! When a reader appends a tick, so that received time advances on a partition in which nothing happens.

use std::time::Duration;

use crate::bucket::{Hour, Timestamp};

/// Quiet for so long, a partition wants a tick while others are busy.
const QUIET: Duration = Duration::from_secs(1);
/// Quiet for so long, every partition wants one.
const ALL_QUIET: Duration = Duration::from_secs(15);

/// What a reader at the end of a partition knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// The partition's received time.
    pub received_at: Timestamp,
    /// The reader's clock.
    pub now: Timestamp,
    /// Whether all partitions have been quiet as long.
    pub all_quiet: bool,
}

/// Whether a tick is due. An hour boundary is never waited over: the hour before could not be closed.
#[must_use]
pub fn due(idle: Idle) -> bool {
    let quiet_ms = idle.now.millis_since(idle.received_at);
    let wanted = if idle.all_quiet { ALL_QUIET } else { QUIET };
    let turned = Hour::of(idle.now) > Hour::of(idle.received_at);
    quiet_ms > 0 && (turned || quiet_ms >= i64::try_from(wanted.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_is_due_when_quiet_or_when_the_hour_turns() {
        let at = |ms| Hour(480_000).start().plus_millis(ms);
        for (received, now, all_quiet, expected) in [
            (at(0), at(999), false, false),
            (at(0), at(1000), false, true),
            (at(0), at(14_999), true, false),
            (at(0), at(15_000), true, true),
            (at(-1), at(0), true, true),
            (at(0), at(0), false, false),
            (at(5000), at(0), false, false),
        ] {
            assert_eq!(due(Idle { received_at: received, now, all_quiet }), expected, "{received} {now} {all_quiet}");
        }
    }
}
