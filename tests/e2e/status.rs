//! `linktide status`, as people and as scripts call it, over a running Linktide.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Process, program};

/// How it ended, and what it wrote to its output.
pub(crate) fn status(arguments: &[&str]) -> (i32, String) {
    let output = program().arg("status").args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// As a program reads it, once it holds.
async fn until(url: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, told) = status(&["--json", "--url", url]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(code == 0, told["state"] == "ok", "{code}: {told}");
        if holds(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "never: {what}: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_tells_all_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Process::start(&folder.path().join("data"));
    let url = linktide.url.as_str();
    let client = reqwest::Client::new();
    for (click, status) in [(r#"{"link_id":1}"#, 202), (r#"{"link_id":"none"}"#, 422)] {
        let answer = client.post(format!("{url}/v1/clicks")).body(click).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    let told = until(url, "all is known", |told| told["state"] == "ok" && told["unknown"] == json!([])).await;
    assert_eq!((&told["faults"], &told["unknown"]), (&json!([]), &json!([])), "{told}");
    let answered: Value = client.get(format!("{url}/v1/freshness")).send().await.unwrap().json().await.unwrap();
    for known in ["complete_through", "stale", "gaps"] {
        assert_eq!(told["freshness"][known], answered[known], "{known}");
    }
    let [ref process] = told["processes"].as_array().unwrap()[..] else { panic!("it is one: {told}") };
    assert_eq!(
        (&process["layer"], &process["ready"], &process["url"]),
        (&json!("standalone"), &json!(true), &json!(url))
    );
    assert_eq!((&process["version"], &told["version"]), (&json!(env!("CARGO_PKG_VERSION")), &process["version"]));
    assert_eq!((&told["refused"], &told["rejected"]), (&json!({ "bad_value": 1 }), &json!({})));
    assert_eq!((&told["clicks"]["dropped"], &told["audits"]["drift_clicks"]), (&json!({}), &json!(0)));
    assert_eq!(told["lag"]["archive"]["records"].as_u64().map(|records| records < 2), Some(true), "{told}");

    let (code, text) = status(&["--url", url]);
    assert_eq!(code, 0, "{text}");
    for line in [
        "all is well\n",
        "\ncomplete through  20",
        "\nspeed             ok, as of 20",
        "\nbatch             ok, publication ",
        "\nrecords refused   1 (bad_value 1)",
        "\nprocess           standalone ",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(!text.contains("\n?"), "nothing is unknown: {text}");

    // A layer that is away needs someone; what nobody was asked about is unknown, and no reason to wake one.
    let (code, told) = status(&["--json", "--url", url, "--process", "http://127.0.0.1:1"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["state"]), (1, &json!("attention")));
    assert_eq!(told["faults"], json!(["the process at http://127.0.0.1:1 does not answer"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_when_nobody_answers_and_ends_with_what_it_saw_last() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Process::start(&folder.path().join("data"));
    until(&linktide.url, "all is well", |told| told["state"] == "ok").await;
    let arguments = ["status", "--url", &linktide.url, "--watch", "50ms"];
    let watching = |more: &[&str]| program().args(arguments).args(more).stdout(Stdio::piped()).spawn().unwrap();
    let (mut people, mut programs) = (watching(&[]), watching(&["--json"]));
    let [mut text, mut documents] = [&mut people, &mut programs]
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap));
    let mut seen = |state: &str| {
        let mut documents = documents.by_ref().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        documents.find(|told| told["state"] == state).unwrap()
    };
    assert_eq!(seen("ok")["faults"], json!([]));
    assert_eq!(
        text.by_ref().find(|line| line.contains("is well")).unwrap(),
        "all is well",
        "no terminal, no codes for one"
    );
    assert!(
        text.by_ref().any(|line| line.is_empty()) && text.by_ref().any(|line| line == "all is well"),
        "it is told again"
    );
    let url = linktide.url.clone();
    linktide.kill();
    let words = format!("no linktide answers at {url}; is it running?");
    assert!(seen("unknown")["faults"][0].as_str().unwrap().starts_with(&words));
    assert!(text.by_ref().any(|line| line.starts_with(&format!("! {words}"))));
    for mut child in [people, programs] {
        let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
}

#[test]
fn wrong_use_and_silence_end_in_ways_of_their_own() {
    for wrong in [&["--watch", "0s"][..], &["--watch", "soon"], &["--process", "archive:9101"], &["--nothing"]] {
        assert_eq!(status(wrong).0, 2, "{wrong:?}");
    }
    let nobody = ["--url", "http://127.0.0.1:1"];
    let (code, told) = status(&nobody);
    assert_eq!((code, told.as_str()), (3, ""), "it is an error, and stands where errors do");
    let (code, told) = status(&[&nobody[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["state"], &told["freshness"]), (3, &json!("unknown"), &Value::Null));
}
