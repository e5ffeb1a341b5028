//! What cannot be used is named, with the way out, and nothing is half done; what comes back is gone on with.

use std::process::Stdio;
use std::time::Duration;

use linktide_servers::{Gateway, Moto, Redis, S3, Treatment};

use super::stage::{BUCKET, Stage};
use crate::harness::program;
use crate::speed::stage::{Stage as SpeedStage, Worker};

const LAKE: &str = "s3://clicks/lake";

/// What the program says, over the server at `endpoint`, before it ends without having done it.
fn refusal(endpoint: &str, arguments: &[&str]) -> String {
    let (content, told) = outcome(endpoint, arguments);
    assert!(!content, "{told}");
    told
}

fn outcome(endpoint: &str, arguments: &[&str]) -> (bool, String) {
    let mut program = program();
    program
        .args(arguments)
        .args(["--set", "lake.timeout=2s"])
        .env("LINKTIDE_LAKE__ENDPOINT", endpoint)
        .env("LINKTIDE_LAKE__ALLOW_HTTP", "true")
        .env("LINKTIDE_LAKE__ACCESS_KEY", S3::ACCESS_KEY)
        .env("LINKTIDE_LAKE__SECRET_KEY", S3::SECRET_KEY);
    SpeedStage::output(program)
}

#[test]
fn bucket_that_cannot_be_used_is_named_with_the_way_out() {
    let mut s3 = S3::start(BUCKET);
    let url = s3.url();
    let nightly = |lake: &str, set: &str| refusal(&url, &["nightly", "--fail-fast", "--lake", lake, "--set", set]);
    let told = nightly("s3://nowhere/lake", "lake.look_every=1s");
    assert!(told.contains("there is no bucket nowhere") && told.contains("correct lake.url"), "{told}");
    let told = nightly(LAKE, "lake.secret_key=hush");
    assert!(told.contains("does not take these credentials") && !told.contains("hush"), "{told}");
    let told = nightly(LAKE, "lake.allow_http=false");
    assert!(told.contains("not encrypted") && told.contains("lake.allow_http=true"), "{told}");
    let told = nightly("s3://clicks/a?b", "lake.look_every=1s");
    assert!(told.contains("write s3://bucket"), "{told}");
    let told = nightly(LAKE, "lake.cold_class=GLACIER");
    assert!(told.contains("lake.cold_class") && told.contains("queries cannot read what is in GLACIER"), "{told}");
    let told = refusal(&url, &["nightly"]);
    assert!(told.contains("lake.url is not set") && told.contains("--lake"), "{told}");
    s3.set_read_only(true);
    let told = nightly(LAKE, "lake.look_every=1s");
    assert!(told.contains("denies this") && told.contains("docs/s3.md"), "{told}");
    s3.stop();
    let told = nightly(LAKE, "lake.look_every=1s");
    assert!(told.contains(&url) && told.contains("clicks"), "{told}");
}

#[test]
fn server_that_lets_two_writers_win_is_refused() {
    let s3 = S3::start(BUCKET);
    let gateway = Gateway::before(s3.port());
    gateway.treat(|request| if request.creates { Treatment::Flatter } else { Treatment::Pass });
    let told = refusal(&gateway.url(), &["nightly", "--fail-fast", "--lake", LAKE]);
    assert!(told.contains("If-None-Match") && told.contains("versitygw"), "{told}");
}

#[test]
fn secrets_are_never_shown() {
    let (content, told) = outcome("http://host", &["config", "show"]);
    assert!(content && told.contains(S3::ACCESS_KEY) && !told.contains(S3::SECRET_KEY), "{told}");
}

#[test]
fn rules_are_provisioned_and_told() {
    let moto = Moto::start(BUCKET);
    let provision = |more: &[&str]| outcome(&moto.url(), &[&["provision", "s3", "--lake", LAKE], more].concat());
    let (content, told) = provision(&["--dry-run"]);
    assert!(content && told.contains("linktide-cold lake: missing"), "{told}");
    let (content, told) = provision(&[]);
    assert!(content && told.contains("linktide-cold lake: created"), "{told}");
    let (content, told) = provision(&["--set", "lake.cold_after=30d"]);
    assert!(
        !content && told.contains("is `lake/tables/click_event/received_date=` to GLACIER_IR after 90 days"),
        "{told}"
    );
    assert!(told.contains("nothing was changed"), "{told}");
    let told = refusal(&moto.url(), &["provision", "s3", "--lake", LAKE, "--set", "lake.cold_after=1h"]);
    assert!(told.contains("lake.cold_after is 1h") && told.contains("whole days"), "{told}");
    let s3 = S3::start(BUCKET);
    let told = refusal(&s3.url(), &["provision", "s3", "--lake", LAKE]);
    assert!(told.contains("knows no lifecycle rules"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_away_read_only_or_without_its_bucket_costs_nothing_but_time() {
    let mut stage = Stage::new(4).await;
    stage.begin("away").await;
    let _archive = stage.archive("away");
    stage.send(200).await;
    let hour = stage.advance(1);
    stage.roll_up("away", hour).await;
    let published = stage.newest("away").await;

    stage.s3.set_read_only(true);
    stage.send(100).await;
    let hour = stage.advance(1);
    let (content, told) = stage.nightly("away", "", &["--fail-fast"]).await;
    assert!(!content && told.contains("denies this"), "{told}");
    assert_eq!(stage.newest("away").await, published);
    stage.s3.set_read_only(false);
    stage.roll_up("away", hour).await;

    // A folder without its name is a bucket that is gone.
    let (bucket, aside) = (stage.s3.bucket(BUCKET), stage.s3.bucket("aside"));
    std::fs::rename(&bucket, &aside).unwrap();
    stage.send(100).await;
    let (content, told) = stage.nightly("away", "", &["--fail-fast"]).await;
    assert!(!content && told.contains("there is no bucket clicks"), "{told}");
    std::fs::rename(&aside, &bucket).unwrap();

    stage.s3.stop();
    stage.send(100).await;
    let mut waiting = stage.program("nightly", "away", "");
    let mut waiting = Worker::of(waiting.stdout(Stdio::null()));
    // An outage, not a wait: longer than a process needs to find that nobody answers.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(waiting.runs(), "it does not wait for the server");
    stage.s3.run();
    let hour = stage.advance(2);
    stage.send(50).await;
    stage.roll_up("away", hour).await;
    stage.assert_kept("away", "a server that was away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn speed_follows_what_is_published_in_the_bucket() {
    let (mut stage, redis) = (Stage::new(5).await, Redis::start());
    stage.begin("followed").await;
    let _archive = stage.archive("followed");
    let mut speed = stage.program("speed", "followed", "");
    speed.args(["--set", &format!("redis.url={}", redis.url()), "--set", "kafka.group=followed"]);
    speed.args(["--set", "speed.keep_behind=1s"]);
    let _speed = Worker::of(speed.stdout(Stdio::null()));
    let held_from = || redis.cli(&["hget", "{s0}:positions", "held_from"]).trim().to_owned();
    stage.send(200).await;
    let began = stage.newest("followed").await.watermark;
    SpeedStage::until("speed holds from the first watermark on", async || held_from() == began.0.to_string()).await;
    let hour = stage.advance(3);
    stage.send(100).await;
    let url = format!("redis.url={}", redis.url());
    let limit = hour.start().to_string();
    SpeedStage::until("the hours are rolled up", async || {
        stage.nightly("followed", "", &["--through", &limit, "--set", &url]).await;
        stage.newest("followed").await.watermark == hour
    })
    .await;
    // Both layers counted the same clicks, link by link, each from the log and by itself.
    let told = SpeedStage::output(stage.program("audit", "followed", ""));
    assert!(told.0 && told.1.contains(" by speed; 0 of ") && !told.1.contains("not compared"), "{}", told.1);
    SpeedStage::until("speed lets go of what is rolled up", async || held_from() == hour.0.to_string()).await;
}
