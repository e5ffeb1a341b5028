//! The web page while stores stop and come back: it says what is missing and why, keeps what is known, and is whole again by
//! itself.

use std::process::Stdio;

use linktide_servers::Redis;
use serde_json::Value;

use super::stage::Stage;
use crate::dashboard::{OpenPage, browser};
use crate::speed::stage::{Api, Stage as SpeedStage, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn page_says_what_an_outage_costs_and_recovers_by_itself() {
    let (mut stage, mut redis) = (Stage::new(11).await, Redis::start());
    if browser("watch.mjs", "").is_none() {
        return;
    }
    stage.begin("page").await;
    let _archive = stage.archive("page");
    let url = format!("redis.url={}", redis.url());
    let mut speed = stage.program("speed", "page", "");
    let _speed = Worker::of(speed.args(["--set", &url, "--set", "kafka.group=page"]).stdout(Stdio::null()));
    stage.send(400).await;
    let hour = stage.advance(3);
    stage.send(200).await;
    stage.roll_up("page", hour).await;
    let mut program = stage.program("query", "page", "");
    // The log's clock is behind the machine's, and so is all that was received.
    program.args(["--set", &url, "--set", &format!("api.stale_after={}s", stage.behind() + 30)]);
    // Nothing of the tables is kept in memory: without the bucket there is no history. A machine that does other work as
    // well may take its time to read them.
    program.args(["--set", "api.file_cache=0B", "--set", "api.deadline=4s", "--listen", "127.0.0.1:0"]);
    let api = Api::of(program.stdout(Stdio::piped()));
    let all = "/v1/account/summary?traffic=all&interval=all";
    let clicks = async || api.get(all).await["results"]["clicks"].as_u64().unwrap();
    SpeedStage::until("all is counted", async || api.get(all).await["meta"]["freshness"]["stale"] == false).await;
    let whole = clicks().await;

    let mut page = OpenPage::in_browser(browser("watch.mjs", api.url()).unwrap());
    let fresh = page.until("Up to date", "outage-before");
    assert_eq!((fresh["clicks"].as_u64(), &fresh["notice"]), (Some(whole), &Value::Null), "{fresh}");

    redis.stop();
    let missed = page.until("are missing", "outage-redis");
    let history = clicks().await;
    assert!(0 < history && history < whole, "{history} of {whole}");
    assert_eq!(missed["clicks"], history, "history stays: {missed}");
    let notice = missed["notice"].as_str().unwrap();
    assert!(
        notice.contains("store of recent clicks does not answer") && notice.contains("Nothing is lost"),
        "{notice}"
    );
    redis.run();
    let back = page.until("Up to date", "outage-after");
    assert_eq!((back["clicks"].as_u64(), &back["notice"]), (Some(whole), &Value::Null), "{back}");

    stage.s3.stop();
    let missed = page.until("History before", "outage-history");
    assert_eq!(missed["clicks"], whole - history, "what came in since is there: {missed}");
    let notice = missed["notice"].as_str().unwrap();
    assert!(notice.contains("What came in since is counted"), "{notice}");
    stage.s3.run();
    let back = page.until("Up to date", "outage-history-after");
    assert_eq!((back["clicks"].as_u64(), &back["notice"]), (Some(whole), &Value::Null), "{back}");

    // Without a log nothing is received, and the badge says how far behind that is.
    stage.stop_log();
    let late = page.until("behind", "outage-log");
    assert_eq!(late["clicks"], whole, "{late}");
    stage.run_log();
    stage.send(50).await;
    page.until("Up to date", "outage-log-after");
    let more = clicks().await;
    assert!(more > whole, "{more}");
    let shown = page.until_above(more - 1);
    assert_eq!((shown["clicks"].as_u64(), &shown["loads"]), (Some(more), &Value::from(1)), "{shown}");
}
