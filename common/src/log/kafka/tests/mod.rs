//! The Kafka log against a real broker: one for all tests, a topic for each.

mod contract;
mod faults;
mod groups;
mod ledger;
mod topics;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use linktide_servers::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset as Place, TopicPartitionList};

use super::*;
use crate::id::Offset;
use crate::log::conformance::{assigned, click, read_until};
use crate::log::{Event, LogReader as _, Record};

const SOON: Duration = Duration::from_millis(50);
const WITHIN: Duration = Duration::from_secs(60);

fn config_at(brokers: &str, topic: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        least_partitions: 4,
        epoch: Epoch(7),
        settings: BTreeMap::new(),
    }
}

fn config(topic: &str) -> KafkaConfig {
    config_at(&Kafka::shared().address(), topic)
}

fn plan() -> TopicPlan {
    TopicPlan { partitions: 4, replication: 1, retention: Duration::from_secs(86_400) }
}

/// A log of its own with four partitions.
async fn fresh(config: KafkaConfig) -> Arc<KafkaLog> {
    let made = KafkaLog::provision(&config, &plan()).await.unwrap();
    assert!(made.iter().all(|made| made.state == TopicState::Created), "{made:?}");
    KafkaLog::open(config).await.unwrap()
}

fn why<T>(outcome: Result<T, LogError>) -> String {
    match outcome {
        Err(LogError::Unusable(text)) => text,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it was taken"),
    }
}

fn admin(config: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN))
}

/// Makes a topic that is none of ours.
async fn make(config: &KafkaConfig, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(&config.topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    for made in admin(config).create_topics([&topic], &options()).await.unwrap() {
        made.unwrap();
    }
}

/// Deletes what lies below an offset, as retention does.
async fn trim(config: &KafkaConfig, partition: PartitionId, below: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&config.topic, client::number_of(partition), client::place_of(below)).unwrap();
    let trimmed = admin(config).delete_records(&list, &options()).await.unwrap();
    for about in trimmed.elements() {
        about.error().unwrap();
    }
}

/// A message as any client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    key: Option<String>,
    value: Option<Vec<u8>>,
    headers: Vec<String>,
}

/// All of a topic, by a client that is none of ours.
fn dump(config: &KafkaConfig, topic: &str) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", "dump")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let about = consumer.fetch_metadata(Some(topic), WITHIN).unwrap();
    let mut list = TopicPartitionList::new();
    let mut there = 0;
    for partition in about.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), WITHIN).unwrap();
        there += usize::try_from(high - low).unwrap();
        list.add_partition_offset(topic, partition.id(), Place::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut seen, deadline) = (Vec::new(), Instant::now() + WITHIN);
    while seen.len() < there {
        assert!(Instant::now() < deadline, "{} of {there} messages", seen.len());
        let Some(message) = consumer.poll(SOON) else { continue };
        let message = message.unwrap();
        let headers = message.headers().map(|all| all.iter().map(|header| header.key.to_owned()).collect());
        seen.push(Seen {
            key: message.key().map(|key| String::from_utf8(key.to_vec()).unwrap()),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        });
    }
    seen
}

fn places(records: &[Record]) -> Vec<(PartitionId, Offset)> {
    let mut places: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
    places.sort();
    places
}

/// Adds partitions to a topic.
async fn widen(config: &KafkaConfig, partitions: usize) {
    for widened in
        admin(config).create_partitions([&NewPartitions::new(&config.topic, partitions)], &options()).await.unwrap()
    {
        widened.unwrap();
    }
}
