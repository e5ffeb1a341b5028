use super::*;
use crate::bucket::{Day, Timestamp};
use crate::log::conformance::{self, Subject, click};
use crate::log::{Event, LogReader};

struct Under(Arc<EmbeddedLog>);

#[async_trait]
impl Subject for Under {
    fn writer(&self) -> Arc<dyn LogWriter> {
        Arc::clone(&self.0) as Arc<dyn LogWriter>
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(self.0.reader())
    }

    async fn trim(&self, partition: PartitionId, below: Offset) {
        self.0.trim(partition, below).await.unwrap();
    }

    async fn rejects(&self) -> Vec<serde_json::Value> {
        self.0.store.rejected().iter().map(|json| serde_json::from_slice(json).unwrap()).collect()
    }
}

fn clock() -> Clock {
    Clock::manual(Day(20_000).start())
}

fn open(path: &Path, config: &EmbeddedConfig) -> Result<Arc<EmbeddedLog>, LogError> {
    EmbeddedLog::open(path, config, clock())
}

fn refused(path: &Path, config: &EmbeddedConfig) -> String {
    match open(path, config) {
        Err(LogError::Unusable(text)) => text,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[tokio::test]
async fn it_does_what_every_log_must() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), &EmbeddedConfig::default()).unwrap();
    conformance::check(&Under(log)).await;
}

#[tokio::test]
async fn records_marks_and_offsets_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { partitions: 1, ..EmbeddedConfig::default() };
    for round in 0..3 {
        let log = open(folder.path(), &config).unwrap();
        let marked = log.append_marked("m", vec![click(1)]).await.unwrap();
        assert_eq!(marked, if round == 0 { Marked::Appended } else { Marked::Already });
        log.append(vec![click(2), click(3)]).await.unwrap();
        let bounds = log.reader().bounds(PartitionId(0)).await.unwrap();
        assert_eq!((bounds.low, bounds.high), (Offset(0), Offset(3 + 2 * round)));
        log.close();
        assert!(matches!(log.append(vec![click(4)]).await, Err(LogError::Unavailable(_))));
    }
}

#[tokio::test]
async fn append_time_never_runs_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { partitions: 1, ..EmbeddedConfig::default() };
    let clock = clock();
    let log = EmbeddedLog::open(folder.path(), &config, clock.clone()).unwrap();
    let later = clock.now().plus_millis(5000);
    for now in [clock.now(), later, Timestamp::from_millis(0).unwrap()] {
        clock.set(now);
        log.append(vec![click(1)]).await.unwrap();
    }
    let records = log.reader().read(PartitionId(0), Offset(0), Offset(3)).await.unwrap();
    assert_eq!(records[2].appended_at, later);
}

#[tokio::test]
async fn folder_of_another_process_or_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig::default();
    let log = open(folder.path(), &config).unwrap();
    log.append((0..40).map(click).collect()).await.unwrap();
    let text = refused(folder.path(), &config);
    assert!(text.contains(&std::process::id().to_string()) && text.contains(folder.path().to_str().unwrap()), "{text}");
    drop(log);
    let text = refused(folder.path(), &EmbeddedConfig { partitions: 2, ..config.clone() });
    assert!(text.contains("log.partitions is 2"), "{text}");
    assert_eq!(open(folder.path(), &EmbeddedConfig { partitions: 6, ..config.clone() }).unwrap().partitions().len(), 6);
    std::fs::write(folder.path().join("FORMAT"), "99\n").unwrap();
    let text = refused(folder.path(), &config);
    assert!(text.contains("format 99"), "{text}");
}

#[tokio::test]
async fn full_disk_refuses_appends_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), &EmbeddedConfig::default()).unwrap();
    log.append(vec![click(1)]).await.unwrap();
    drop(log);
    let log = open(folder.path(), &EmbeddedConfig { reserve: u64::MAX, ..EmbeddedConfig::default() }).unwrap();
    let error = log.append(vec![click(2)]).await.unwrap_err();
    assert!(matches!(&error, LogError::Full(text) if text.contains("reserve")), "{error}");
    let mut reader = log.reader();
    let Event::Assigned(partitions) = reader.poll(1, std::time::Duration::ZERO).await.unwrap() else { panic!() };
    let mut found = 0;
    for partition in partitions {
        found += reader.read(partition, Offset(0), Offset(9)).await.unwrap().len();
    }
    assert_eq!(found, 1);
}

#[tokio::test]
async fn what_is_trimmed_is_an_error_to_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { partitions: 1, ..EmbeddedConfig::default() };
    let log = open(folder.path(), &config).unwrap();
    log.append((0..10).map(click).collect()).await.unwrap();
    log.trim(PartitionId(0), Offset(4)).await.unwrap();
    let mut reader = log.reader();
    let error = reader.seek(PartitionId(0), Offset(3)).await.unwrap_err();
    assert!(matches!(error, LogError::BelowLow { low: Offset(4), .. }), "{error}");
    log.trim(PartitionId(0), Offset(99)).await.unwrap();
    drop((log, reader));
    let bounds = open(folder.path(), &config).unwrap().reader().bounds(PartitionId(0)).await.unwrap();
    assert_eq!((bounds.low, bounds.high), (Offset(9), Offset(10)));
}

#[tokio::test]
async fn partition_that_is_trimmed_under_its_reader_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), &EmbeddedConfig { partitions: 2, ..EmbeddedConfig::default() }).unwrap();
    log.append((0..40).map(click).collect()).await.unwrap();
    let mut reader = log.reader();
    let partitions = conformance::assigned(&mut reader).await;
    for partition in &partitions {
        reader.seek(*partition, Offset(0)).await.unwrap();
    }
    log.trim(partitions[0], Offset(5)).await.unwrap();
    let error = reader.poll(100, std::time::Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, LogError::BelowLow { partition, .. } if partition == partitions[0]), "{error}");
    let Event::Records(records) = reader.poll(100, std::time::Duration::ZERO).await.unwrap() else { panic!() };
    assert!(!records.is_empty() && records.iter().all(|record| record.partition == partitions[1]));
}
