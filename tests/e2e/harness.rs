//! A Linktide in this process whose clock the test moves, and what it answers.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use linktide::config::Config;
use linktide::services::Services;
use linktide_batch::Outcome;
use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::clock::Clock;
use serde_json::Value;

/// How long anything may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-11-26T10:00:00Z
pub(crate) const NOW: Hour = Hour(498_802);

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.api.listen = "127.0.0.1:0".parse().unwrap();
    config.log.sync = false;
    config.log.reserve = linktide::config::ByteSize(0);
    config
}

pub(crate) struct Linktide {
    pub(crate) services: Services,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
}

impl Linktide {
    pub(crate) async fn start(data: &Path, clock: Clock) -> Self {
        Self::start_with(&config(), data, clock).await
    }

    pub(crate) async fn start_with(config: &Config, data: &Path, clock: Clock) -> Self {
        let services = Services::spawn(config, data, clock).await.unwrap();
        let url = format!("http://{}", services.address);
        let this = Self { services, url, data: data.to_owned() };
        this.until("something is published", async || this.get_raw("/v1/freshness").await.0 == 200).await;
        this
    }

    /// The same folder with the same clock, in a new life.
    pub(crate) async fn restart(self) -> Self {
        let (data, clock) = (self.data.clone(), self.services.clock.clone());
        self.services.stop().await.unwrap();
        Self::start(&data, clock).await
    }

    pub(crate) async fn get_raw(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.get_raw(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Moves the clock to an hour, archives all before it, and rolls it up.
    pub(crate) async fn roll_up(&self, through: Hour) {
        self.services.clock.set(through.start());
        assert!(tokio::time::timeout(PATIENCE, self.services.flusher.archived_through(through.start())).await.unwrap());
        let outcome = self.services.nightly().run(Some(through)).await.unwrap();
        assert!(matches!(outcome, Outcome::Published { to, .. } if to == through), "{outcome:?}");
    }

    /// Waits until the account has so many clicks and previews in all.
    pub(crate) async fn until_counted(&self, total: u64) {
        self.until(&format!("{total} are counted"), async || {
            let results = self.get("/v1/account/summary?traffic=all&interval=all").await["results"].take();
            results["clicks"].as_u64().unwrap() + results["previews"].as_u64().unwrap() == total
        })
        .await;
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !holds().await {
            assert!(
                Instant::now() < deadline,
                "never: {what}; {}",
                self.get_raw("/v1/account/summary?traffic=all&interval=all").await.1
            );
            look.tick().await;
        }
    }
}

pub(crate) fn instant(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
}

/// The program as people run it.
pub(crate) fn program() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_linktide"))
}

/// The program over a folder, and where it listens.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Process {
    pub(crate) fn start(data: &Path) -> Self {
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

    pub(crate) fn kill(mut self) {
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
