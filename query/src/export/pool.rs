//! Threads of exports: few, and behind all others.

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that may wait for the store; they work by turns.
const BLOCKING: usize = 64;

/// The threads. They end with it; work that is under way is given up at its next pause.
pub(super) struct Pool {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Pool {
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            // The table's package waits on one of them for work on another: too few, and all wait.
            .max_blocking_threads(BLOCKING)
            .thread_name("export")
            .on_thread_start(|| {
                // Where the system refuses, the work is done all the same.
                let _ = linktide_common::background::stand_back();
            })
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// Does work on these threads; none comes of it where it panicked or the pool ended.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut work = AbortOnDrop(self.handle.spawn(work));
        (&mut work.0).await.ok()
    }

    /// Begins work on these threads that nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }
}

/// Work that ends when nobody waits for it any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where this may be dropped.
            runtime.shutdown_background();
        }
    }
}
