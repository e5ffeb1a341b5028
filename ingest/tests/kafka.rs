//! The emitter over a real Kafka that goes away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::id::{ClickId, Epoch, Offset};
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, TopicPlan};
use linktide_common::log::{LogError, LogReader as _, LogWriter};
use linktide_ingest::{Emitter, EmitterConfig, Tally};
use linktide_servers::Kafka;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: u32 = 10;

async fn log(kafka: &Kafka, settings: &[(&str, &str)]) -> Arc<KafkaLog> {
    let config = KafkaConfig {
        brokers: kafka.address(),
        topic: "click-events".to_owned(),
        least_partitions: PARTITIONS,
        epoch: Epoch(0),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let plan = TopicPlan { partitions: PARTITIONS, replication: 1, retention: Duration::from_secs(86_400) };
    KafkaLog::provision(&config, &plan).await.unwrap();
    KafkaLog::open(config).await.unwrap()
}

/// How often each click stands in the topic, as soon as the broker says so: one that has just begun may not yet.
async fn clicks(log: &Arc<KafkaLog>) -> HashMap<ClickId, u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read(log).await {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "never: the topic is read; {error}"),
        }
    }
}

async fn read(log: &Arc<KafkaLog>) -> Result<HashMap<ClickId, u32>, LogError> {
    let reader = log.reader("counts")?;
    let mut found = HashMap::new();
    for partition in log.partitions().await? {
        let end = reader.bounds(partition).await?.high;
        for record in reader.read(partition, Offset(0), end).await? {
            let click = Click::parse(record.payload.as_ref().unwrap()).unwrap();
            *found.entry(click.click_id.unwrap()).or_default() += 1;
        }
    }
    Ok(found)
}

fn click(link: u64) -> Click {
    Click::parse(format!(r#"{{"link_id":{link},"user_agent":"Firefox"}}"#).as_bytes()).unwrap()
}

async fn until(what: &str, emitter: &Emitter, mut holds: impl FnMut(Tally) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !holds(emitter.tally()) {
        assert!(Instant::now() < deadline, "never: {what}; {:?}", emitter.tally());
        look.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_shorter_than_the_buffer_loses_no_click_and_doubles_none() {
    let mut kafka = Kafka::start();
    let log = log(&kafka, &[]).await;
    let config = EmitterConfig { batch_clicks: 500, ..EmitterConfig::default() };
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, Clock::system(), config);
    let mut offered = 0;
    let mut emit = |count: u64| {
        for _ in 0..count {
            offered += 1;
            assert!(emitter.emit(click(offered)), "the buffer has room");
        }
    };
    emit(20_000);
    until("the first clicks are in the log", &emitter, |tally| tally.emitted > 0).await;
    emit(5_000);
    // It ends while batches are on their way, as a crash does.
    kafka.stop();
    emit(50_000);
    kafka.run();
    emit(5_000);
    emitter.shutdown(PATIENCE).await;
    assert_eq!(emitter.tally(), Tally { emitted: 80_000, ..Tally::default() });
    let found = clicks(&log).await;
    assert_eq!(found.len(), 80_000);
    assert!(found.values().all(|times| *times == 1), "the outage was shorter than a delivery's patience");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_click_is_emitted_or_dropped_once_when_the_broker_is_gone_for_good() {
    let mut kafka = Kafka::start();
    let log = log(&kafka, &[("message.timeout.ms", "2000")]).await;
    let clock = Clock::manual(linktide_common::bucket::Day(20_000).start());
    let config = EmitterConfig {
        buffer_clicks: 10_000,
        batch_clicks: 500,
        expiry: Duration::from_secs(60),
        ..EmitterConfig::default()
    };
    let emitter = Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock.clone(), config);
    let emit = |count: u64| (0..count).filter(|link| emitter.emit(click(*link))).count() as u64;
    assert_eq!(emit(5_000), 5_000);
    until("the first clicks are in the log", &emitter, |tally| tally.emitted > 0).await;
    kafka.stop();
    let held = emit(20_000);
    until("what can be in the log is", &emitter, |tally| tally.queue_full == 20_000 - held).await;
    clock.set(clock.now().plus_millis(61_000));
    until("what waited has expired", &emitter, |tally| tally.held == 0).await;
    let before = emitter.tally();
    assert_eq!(before.emitted + before.dropped(), 25_000);
    assert_eq!(emit(3_000), 3_000, "there is room again");
    emitter.shutdown(Duration::from_millis(100)).await;
    let tally = emitter.tally();
    assert_eq!((tally.shutdown, tally.held), (3_000, 0));
    assert_eq!(tally.emitted + tally.dropped(), 28_000);
    kafka.run();
    let found = clicks(&log).await.len() as u64;
    assert!((tally.emitted..=28_000).contains(&found), "what counts as emitted is in the log: {found}, {tally:?}");
}
