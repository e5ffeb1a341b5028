use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use linktide_common::bucket::Day;
use linktide_common::id::{Offset, PartitionId};
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, Event, LogError, LogReader as _, Marked};
use tokio::sync::Semaphore;

use super::*;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(30);

fn click() -> Click {
    Click::parse(br#"{"link_id":1,"user_agent":"Firefox"}"#).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Day(20_000).start())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(2));
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        look.tick().await;
    }
}

/// A log that acknowledges as many appends as it is allowed to, or fails.
struct Doubtful {
    gone: bool,
    allowed: Semaphore,
    waiting: AtomicUsize,
    tried: AtomicUsize,
}

impl Doubtful {
    fn new(gone: bool) -> Arc<Self> {
        Arc::new(Self { gone, allowed: Semaphore::new(0), waiting: AtomicUsize::new(0), tried: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl LogWriter for Doubtful {
    async fn append(&self, _records: Vec<Append>) -> Result<(), LogError> {
        self.tried.fetch_add(1, Ordering::AcqRel);
        if self.gone {
            return Err(LogError::Unavailable("gone".into()));
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.allowed.acquire().await.unwrap().forget();
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    async fn append_marked(&self, _mark: &str, _records: Vec<Append>) -> Result<Marked, LogError> {
        Err(LogError::Unavailable("gone".into()))
    }
}

#[tokio::test]
async fn emitted_clicks_are_in_the_log_after_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { partitions: 1, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(folder.path(), &config, clock()).unwrap();
    let config = EmitterConfig { batch_clicks: 7, ..EmitterConfig::default() };
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock(), config);
    assert!((0..100).all(|_| emitter.emit(click())));
    emitter.shutdown(PATIENCE).await;
    assert_eq!(emitter.tally(), Tally { emitted: 100, ..Tally::default() });
    let mut reader = log.reader();
    assert!(matches!(reader.poll(1, Duration::ZERO).await.unwrap(), Event::Assigned(_)));
    let end = reader.bounds(PartitionId(0)).await.unwrap().high;
    let records = reader.read(PartitionId(0), Offset(0), end).await.unwrap();
    let clicks: Vec<_> = records.iter().map(|record| Click::parse(record.payload.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(clicks.len(), 100);
    assert!(clicks.iter().all(|click| click.click_id.is_some() && click.clicked_at == Some(Day(20_000).start())));
}

#[tokio::test]
async fn batches_do_not_wait_for_one_another_and_are_bounded() {
    let log = Doubtful::new(false);
    let config = EmitterConfig { buffer_clicks: 50, batch_clicks: 5, batches: 3, ..EmitterConfig::default() };
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock(), config);
    let taken = (0..60).filter(|_| emitter.emit(click())).count();
    assert_eq!(taken, 50, "what is on its way counts as held");
    until("three batches are on their way", || log.waiting.load(Ordering::Acquire) == 3).await;
    assert_eq!((emitter.tally().held, emitter.tally().queue_full), (50, 10));
    assert!(!emitter.emit(click()));
    log.allowed.add_permits(usize::MAX >> 4);
    emitter.shutdown(PATIENCE).await;
    assert_eq!(emitter.tally(), Tally { emitted: 50, queue_full: 11, ..Tally::default() });
}

#[tokio::test]
async fn clicks_that_the_log_never_takes_are_counted_once_by_reason() {
    let (clock, log) = (clock(), Doubtful::new(true));
    let expiry = Duration::from_secs(60);
    let config = EmitterConfig { buffer_clicks: 10, batch_clicks: 2, batches: 2, expiry, ..EmitterConfig::default() };
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock.clone(), config);
    (0..13).for_each(|_| {
        emitter.emit(click());
    });
    assert_eq!(emitter.tally().queue_full, 3);
    let long = Click { title: Some("x".repeat(70_000)), ..click() };
    assert_eq!(emitter.offer(long.clone()), Err(DropReason::TooLarge));
    assert_eq!(emitter.tally().dropped(), 3, "who is told need not be counted");
    assert!(!emitter.emit(long));
    until("it is tried again", || log.tried.load(Ordering::Acquire) >= 3).await;
    clock.set(clock.now().plus_millis(61_000));
    until("all have expired, those in the queue too", || emitter.tally().expired == 10).await;
    (0..4).for_each(|_| assert!(emitter.emit(click())));
    emitter.shutdown(Duration::from_millis(50)).await;
    assert_eq!(emitter.offer(click()), Err(DropReason::Shutdown));
    assert!(!emitter.emit(click()));
    let expected = Tally { queue_full: 3, expired: 10, too_large: 1, shutdown: 5, ..Tally::default() };
    assert_eq!(emitter.tally(), expected);
}

#[tokio::test]
async fn bytes_bound_the_buffer_too() {
    let bytes = Waiting::new(click(), clock().now()).unwrap().bytes;
    let config = EmitterConfig { buffer_bytes: 3 * bytes, ..EmitterConfig::default() };
    let emitter = Emitter::new(Doubtful::new(true), clock(), config);
    assert_eq!((0..5).filter(|_| emitter.emit(click())).count(), 3);
    assert_eq!((emitter.tally().queue_full, emitter.tally().held_bytes), (2, 3 * bytes));
}

#[test]
fn clicks_offered_while_the_emitter_closes_are_in_the_books_once() {
    for _ in 0..20 {
        let emitter = Emitter::new(Doubtful::new(true), clock(), EmitterConfig::default());
        let offered: u64 = std::thread::scope(|scope| {
            let emit = || {
                let mut offered = 0;
                while emitter.tally().shutdown == 0 {
                    emitter.emit(click());
                    offered += 1;
                }
                offered
            };
            let threads = [scope.spawn(emit), scope.spawn(emit), scope.spawn(emit)];
            emitter.buffer.close_books();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let tally = emitter.tally();
        assert_eq!(tally.dropped() + tally.emitted + tally.held as u64, offered, "{tally:?}");
        assert_eq!(tally.held, 0);
    }
}

#[tokio::test]
async fn emitter_that_was_shut_down_has_let_go_of_the_log() {
    let log: Arc<dyn LogWriter> = Doubtful::new(true);
    for _ in 0..200 {
        let emitter = Emitter::new(Arc::clone(&log), clock(), EmitterConfig::default());
        emitter.emit(click());
        emitter.shutdown(Duration::ZERO).await;
        // Whoever opens the log's folder next finds it free.
        assert_eq!(Arc::strong_count(&log), 1);
    }
}

#[tokio::test]
async fn emitter_that_is_let_go_closes_its_books() {
    let emitter = Emitter::new(Doubtful::new(true), clock(), EmitterConfig::default());
    (0..3).for_each(|_| assert!(emitter.emit(click())));
    let buffer = Arc::clone(&emitter.buffer);
    drop(emitter);
    until("they are counted as dropped", || buffer.tally().shutdown == 3).await;
}
