//! What changes history after it is published: each job is killed at every step, and one meets a server that misbehaves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linktide_common::id::{LinkId, TenantId};
use linktide_servers::Treatment;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::stage::Stage;

const BACKFILL: [&str; 5] = [
    "batch::plan::behind",
    "batch::correct::written",
    "batch::correct::rewritten",
    "batch::correct::recomputed_dimensions",
    "batch::publish::before",
];
/// Who is a bot changes counts of hours and days as well.
const OF_BOTS: [&str; 2] = ["batch::correct::recomputed_hourly", "batch::correct::recomputed_daily"];
/// No address here is a rate bot's, so there are no marks that would go.
const DELETION: [&str; 3] = ["batch::plan::behind", "batch::delete::rewritten", "batch::publish::before"];
const MAINTENANCE: [&str; 3] = [
    "batch::maintenance::expired=return",
    "batch::maintenance::vacuumed=return",
    "batch::maintenance::vacuumed=4*off->return",
];

#[tokio::test(flavor = "multi_thread")]
async fn backfills_deletion_and_maintenance_killed_at_every_step_change_no_row_but_what_they_are_for() {
    let mut stage = Stage::new(8).await;
    stage.begin("corrected").await;
    let archive = stage.lone_archive("corrected", "");
    stage.send(300).await;
    stage.advance(25);
    stage.send(100).await;
    let hour = stage.advance(26);
    stage.send(20).await;
    stage.roll_up("corrected", hour).await;
    stage.assert_kept("corrected", "without places").await;

    stage.know_places();
    for step in BACKFILL {
        dies_in_backfill(&stage, "geo", step).await;
    }
    backfill(&stage, "geo").await;
    stage.assert_kept("corrected", "with places").await;
    let before = reasons(&stage).await;
    stage.know_bots();
    let foreseen = told(&stage, &["--dry-run"]).await;
    for step in BACKFILL[..3].iter().chain(&OF_BOTS).chain(&BACKFILL[3..]) {
        dies_in_backfill(&stage, "bots", step).await;
    }
    // It finishes what was begun, tells all of that, and finds nothing more.
    let finished = told(&stage, &[]).await;
    let whole = &finished["finished"][0];
    assert_eq!((&finished["clicks"], &whole["by_day"]), (&json!(0), &foreseen["by_day"]), "{finished}");
    assert_eq!((&whole["clicks"], &whole["reasons"]), (&foreseen["clicks"], &foreseen["reasons"]));
    let after = reasons(&stage).await;
    let own = "ua:own";
    let moved = whole["reasons"].as_array().unwrap().iter().find(|one| one["reason"] == own).unwrap();
    assert_eq!((&moved["before"], &moved["after"]), (&json!(0), &json!(after[own])), "{whole}");
    assert!(!before.contains_key(own) && after[own] > 50, "{before:?} {after:?}");
    let by_day = whole["by_day"].as_array().unwrap().iter().flat_map(|day| day["reasons"].as_array().unwrap());
    let of_days = by_day.filter(|one| one["reason"] == own).map(|one| one["after"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(of_days, after[own]);
    let (_, said) = stage.backfill("corrected", "bots", "").await;
    assert!(said.contains("changed 0 clicks") && said.contains("is told in reclassified/"), "{said}");
    stage.assert_kept("corrected", "with bots").await;
    archive.end();
    let archive = stage.lone_archive("corrected", "");

    // Raw clicks go, counts stay.
    let delete = ["--set", "retention.raw_days=1"];
    for step in DELETION {
        let (content, told) = stage.nightly("corrected", &format!("{step}=return"), &delete).await;
        assert!(!content && !told.contains("linktide:"), "it did not die at {step}: {told}");
    }
    let (content, told) = stage.nightly("corrected", "", &delete).await;
    assert!(content, "{told}");
    stage.raw_is_kept_for(1, stage.newest("corrected").await.watermark.day());
    stage.assert_kept("corrected", "without old clicks").await;

    let forget = ["--set", "retention.publications=0s"];
    let deadline = Instant::now() + Duration::from_secs(120);
    for place in MAINTENANCE {
        // It is done once a day, behind a publication that waits for the archive.
        stage.advance(24);
        stage.send(20).await;
        while stage.nightly("corrected", place, &forget).await.0 {
            assert!(Instant::now() < deadline, "it never comes to {place}");
        }
        // Some was archived by one that knew less.
        backfill(&stage, "geo").await;
        backfill(&stage, "bots").await;
        stage.assert_kept("corrected", place).await;
    }
    let before = stage.publications("corrected").kept().await.unwrap().len();
    let hour = stage.advance(24);
    stage.send(20).await;
    while stage.newest("corrected").await.watermark < hour {
        let (content, told) = stage.nightly("corrected", "", &forget).await;
        assert!(content && Instant::now() < deadline, "{told}");
    }
    let left = stage.publications("corrected").kept().await.unwrap().len();
    assert!(left <= 2 && left < before, "{left} of {before} publications are left");
    stage.assert_kept("corrected", "cleaned up").await;
    archive.end();
}

/// What a backfill of bots tells programs.
async fn told(stage: &Stage, arguments: &[&str]) -> Value {
    let mut program = stage.program("backfill", "corrected", "");
    program.args(["bots", "--json"]).args(arguments);
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Clicks by the reason that is stored, as a foreign reader counts them in what is published.
async fn reasons(stage: &Stage) -> BTreeMap<String, u64> {
    let version = stage.newest("corrected").await.tables["click_event"];
    let query = "SELECT coalesce(bot_reason, '(none)'), count(*) FROM t WHERE NOT preview GROUP BY ALL";
    let rows = stage.foreign("corrected", "click_event", version, query);
    rows.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect()
}

async fn dies_in_backfill(stage: &Stage, what: &str, step: &str) {
    let (content, told) = stage.backfill("corrected", what, &format!("{step}=return")).await;
    assert!(!content && !told.contains("linktide:"), "it did not die at {step}: {told}");
}

async fn backfill(stage: &Stage, what: &str) {
    let (content, told) = stage.backfill("corrected", what, "").await;
    assert!(content, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_over_a_server_that_misbehaves_change_what_they_are_for() {
    let mut stage = Stage::new(9).await;
    stage.begin("through").await;
    let archive = stage.lone_archive("through", "");
    stage.send(300).await;
    let hour = stage.advance(2);
    stage.send(20).await;
    stage.roll_up("through", hour).await;
    let seen = AtomicU64::new(0);
    stage.gateway.treat(move |_| {
        let number = seen.fetch_add(1, Ordering::Relaxed);
        match StdRng::seed_from_u64(number).random_range(0..40) {
            0 | 1 => Treatment::Lose,
            2 => Treatment::Deny(500),
            3 => Treatment::Deny(503),
            4 => Treatment::Refuse(503),
            5 => Treatment::Delay(Duration::from_millis(300)),
            _ => Treatment::Pass,
        }
    });
    let deadline = Instant::now() + Duration::from_secs(120);
    stage.know_places();
    loop {
        let (content, told) = stage.backfill("through", "geo", "").await;
        if content {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
    }
    loop {
        let (content, told) = stage.erase("through", (TenantId(1), LinkId(3)), "").await;
        if content {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
    }
    assert!(stage.gateway.treated() > 20, "{}", stage.gateway.treated());
    stage.gateway.treat(|_| Treatment::Pass);
    stage.assert_kept("through", "places and an erasure").await;
    archive.end();
}
