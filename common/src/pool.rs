//! A bounded number of threads for work of the processor, in turn for every tenant that has some.
//!
//! 1. Work waits in a queue of its tenant. Threads take one piece from each queue in turn, so that a tenant in a loop waits
//!    behind itself, and another one behind at most one piece of each tenant.
//! 2. No tenant holds all threads: there is one more than the machine runs at once, and whoever comes finds it free.
//! 3. A tenant that has lately taken much is served by threads that stand back while others ask little: whoever asks now and
//!    then does not share the processor with it by halves, and finds a core free. Where nobody else asks, nobody stands back.
//!    What such a tenant asks of its own thread that stands back is done there and then: to hand it from one thread to
//!    another takes more than most pieces do, and wakes cores that are somebody else's.
//! 4. What may wait is bounded, for a tenant and in all. Beyond that work is refused at once, which tells whose doing it is.
//! 5. Work that nobody waits for any more is dropped when its turn comes.
//!
//! A turn is as fair as its pieces are short: whoever has much to do does it in pieces of some milliseconds.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::background;
use crate::headroom::{Headroom, give_way, stands_back, waited};
use crate::id::TenantId;

/// What is taken is forgotten by and by: within this time all but a third of it.
const MEMORY: Duration = Duration::from_millis(400);
/// Tenants whose use is remembered, at least: beyond that those who have taken nothing lately are forgotten.
const REMEMBERED: usize = 1024;

/// How large a pool is.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// What its threads are called.
    pub name: &'static str,
    /// How many there are for everybody.
    pub threads: usize,
    /// How many there are, standing back, for tenants that have lately taken much while others ask little; with none, all are
    /// served alike.
    pub threads_behind: usize,
    /// How much is much: the part of one thread's time.
    pub much: f64,
    /// How many of them may work for one tenant at once.
    pub threads_each: usize,
    /// Pieces of work that may wait for all tenants together.
    pub waiting: usize,
    /// Pieces of work that may wait for one.
    pub waiting_each: usize,
    /// Whether all its threads go behind those that answer requests.
    pub stands_back: bool,
}

impl PoolConfig {
    /// As many threads for a tenant as the machine runs at once, and one for another. Much is a quarter of one of them.
    #[must_use]
    pub fn of_the_machine(name: &'static str) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            name,
            threads: cores + 1,
            threads_behind: cores,
            much: 0.25,
            threads_each: cores,
            waiting: 8192,
            waiting_each: 1024,
            stands_back: false,
        }
    }
}

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Everyone's work together is too much.
    #[error("too busy: {0} pieces of work are waiting already")]
    Crowded(usize),
    /// This tenant's work is too much.
    #[error("too many questions at once: {0} pieces of this tenant's work are waiting already")]
    OwnQueueFull(usize),
    /// It ended without a result, which is a fault of it.
    #[error("work ended without a result")]
    Broken,
}

/// The threads. They end when it is dropped, each behind the piece it is at.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    config: PoolConfig,
    headroom: &'static Headroom,
    state: Mutex<State>,
    /// By the group of threads that waits.
    work: [Condvar; 2],
}

/// A group of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Ordinary,
    Behind,
}

#[derive(Default)]
struct State {
    queues: HashMap<TenantId, VecDeque<Piece>>,
    /// Tenants that have work, whoever comes next first.
    turns: VecDeque<TenantId>,
    /// Pieces that are worked at.
    running: HashMap<TenantId, usize>,
    /// What tenants have taken lately.
    taken: HashMap<TenantId, Taken>,
    waiting: usize,
    over: bool,
}

/// Time that threads were at work for a tenant, the older the less it weighs.
#[derive(Debug, Clone, Copy)]
struct Taken {
    seconds: f64,
    at: Instant,
    /// Who serves it. It changes with a piece that comes or ends, so that whoever waits can be woken.
    group: Group,
}

impl Taken {
    fn seconds(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.seconds * (-passed / MEMORY.as_secs_f64()).exp()
    }
}

type Piece = Box<dyn FnOnce() + Send>;

impl Pool {
    /// Starts its threads.
    ///
    /// # Panics
    /// Where the system gives none.
    #[must_use]
    pub fn start(config: PoolConfig) -> Self {
        Self::within(Headroom::here(), config)
    }

    fn within(headroom: &'static Headroom, config: PoolConfig) -> Self {
        let shared = Arc::new(Shared { config, headroom, state: Mutex::default(), work: Default::default() });
        let pool = Self { shared };
        let PoolConfig { threads, threads_behind, .. } = pool.shared.config;
        for (group, threads) in [(Group::Ordinary, threads.max(1)), (Group::Behind, threads_behind)] {
            for _ in 0..threads {
                let shared = Arc::clone(&pool.shared);
                let name = shared.config.name.to_owned();
                let started = std::thread::Builder::new().name(name).spawn(move || shared.work_on(group));
                if let Err(error) = started {
                    panic!("no thread for {}: {error}", pool.shared.config.name);
                }
            }
        }
        pool
    }

    /// Whether a tenant has lately taken much, and is served behind others.
    #[must_use]
    pub fn is_behind(&self, tenant: TenantId) -> bool {
        let seconds = self.shared.state.lock().seconds(tenant, Instant::now());
        self.shared.serves(tenant, seconds) == Group::Behind
    }

    /// Does `work` for a tenant when it is its turn, or at once where this thread stands back for it already.
    ///
    /// # Errors
    /// [`PoolError`] where too much is waiting, or where `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        if stands_back(self.shared.headroom, tenant) {
            give_way();
            let (done, took) = self.shared.measured(work);
            self.shared.note(&mut self.shared.state.lock(), tenant, took);
            return done.ok_or(PoolError::Broken);
        }
        let (done, result) = oneshot::channel();
        let piece = move || {
            if !done.is_closed() {
                // Whoever asked may be gone by now.
                let _ = done.send(work());
            }
        };
        self.shared.queue(tenant, Box::new(piece))?;
        result.await.map_err(|_| PoolError::Broken)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        self.shared.work.iter().for_each(|threads| _ = threads.notify_all());
    }
}

impl Shared {
    fn queue(&self, tenant: TenantId, piece: Piece) -> Result<(), PoolError> {
        let mut state = self.state.lock();
        if state.waiting >= self.config.waiting {
            return Err(PoolError::Crowded(state.waiting));
        }
        let queue = state.queues.entry(tenant).or_default();
        if queue.len() >= self.config.waiting_each {
            return Err(PoolError::OwnQueueFull(queue.len()));
        }
        queue.push_back(piece);
        if queue.len() == 1 {
            state.turns.push_back(tenant);
        }
        state.waiting += 1;
        self.note(&mut state, tenant, Duration::ZERO);
        let group = state.group(tenant);
        drop(state);
        self.work[group as usize].notify_one();
        Ok(())
    }

    /// Notes what was taken for a tenant, and wakes whoever serves it from now on.
    fn note(&self, state: &mut State, tenant: TenantId, took: Duration) {
        let now = Instant::now();
        let seconds = took.as_secs_f64() + state.seconds(tenant, now);
        let group = self.serves(tenant, seconds);
        let moved = state.group(tenant) != group;
        state.taken.insert(tenant, Taken { seconds, at: now, group });
        if state.taken.len() > REMEMBERED.max(2 * state.queues.len()) {
            let State { taken, queues, .. } = state;
            taken.retain(|tenant, taken| queues.contains_key(tenant) || taken.seconds(now) > 1e-3);
        }
        if moved {
            self.work[group as usize].notify_all();
        }
    }

    /// Who serves a tenant that has lately taken so much.
    fn serves(&self, tenant: TenantId, seconds: f64) -> Group {
        let much = self.config.threads_behind > 0 && seconds > self.config.much * MEMORY.as_secs_f64();
        if much && self.headroom.has_company(tenant) { Group::Behind } else { Group::Ordinary }
    }

    fn work_on(&self, group: Group) {
        let stands_back = self.config.stands_back || group == Group::Behind;
        if stands_back {
            // Where the system refuses, the work is done all the same.
            let _ = background::stand_back();
        }
        let mut done = None;
        while let Some((tenant, piece)) = self.next(group, done) {
            // Whoever waits for it learns that it broke by what it does not send.
            let work = || self.measured(piece).1;
            let took = if stands_back { self.headroom.behind(tenant, work) } else { work() };
            done = Some((tenant, took));
        }
    }

    /// What comes of a piece, none where it panicked, and what it took.
    fn measured<T>(&self, piece: impl FnOnce() -> T) -> (Option<T>, Duration) {
        let (began, waited_before) = (Instant::now(), waited());
        let done = catch_unwind(AssertUnwindSafe(piece));
        if done.is_err() {
            tracing::error!(pool = self.config.name, "a piece of work panicked");
        }
        (done.ok(), began.elapsed().saturating_sub(waited() - waited_before))
    }

    /// The next piece, as soon as there is one, when one of `done` is over; none when the pool is.
    fn next(&self, group: Group, done: Option<(TenantId, Duration)>) -> Option<(TenantId, Piece)> {
        let mut state = self.state.lock();
        if let Some((tenant, took)) = done {
            state.let_go(tenant);
            self.note(&mut state, tenant, took);
            let serves = state.group(tenant);
            if serves != group && state.queues.contains_key(&tenant) {
                self.work[serves as usize].notify_one();
            }
        }
        loop {
            if state.over {
                return None;
            }
            if let Some(taken) = state.take(group, self.config.threads_each.max(1)) {
                return Some(taken);
            }
            self.work[group as usize].wait(&mut state);
        }
    }
}

impl State {
    /// What a tenant has taken lately.
    fn seconds(&self, tenant: TenantId, now: Instant) -> f64 {
        self.taken.get(&tenant).map_or(0.0, |taken| taken.seconds(now))
    }

    /// Who serves the work of a tenant that is there.
    fn group(&self, tenant: TenantId) -> Group {
        self.taken.get(&tenant).map_or(Group::Ordinary, |taken| taken.group)
    }

    /// The next piece of the first tenant that is served by these threads, and has not as many as it may have.
    fn take(&mut self, group: Group, each: usize) -> Option<(TenantId, Piece)> {
        let room = |tenant: &TenantId| self.running.get(tenant).is_none_or(|running| *running < each);
        let may = |tenant: &TenantId| self.group(*tenant) == group && room(tenant);
        let at = self.turns.iter().position(may)?;
        let tenant = self.turns.remove(at)?;
        let queue = self.queues.get_mut(&tenant)?;
        let piece = queue.pop_front()?;
        self.waiting -= 1;
        *self.running.entry(tenant).or_default() += 1;
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        Some((tenant, piece))
    }

    fn let_go(&mut self, tenant: TenantId) {
        if let Some(running) = self.running.get_mut(&tenant) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const ONE: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    fn pool(waiting: usize, waiting_each: usize) -> Arc<Pool> {
        let of_the_machine = PoolConfig::of_the_machine("test");
        let (threads, threads_behind, threads_each) = (1, 0, 1);
        Arc::new(Pool::start(PoolConfig {
            threads,
            threads_behind,
            threads_each,
            waiting,
            waiting_each,
            ..of_the_machine
        }))
    }

    /// Holds the only thread until the answer is dropped.
    async fn hold(pool: &Arc<Pool>, tenant: TenantId) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let shared = Arc::clone(pool);
        tokio::spawn(async move {
            let held = move || {
                let _ = began.send(());
                let _ = held.recv();
            };
            shared.run(tenant, held).await
        });
        begun.await.unwrap();
        release
    }

    /// Queues a piece that notes its name.
    fn note(pool: &Arc<Pool>, tenant: TenantId, notes: &mpsc::Sender<&'static str>, name: &'static str) {
        let notes = notes.clone();
        pool.shared.queue(tenant, Box::new(move || notes.send(name).unwrap_or_default())).unwrap();
    }

    #[tokio::test]
    async fn work_of_a_tenant_in_a_loop_waits_behind_itself() {
        let pool = pool(100, 100);
        let release = hold(&pool, ONE).await;
        let (notes, noted) = mpsc::channel();
        for name in ["a", "b", "c"] {
            note(&pool, ONE, &notes, name);
        }
        note(&pool, OTHER, &notes, "x");
        note(&pool, OTHER, &notes, "y");
        drop((release, notes));
        assert_eq!(noted.iter().collect::<Vec<_>>(), ["a", "x", "b", "y", "c"]);
    }

    #[tokio::test]
    async fn no_tenant_holds_all_threads() {
        let config = PoolConfig { threads: 2, threads_each: 1, ..PoolConfig::of_the_machine("test") };
        let pool = Arc::new(Pool::start(config));
        let release = hold(&pool, ONE).await;
        let (notes, noted) = mpsc::channel();
        note(&pool, ONE, &notes, "waits");
        assert_eq!(pool.run(OTHER, || 7).await, Ok(7));
        assert_eq!(noted.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop((release, notes));
        assert_eq!(noted.iter().collect::<Vec<_>>(), ["waits"]);
    }

    #[tokio::test]
    async fn tenant_that_takes_much_is_served_behind_others_until_it_rests() {
        let headroom = Box::leak(Box::new(Headroom::of(2, Duration::ZERO)));
        // Whatever was taken at all is much, until it is as good as forgotten.
        let config = PoolConfig { threads: 1, threads_behind: 1, much: 1e-9, ..PoolConfig::of_the_machine("test") };
        let pool = Arc::new(Pool::within(headroom, config));
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let usual = pool.run(ONE, nice).await.unwrap();
        at_rest(&pool).await;
        assert_eq!(pool.run(ONE, nice).await, Ok(usual), "nobody else asks");
        drop(headroom.serve(OTHER));
        let release = hold(&pool, OTHER).await;
        // The only ordinary thread is held: whoever has taken much is served all the same, on one that stands back.
        assert!(pool.run(ONE, nice).await.unwrap() > usual);
        drop(release);
        at_rest(&pool).await;
        assert!(pool.is_behind(ONE));
        pool.shared.state.lock().taken.get_mut(&ONE).unwrap().seconds = 0.0;
        assert!(!pool.is_behind(ONE), "it need not ask this pool again");
        assert_eq!(pool.run(ONE, nice).await, Ok(usual));
    }

    #[tokio::test]
    async fn work_of_a_thread_that_stands_back_is_done_there_and_then() {
        let headroom: &'static Headroom = Box::leak(Box::new(Headroom::of(2, Duration::ZERO)));
        let pool = Pool::within(headroom, PoolConfig { much: 0.0, ..PoolConfig::of_the_machine("test") });
        let (here, thread) = (std::thread::current().id(), || std::thread::current().id());
        assert_ne!(headroom.behind_each(ONE, pool.run(ONE, thread)).await, Ok(here), "nobody else asks");
        drop(headroom.serve(OTHER));
        assert_eq!(headroom.behind_each(ONE, pool.run(ONE, thread)).await, Ok(here));
        assert_ne!(headroom.behind_each(ONE, pool.run(OTHER, thread)).await, Ok(here), "it is another's");
        assert_ne!(pool.run(ONE, thread).await, Ok(here), "it does not stand back");
        // What it takes is known all the same.
        pool.shared.state.lock().taken.clear();
        assert!(!pool.is_behind(ONE));
        let panics = headroom.behind_each(ONE, pool.run(ONE, || panic!("told to")));
        assert_eq!(panics.await, Err::<(), _>(PoolError::Broken));
        assert!(pool.is_behind(ONE));
    }

    async fn at_rest(pool: &Pool) {
        while !pool.shared.state.lock().running.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_tenant_waits_for_others_it_does_not_take() {
        let config = PoolConfig { stands_back: true, threads_behind: 0, ..PoolConfig::of_the_machine("test") };
        let pool = Pool::start(config);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let _requests: Vec<_> = (0..cores).map(|_| Headroom::here().serve(OTHER)).collect();
        let gives_way = || {
            let before = waited();
            give_way();
            waited() - before
        };
        let began = Instant::now();
        let waiting = pool.run(ONE, gives_way).await.unwrap();
        at_rest(&pool).await;
        let whole = began.elapsed();
        let took = Duration::from_secs_f64(pool.shared.state.lock().taken[&ONE].seconds);
        assert!(!waiting.is_zero() && took + waiting <= whole, "{took:?} and {waiting:?} of {whole:?}");
    }

    #[tokio::test]
    async fn too_much_waiting_work_is_refused_and_says_whose_doing_it_is() {
        let pool = pool(3, 2);
        let release = hold(&pool, ONE).await;
        let (notes, noted) = mpsc::channel();
        note(&pool, ONE, &notes, "a");
        note(&pool, ONE, &notes, "b");
        assert_eq!(pool.run(ONE, || ()).await, Err(PoolError::OwnQueueFull(2)));
        note(&pool, OTHER, &notes, "x");
        assert_eq!(pool.run(OTHER, || ()).await, Err(PoolError::Crowded(3)));
        drop((release, notes));
        assert_eq!(noted.iter().count(), 3);
        assert_eq!(pool.run(ONE, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_done_and_work_that_panics_ends_nothing() {
        let pool = pool(10, 10);
        let release = hold(&pool, ONE).await;
        let (notes, noted) = mpsc::channel::<()>();
        let abandoned = pool.run(ONE, move || notes.send(()));
        // Polled once, so that it is queued, and dropped.
        assert!(tokio::time::timeout(std::time::Duration::ZERO, abandoned).await.is_err());
        drop(release);
        assert_eq!(pool.run(ONE, || panic!("told to")).await, Err::<(), _>(PoolError::Broken));
        assert_eq!(noted.recv(), Err(mpsc::RecvError), "the work was dropped undone");
        assert_eq!(pool.run(ONE, || 7).await, Ok(7));
    }
}
