//! Jobs over the tables, by their commands, while a Linktide goes on over the same folder.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use linktide_batch::{Outcome, Recount};
use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::id::{Epoch, LinkId, Offset, TenantId};
use linktide_common::log::Position;

use crate::harness::{Linktide, program};

/// 2036-11-26T10:00:00Z. The commands go by the machine's clock, which must not be ahead of what was received: an erasure
/// would cover what the test sends behind it.
const NOW: Hour = Hour(586_474);

/// Behind everything.
const END: Position = Position { offset: Offset(u64::MAX), received_at: Timestamp::MAX };

/// Sends so many clicks on each link.
async fn send(linktide: &Linktide, chunk: u64, clicks: &[(u64, u64)]) {
    let line = |link: u64, number: u64| {
        let id = uuid::Uuid::from_u128(u128::from(chunk * 1_000_000 + link * 1000 + number));
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";
        format!(
            r#"{{"link_id":{link},"click_id":"{id}","ip":"203.0.113.{number}","user_agent":"{agent}","slug":"s{link}"}}"#
        )
    };
    let lines: Vec<String> =
        clicks.iter().flat_map(|(link, count)| (0..*count).map(move |number| line(*link, number))).collect();
    let place = format!("{}/v1/imports/{}/chunks/{chunk}", linktide.url, "0e".repeat(32));
    let answer = reqwest::Client::new().put(place).body(lines.join("\n")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn run(data: &Path, arguments: &[&str]) -> Output {
    let mut program = program();
    program.args(arguments).arg("--data").arg(data);
    tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
}

/// What a command says where it succeeds.
async fn told(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn clicks(linktide: &Linktide, link: u64) -> u64 {
    let answer = linktide.get(&format!("/v1/links/{link}/summary?interval=all")).await;
    answer["results"]["clicks"].as_u64().unwrap()
}

#[tokio::test]
async fn erased_link_stays_away_through_refills_and_increments() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(folder.path(), Clock::manual(NOW.start())).await;
    send(&linktide, 0, &[(1, 3), (2, 2)]).await;
    linktide.roll_up(NOW.next()).await;
    send(&linktide, 1, &[(1, 1), (2, 1)]).await;
    linktide.until_counted(7).await;

    let foreseen = told(folder.path(), &["erase", "--link", "0/1", "--dry-run"]).await;
    assert!(foreseen.contains("would change"), "{foreseen}");
    assert_eq!(clicks(&linktide, 1).await, 4);
    let done = told(folder.path(), &["erase", "--link", "0/1"]).await;
    assert!(done.contains("link 0/1") && done.contains("waits for"), "{done}");
    linktide.until("the link is erased", async || clicks(&linktide, 1).await == 0).await;
    assert_eq!(clicks(&linktide, 2).await, 3);

    // Emptied and filled again from the log, and rolled up: the tenant as a whole has only the other link's.
    let linktide = linktide.restart().await;
    linktide.until_counted(3).await;
    assert_eq!(clicks(&linktide, 1).await, 0);
    let hour = Hour(NOW.0 + 2);
    linktide.roll_up(hour).await;
    linktide.until_counted(3).await;
    assert_eq!((clicks(&linktide, 1).await, clicks(&linktide, 2).await), (0, 3));
    // The erasure is over: what comes in from now on counts.
    send(&linktide, 2, &[(1, 2)]).await;
    linktide.until_counted(5).await;
    assert_eq!(clicks(&linktide, 1).await, 2);
    linktide.services.stop().await.unwrap();
}

#[tokio::test]
async fn judging_again_is_a_table_before_and_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(folder.path(), Clock::manual(NOW.start())).await;
    send(&linktide, 0, &[(1, 3), (2, 2)]).await;
    linktide.roll_up(NOW.next()).await;
    let list = folder.path().join("own.txt");
    std::fs::write(&list, "bot: Firefox/125\n").unwrap();
    let rules = format!("bots.agents=[{{name=\"own\",file=\"{}\"}}]", list.display());
    let rows = |table: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        table.lines().map(words).collect()
    };
    let table = [
        "reason before after change",
        "(none) 5 0 -5",
        "ua:own 0 5 +5",
        "people in all 5 0 -5",
        "bots in all 0 5 +5",
        "2036-11-26",
        "(none) 5 0 -5",
        "ua:own 0 5 +5",
    ];
    let foreseen = rows(&told(folder.path(), &["backfill", "bots", "--dry-run", "--set", &rules]).await);
    assert!(foreseen[0].starts_with("would change 5 clicks"), "{foreseen:?}");
    assert_eq!(foreseen[1..], table);
    assert_eq!((clicks(&linktide, 1).await, clicks(&linktide, 2).await), (3, 2));
    let done = rows(&told(folder.path(), &["backfill", "bots", "--set", &rules]).await);
    assert_eq!(done[done.len() - table.len()..], table);
    linktide.until("they are bots", async || clicks(&linktide, 1).await == 0 && clicks(&linktide, 2).await == 0).await;
    // And back, for programs.
    let done = told(folder.path(), &["backfill", "bots", "--json"]).await;
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    let people = serde_json::json!({ "reason": "(none)", "before": 0, "after": 5 });
    assert_eq!((&done["clicks"], &done["reasons"][0], &done["dry_run"]), (&5.into(), &people, &false.into()), "{done}");
    assert_eq!(done["finished"].as_array().unwrap().len(), 1, "{done}");
    linktide.until("they are people", async || clicks(&linktide, 1).await == 3).await;
    linktide.services.stop().await.unwrap();
}

#[tokio::test]
async fn run_tells_beforehand_what_it_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(folder.path(), Clock::manual(NOW.start())).await;
    send(&linktide, 0, &[(1, 3)]).await;
    linktide.services.clock.set(NOW.next().start());
    assert!(linktide.services.flusher.archived_through(NOW.next().start()).await);
    let foreseen = told(folder.path(), &["nightly", "--dry-run"]).await;
    assert!(foreseen.contains("roll up") && foreseen.contains("raw clicks are kept without end"), "{foreseen}");
    let done = told(folder.path(), &["nightly"]).await;
    assert!(done.contains("adding 3 clicks") && done.contains("3 clicks more"), "{done}");
    assert!(told(folder.path(), &["nightly"]).await.contains("nothing to do"), "and that is no failure");
    linktide.services.stop().await.unwrap();
}

#[tokio::test]
async fn increment_is_audited_and_drift_is_told_by_link() {
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(folder.path(), Clock::manual(NOW.start())).await;
    send(&linktide, 0, &[(1, 3), (2, 2)]).await;
    linktide.until_counted(5).await;
    linktide.roll_up(NOW.next()).await;
    let agreed = told(folder.path(), &["audit"]).await;
    assert!(agreed.contains("5 clicks by batch, 5 by speed; 0 of 2 links differ"), "{agreed}");

    // A speed layer that lost a link's clicks and invented another's: told, and history goes on.
    send(&linktide, 1, &[(1, 4), (2, 1)]).await;
    let hour = Hour(NOW.0 + 2);
    linktide.services.clock.set(hour.start());
    assert!(linktide.services.flusher.archived_through(hour.start()).await);
    let cut = linktide.services.log.partitions();
    let faulty = move |_| {
        let positions = cut.iter().map(|partition| ((Epoch(0), *partition), END)).collect();
        let links = [((TenantId(0), LinkId(2)), 1), ((TenantId(0), LinkId(9)), 2)].into();
        let recount = Recount { positions, held_from: Some(NOW), links };
        Box::pin(std::future::ready(Ok(recount))) as _
    };
    let outcome = linktide.services.nightly().auditing(Arc::new(faulty)).run(Some(hour)).await.unwrap();
    assert!(matches!(outcome, Outcome::Published { clicks: 5, .. }), "{outcome:?}");
    let date = &hour.start().to_string()[..10];
    let output = run(folder.path(), &["audit", "--day", date]).await;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(
        !output.status.success() && said.contains("5 clicks by batch, 3 by speed; 2 of 3 links differ, by 6 clicks"),
        "{said}"
    );
    assert!(
        said.contains("link 0/1: 4 by batch, 0 by speed") && said.contains("link 0/9: 0 by batch, 2 by speed"),
        "{said}"
    );
    let other = told(folder.path(), &["audit", "--day", "2020-01-01"]).await;
    assert!(other.contains("no increment"), "{other}");
    linktide.services.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lake")).unwrap();
    for (arguments, named) in [
        (&["erase", "--link", "42"][..], "0/42"),
        (&["erase"], "--tenant"),
        (&["erase", "--tenant", "1", "--link", "1/2"], "cannot be used with"),
        (&["backfill", "geo"], "enrich.geoip"),
        (&["backfill", "colours"], "colours"),
        (&["nightly", "--set", "nightly.rate_bots=0"], "off"),
        (&["nightly", "--set", "retention.raw_days=-1"], "retention.raw_days"),
    ] {
        let output = run(folder.path(), arguments).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(named), "{arguments:?}: {told}");
    }
}
