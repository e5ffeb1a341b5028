//! A core that is left to tenants that ask little.
//!
//! Threads that stand back (see [`crate::background`]) still cost those before them something: where they keep every core
//! busy, whoever wakes up may wait for the rest of a time slice, which is longer than most answers take. So while others are
//! served, all work of this process that stands back leaves one core free; where nobody else asks, nothing bounds it.

use std::pin::pin;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::id::TenantId;

/// Somebody who was served within this time may ask again at any moment, as people do who look at a dashboard.
const COMPANY: Duration = Duration::from_secs(10);

/// How much of the processor work that stands back may take.
pub struct Headroom {
    cores: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    at_work: usize,
    /// The two tenants that were served last, and when: one of them is another one, whoever asks.
    served: [Option<(TenantId, Instant)>; 2],
}

impl State {
    fn serve(&mut self, tenant: TenantId, now: Instant) {
        if self.served[0].is_none_or(|(last, _)| last != tenant) {
            self.served[1] = self.served[0];
        }
        self.served[0] = Some((tenant, now));
    }

    /// Whether one more may be at work, for `tenant`.
    fn has_room(&self, tenant: TenantId, cores: usize, now: Instant) -> bool {
        let another =
            |(other, at): &(TenantId, Instant)| *other != tenant && now.saturating_duration_since(*at) < COMPANY;
        self.at_work < (cores - 1).max(1) || !self.served.iter().flatten().any(another)
    }
}

impl Headroom {
    /// That of this process, which all its work shares as it shares the machine.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: LazyLock<Headroom> =
            LazyLock::new(|| Headroom::of(std::thread::available_parallelism().map_or(1, usize::from)));
        &HERE
    }

    fn of(cores: usize) -> Self {
        Self { cores, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Notes that a tenant is served that takes little.
    pub(crate) fn serve(&self, tenant: TenantId) {
        self.state.lock().serve(tenant, Instant::now());
    }

    /// Does work that stands back for a tenant, as soon as there is room for it. It must not wait for other work that does.
    pub(crate) fn behind<T>(&self, tenant: TenantId, work: impl FnOnce() -> T) -> T {
        let _place = self.place(tenant);
        work()
    }

    /// The same in pieces: what a future does each time it goes on.
    pub(crate) async fn behind_each<T>(&self, tenant: TenantId, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| self.behind(tenant, || work.as_mut().poll(context))).await
    }

    fn place(&self, tenant: TenantId) -> Place<'_> {
        let mut state = self.state.lock();
        while !state.has_room(tenant, self.cores, Instant::now()) {
            // Pieces are short: soon one ends, and asks the next to look.
            self.freed.wait(&mut state);
        }
        state.at_work += 1;
        // There may be room for several since the last one looked.
        self.freed.notify_one();
        Place(self)
    }
}

/// A core that work is on.
struct Place<'a>(&'a Headroom);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().at_work -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    #[test]
    fn core_is_left_while_another_was_served_lately() {
        let now = Instant::now();
        let most = |state: &mut State, tenant, cores, now| {
            (1..10).find(|at_work| !{
                state.at_work = *at_work;
                state.has_room(tenant, cores, now)
            })
        };
        let mut state = State::default();
        assert_eq!(most(&mut state, ONE, 4, now), None);
        state.serve(ONE, now);
        assert_eq!((most(&mut state, ONE, 4, now), most(&mut state, OTHER, 4, now)), (None, Some(3)));
        state.serve(OTHER, now);
        state.serve(OTHER, now);
        assert_eq!((most(&mut state, ONE, 4, now), most(&mut state, OTHER, 4, now)), (Some(3), Some(3)));
        // One core cannot be left: nothing would be done at all.
        assert_eq!(most(&mut state, ONE, 1, now), Some(1));
        let later = now + COMPANY;
        state.serve(OTHER, later);
        assert_eq!((most(&mut state, ONE, 4, later), most(&mut state, OTHER, 4, later)), (Some(3), None));
    }

    #[test]
    fn work_of_many_threads_is_all_done_and_never_on_more_cores_than_it_may_have() {
        let headroom = Headroom::of(3);
        headroom.serve(OTHER);
        let (at_work, seen, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let piece = || {
            headroom.serve(OTHER);
            seen.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            at_work.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..500).for_each(|_| headroom.behind(ONE, piece)));
            }
        });
        assert_eq!(done.into_inner(), 8 * 500);
        assert!(seen.into_inner() <= 2);
    }

    #[test]
    fn place_is_free_again_where_work_panics() {
        let headroom = Headroom::of(1);
        headroom.serve(OTHER);
        let broken =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headroom.behind(ONE, || panic!("told to"))));
        assert!(broken.is_err());
        assert_eq!(headroom.behind(ONE, || 7), 7);
    }
}
