//! A bounded number of threads for work of the processor, in turn for every tenant that has some.
//!
//! 1. Work waits in a queue of its tenant. Threads take one piece from each queue in turn, so that a tenant in a loop waits
//!    behind itself, and another one behind at most one piece of each tenant.
//! 2. No tenant holds all threads: there is one more than the machine runs at once, and whoever comes finds it free.
//! 3. What may wait is bounded, for a tenant and in all. Beyond that work is refused at once, which tells whose doing it is.
//! 4. Work that nobody waits for any more is dropped when its turn comes.
//!
//! A turn is as fair as its pieces are short: whoever has much to do does it in pieces of some milliseconds.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::background;
use crate::id::TenantId;

/// How large a pool is.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// What its threads are called.
    pub name: &'static str,
    /// How many there are.
    pub threads: usize,
    /// How many of them may work for one tenant at once.
    pub threads_each: usize,
    /// Pieces of work that may wait for all tenants together.
    pub waiting: usize,
    /// Pieces of work that may wait for one.
    pub waiting_each: usize,
    /// Whether its threads go behind those that answer requests.
    pub stands_back: bool,
}

impl PoolConfig {
    /// As many threads for a tenant as the machine runs at once, and one for another.
    #[must_use]
    pub fn of_the_machine(name: &'static str) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { name, threads: cores + 1, threads_each: cores, waiting: 8192, waiting_each: 1024, stands_back: false }
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
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queues: HashMap<TenantId, VecDeque<Piece>>,
    /// Tenants that have work, whoever comes next first.
    turns: VecDeque<TenantId>,
    /// Pieces that are worked at.
    running: HashMap<TenantId, usize>,
    waiting: usize,
    over: bool,
}

type Piece = Box<dyn FnOnce() + Send>;

impl Pool {
    /// Starts its threads.
    ///
    /// # Panics
    /// Where the system gives none.
    #[must_use]
    pub fn start(config: PoolConfig) -> Self {
        let shared = Arc::new(Shared { config, state: Mutex::default(), work: Condvar::new() });
        let pool = Self { shared };
        for _ in 0..pool.shared.config.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let name = shared.config.name.to_owned();
            let started = std::thread::Builder::new().name(name).spawn(move || shared.work_on());
            if let Err(error) = started {
                panic!("no thread for {}: {error}", pool.shared.config.name);
            }
        }
        pool
    }

    /// Does `work` for a tenant when it is its turn.
    ///
    /// # Errors
    /// [`PoolError`] where too much is waiting, or where `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
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
        self.shared.work.notify_all();
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
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    fn work_on(&self) {
        if self.config.stands_back {
            // Where the system refuses, the work is done all the same.
            let _ = background::stand_back();
        }
        let mut done = None;
        while let Some((tenant, piece)) = self.next(done) {
            // Whoever waits for it learns that it broke by what it does not send.
            if catch_unwind(AssertUnwindSafe(piece)).is_err() {
                tracing::error!(pool = self.config.name, "a piece of work panicked");
            }
            done = Some(tenant);
        }
    }

    /// The next piece, as soon as there is one, when one of `done` is over; none when the pool is.
    fn next(&self, done: Option<TenantId>) -> Option<(TenantId, Piece)> {
        let mut state = self.state.lock();
        if let Some(tenant) = done {
            state.let_go(tenant);
        }
        loop {
            if state.over {
                return None;
            }
            if let Some(taken) = state.take(self.config.threads_each.max(1)) {
                return Some(taken);
            }
            self.work.wait(&mut state);
        }
    }
}

impl State {
    /// The next piece of the first tenant that has not as many threads as it may have.
    fn take(&mut self, each: usize) -> Option<(TenantId, Piece)> {
        let may = |tenant: &TenantId| self.running.get(tenant).is_none_or(|running| *running < each);
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
        let threads_each = 1;
        let config = PoolConfig { name: "test", threads: 1, threads_each, waiting, waiting_each, stands_back: false };
        Arc::new(Pool::start(config))
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
