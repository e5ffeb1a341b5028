//! What cannot be used is named, with the way out; what cannot be read costs nothing else.

use std::collections::BTreeMap;
use std::process::Stdio;

use fred::prelude::*;
use linktide_servers::Redis;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::stage::{Stage, Worker, connect, shared_broker};

/// What `linktide speed` says before it ends.
fn refusal(stage: &Stage, redis: &str, more: &[&str]) -> String {
    let mut program = stage.program("speed", redis);
    program.arg("--fail-fast").args(more);
    let (content, told) = Stage::output(program);
    assert!(!content, "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_unfit_or_away_are_named_with_the_way_out() {
    let stage = Stage::new(&shared_broker(), "unfit", 8).await;
    let evicting = Redis::with(&["--maxmemory-policy", "allkeys-lru"]);
    let told = refusal(&stage, &evicting.url(), &[]);
    assert!(told.contains("allkeys-lru") && told.contains("set noeviction"), "{told}");

    let locked = Redis::start();
    assert_eq!(locked.cli(&["config", "set", "requirepass", "right"]).trim(), "OK");
    let told = refusal(&stage, &locked.url(), &["--set", "redis.password=wrong"]);
    assert!(told.contains("redis.password") && !told.contains("wrong-"), "{told}");

    let told = refusal(&stage, "redis://127.0.0.1:1", &[]);
    assert!(told.contains("redis://127.0.0.1:1"), "{told}");
    let told = refusal(&stage, "rediss:/x", &[]);
    assert!(told.contains("write redis://host:port/db"), "{told}");

    let redis = Redis::start();
    let told = refusal(&stage, &redis.url().replace("redis://", "rediss://"), &[]);
    assert!(told.contains("linktide: the speed view") && told.contains("rediss://"), "{told}");
    let told = refusal(&stage, &redis.url(), &["--set", "kafka.partitions=64"]);
    assert!(told.contains("partitions is 10") && told.contains("64"), "{told}");
    let told = refusal(&stage, &redis.url(), &["--set", "kafka.topic=nowhere"]);
    assert!(told.contains("nowhere") && told.contains("linktide provision kafka"), "{told}");
    let told = refusal(&stage, &redis.url(), &["--set", "kafka.brokers=127.0.0.1:1"]);
    assert!(told.contains("127.0.0.1:1") && told.contains("kafka.brokers"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn record_that_is_no_click_is_kept_with_its_reason_and_place() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "poison", 9).await;
    stage.send(2_000).await;
    let mut archive = stage.program("archive", &redis.url());
    archive.args(["--set", "archive.commit_age=1s"]).stdout(Stdio::null());
    let _archive = Worker::of(&mut archive);
    let poisoned = stage.poisoned();
    assert!(poisoned > 50);
    let mut kept = BTreeMap::new();
    Stage::until("every reject is kept", async || {
        kept = rejects(stage.brokers(), "poison-rejected");
        kept.len() == poisoned
    })
    .await;
    for (key, value) in &kept {
        let place = format!("0/{}/{}", value["partition"], value["offset"]);
        assert_eq!((key, value["reason"].as_str()), (&place, Some("syntax")), "{value}");
        assert!(!value["detail"].as_str().unwrap().is_empty());
    }
    // The clicks among them are counted all the same.
    let _worker = stage.worker(&redis.url(), "");
    let client = connect(&redis.url()).await;
    stage.assert_counted(&client, &[redis.url()], "poison").await;
}

/// The rejects there are now, by key.
fn rejects(brokers: &str, topic: &str) -> BTreeMap<String, Value> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "rejects").create().unwrap();
    let patience = std::time::Duration::from_secs(10);
    let (_, end) = consumer.fetch_watermarks(topic, 0, patience).unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let mut found = BTreeMap::new();
    let mut next = 0;
    while next < end {
        let message = consumer.poll(patience).unwrap().unwrap();
        next = message.offset() + 1;
        let key = String::from_utf8_lossy(message.key().unwrap()).into_owned();
        assert!(found.insert(key, serde_json::from_slice(message.payload().unwrap()).unwrap()).is_none(), "kept twice");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_deleted_below_the_position_are_a_gap_in_the_view() {
    let redis = Redis::start();
    let mut stage = Stage::new(&shared_broker(), "deleted", 10).await;
    let worker = stage.worker(&redis.url(), "");
    stage.send(1_000).await;
    let client = connect(&redis.url()).await;
    stage.until_counted(&client).await;
    worker.end();
    let positions: BTreeMap<String, String> = client.hgetall("{s0}:positions").await.unwrap();
    let stood: u64 = positions["0/3"].split(':').next().unwrap().parse().unwrap();
    stage.send(1_000).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", stage.brokers()).create().unwrap();
    let mut below = TopicPartitionList::new();
    let kept = stood + 20;
    below.add_partition_offset("deleted", 3, Offset::Offset(kept.try_into().unwrap())).unwrap();
    admin.delete_records(&below, &AdminOptions::new()).await.unwrap();
    let _worker = stage.worker(&redis.url(), "");
    for shard in [0, 100, 255] {
        Stage::until("the gap is told", async || {
            let gap: Option<String> =
                client.hget(format!("{{s{shard}}}:positions"), format!("gap/0/3/{stood}")).await.unwrap();
            gap == Some(kept.to_string())
        })
        .await;
    }
}
