use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use linktide_common::bucket::Day;
use linktide_common::log::Event;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{LogError, LogReader as _, Marked};

use super::*;

fn click() -> Click {
    Click::parse(br#"{"link_id":1,"user_agent":"Firefox"}"#).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Day(20_000).start())
}

fn drops(reason: &str) -> u64 {
    metrics::DROPPED.with_label_values(&[reason]).get()
}

/// A log that is gone: every append fails, and says how often it was tried.
#[derive(Default)]
struct Gone {
    tried: AtomicU64,
}

#[async_trait]
impl LogWriter for Gone {
    async fn append(&self, _records: Vec<Append>) -> Result<(), LogError> {
        self.tried.fetch_add(1, Ordering::AcqRel);
        Err(LogError::Unavailable("gone".into()))
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
    let emitter = Emitter::new(
        Arc::clone(&log) as Arc<dyn LogWriter>,
        clock(),
        EmitterConfig { batch_clicks: 7, ..EmitterConfig::default() },
    );
    for _ in 0..100 {
        emitter.emit(click());
    }
    emitter.shutdown(Duration::from_secs(20)).await;
    let mut reader = log.reader();
    assert!(matches!(reader.poll(1, Duration::ZERO).await.unwrap(), Event::Assigned(_)));
    let partition = linktide_common::id::PartitionId(0);
    let end = reader.bounds(partition).await.unwrap().high;
    let records = reader.read(partition, linktide_common::id::Offset(0), end).await.unwrap();
    let clicks: Vec<_> = records.iter().map(|record| Click::parse(record.payload.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(clicks.len(), 100);
    assert!(clicks.iter().all(|click| click.click_id.is_some() && click.clicked_at == Some(Day(20_000).start())));
}

/// One test for all reasons: they share the counters of the process.
#[tokio::test(start_paused = true)]
async fn clicks_that_the_log_never_takes_are_counted_once_by_reason() {
    let clock = clock();
    let log = Arc::new(Gone::default());
    let config = EmitterConfig {
        buffer_clicks: 10,
        batch_clicks: 5,
        expiry: Duration::from_secs(60),
        ..EmitterConfig::default()
    };
    let before = ["queue_full", "expired", "shutdown"].map(drops);
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock.clone(), config);
    // Nothing drains before this task yields: the eleventh finds the buffer full.
    for _ in 0..13 {
        emitter.emit(click());
    }
    assert_eq!(drops("queue_full") - before[0], 3);
    while log.tried.load(Ordering::Acquire) < 3 {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    clock.set(clock.now().plus_millis(61_000));
    while drops("expired") - before[1] < 10 {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    for _ in 0..4 {
        emitter.emit(click());
    }
    emitter.shutdown(Duration::from_millis(100)).await;
    emitter.emit(click());
    assert_eq!(drops("shutdown") - before[2], 5);
    assert_eq!(drops("expired") - before[1], 10);

    let small = EmitterConfig { buffer_bytes: 3 * size_of_click(&click()), ..EmitterConfig::default() };
    let before = drops("queue_full");
    let emitter = Emitter::new(log, clock, small);
    (0..5).for_each(|_| emitter.emit(click()));
    assert_eq!(drops("queue_full") - before, 2, "bytes bound it, too");
}
