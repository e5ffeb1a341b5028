//! Killed without warning, again and again: what was acknowledged is counted once.

use std::time::{Duration, Instant};

use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Linktide, Process};

/// Sends the clicks that are open, after making some if there are none; tells whether they were acknowledged.
async fn send(client: &reqwest::Client, url: &str, random: &mut StdRng, open: &mut Vec<String>) -> bool {
    while open.len() < 20 {
        let (link, id) = (random.random_range(1..9u64), uuid::Uuid::from_u128(random.random()));
        open.push(format!(r#"{{"link_id":{link},"click_id":"{id}","ip":"203.0.113.7"}}"#));
    }
    let answer = client.post(format!("{url}/v1/clicks")).body(open.join("\n")).send().await;
    answer.is_ok_and(|answer| answer.status() == 202)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_counted_twice() {
    let mut random = StdRng::seed_from_u64(11);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut open, mut acknowledged) = (Vec::new(), 0);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    for _ in 0..5 {
        let process = Process::start(&data);
        let (url, deadline) =
            (process.url.clone(), Instant::now() + Duration::from_millis(random.random_range(50..900)));
        let kill = async {
            tokio::time::sleep_until(deadline.into()).await;
            process.kill();
        };
        let sending = async {
            while send(&client, &url, &mut random, &mut open).await {
                acknowledged += open.len() as u64;
                open.clear();
            }
        };
        tokio::join!(sending, kill);
    }
    // What was not acknowledged may be in the log all the same: sent again, it counts once.
    let process = Process::start(&data);
    assert!(send(&client, &process.url, &mut random, &mut open).await);
    acknowledged += open.len() as u64;
    assert!(acknowledged > 100, "{acknowledged}");
    process.kill();

    // Both layers, each alone: at first nothing is rolled up, then everything.
    let clock = Clock::system();
    let next = Hour(Hour::of(clock.now()).0 + 2);
    let linktide = Linktide::start(&data, clock.clone()).await;
    linktide.until_counted(acknowledged).await;
    clock.set(next.start());
    linktide.roll_up(next).await;
    linktide.until_counted(acknowledged).await;
    linktide.services.stop().await.unwrap();
}
