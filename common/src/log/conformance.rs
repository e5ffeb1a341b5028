//! What every log must do: one suite for all adapters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{Append, Event, LogError, LogReader, LogWriter, Marked, Record, Rejected};
use crate::bucket::Timestamp;
use crate::id::{ClickId, Offset, PartitionId};

const SOON: Duration = Duration::from_millis(50);
/// A real broker takes its time; nothing waits this long where all is well.
const WITHIN: Duration = Duration::from_secs(60);

/// A log under test, empty at first.
#[async_trait]
pub(crate) trait Subject: Sync {
    fn writer(&self) -> Arc<dyn LogWriter>;

    /// A reader that shares its partitions with no other.
    fn reader(&self) -> Box<dyn LogReader>;

    /// Deletes what lies below an offset.
    async fn trim(&self, partition: PartitionId, below: Offset);

    /// The rejects that are kept, as JSON, in the order of their places.
    async fn rejects(&self) -> Vec<serde_json::Value>;
}

pub(crate) fn click(number: u128) -> Append {
    Append { key: ClickId(Uuid::from_u128(number)), payload: Bytes::from(format!("{{\"link_id\":{number}}}")) }
}

/// Runs all of it.
pub(crate) async fn check(log: &dyn Subject) {
    appended_records_are_read_in_order_by_every_reader(log).await;
    mark_appends_once(log).await;
    seek_outside_the_log_is_an_error(log).await;
    tick_is_a_record_without_a_payload(log).await;
    dropped_poll_loses_nothing(log).await;
    ends_are_the_bounds(log).await;
    reject_is_kept_once_by_its_place(log).await;
    what_is_trimmed_is_an_error_to_ask_for_and_others_go_on(log).await;
}

/// Waits for the partitions of a reader.
pub(crate) async fn assigned(reader: &mut dyn LogReader) -> Vec<PartitionId> {
    let deadline = Instant::now() + WITHIN;
    while Instant::now() < deadline {
        match reader.poll(1, SOON).await.unwrap() {
            Event::Assigned(partitions) => return partitions,
            Event::Records(records) if records.is_empty() => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    panic!("nothing was assigned")
}

/// Reads until `enough`.
pub(crate) async fn read_until(
    reader: &mut dyn LogReader,
    at_once: usize,
    enough: impl Fn(&[Record]) -> bool,
) -> Vec<Record> {
    let (mut all, deadline) = (Vec::new(), Instant::now() + WITHIN);
    while !enough(&all) {
        assert!(Instant::now() < deadline, "{} records, and no more come", all.len());
        match reader.poll(at_once, SOON).await.unwrap() {
            Event::Records(records) => all.extend(records),
            other => panic!("unexpected {other:?}"),
        }
    }
    all
}

async fn read_all(log: &dyn Subject, at_once: usize) -> Vec<Record> {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let mut there = 0;
    for partition in partitions {
        reader.seek(partition, Offset(0)).await.unwrap();
        there += usize::try_from(reader.bounds(partition).await.unwrap().high.0).unwrap();
    }
    read_until(reader.as_mut(), at_once, |all| all.len() >= there).await
}

async fn appended_records_are_read_in_order_by_every_reader(log: &dyn Subject) {
    for part in 0..5 {
        log.writer().append((part * 100..(part + 1) * 100).map(click).collect()).await.unwrap();
    }
    let (one, other) = (read_all(log, 7).await, read_all(log, 1000).await);
    let mut payloads: Vec<_> = one.iter().filter_map(|record| record.payload.clone()).collect();
    payloads.sort();
    let mut expected: Vec<_> = (0..500).map(|number| click(number).payload).collect();
    expected.sort();
    assert_eq!(payloads, expected);
    let place = |record: &Record| (record.partition, record.offset);
    let (mut one_places, mut other_places): (Vec<_>, Vec<_>) =
        (one.iter().map(place).collect(), other.iter().map(place).collect());
    one_places.sort();
    other_places.sort();
    assert_eq!(one_places, other_places);
    for (at, record) in one.iter().enumerate() {
        let before = one[..at].iter().rfind(|before| before.partition == record.partition);
        let expected = before.map_or(Offset(0), |before| before.offset.next());
        assert_eq!(record.offset, expected, "offsets follow one another");
        assert!(before.is_none_or(|before| before.appended_at <= record.appended_at));
    }
}

async fn mark_appends_once(log: &dyn Subject) {
    let before = read_all(log, 1000).await.len();
    let records = || (1000..1003).map(click).collect::<Vec<_>>();
    let writer = log.writer();
    assert_eq!(writer.append_marked("import/x/0", records()).await.unwrap(), Marked::Appended);
    assert_eq!(writer.append_marked("import/x/0", records()).await.unwrap(), Marked::Already);
    assert_eq!(writer.append_marked("import/x/1", Vec::new()).await.unwrap(), Marked::Appended);
    assert_eq!(writer.append_marked("import/x/1", records()).await.unwrap(), Marked::Already);
    assert_eq!(read_all(log, 1000).await.len(), before + 3);
}

async fn seek_outside_the_log_is_an_error(log: &dyn Subject) {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let high = reader.bounds(partitions[0]).await.unwrap().high;
    reader.seek(partitions[0], high).await.unwrap();
    let error = reader.seek(partitions[0], high.next()).await.unwrap_err();
    assert!(matches!(error, LogError::AboveHigh { .. }), "{error}");
}

async fn tick_is_a_record_without_a_payload(log: &dyn Subject) {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let high = reader.bounds(partitions[0]).await.unwrap().high;
    reader.seek(partitions[0], high).await.unwrap();
    reader.tick(partitions[0]).await.unwrap();
    let records = read_until(reader.as_mut(), 10, |all| !all.is_empty()).await;
    assert_eq!((records[0].offset, &records[0].payload), (high, &None));
    assert_eq!(reader.read(partitions[0], high, high.next()).await.unwrap(), records);
}

async fn dropped_poll_loses_nothing(log: &dyn Subject) {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let mut there = 0;
    for partition in partitions {
        let bounds = reader.bounds(partition).await.unwrap();
        reader.seek(partition, bounds.low).await.unwrap();
        there += usize::try_from(bounds.high.0 - bounds.low.0).unwrap();
    }
    let (mut places, deadline) = (Vec::new(), Instant::now() + WITHIN);
    while places.len() < there {
        assert!(Instant::now() < deadline, "{} of {there} records", places.len());
        // Whichever is done first; the other is dropped.
        tokio::select! {
            biased;
            event = reader.poll(10, SOON) => {
                let Event::Records(records) = event.unwrap() else { panic!("no records") };
                places.extend(records.iter().map(|record| (record.partition, record.offset)));
            }
            () = tokio::task::yield_now() => {}
        }
    }
    places.sort();
    places.dedup();
    assert_eq!(places.len(), there);
}

async fn ends_are_the_bounds(log: &dyn Subject) {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let ends = reader.ends(&partitions).await.unwrap();
    assert_eq!(ends.len(), partitions.len());
    for (partition, end) in ends {
        assert_eq!(reader.bounds(partition).await.unwrap().high, end);
    }
}

async fn reject_is_kept_once_by_its_place(log: &dyn Subject) {
    let mut reader = log.reader();
    assigned(reader.as_mut()).await;
    let reject = |offset, detail: &str| Rejected {
        partition: PartitionId(0),
        offset: Offset(offset),
        received_at: Timestamp::from_millis(1_700_000_000_000).unwrap(),
        reason: "syntax",
        detail: detail.to_owned(),
    };
    reader.reject(&[reject(3, "one"), reject(1, "other")]).await.unwrap();
    reader.reject(&[reject(3, "one")]).await.unwrap();
    let kept = log.rejects().await;
    let told: Vec<_> =
        kept.iter().map(|kept| (kept["offset"].as_u64().unwrap(), kept["detail"].as_str().unwrap())).collect();
    assert_eq!(told, [(1, "other"), (3, "one")]);
}

async fn what_is_trimmed_is_an_error_to_ask_for_and_others_go_on(log: &dyn Subject) {
    let mut reader = log.reader();
    let partitions = assigned(reader.as_mut()).await;
    let (trimmed, other) = (partitions[0], partitions[1]);
    // One that is being read when it is trimmed, from a place that it lost.
    let low = Offset(reader.bounds(trimmed).await.unwrap().high.0 - 1);
    log.trim(trimmed, low).await;
    let error = reader.seek(trimmed, Offset(low.0 - 1)).await.unwrap_err();
    assert!(
        matches!(error, LogError::BelowLow { partition, low: l, .. } if (partition, l) == (trimmed, low)),
        "{error}"
    );
    assert_eq!(reader.read(trimmed, Offset(0), low).await.unwrap(), []);
    reader.seek(other, Offset(0)).await.unwrap();
    let there = usize::try_from(reader.bounds(other).await.unwrap().high.0).unwrap();
    let records = read_until(reader.as_mut(), 100, |all| all.len() >= there).await;
    assert!(records.iter().all(|record| record.partition == other));
}
