//! Threads whose work nobody waits for, or whose work is to wait for that of others.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use crate::headroom::Headroom;
use crate::id::TenantId;

/// Threads of a runtime that may wait for a store or a disk.
const BLOCKING: usize = 64;

/// How far a thread stands back: with both at work on one core it has about a tenth of it (`sched(7)`: each step is a
/// factor of 1.25), and whoever answers a redirect goes first.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Makes the calling thread, and those it starts from now on, go behind all that keep the usual priority. On systems where
/// a priority is one of the whole process, nothing changes.
///
/// # Errors
/// Where the system refuses; the thread then works as before.
pub fn stand_back() -> io::Result<()> {
    // Linux takes "the calling process" for the calling thread: setpriority(2), "C library/kernel differences".
    #[cfg(target_os = "linux")]
    rustix::process::setpriority_process(None, NICE)?;
    Ok(())
}

/// Runs `work` on a thread that stands back: threads that it starts do so, too.
///
/// # Panics
/// Where the system gives no thread, or `work` panics.
pub fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let standing_back = || {
        // Where the system refuses, the work is done all the same.
        let _ = stand_back();
        work()
    };
    std::thread::scope(|scope| scope.spawn(standing_back).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A runtime whose threads all stand back, and leave a core to tenants that ask little. They end with it; work that is under
/// way is given up at its next pause.
pub struct Background {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    /// Starts so many threads, called `name`.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            // A package may wait on one of them for work on another: too few, and all wait.
            .max_blocking_threads(BLOCKING)
            .thread_name(name)
            .on_thread_start(|| {
                // Where the system refuses, the work is done all the same.
                let _ = stand_back();
            })
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// Does work for a tenant on these threads, as long as somebody waits for it; none comes of it where it panicked or the
    /// runtime ended.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        // It ends what is under way when it is dropped.
        let mut one = JoinSet::new();
        one.spawn_on(Headroom::here().behind_each(tenant, work), &self.handle);
        one.join_next().await?.ok()
    }

    /// Begins work for a tenant on these threads that nobody waits for.
    pub fn spawn(&self, tenant: TenantId, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(Headroom::here().behind_each(tenant, work));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed where this may be dropped.
            runtime.shutdown_background();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn thread_and_what_it_starts_stand_back_and_no_other() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let (own, started) = on_thread(|| (nice(), std::thread::spawn(nice).join().unwrap()));
        assert_eq!((own, started), (NICE.max(before), NICE.max(before)));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn runtime_stands_back_whole() {
        let background = Background::start("test", 1).unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let both = async move { (nice(), tokio::task::spawn_blocking(nice).await.unwrap()) };
        assert_eq!(background.run(TenantId(1), both).await, Some((NICE.max(before), NICE.max(before))));
        assert_eq!(background.run(TenantId(1), async { panic!("told to") }).await, None::<()>);
        assert_eq!(nice(), before);
    }
}
