//! What every log must do, and how Kafka carries what only we know: ticks and rejects.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::bucket::Timestamp;
use crate::log::conformance::{self, Subject};
use crate::log::{LogReader, Rejected, partition_of};

struct Under {
    log: Arc<KafkaLog>,
    readers: AtomicUsize,
}

#[async_trait]
impl Subject for Under {
    fn writer(&self) -> Arc<dyn LogWriter> {
        Arc::clone(&self.log) as Arc<dyn LogWriter>
    }

    fn reader(&self) -> Box<dyn LogReader> {
        let group = format!("{}-{}", self.log.config.topic, self.readers.fetch_add(1, Ordering::Relaxed));
        Box::new(self.log.reader(&group).unwrap())
    }

    async fn trim(&self, partition: PartitionId, below: Offset) {
        super::trim(&self.log.config, partition, below).await;
    }

    async fn rejects(&self) -> Vec<serde_json::Value> {
        // What compaction leaves in the end: the last of each key.
        let config = &self.log.config;
        let last: BTreeMap<_, _> =
            dump(config, &config.rejected_topic()).into_iter().map(|seen| (seen.key, seen.value)).collect();
        last.into_values().map(|json| serde_json::from_slice(&json.unwrap()).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_log_must() {
    let log = fresh(config("contract")).await;
    conformance::check(&Under { log, readers: AtomicUsize::new(0) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn click_is_carried_under_its_id_where_every_java_client_would_put_it() {
    let log = fresh(config("keys")).await;
    log.append((0..100).map(click).collect()).await.unwrap();
    let mut reader = log.reader("keys").unwrap();
    let partitions = assigned(&mut reader).await;
    for partition in &partitions {
        reader.seek(*partition, Offset(0)).await.unwrap();
    }
    for record in read_until(&mut reader, 100, |all| all.len() >= 100).await {
        let payload = record.payload.unwrap();
        let number = (0..100).find(|number| click(*number).payload == payload).unwrap();
        assert_eq!(record.partition, partition_of(click(number).key, 4));
    }
    let keys: Vec<_> = dump(&log.config, "keys").into_iter().filter_map(|seen| seen.key).collect();
    assert!(keys.contains(&"00000000-0000-0000-0000-000000000001".to_owned()), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tick_is_a_header_without_key_and_value_and_a_foreign_empty_record_is_none() {
    let log = fresh(config("ticks")).await;
    let mut reader = log.reader("ticks").unwrap();
    let partition = assigned(&mut reader).await[0];
    reader.seek(partition, Offset(0)).await.unwrap();
    reader.tick(partition).await.unwrap();
    assert_eq!(
        dump(&log.config, "ticks"),
        [Seen { key: None, value: None, headers: vec!["linktide-tick".to_owned()] }]
    );
    let foreign: rdkafka::producer::BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &log.config.brokers).create().unwrap();
    let record: rdkafka::producer::BaseRecord<'_, str, str> =
        rdkafka::producer::BaseRecord::to("ticks").partition(client::number_of(partition)).key("k");
    foreign.send(record).map_err(|(error, _)| error).unwrap();
    rdkafka::producer::Producer::flush(&foreign, WITHIN).unwrap();
    let records = read_until(&mut reader, 10, |all| all.len() >= 2).await;
    let payloads: Vec<_> = records.iter().map(|record| record.payload.as_ref().map(|bytes| bytes.len())).collect();
    assert_eq!(payloads, [None, Some(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_is_keyed_by_epoch_partition_and_offset() {
    let log = fresh(config("rejects")).await;
    let reader = log.reader("rejects").unwrap();
    let reject = Rejected {
        partition: PartitionId(3),
        offset: Offset(12),
        received_at: Timestamp::from_millis(1_700_000_000_000).unwrap(),
        reason: "syntax",
        detail: "not the JSON object of a click".to_owned(),
    };
    reader.reject(&[reject]).await.unwrap();
    let [seen] = dump(&log.config, "rejects-rejected").try_into().unwrap();
    assert_eq!(seen.key.as_deref(), Some("7/3/12"));
    let value: serde_json::Value = serde_json::from_slice(&seen.value.unwrap()).unwrap();
    assert_eq!((&value["reason"], &value["offset"]), (&"syntax".into(), &12.into()));
}
