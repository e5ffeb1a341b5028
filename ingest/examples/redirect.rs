//! A redirect service of your own with Linktide's emitter in it: `cargo run --example redirect`.

use std::time::Duration;

use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_ingest::{Emitter, EmitterConfig};

#[tokio::main]
async fn main() {
    let folder = std::env::temp_dir().join("linktide-example");
    let log = EmbeddedLog::open(&folder, &EmbeddedConfig::default(), Clock::system()).expect("the folder is free");
    let emitter = Emitter::new(log, Clock::system(), EmitterConfig::default());
    // For each redirect: answer 302, and emit what was asked for. It never waits.
    let click = Click::parse(br#"{"link_id":"42","user_agent":"Mozilla/5.0","referrer":"https://example.com/"}"#);
    emitter.emit(click.expect("the click is well formed"));
    emitter.shutdown(Duration::from_secs(5)).await;
}
