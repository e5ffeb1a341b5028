//! What a user may get wrong: each mistake has an answer that names it, and nothing else is lost.

use std::path::Path;

use linktide::services::Services;
use linktide_common::clock::Clock;

use crate::harness::{Linktide, NOW, config, program};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_question_is_told_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(folder.path(), Clock::manual(NOW.start())).await;
    for (place, status, parameter) in [
        ("/v1/account/summary?timezone=Mars/Olympus", 400, "timezone"),
        ("/v1/account/summary?start=2026-02-02&end=2026-01-01", 400, "end"),
        ("/v1/account/summary?start=1980-01-01&end=2180-01-01", 400, "end"),
        ("/v1/account/summary?start=2026-01-01", 400, "end"),
        ("/v1/account/summary?start=yesterday&end=2026-01-01", 400, "start"),
        ("/v1/account/summary?start=1969-01-01&end=2026-01-01", 400, "start"),
        ("/v1/account/summary?interval=31d", 400, "interval"),
        ("/v1/account/summary?interval=7d&start=2026-01-01&end=2026-01-02", 400, "interval"),
        ("/v1/account/summary?trafic=all", 400, "trafic"),
        ("/v1/account/summary?traffic=robots", 400, "traffic"),
        ("/v1/account/summary?traffic=all&traffic=bot", 400, "traffic"),
        ("/v1/account/timeseries?unit=minute", 400, "unit"),
        ("/v1/account/timeseries?start=2010-01-01&end=2026-01-01&unit=quarter", 400, "unit"),
        ("/v1/account/breakdown", 400, "by"),
        ("/v1/account/breakdown?by=country,planet", 400, "by"),
        ("/v1/links?limit=0", 400, "limit"),
        ("/v1/links?limit=1001", 400, "limit"),
        ("/v1/links/-1/summary", 400, "link_id"),
        ("/v1/links/18446744073709551616/summary", 400, "link_id"),
    ] {
        let (found, problem) = linktide.get_raw(place).await;
        assert_eq!((found, problem["parameter"].as_str()), (status, Some(parameter)), "{place}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()) && problem["type"].is_string());
    }
    assert_eq!(linktide.get_raw("/v1/nowhere").await.0, 404);
    assert_eq!(linktide.get_raw("/v1/clicks").await.0, 405);
    // A link that nobody knows has no clicks; that is no mistake.
    let unknown = linktide.get("/v1/links/18446744073709551615/summary").await;
    assert_eq!(
        (&unknown["results"]["clicks"], &unknown["query"]["link_id"]),
        (&0.into(), &"18446744073709551615".into())
    );
    linktide.services.stop().await.unwrap();
}

async fn refused(config: &linktide::config::Config, data: &Path) -> String {
    match Services::spawn(config, data, Clock::manual(NOW.start())).await {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_or_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let linktide = Linktide::start(&data, Clock::manual(NOW.start())).await;
    let second = refused(&config(), &data).await;
    assert!(
        second.contains("in use by another linktide") && second.contains(&std::process::id().to_string()),
        "{second}"
    );
    linktide.services.stop().await.unwrap();

    std::fs::write(data.join("FORMAT"), "7\n").unwrap();
    let newer = refused(&config(), &data).await;
    assert!(newer.contains("format 7") && newer.contains(data.to_str().unwrap()), "{newer}");

    let broken = folder.path().join("broken.mmdb");
    std::fs::write(&broken, "no database").unwrap();
    let mut with_map = config();
    with_map.enrich.geoip = Some(broken);
    let named = refused(&with_map, &folder.path().join("other")).await;
    assert!(named.contains("broken.mmdb"), "{named}");

    let mut open = config();
    open.api.listen = "0.0.0.0:0".parse().unwrap();
    let strangers = refused(&open, &folder.path().join("third")).await;
    assert!(strangers.contains("this machine alone"), "{strangers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_refuses_clicks_and_answers_questions() {
    let folder = tempfile::tempdir().unwrap();
    let mut full = config();
    full.log.reserve = linktide::config::ByteSize(1 << 60);
    let services = Services::spawn(&full, folder.path(), Clock::manual(NOW.start())).await.unwrap();
    let url = format!("http://{}", services.address);
    let linktide = Linktide { services, url, data: folder.path().to_owned() };
    linktide.until("it answers", async || linktide.get_raw("/v1/freshness").await.0 == 200).await;
    let refused = reqwest::Client::new()
        .post(format!("{}/v1/clicks", linktide.url))
        .body(r#"{"link_id":1}"#)
        .send()
        .await
        .unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("reserve"), "{problem}");
    assert_eq!(linktide.get("/v1/account/summary").await["results"]["clicks"], 0);
    linktide.services.stop().await.unwrap();
}

#[test]
fn wrong_settings_are_told_all_at_once_and_end_with_an_error() {
    let output = program()
        .args(["--set", "speed.flush_interval=soon", "--set", "log.partitons=4", "config", "check"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        told.contains("2 problem(s)") && told.contains("`soon` is no duration") && told.contains("log.partitons"),
        "{told}"
    );
    // So do the files that settings name.
    let folder = tempfile::tempdir().unwrap();
    let [list, links] = ["networks.txt", "links.csv"].map(|name| folder.path().join(name));
    std::fs::write(&list, "192.0.2.0/24\nno network\n").unwrap();
    std::fs::write(&links, "slug,link_id,destination\nspring,42,https://example.com/\n").unwrap();
    let check = || {
        let set = [
            format!("bots.hosting={}", list.display()),
            format!("ingest.links={}", links.display()),
            format!("enrich.geoip={}", folder.path().join("city.mmdb").display()),
        ];
        let output =
            program().args(["config", "check"]).args(set.iter().flat_map(|set| ["--set", set])).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (right, told) = check();
    assert!(
        !right && told.contains("2 problem(s)") && told.contains("networks.txt") && told.contains("city.mmdb"),
        "{told}"
    );
    std::fs::write(&links, "slug,link_id,destination\nspring,none,https://example.com/\n").unwrap();
    let (right, told) = check();
    assert!(!right && told.contains("3 problem(s)") && told.contains("links.csv"), "{told}");
    let shown = program().args(["config", "show"]).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains("flush_interval = \"200ms\""));
}

#[test]
fn command_without_its_linktide_says_so() {
    for arguments in [
        &["status", "--url", "http://127.0.0.1:1"][..],
        &["top", "--url", "http://127.0.0.1:1"],
        &["import", "--to", "http://127.0.0.1:1", "Cargo.toml"],
    ] {
        let output = program().args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("no linktide answers at http://127.0.0.1:1"), "{told}");
    }
    let output = program().args(["nightly", "--data", "/nowhere"]).output().unwrap();
    assert!(!output.status.success() && String::from_utf8(output.stderr).unwrap().contains("holds no tables"));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        "standalone",
        "demo",
        "import",
        "nightly",
        "backfill",
        "erase",
        "status",
        "stats",
        "top",
        "config",
        "keys",
        "share",
    ] {
        let output = program().args([command, "--help"]).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("Example:\n  linktide"), "{command}");
    }
}
