//! What every log must do: one suite for all adapters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{Append, Event, LogError, LogReader, LogWriter, Marked, Record};
use crate::id::{ClickId, Offset, PartitionId};

const SOON: Duration = Duration::from_millis(50);

/// A log under test: its writer, and readers that begin at the start.
pub(crate) struct Subject<F> {
    pub(crate) writer: Arc<dyn LogWriter>,
    pub(crate) reader: F,
}

pub(crate) fn click(number: u128) -> Append {
    Append { key: ClickId(Uuid::from_u128(number)), payload: Bytes::from(format!("{{\"link_id\":{number}}}")) }
}

/// Runs all of it.
pub(crate) async fn check<F: Fn() -> Box<dyn LogReader>>(log: Subject<F>) {
    appended_records_are_read_in_order_by_every_reader(&log).await;
    mark_appends_once(&log).await;
    seek_outside_the_log_is_an_error(&log).await;
    tick_is_a_record_without_a_payload(&log).await;
}

async fn assigned<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>) -> (Box<dyn LogReader>, Vec<PartitionId>) {
    let mut reader = (log.reader)();
    let Event::Assigned(partitions) = reader.poll(1, SOON).await.unwrap() else { panic!("nothing was assigned") };
    (reader, partitions)
}

async fn read_all<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>, at_once: usize) -> Vec<Record> {
    let (mut reader, partitions) = assigned(log).await;
    for partition in partitions {
        reader.seek(partition, Offset(0)).await.unwrap();
    }
    let mut all = Vec::new();
    loop {
        match reader.poll(at_once, SOON).await.unwrap() {
            Event::Records(records) if records.is_empty() => return all,
            Event::Records(records) => all.extend(records),
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn appended_records_are_read_in_order_by_every_reader<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>) {
    for part in 0..5 {
        log.writer.append((part * 100..(part + 1) * 100).map(click).collect()).await.unwrap();
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

async fn mark_appends_once<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>) {
    let before = read_all(log, 1000).await.len();
    let records = || (1000..1003).map(click).collect::<Vec<_>>();
    assert_eq!(log.writer.append_marked("import/x/0", records()).await.unwrap(), Marked::Appended);
    assert_eq!(log.writer.append_marked("import/x/0", records()).await.unwrap(), Marked::Already);
    assert_eq!(log.writer.append_marked("import/x/1", Vec::new()).await.unwrap(), Marked::Appended);
    assert_eq!(log.writer.append_marked("import/x/1", records()).await.unwrap(), Marked::Already);
    assert_eq!(read_all(log, 1000).await.len(), before + 3);
}

async fn seek_outside_the_log_is_an_error<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>) {
    let (mut reader, partitions) = assigned(log).await;
    let high = reader.bounds(partitions[0]).await.unwrap().high;
    reader.seek(partitions[0], high).await.unwrap();
    let error = reader.seek(partitions[0], high.next()).await.unwrap_err();
    assert!(matches!(error, LogError::AboveHigh { .. }), "{error}");
}

async fn tick_is_a_record_without_a_payload<F: Fn() -> Box<dyn LogReader>>(log: &Subject<F>) {
    let (mut reader, partitions) = assigned(log).await;
    let high = reader.bounds(partitions[0]).await.unwrap().high;
    reader.seek(partitions[0], high).await.unwrap();
    reader.tick(partitions[0]).await.unwrap();
    let Event::Records(records) = reader.poll(10, Duration::from_secs(10)).await.unwrap() else { panic!("no tick") };
    assert_eq!((records[0].offset, &records[0].payload), (high, &None));
    assert_eq!(reader.read(partitions[0], high, high.next()).await.unwrap(), records);
}
