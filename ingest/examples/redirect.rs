//! A redirect service of your own with Linktide's emitter in it, over Kafka:
//! `cargo run -p linktide-ingest --no-default-features --example redirect -- 127.0.0.1:9092`

use std::time::Duration;

use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::id::Epoch;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog};
use linktide_ingest::{Emitter, EmitterConfig};

#[tokio::main]
async fn main() {
    let brokers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let topic = "click-events".to_owned();
    let config = KafkaConfig { brokers, topic, least_partitions: 10, epoch: Epoch(0), settings: [].into() };
    let log = KafkaLog::open(config).await.expect("a broker answers; `linktide provision kafka` makes the topic");
    let emitter = Emitter::new(log, Clock::system(), EmitterConfig::default());
    // For each redirect: answer 302, and emit what was asked for. It never waits.
    let click = Click::parse(br#"{"link_id":"42","user_agent":"Mozilla/5.0","referrer":"https://example.com/"}"#);
    emitter.emit(click.expect("the click is well formed"));
    emitter.shutdown(Duration::from_secs(5)).await;
}
