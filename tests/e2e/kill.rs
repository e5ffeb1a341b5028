//! Killed without warning, again and again: what was acknowledged is counted once.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Linktide, PATIENCE, program};

/// The program over a folder, and where it listens.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = program()
            .args([
                "standalone",
                "--listen",
                "127.0.0.1:0",
                "--set",
                "archive.commit_age=100ms",
                "--set",
                "log.reserve=0B",
            ])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("it says where it listens");
        Self { child, url: url.trim_end_matches(',').to_owned() }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends clicks until `deadline`; those that were not acknowledged stay in `open`, to be sent again.
async fn send(url: &str, random: &mut StdRng, open: &mut Vec<String>, acknowledged: &mut u64, deadline: Instant) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    while Instant::now() < deadline {
        while open.len() < 20 {
            open.push(format!(
                r#"{{"link_id":{},"click_id":"{}","ip":"203.0.113.7"}}"#,
                random.random_range(1..9u64),
                uuid::Uuid::from_u128(random.random())
            ));
        }
        match client.post(format!("{url}/v1/clicks")).body(open.join("\n")).send().await {
            Ok(answer) if answer.status() == 202 => {
                *acknowledged += open.len() as u64;
                open.clear();
            }
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_counted_twice() {
    let mut random = StdRng::seed_from_u64(11);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut open, mut acknowledged) = (Vec::new(), 0);
    for _ in 0..5 {
        let process = Process::start(&data);
        let deadline = Instant::now() + Duration::from_millis(random.random_range(50..900));
        let url = process.url.clone();
        let kill = async {
            tokio::time::sleep_until(deadline.into()).await;
            process.kill();
        };
        tokio::join!(send(&url, &mut random, &mut open, &mut acknowledged, Instant::now() + PATIENCE), kill);
    }
    let process = Process::start(&data);
    let before = acknowledged + open.len() as u64;
    while !open.is_empty() {
        send(&process.url, &mut random, &mut open, &mut acknowledged, Instant::now() + Duration::from_millis(1)).await;
    }
    assert!(acknowledged >= before && acknowledged > 100, "{acknowledged}");
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
