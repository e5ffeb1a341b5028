//! Room on the processor for tenants that ask little.
//!
//! Threads that stand back (see [`crate::background`]) still cost those before them something: they share caches and, where
//! two cores are one behind the scenes, the core itself, and whoever wakes up may wait for the rest of a time slice, which is
//! longer than most answers take. So all work of this process that stands back goes in pieces, and each of them takes a place:
//!
//! 1. while others were served lately, there is one place fewer than cores: whoever asks next finds one free;
//! 2. while a request of others is under way, it has a core's place, too;
//! 3. before a piece, whatever waits for its core has it;
//! 4. a piece waits [`PATIENCE`] for such requests and no longer: it goes on beside them, so that whoever takes much is never
//!    kept from all progress by many who take little;
//! 5. pieces of several tenants have places in turn, however many threads each of them has.
//!
//! Where nobody else asks, nothing bounds it. What takes longer than a millisecond or two [gives way](give_way) in between.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::task::coop;

use crate::id::TenantId;

/// Somebody who was served within this time may ask again at any moment, as people do who look at a dashboard.
const COMPANY: Duration = Duration::from_secs(60);

/// How long a piece of work waits for requests of others: a few times what most of them take.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long work keeps its place while other work that stands back waits for one: to change costs some microseconds, and wakes
/// a thread.
const TURN: Duration = Duration::from_millis(2);

/// Requests of one tenant that are served at once for each core while others ask: what people wait for is seldom more.
const REQUESTS: usize = 1;

/// Steps that a future takes in one piece, of those that the runtime counts: reading a batch of rows is one. The runtime
/// itself lets a task take 128 of them, which may be half a second. A query's stream holds one while what it reads from takes
/// another: with a single step neither would ever get on.
const STEPS: usize = 2;
const STEPS_OF_THE_RUNTIME: usize = 128;

/// Items between which an iterator gives way: they take a fraction of a millisecond.
const ITEMS: usize = 256;

thread_local! {
    /// The place this thread has, while it has one.
    static AT_WORK: Cell<Option<AtWork>> = const { Cell::new(None) };
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// What this thread waits on for a place: whoever gives it one wakes no other.
    static ADMITTED: Arc<Condvar> = Arc::default();
}

/// A place on the processor that a thread has.
#[derive(Clone, Copy)]
struct AtWork {
    headroom: &'static Headroom,
    tenant: TenantId,
    since: Instant,
}

/// How long this thread has waited for a place so far: time that its work took nothing of.
pub(crate) fn waited() -> Duration {
    WAITED.get()
}

/// Lets requests of others go first, in the midst of work that stands back; other work goes on as it is. Whoever calls it holds
/// nothing that a request may wait for.
pub fn give_way() {
    if let Some(AtWork { headroom, tenant, since }) = AT_WORK.get()
        && !headroom.keeps_place(tenant, since)
    {
        headroom.leave_place();
        headroom.take_place(tenant);
    }
}

/// The same items, between which work gives way.
pub fn giving_way<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    items.into_iter().enumerate().map(|(number, item)| {
        if number % ITEMS == ITEMS - 1 {
            give_way();
        }
        item
    })
}

/// Whether this thread has a place there for a tenant, beside others who ask.
pub(crate) fn stands_back(headroom: &Headroom, tenant: TenantId) -> bool {
    let here =
        AT_WORK.get().is_some_and(|at_work| std::ptr::eq(at_work.headroom, headroom) && at_work.tenant == tenant);
    here && headroom.has_company(tenant)
}

/// Work that this thread hands over to another one, which stands back as this one does: it has a place of its own there.
/// Whoever hands it over has none while it waits for what comes of it.
pub fn taken_along<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let at_work = AT_WORK.get();
    move || match at_work {
        Some(AtWork { headroom, tenant, .. }) => headroom.behind(tenant, work),
        None => work(),
    }
}

/// How much of the processor work that stands back may take.
pub struct Headroom {
    cores: usize,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at_work: usize,
    /// The two tenants that were served last, and when: one of them is another one, whoever asks.
    served: [Option<(TenantId, Instant)>; 2],
    /// Requests that are served now.
    under_way: HashMap<TenantId, usize>,
    /// Threads that wait for a place, whoever comes next first.
    waiting: VecDeque<Waiting>,
    tickets: u64,
    /// The turn of the thread that came last.
    turn: u64,
}

/// A thread that waits for a place.
struct Waiting {
    ticket: u64,
    turn: u64,
    tenant: TenantId,
    /// Whether it still waits for requests of others.
    patient: bool,
    admitted: Arc<Condvar>,
}

impl State {
    fn serve(&mut self, tenant: TenantId, now: Instant) {
        if self.served[0].is_none_or(|(last, _)| last != tenant) {
            self.served[1] = self.served[0];
        }
        self.served[0] = Some((tenant, now));
    }

    fn has_company(&self, tenant: TenantId, now: Instant) -> bool {
        let another =
            |(other, at): &(TenantId, Instant)| *other != tenant && now.saturating_duration_since(*at) < COMPANY;
        self.served.iter().flatten().any(another)
    }

    /// Whether one more piece may be at work, for `tenant`, beside requests of others that are under way.
    fn has_room_beside(&self, tenant: TenantId, cores: usize, now: Instant) -> bool {
        let others = self.under_way.iter().filter(|(other, _)| **other != tenant).map(|(_, requests)| *requests).sum();
        match others {
            0 => self.has_room(tenant, cores, now),
            1.. => self.at_work + 1 + others < cores,
        }
    }

    /// The same, whatever is under way.
    fn has_room(&self, tenant: TenantId, cores: usize, now: Instant) -> bool {
        self.at_work < (cores - 1).max(1) || !self.has_company(tenant, now)
    }

    /// Lets a thread wait. A tenant comes once in each turn, so that those with few threads do not wait for all of those with
    /// many: start-time fair queueing (Goyal, Vin and Cheng, 1996) of pieces that are alike.
    fn queue(&mut self, tenant: TenantId, admitted: &Arc<Condvar>) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        let own = self.waiting.iter().rev().find(|waiting| waiting.tenant == tenant);
        let turn = own.map_or(self.turn, |own| self.turn.max(own.turn + 1));
        let at = self.waiting.partition_point(|waiting| waiting.turn <= turn);
        self.waiting.insert(at, Waiting { ticket, turn, tenant, patient: true, admitted: Arc::clone(admitted) });
        ticket
    }

    /// Gives places to those who wait for one, as far as there is room.
    fn admit(&mut self, cores: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(Waiting { tenant, patient, .. }) = self.waiting.get(at) {
            let has_room =
                if *patient { self.has_room_beside(*tenant, cores, now) } else { self.has_room(*tenant, cores, now) };
            if !has_room {
                at += 1;
            } else if let Some(first) = self.waiting.remove(at) {
                self.at_work += 1;
                self.turn = self.turn.max(first.turn);
                first.admitted.notify_one();
            }
        }
    }
}

impl Headroom {
    /// That of this process, which all its work shares as it shares the machine.
    #[must_use]
    pub fn here() -> &'static Self {
        static HERE: LazyLock<Headroom> = LazyLock::new(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Headroom::of(cores, PATIENCE)
        });
        &HERE
    }

    pub(crate) fn of(cores: usize, patience: Duration) -> Self {
        Self { cores, patience, state: Mutex::default() }
    }

    /// Notes that a request is served, until what it returns is dropped: of a tenant that takes little, or others that do
    /// would have to wait for it.
    #[must_use]
    pub fn serve(&self, tenant: TenantId) -> Serving<'_> {
        let mut state = self.state.lock();
        state.serve(tenant, Instant::now());
        *state.under_way.entry(tenant).or_default() += 1;
        Serving { headroom: self, tenant }
    }

    /// Whether another tenant that takes little was served lately.
    #[must_use]
    pub fn has_company(&self, tenant: TenantId) -> bool {
        self.state.lock().has_company(tenant, Instant::now())
    }

    /// Whether a tenant has so many requests under way, while others ask, that one more is to go behind theirs.
    #[must_use]
    pub fn is_crowded_by(&self, tenant: TenantId) -> bool {
        let state = self.state.lock();
        let requests = state.under_way.get(&tenant).copied().unwrap_or_default();
        requests >= REQUESTS * self.cores && state.has_company(tenant, Instant::now())
    }

    /// Does work that stands back for a tenant, as soon as there is room for it. It must not wait for other work that does.
    pub(crate) fn behind<T>(&'static self, tenant: TenantId, work: impl FnOnce() -> T) -> T {
        let _place = self.place(tenant);
        work()
    }

    /// The same in pieces: what a future does each time it goes on.
    pub(crate) async fn behind_each<T>(&'static self, tenant: TenantId, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let piece = |context: &mut Context<'_>| {
            self.behind(tenant, || {
                leave_steps(context);
                work.as_mut().poll(context)
            })
        };
        std::future::poll_fn(piece).await
    }

    fn place(&'static self, tenant: TenantId) -> Place {
        self.take_place(tenant);
        Place(self)
    }

    /// Whether work goes on in the place that it has had since then.
    fn keeps_place(&self, tenant: TenantId, since: Instant) -> bool {
        yield_core();
        let mut state = self.state.lock();
        let now = Instant::now();
        state.at_work -= 1;
        let has_room = state.has_room_beside(tenant, self.cores, now);
        state.at_work += 1;
        has_room && (state.waiting.is_empty() || now.saturating_duration_since(since) < TURN)
    }

    fn take_place(&'static self, tenant: TenantId) {
        yield_core();
        let began = Instant::now();
        let mut state = self.state.lock();
        if state.has_room_beside(tenant, self.cores, Instant::now()) {
            state.at_work += 1;
        } else {
            ADMITTED.with(|admitted| self.wait(state, tenant, admitted, began + self.patience));
        }
        let since = Instant::now();
        WAITED.set(WAITED.get() + (since - began));
        AT_WORK.set(Some(AtWork { headroom: self, tenant, since }));
    }

    /// Waits for a place in turn: until an instant for requests of others, and then beside them.
    fn wait(&self, mut state: MutexGuard<'_, State>, tenant: TenantId, admitted: &Arc<Condvar>, until: Instant) {
        let ticket = state.queue(tenant, admitted);
        while let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.ticket == ticket) {
            if !waiting.patient {
                // Pieces are short: soon one ends.
                admitted.wait(&mut state);
            } else if Instant::now() < until {
                admitted.wait_until(&mut state, until);
            } else {
                waiting.patient = false;
                state.admit(self.cores);
            }
        }
    }

    fn leave_place(&self) {
        AT_WORK.set(None);
        let mut state = self.state.lock();
        state.at_work -= 1;
        state.admit(self.cores);
    }
}

/// A request that is served.
pub struct Serving<'a> {
    headroom: &'a Headroom,
    tenant: TenantId,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut state = self.headroom.state.lock();
        state.serve(self.tenant, Instant::now());
        if let Some(requests) = state.under_way.get_mut(&self.tenant) {
            *requests -= 1;
            if *requests == 0 {
                state.under_way.remove(&self.tenant);
            }
        }
        state.admit(self.headroom.cores);
    }
}

/// Lets whoever waits for this very core go first, be it a request that is not even read yet. The system would let it wait to
/// the end of this thread's slice, which is longer than most answers take.
fn yield_core() {
    let began = Instant::now();
    std::thread::yield_now();
    WAITED.set(WAITED.get() + began.elapsed());
}

/// Takes all steps but [`STEPS`] from what the runtime lets a task take before others have their turn.
fn leave_steps(context: &mut Context<'_>) {
    for _ in STEPS..STEPS_OF_THE_RUNTIME {
        if let Poll::Ready(step) = coop::poll_proceed(context) {
            step.made_progress();
        }
    }
}

/// A core that work is on.
struct Place(&'static Headroom);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave_place();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    fn headroom(cores: usize, patience: Duration) -> &'static Headroom {
        Box::leak(Box::new(Headroom::of(cores, patience)))
    }

    /// Pieces that may be at work for a tenant before one more has no room; none where nothing bounds them.
    fn most(state: &mut State, tenant: TenantId, cores: usize, now: Instant) -> Option<usize> {
        (0..10).find(|at_work| !{
            state.at_work = *at_work;
            state.has_room_beside(tenant, cores, now)
        })
    }

    #[test]
    fn core_is_left_while_another_was_served_lately() {
        let now = Instant::now();
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
    fn request_under_way_has_a_core_and_another_is_left() {
        let headroom = headroom(4, PATIENCE);
        let room = |tenant| most(&mut headroom.state.lock(), tenant, 4, Instant::now());
        let requests = [headroom.serve(OTHER), headroom.serve(OTHER)];
        // Its own tenant's work does not wait for it: perhaps it is that work's request.
        assert_eq!((room(ONE), room(OTHER)), (Some(1), None));
        let another = headroom.serve(TenantId(3));
        assert_eq!((room(ONE), room(OTHER)), (Some(0), Some(2)));
        drop(requests);
        assert_eq!((room(ONE), room(OTHER)), (Some(2), Some(2)));
        drop(another);
        assert_eq!((room(ONE), room(OTHER)), (Some(3), Some(3)));
        assert!(headroom.state.lock().under_way.is_empty());
    }

    #[test]
    fn tenant_crowds_others_and_not_itself() {
        let headroom = headroom(2, PATIENCE);
        let mut requests: Vec<_> = (0..2 * REQUESTS).map(|_| headroom.serve(ONE)).collect();
        assert!(!headroom.is_crowded_by(ONE), "nobody else asks");
        drop(headroom.serve(OTHER));
        assert_eq!((headroom.is_crowded_by(ONE), headroom.is_crowded_by(OTHER)), (true, false));
        requests.pop();
        assert!(!headroom.is_crowded_by(ONE));
    }

    #[test]
    fn work_waits_for_a_request_of_another() {
        let headroom = headroom(2, Duration::from_secs(3600));
        let (request, over) = (headroom.serve(OTHER), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let work = scope.spawn(|| headroom.behind(ONE, || over.load(Ordering::SeqCst)));
            assert_eq!(headroom.behind(OTHER, || 7), 7);
            over.store(1, Ordering::SeqCst);
            drop(request);
            assert_eq!(work.join().unwrap(), 1);
        });
    }

    #[test]
    fn long_work_gives_way_and_has_its_place_again() {
        let headroom = headroom(2, Duration::from_secs(3600));
        drop(headroom.serve(OTHER));
        let (request, over) = (&Mutex::new(None), &AtomicUsize::new(0));
        let (told, begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                begun.recv().unwrap();
                over.store(1, Ordering::SeqCst);
                drop(request.lock().take());
            });
            headroom.behind(ONE, || {
                *request.lock() = Some(headroom.serve(OTHER));
                let mut seen = giving_way(0..ITEMS).map(|_| over.load(Ordering::SeqCst));
                assert_eq!(seen.by_ref().take(ITEMS - 1).sum::<usize>(), 0);
                told.send(()).unwrap();
                assert_eq!(seen.next(), Some(1));
                assert_eq!(headroom.state.lock().at_work, 1);
            });
        });
        assert_eq!(headroom.state.lock().at_work, 0);
        // Work that does not stand back waits for nobody.
        let _request = headroom.serve(OTHER);
        assert_eq!(giving_way(0..2 * ITEMS).count(), 2 * ITEMS);
    }

    #[tokio::test]
    async fn work_that_is_handed_over_takes_a_place_where_it_is_done() {
        let headroom = headroom(2, PATIENCE);
        // There is one place: it is free again before the other thread has it.
        drop(headroom.serve(OTHER));
        let at_work = move || (AT_WORK.get().map(|at_work| at_work.tenant), headroom.state.lock().at_work);
        let hand_over = async move || tokio::task::spawn_blocking(taken_along(at_work)).await.unwrap();
        assert_eq!(hand_over().await, (None, 0));
        assert_eq!(headroom.behind_each(ONE, hand_over()).await, (Some(ONE), 1));
        assert_eq!(at_work(), (None, 0));
    }

    /// As a query's stream does, whose batch another thread reads.
    #[tokio::test]
    async fn step_within_a_step_gets_on() {
        let mut read = tokio::task::spawn_blocking(|| 7);
        let stream = std::future::poll_fn(|context| {
            let step = std::task::ready!(coop::poll_proceed(context));
            let read = std::task::ready!(std::pin::Pin::new(&mut read).poll(context));
            step.made_progress();
            Poll::Ready(read)
        });
        let found = tokio::time::timeout(Duration::from_secs(30), headroom(2, PATIENCE).behind_each(ONE, stream)).await;
        assert_eq!(found.expect("it goes round without getting on").unwrap(), 7);
    }

    #[tokio::test]
    async fn piece_of_a_future_takes_few_steps() {
        let (ready, mut items) = tokio::sync::mpsc::unbounded_channel();
        (0..100).for_each(|number| ready.send(number).unwrap());
        let mut pieces = 0;
        let mut work = std::pin::pin!(headroom(2, PATIENCE).behind_each(ONE, async {
            for _ in 0..100 {
                items.recv().await.unwrap();
            }
        }));
        std::future::poll_fn(|context| {
            pieces += 1;
            work.as_mut().poll(context)
        })
        .await;
        assert!((100 / STEPS..200 / STEPS).contains(&pieces), "{pieces} pieces");
    }

    #[test]
    fn place_is_kept_for_a_turn_while_no_other_asks() {
        let headroom = headroom(2, Duration::ZERO);
        drop(headroom.serve(OTHER));
        headroom.behind(ONE, || {
            let now = Instant::now();
            let long_ago = now.checked_sub(TURN).unwrap();
            assert!(headroom.keeps_place(ONE, long_ago), "nobody waits");
            headroom.state.lock().queue(ONE, &Arc::default());
            assert_eq!((headroom.keeps_place(ONE, now + TURN), headroom.keeps_place(ONE, long_ago)), (true, false));
            headroom.state.lock().waiting.clear();
            let request = headroom.serve(OTHER);
            assert!(!headroom.keeps_place(ONE, now + TURN));
            drop(request);
        });
    }

    #[test]
    fn tenants_have_places_in_turn_however_many_threads_each_has() {
        let mut state = State::default();
        let wait = |state: &mut State, tenants: &[TenantId]| {
            tenants.iter().for_each(|tenant| _ = state.queue(*tenant, &Arc::default()));
        };
        let next = |state: &mut State| {
            let (first, waited) = (state.waiting[0].tenant, state.waiting.len());
            // There is one place, and it is free again.
            state.at_work = 0;
            state.serve(TenantId(3), Instant::now());
            state.admit(2);
            assert_eq!(state.waiting.len(), waited - 1);
            first
        };
        wait(&mut state, &[ONE; 4]);
        wait(&mut state, &[OTHER; 2]);
        assert_eq!([next(&mut state), next(&mut state), next(&mut state)], [ONE, OTHER, ONE]);
        // Whoever was away has no turns that it did not take, and one that comes back at once none before its time.
        wait(&mut state, &[TenantId(4), ONE]);
        let all: Vec<TenantId> = std::iter::repeat_with(|| next(&mut state)).take(5).collect();
        assert_eq!(all, [OTHER, TenantId(4), ONE, ONE, ONE]);
    }

    #[test]
    fn requests_without_a_pause_hold_no_work_up_for_good() {
        let headroom = headroom(2, PATIENCE);
        let _request = headroom.serve(OTHER);
        assert_eq!(headroom.behind(ONE, || 7), 7);
    }

    #[test]
    fn work_of_many_threads_is_all_done_and_never_on_more_cores_than_it_may_have() {
        let headroom = headroom(3, PATIENCE);
        drop(headroom.serve(OTHER));
        let (at_work, seen, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let piece = || {
            drop(headroom.serve(OTHER));
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
        let headroom = headroom(1, PATIENCE);
        drop(headroom.serve(OTHER));
        let broken =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headroom.behind(ONE, || panic!("told to"))));
        assert!(broken.is_err());
        assert_eq!(headroom.behind(ONE, || 7), 7);
    }
}
