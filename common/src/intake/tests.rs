mod stopped;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::bucket::Hour;
use crate::enrich::{EnrichConfig, GeoFiles, VisitorIdentity};
use crate::id::ClickId;
use crate::log::embedded::{EmbeddedConfig, EmbeddedLog, EmbeddedReader};
use crate::log::{Append, Bounds, LogWriter as _};
use crate::secret::Secret;

const ALL: PartitionId = PartitionId(0);
const SOON: Duration = Duration::from_millis(20);

struct Setup {
    log: Arc<EmbeddedLog>,
    clock: Clock,
    enricher: Arc<Enricher>,
    _folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        Self::with(1)
    }

    fn with(partitions: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Hour(480_000).start());
        let config = EmbeddedConfig { partitions, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(folder.path(), &config, clock.clone()).unwrap();
        let enricher = Arc::new(
            Enricher::new(EnrichConfig {
                salt_secret: Secret::new(vec![1]),
                visitor: VisitorIdentity::Ip,
                geo: GeoFiles::default(),
                floor_days: 3653,
            })
            .unwrap(),
        );
        Self { log, clock, enricher, _folder: folder }
    }

    async fn intake(&self, from: u64, reach: u64) -> Intake {
        self.started(Box::new(self.log.reader()), from, reach).await
    }

    async fn started(&self, reader: Box<dyn LogReader>, from: u64, reach: u64) -> Intake {
        let mut intake = Intake::new("test", reader, Arc::clone(&self.enricher), self.clock.clone(), reach);
        assert_eq!(intake.next(1, SOON).await.unwrap().assigned, [ALL]);
        let received_at = Hour(480_000).start();
        assert_eq!(intake.start(ALL, Position { offset: Offset(from), received_at }).await.unwrap(), None);
        intake
    }

    async fn append(&self, payloads: &[&str]) {
        let record =
            |payload: &&str| Append { key: ClickId(Uuid::nil()), payload: Bytes::copy_from_slice(payload.as_bytes()) };
        self.log.append(payloads.iter().map(record).collect()).await.unwrap();
    }
}

fn click(id: u128) -> String {
    format!("{{\"link_id\":1,\"click_id\":\"{}\"}}", Uuid::from_u128(id))
}

fn kinds(batch: &Batch) -> Vec<&'static str> {
    let kind = |item: &Item| match &item.what {
        What::Click(_) => "click",
        What::Copy => "copy",
        What::Reject(reject) => reject.reason.name(),
    };
    batch.items.iter().map(kind).collect()
}

#[tokio::test]
async fn records_become_clicks_copies_and_rejects() {
    let setup = Setup::new();
    setup.append(&[&click(1), "{", &click(1), "{\"link_id\":1,\"clicked_at\":0}", &click(2)]).await;
    let mut intake = setup.intake(0, 100).await;
    let batch = intake.next(100, SOON).await.unwrap();
    assert_eq!(kinds(&batch), ["click", "syntax", "copy", "too_old", "click"]);
    assert_eq!(intake.positions()[&ALL].offset, Offset(5));
}

#[tokio::test]
async fn whoever_takes_over_recognises_the_same_copies() {
    let setup = Setup::new();
    setup.append(&[&click(1), &click(2), &click(3), &click(1), &click(2), &click(9), &click(9)]).await;
    // Each start must tell the rest of the log alike.
    let mut whole = setup.intake(0, 3).await;
    let all = kinds(&whole.next(100, SOON).await.unwrap());
    assert_eq!(all, ["click", "click", "click", "copy", "copy", "click", "copy"]);
    for from in 0..7 {
        let mut intake = setup.intake(from, 3).await;
        let rest = kinds(&intake.next(100, SOON).await.unwrap());
        assert_eq!(rest, all[usize::try_from(from).unwrap()..]);
    }
}

#[tokio::test]
async fn received_time_never_runs_back_and_idle_partitions_tick_over_the_hour() {
    let setup = Setup::new();
    setup.append(&[&click(1)]).await;
    let mut intake = setup.intake(0, 10).await;
    intake.next(10, SOON).await.unwrap();
    setup.clock.set(Hour(480_001).start());
    assert!(intake.next(10, SOON).await.unwrap().items.is_empty());
    let position = intake.positions()[&ALL];
    assert_eq!((position.offset, position.received_at), (Offset(2), Hour(480_001).start()));
}

/// A log whose ticks never come back.
struct Hanging(EmbeddedReader);

#[async_trait]
impl LogReader for Hanging {
    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        self.0.poll(max, wait).await
    }
    async fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.0.seek(partition, to).await
    }
    async fn read(&self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        self.0.read(partition, from, to).await
    }
    async fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError> {
        self.0.bounds(partition).await
    }
    async fn tick(&self, _partition: PartitionId) -> Result<(), LogError> {
        std::future::pending().await
    }
    async fn reject(&self, rejected: &[Rejected]) -> Result<(), LogError> {
        self.0.reject(rejected).await
    }
    async fn commit(&mut self, positions: &Positions) -> Result<(), LogError> {
        self.0.commit(positions).await
    }
}

#[tokio::test]
async fn records_of_a_dropped_call_are_delivered_later() {
    let setup = Setup::new();
    setup.append(&[&click(1)]).await;
    let reader = Box::new(Hanging(setup.log.reader()));
    let mut intake = setup.started(reader, 0, 10).await;
    setup.clock.set(Hour(480_001).start());
    let mut delivered = 0;
    for _ in 0..2 {
        let positions = intake.positions();
        match tokio::time::timeout(SOON * 2, intake.next(10, SOON)).await {
            Ok(batch) => delivered += batch.unwrap().items.len(),
            Err(_) => assert_eq!(intake.positions(), positions, "a dropped call moved on"),
        }
    }
    assert_eq!(delivered, 1);
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_told_as_a_gap() {
    let setup = Setup::new();
    setup.append(&[&click(1), &click(2), &click(3)]).await;
    setup.log.trim(ALL, Offset(2)).await.unwrap();
    let reader = Box::new(setup.log.reader());
    let mut intake = Intake::new("test", reader, Arc::clone(&setup.enricher), setup.clock.clone(), 10);
    intake.next(1, SOON).await.unwrap();
    let start = Position { offset: Offset(0), received_at: Hour(480_000).start() };
    let gap = intake.start(ALL, start).await.unwrap();
    assert_eq!(gap, Some(Gap { partition: ALL, from: Offset(0), to: Offset(2) }));
    assert_eq!(kinds(&intake.next(10, SOON).await.unwrap()), ["click"]);
}
