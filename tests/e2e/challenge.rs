//! A challenge in a real browser, between a link and where it leads.

use std::process::Command;

use axum::routing::get;
use axum::{Router, response::Html};
use linktide_common::click::{Challenge, Click};
use linktide_common::clock::Clock;
use linktide_common::id::{Offset, PartitionId};
use linktide_common::log::LogReader as _;
use serde_json::{Value, json};

use crate::dashboard::browser;
use crate::harness::{Linktide, config};

/// A page at the other end of a link.
async fn destination() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/arrived", listener.local_addr().unwrap());
    let page =
        Router::new().route("/arrived", get(|| async { Html("<link rel=icon href=data:,><title>Arrived</title>") }));
    tokio::spawn(async move { axum::serve(listener, page).await });
    place
}

/// What the browser did.
fn browsed(mut browser: Command) -> Value {
    let output = browser.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The clicks in the log, oldest first.
async fn clicks(linktide: &Linktide) -> Vec<Click> {
    let reader = linktide.services.log.reader();
    let mut clicks = Vec::new();
    for partition in 0..config().log.partitions {
        let end = reader.bounds(PartitionId(partition)).await.unwrap().high;
        let records = reader.read(PartitionId(partition), Offset(0), end).await.unwrap();
        clicks.extend(records.iter().filter_map(|record| Click::parse(record.payload.as_ref()?).ok()));
    }
    clicks.sort_by_key(|click| click.clicked_at);
    clicks
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_passes_with_scripts_and_presses_without() {
    let folder = tempfile::tempdir().unwrap();
    let (place, links) = (destination().await, folder.path().join("links.csv"));
    std::fs::write(&links, format!("slug,link_id,destination,challenge\nsummer,8,{place},always\n")).unwrap();
    let mut settings = config();
    settings.ingest.links = Some(links);
    let linktide = Linktide::start_with(&settings, &folder.path().join("data"), Clock::system()).await;
    let link = format!("{}/r/summer", linktide.url);
    let Some(browser) = browser("challenge.mjs", &link) else { return };
    let browsed = tokio::task::spawn_blocking(move || browsed(browser)).await.unwrap();
    for visit in ["scripted", "automated", "pressed"] {
        let visit = &browsed[visit];
        assert_eq!(
            (&visit["ended"], &visit["asked"], &visit["again"]),
            (&json!(place), &json!(["GET", "POST"]), &json!(403)),
            "{browsed}"
        );
        assert_eq!(visit["errors"], json!([]), "{browsed}");
    }
    linktide.until_counted(3).await;
    let seen: Vec<_> = clicks(&linktide)
        .await
        .into_iter()
        .map(|click| click.signals.map(|signals| (signals.challenge, signals.webdriver)).unwrap_or_default())
        .collect();
    assert_eq!(
        seen,
        [
            (Some(Challenge::Passed), Some(false)),
            (Some(Challenge::Passed), Some(true)),
            (Some(Challenge::Pressed), None)
        ]
    );
    linktide.services.stop().await.unwrap();
}
