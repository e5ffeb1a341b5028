//! Threads whose work nobody waits for.

use std::io;

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
}
