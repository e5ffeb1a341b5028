//! What the emitter does by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::log::{Append, LogError, LogWriter, Marked};
use linktide_ingest::{Emitter, EmitterConfig};
use linktide_servers::Kafka;

use crate::{print, servers};

const RATE: usize = 100_000;
const SECONDS: usize = 10;

/// A log that acknowledges after 50 ms.
struct Slow;

#[async_trait]
impl LogWriter for Slow {
    async fn append(&self, _records: Vec<Append>) -> Result<(), LogError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    async fn append_marked(&self, _mark: &str, _records: Vec<Append>) -> Result<Marked, LogError> {
        Err(LogError::Unavailable("it keeps no marks".to_owned()))
    }
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for batches in [1, EmitterConfig::default().batches] {
            offer(&format!("50 ms, {batches} batches at once"), Arc::new(Slow), batches).await;
        }
        let mut kafka = Kafka::start();
        let log = servers::log(kafka.address()).await;
        offer("Kafka", Arc::clone(&log) as Arc<dyn LogWriter>, EmitterConfig::default().batches).await;
        let emitter = Emitter::new(log, Clock::system(), EmitterConfig::default());
        cost("Kafka up", &emitter);
        kafka.stop();
        cost("Kafka gone, the buffer filling", &emitter);
        while emitter.emit(click()) {}
        cost("Kafka gone, the buffer full", &emitter);
        emitter.shutdown(Duration::ZERO).await;
    });
    runtime.shutdown_background();
}

fn click() -> Click {
    let json = br#"{"link_id":7,"ip":"203.0.113.9","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0","referrer":"https://news.example/a/b","language":"en-GB,en;q=0.7","destination":"https://shop.example/?utm_source=x","slug":"spring"}"#;
    Click::parse(json).expect("it is a click")
}

/// Offers clicks at a fixed rate, and tells what became of them.
async fn offer(name: &str, log: Arc<dyn LogWriter>, batches: usize) {
    let emitter = Emitter::new(log, Clock::system(), EmitterConfig { batches, ..EmitterConfig::default() });
    let began = Instant::now();
    let mut most = 0;
    let one = click();
    for tick in 0..SECONDS * 200 {
        (0..RATE / 200).for_each(|_| {
            emitter.emit(one.clone());
        });
        most = most.max(emitter.tally().held);
        let due = Duration::from_millis(5 * (tick as u64 + 1));
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    let (took, at_end) = (began.elapsed().as_secs_f64(), emitter.tally());
    emitter.shutdown(Duration::from_secs(30)).await;
    let tally = emitter.tally();
    print(&format!(
        "{name:<32} offered {:.0}/s for {took:.1} s: emitted {}, dropped {}, held at most {most}, at the end {}",
        (RATE * SECONDS) as f64 / took,
        tally.emitted,
        tally.dropped(),
        at_end.held
    ));
}

/// What `emit` costs who calls it.
fn cost(name: &str, emitter: &Emitter) {
    let clicks: Vec<Click> = (0..20_000).map(|_| click()).collect();
    let mut times: Vec<f64> = clicks
        .into_iter()
        .map(|click| {
            let began = Instant::now();
            emitter.emit(click);
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[times.len() * share / 1000];
    print(&format!("emit, {name:<32} p50 {:.2} µs, p99 {:.2} µs, p99.9 {:.2} µs", at(500), at(990), at(999)));
}
