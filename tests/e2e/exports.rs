//! Exports as their users see them: a process that dies in the middle of a job, one that goes on with it, and foreign
//! readers of what comes out.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::clock::Clock;
use linktide_servers::python;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::{Linktide, NOW, PATIENCE, program};

const FORMATS: [&str; 4] = ["csv", "ndjson", "parquet", "arrow"];
const CAMPAIGNS: [Option<&str>; 4] = [None, Some("spring"), Some("it's \"5,5\"\nand more"), Some("été=1")];

/// The program over a folder, and where it listens.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path, failpoints: &str) -> Self {
        let settings = ["log.reserve=0B", "export.lease=1s", "export.part=1KiB", "export.stream_rows=1000"];
        let mut command = program();
        command.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut child = command.env("FAILPOINTS", failpoints).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("it says where it listens");
        Self { child, url: url.trim_end_matches(',').to_owned() }
    }

    fn has_died(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        pause.tick().await;
    }
}

/// A click as foreign readers must find it, in the order of their columns.
fn click(random: &mut StdRng, now: Timestamp) -> (Value, Value) {
    let at = now.plus_millis(-random.random_range(0..40 * 86_400_000));
    let (id, link) = (uuid::Uuid::from_u128(random.random()), [1, 7, u64::MAX][random.random_range(0..3)]);
    let (preview, bot) = (random.random_bool(0.1), random.random_bool(0.2));
    let language = [None, Some("en"), Some("hi")][random.random_range(0..3)];
    let campaign = CAMPAIGNS[random.random_range(0..CAMPAIGNS.len())];
    let destination = campaign.map(|campaign| {
        let encoded: String = campaign.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("https://shop.example/?utm_campaign={encoded}")
    });
    let agent =
        if bot { "curl/8.5.0" } else { "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0" };
    let sent = json!({
        "link_id": link.to_string(), "click_id": id.to_string(), "clicked_at": at.as_millis(), "language": language,
        "destination": destination, "user_agent": agent, "ip": "203.0.113.9", "method": if preview { "HEAD" } else { "GET" },
    });
    let found = json!([id.to_string(), link.to_string(), at.as_millis(), preview, language, campaign, bot]);
    (sent, found)
}

/// What foreign readers find in files, with whether a click is a bot's in place of the reason.
fn read(format: &str, files: &[PathBuf]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/export.py");
    let output = Command::new(python("python")).arg(script).arg(format).args(files).output().unwrap();
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    let mut rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for row in &mut rows {
        row[6] = json!(!row[6].is_null());
    }
    rows.sort_by_key(ToString::to_string);
    rows
}

/// A folder with a history of some days, and what is in it.
async fn history(data: &Path) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(5);
    let linktide = Linktide::start(data, Clock::manual(Hour(NOW.0 - 720).start())).await;
    let mut sent = Vec::new();
    for day in 1..4 {
        let (lines, found): (Vec<Value>, Vec<Value>) =
            (0..60).map(|_| click(&mut random, linktide.services.clock.now())).unzip();
        let body: Vec<String> = lines.iter().map(Value::to_string).collect();
        let client = reqwest::Client::new();
        let answer = client.post(format!("{}/v1/clicks", linktide.url)).body(body.join("\n")).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        sent.extend(found);
        linktide.roll_up(Hour(NOW.0 - 720 + day * 24)).await;
    }
    linktide.services.stop().await.unwrap();
    sent.sort_by_key(ToString::to_string);
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_a_process_that_died_is_gone_on_with_and_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let sent = history(&data).await;
    let client = reqwest::Client::new();
    let mut jobs: BTreeMap<&str, String> = BTreeMap::new();
    for format in FORMATS {
        // Each is stopped a step later, or within one.
        let place = ["plan::behind", "file::behind", "part::behind", "end::before"][jobs.len()];
        let mut process = Process::start(&data, &format!("export::{place}=return"));
        let body = json!({ "format": format, "interval": "12mo", "traffic": "all", "previews": true });
        let answer = client.post(format!("{}/v1/exports", process.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let job: Value = answer.json().await.unwrap();
        jobs.insert(format, job["id"].as_str().unwrap().to_owned());
        until("it dies", async || process.has_died().then_some(())).await;
    }
    let process = Process::start(&data, "");
    for (format, id) in jobs {
        let job = until("the job is done", async || {
            let job: Value =
                client.get(format!("{}/v1/exports/{id}", process.url)).send().await.unwrap().json().await.unwrap();
            assert_ne!(job["state"], "failed", "{job}");
            (job["state"] == "done").then_some(job)
        })
        .await;
        let mut files = Vec::new();
        for file in job["result"]["files"].as_array().unwrap() {
            let url = format!("{}{}", process.url, file["url"].as_str().unwrap());
            let place = folder.path().join(file["name"].as_str().unwrap());
            std::fs::write(&place, client.get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
            files.push(place);
        }
        let found = read(format, &files);
        assert!(found == sent, "{format}: {} rows of {}", found.len(), sent.len());
    }
    for format in FORMATS {
        let url = format!("{}/v1/account/export?interval=12mo&traffic=all&previews=true&format={format}", process.url);
        let answer = client.get(url).send().await.unwrap();
        assert!(answer.headers()["content-disposition"].to_str().unwrap().ends_with(&format!(".{format}\"")));
        let place = folder.path().join(format!("streamed.{format}"));
        std::fs::write(&place, answer.bytes().await.unwrap()).unwrap();
        let found = read(format, &[place]);
        assert!(found == sent, "{format}, streamed: {} rows of {}", found.len(), sent.len());
    }
}
