//! `linktide ingest` over a real Kafka.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use linktide::config::{Config, Span};
use linktide::services::ingest::FrontDoor;
use linktide::services::kafka::log_config;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::id::Offset;
use linktide_common::log::LogReader as _;
use linktide_common::log::kafka::{KafkaLog, TopicPlan};
use linktide_servers::Kafka;
use serde_json::Value;

use crate::harness::{PATIENCE, config};

fn front_door(kafka: &Kafka, folder: &Path) -> Config {
    let links = folder.join("links.csv");
    std::fs::write(&links, "slug,link_id,destination\nspring,7,https://a.example/\n").unwrap();
    let mut config = config();
    config.kafka.brokers = kafka.address();
    config.ingest.listen = "127.0.0.1:0".parse().unwrap();
    config.ingest.links = Some(links);
    config.ingest.leave = Span::seconds(0);
    config.ingest.drain = Span(PATIENCE);
    config
}

/// How many clicks of each link the topic holds.
async fn clicks(config: &Config) -> BTreeMap<u64, u32> {
    let log: Arc<KafkaLog> = KafkaLog::open(log_config(&config.kafka)).await.unwrap();
    let reader = log.reader("counts").unwrap();
    let mut found = BTreeMap::new();
    for partition in log.partitions().await.unwrap() {
        let end = reader.bounds(partition).await.unwrap().high;
        for record in reader.read(partition, Offset(0), end).await.unwrap() {
            *found.entry(Click::parse(&record.payload.unwrap()).unwrap().link_id.0).or_default() += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_answered_before_a_broker_is_and_their_clicks_arrive() {
    let (mut kafka, folder) = (Kafka::start(), tempfile::tempdir().unwrap());
    let config = front_door(&kafka, folder.path());
    let plan = TopicPlan { partitions: 10, replication: 1, retention: std::time::Duration::from_secs(86_400) };
    KafkaLog::provision(&log_config(&config.kafka), &plan).await.unwrap();
    kafka.stop();
    let error = FrontDoor::spawn(&config, Clock::system(), true).await.err().unwrap();
    assert!(error.to_string().contains("unavailable"), "{error:#}");

    let door = FrontDoor::spawn(&config, Clock::system(), false).await.unwrap();
    let url = format!("http://{}", door.address);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let get = async |path: &str| client.get(format!("{url}{path}")).send().await.unwrap().status().as_u16();
    assert_eq!((get("/readyz").await, get("/healthz").await, get("/r/spring").await), (200, 200, 302));
    let post = async |body: &'static str| client.post(format!("{url}/v1/clicks")).body(body).send().await.unwrap();
    let answer = post(r#"{"link_id":8}"#).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));

    kafka.run();
    let deadline = Instant::now() + PATIENCE;
    while post(r#"{"link_id":9,"click_id":"019abb1e-0c55-7d0e-8a52-6a2b6b3b1f4e"}"#).await.status() != 202 {
        assert!(Instant::now() < deadline, "the log never opens");
    }
    let foreign: Value = post(r#"{"link_id":9,"tenant_id":5}"#).await.json().await.unwrap();
    assert_eq!(foreign["records"][0]["reason"], "foreign_tenant");
    assert_eq!(get("/r/spring").await, 302);
    assert!(
        client
            .get(format!("{url}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("linktide_emitter_buffered_bytes")
    );
    let emitter = Arc::clone(&door.emitter);
    door.stop().await.unwrap();
    assert_eq!((emitter.tally().emitted, emitter.tally().dropped()), (2, 0));
    assert_eq!(clicks(&config).await, BTreeMap::from([(7, 2), (9, 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topic_ends_the_process_with_the_way_out() {
    let (kafka, folder) = (Kafka::start(), tempfile::tempdir().unwrap());
    let door = FrontDoor::spawn(&front_door(&kafka, folder.path()), Clock::system(), false).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, door.run(std::future::pending())).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("linktide provision kafka"));
}
