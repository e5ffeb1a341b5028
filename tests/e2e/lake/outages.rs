//! Redis, S3 and Kafka stop and come back under questions that do not stop: no answer is an error, each says what it
//! lacks, and all is whole again without a restart.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use linktide_common::bucket::Hour;
use linktide_servers::{Redis, free_ports};
use serde_json::{Value, json};

use super::stage::Stage;
use crate::speed::stage::{Api, Stage as SpeedStage, Worker};
use crate::status::status;

const ALL: &str = "/v1/account/summary?traffic=all&interval=all";
const QUESTIONS: [&str; 6] = [
    ALL,
    "/v1/account/timeseries?interval=90d&unit=day",
    "/v1/account/breakdown?interval=90d&by=language,referrer",
    "/v1/links?interval=90d",
    "/v1/links/3/heatmap?interval=90d",
    "/v1/freshness",
];
/// How long a layer may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// Questions that are asked all the time, and everything that was wrong with their answers.
struct Loop {
    stop: Arc<AtomicBool>,
    faults: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<usize>,
}

impl Loop {
    fn begin(url: String) -> Self {
        let (stop, faults) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, wrong) = (Arc::clone(&stop), Arc::clone(&faults));
        let task = tokio::spawn(async move {
            let mut asked = 0;
            while !until.load(Ordering::Acquire) {
                let question = QUESTIONS[asked % QUESTIONS.len()];
                let begun = Instant::now();
                let status = match reqwest::get(format!("{url}{question}")).await {
                    Ok(answer) => answer.status().as_u16(),
                    Err(_) => 0,
                };
                let took = begun.elapsed();
                // A machine that does other work as well may take its time; a hang is another thing.
                if status != 200 || took > DEADLINE * 20 {
                    wrong.lock().unwrap().push(format!("{question}: {status} after {took:?}"));
                }
                asked += 1;
            }
            asked
        });
        Self { stop, faults, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Release);
        let asked = self.task.await.unwrap();
        let faults = self.faults.lock().unwrap();
        assert!(asked > 100 && faults.is_empty(), "of {asked} questions: {faults:?}");
    }
}

fn counted(answer: &Value) -> u64 {
    let results = &answer["results"];
    results["clicks"].as_u64().unwrap() + results["previews"].as_u64().unwrap()
}

fn state<'a>(answer: &'a Value, layer: &str) -> &'a str {
    answer["meta"]["freshness"]["layers"][layer]["state"].as_str().unwrap()
}

async fn until(api: &Api, what: &str, holds: impl Fn(&Value) -> bool) {
    SpeedStage::until(what, async || holds(&api.get(ALL).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_stop_and_come_back_cost_their_part_of_the_answer_and_no_more() {
    let (mut stage, mut redis) = (Stage::new(9).await, Redis::start());
    stage.begin("outages").await;
    let _archive = stage.archive("outages");
    let url = format!("redis.url={}", redis.url());
    let mut speed = stage.program("speed", "outages", "");
    let _speed = Worker::of(speed.args(["--set", &url, "--set", "kafka.group=outages"]).stdout(Stdio::null()));
    stage.send(600).await;
    let hour = stage.advance(3);
    stage.send(300).await;
    stage.roll_up("outages", hour).await;

    let mut program = stage.program("query", "outages", "");
    // The log's clock is behind the machine's, and so is all that was received.
    program.args(["--set", &url, "--set", &format!("api.stale_after={}s", stage.behind() + 30)]);
    program.args(["--set", &format!("api.deadline={}ms", DEADLINE.as_millis()), "--listen", "127.0.0.1:0"]);
    let api = Api::of(program.stdout(Stdio::piped()));
    let (history, all) = (stage.oracle().of_tenant(0, hour), stage.oracle().of_tenant(0, Hour(hour.0 + 10)));
    assert!(history > 100 && all > history + 100, "{history} of {all}");
    let whole = |answer: &Value| counted(answer) == all && answer["meta"]["freshness"]["stale"] == false;
    until(&api, "all is counted", whole).await;
    let questions = Loop::begin(api.url().to_owned());

    for hangs in [false, true] {
        if hangs {
            redis.pause()
        } else {
            redis.stop()
        }
        until(&api, "redis is missed", |answer| state(answer, "speed") == "unavailable").await;
        let answer = api.get(ALL).await;
        let freshness = &answer["meta"]["freshness"];
        assert_eq!((counted(&answer), state(&answer, "batch"), &freshness["stale"]), (history, "ok", &json!(true)));
        assert_eq!(freshness["as_of"], freshness["complete_through"], "{answer}");
        let (code, told) = status(&["--json", "--url", api.url()]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert!(code == 1 && told["faults"].to_string().contains("the speed layer is unavailable"), "{told}");
        if hangs {
            redis.resume()
        } else {
            redis.run()
        }
        until(&api, "redis is back", whole).await;
    }

    stage.s3.stop();
    // What was asked before is in memory. What was not, is not: history is left out of that answer, and it says so.
    let answer = api.get(ALL).await;
    assert!(whole(&answer), "{answer}");
    let answer = api.get("/v1/links/5/summary?interval=90d&traffic=all").await;
    let reasons = answer["meta"]["freshness"]["reasons"].to_string();
    assert!(state(&answer, "batch") == "ok" || reasons.contains("history is unavailable"), "{answer}");
    redis.stop();
    until(&api, "redis is missed as well", |answer| state(answer, "speed") == "unavailable").await;
    redis.run();
    stage.s3.run();
    until(&api, "both are back", whole).await;
    let answer = api.get("/v1/links/5/summary?interval=90d&traffic=all").await;
    assert_eq!((state(&answer, "batch"), &answer["meta"]["freshness"]["stale"]), ("ok", &json!(false)), "{answer}");

    stage.stop_log();
    until(&api, "nothing is received any more", |answer| answer["meta"]["freshness"]["stale"] == true).await;
    let answer = api.get(ALL).await;
    assert_eq!((counted(&answer), state(&answer, "speed")), (all, "rebuilding"), "what was counted stays: {answer}");
    stage.run_log();
    stage.send(100).await;
    let more = stage.oracle().of_tenant(0, Hour(hour.0 + 10));
    until(&api, "the log is back", |answer| counted(answer) == more && answer["meta"]["freshness"]["stale"] == false)
        .await;
    questions.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nightly_that_goes_on_is_ready_when_its_last_run_was_done() {
    let mut stage = Stage::new(10).await;
    stage.begin("nightly").await;
    let _archive = stage.archive("nightly");
    stage.send(100).await;
    let hour = stage.advance(2);
    stage.send(20).await;
    let [port] = free_ports();
    let mut program = stage.program("nightly", "nightly", "");
    program.args(["--every", "1h", "--listen", &format!("127.0.0.1:{port}")]);
    let _nightly = Worker::of(program.stdout(Stdio::null()));
    let asked = async |place: &str| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/{place}")).await;
        let Ok(answer) = answer else { return (0, String::new()) };
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    };
    SpeedStage::until("the hour is published", async || stage.newest("nightly").await.watermark >= hour).await;
    let published = "linktide_nightly_runs_total{outcome=\"published\"}";
    SpeedStage::until("the run is over", async || asked("metrics").await.1.contains(published)).await;
    assert_eq!(asked("readyz").await, (200, "ready".to_owned()));
    stage.s3.stop();
    SpeedStage::until("it is not ready", async || {
        let (status, told) = asked("readyz").await;
        status == 503 && told.contains("the last run failed")
    })
    .await;
    stage.s3.run();
    SpeedStage::until("it is ready again", async || asked("readyz").await.0 == 200).await;
}
