//! History in a real S3 server, from a real Kafka, while everything that can break breaks: in the end `click_event` holds
//! each click once, and every rollup equals a plain count, as readers of others find them.

mod bad_input;
mod corrections;
mod oracle;
mod outages;
mod page;
mod stage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use linktide_common::bucket::Hour;
use linktide_common::id::{Epoch, LinkId, TenantId};
use linktide_servers::Treatment;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use stage::Stage;

use crate::speed::stage::add_partition;

/// Objects that the check at start creates, before a process does anything else.
const CHECKED: usize = 4 * 17;

fn death(place: &str, writes: usize) -> String {
    format!("bucket::{place}={}*off->return", CHECKED + writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_killed_between_any_two_writes_change_no_row() {
    let mut stage = Stage::new(1).await;
    stage.begin("killed").await;
    stage.send(200).await;
    for place in ["before_write", "behind_write"] {
        for writes in 0..5 {
            let mut archive = stage.lone_archive("killed", &death(place, writes));
            let deadline = Instant::now() + Duration::from_secs(60);
            while archive.runs() && Instant::now() < deadline {
                stage.send(20).await;
            }
            archive.dies(place).await;
        }
    }
    for place in ["before_write", "behind_write"] {
        let archive = stage.lone_archive("killed", "");
        stage.send(100).await;
        let hour = stage.advance(5);
        stage.send(20).await;
        let mut deaths = 0;
        let deadline = Instant::now() + Duration::from_secs(240);
        while stage.newest("killed").await.watermark < hour {
            assert!(Instant::now() < deadline, "never complete through {}", hour.start());
            let (content, told) = stage.nightly("killed", &death(place, deaths), &[]).await;
            deaths += usize::from(!content);
            assert!(content || !told.contains("linktide:"), "it did not die, it gave up: {told}");
        }
        assert!(deaths > 4, "it died {deaths} times alone");
        stage.assert_kept("killed", place).await;
        archive.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_killed_at_every_step_change_no_row_but_the_erased() {
    let mut stage = Stage::new(6).await;
    stage.begin("jobs").await;
    let archive = stage.lone_archive("jobs", "");
    stage.send(300).await;
    // Days of receipt end, and can be sorted.
    stage.advance(25);
    stage.send(100).await;
    let hour = stage.advance(26);
    stage.send(20).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    // The increment waits for the archive; what is behind it is killed.
    for place in [
        "batch::plan::behind",
        "batch::increment::rolled",
        "batch::publish::before",
        "batch::compact::sorted",
        "batch::compact::rewritten",
    ] {
        let dies = format!("{place}=return");
        while stage.nightly("jobs", &dies, &[]).await.0 {
            assert!(Instant::now() < deadline, "it never comes to {place}");
        }
    }
    stage.roll_up("jobs", hour).await;
    stage.assert_kept("jobs", "sorted").await;

    let link = (TenantId(0), LinkId(0));
    for step in ["written", "rewritten", "erased_hourly", "erased_daily", "erased_dimensions", "erased_links"] {
        let (content, told) = stage.erase("jobs", link, &format!("batch::correct::{step}=return")).await;
        assert!(!content && !told.contains("linktide:"), "it did not die at {step}: {told}");
    }
    let (content, told) = stage.erase("jobs", link, "").await;
    assert!(content, "{told}");
    stage.assert_kept("jobs", "erased").await;
    archive.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_partitions_a_zombie_a_partition_more_and_a_new_life_of_the_log_change_no_row() {
    let mut stage = Stage::new(2).await;
    stage.begin("moving").await;
    let one = stage.archive("moving");
    stage.send(300).await;
    let other = stage.archive("moving");
    for _ in 0..10 {
        stage.send(50).await;
    }
    // It sleeps until the group has given its partitions away, with rows in its hands, and wakes as a zombie.
    one.pause();
    let asleep = Instant::now();
    while asleep.elapsed() < Duration::from_secs(9) {
        stage.send(50).await;
    }
    let hour = stage.advance(2);
    stage.send(100).await;
    one.resume();
    stage.roll_up("moving", hour).await;
    stage.assert_kept("moving", "moving partitions and a zombie").await;

    add_partition(stage.log_config(), 11).await;
    stage.send(300).await;
    let hour = stage.advance(20);
    stage.send(100).await;
    both_at_once(&stage, "moving", hour).await;
    stage.assert_kept("moving", "a partition more, and two runs at once").await;

    stage.send(200).await;
    let hour = stage.advance(1);
    stage.roll_up("moving", hour).await;
    one.end();
    other.end();
    let watermark = stage.newest("moving").await.watermark;
    stage.recreate_log(watermark).await;
    let _new = [stage.archive("moving"), stage.archive("moving")];
    stage.send(300).await;
    let hour = stage.advance(26);
    stage.send(50).await;
    both_at_once(&stage, "moving", hour).await;
    let newest = stage.newest("moving").await;
    assert_eq!([0, 1].map(|epoch| newest.cut_of(Epoch(epoch)).len()), [11, 10]);
    stage.assert_kept("moving", "a new life of the log").await;
}

/// Two runs at once until the hour is published; one that finds the other ahead of it may give up, and never both.
async fn both_at_once(stage: &Stage, lake: &str, through: Hour) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while stage.newest(lake).await.watermark < through {
        let (one, other) = tokio::join!(stage.nightly(lake, "", &[]), stage.nightly(lake, "", &[]));
        assert!(one.0 || other.0, "{} {}", one.1, other.1);
        assert!(Instant::now() < deadline, "never complete through {}: {} {}", through.start(), one.1, other.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_refuses_is_slow_and_loses_answers_changes_no_row_in_any_cadence() {
    let mut stage = Stage::new(3).await;
    stage.begin("hourly").await;
    stage.begin("daily").await;
    let _archives = [stage.archive("hourly"), stage.archive("hourly"), stage.archive("daily")];
    stage.send(200).await;
    let seen = AtomicU64::new(0);
    stage.gateway.treat(move |_| {
        let number = seen.fetch_add(1, Ordering::Relaxed);
        // From request 300 to 400 the server is gone for all that anyone can tell.
        if (300..400).contains(&number) {
            return Treatment::Refuse(503);
        }
        match StdRng::seed_from_u64(number).random_range(0..60) {
            0 | 1 => Treatment::Lose,
            2 => Treatment::Deny(500),
            3 => Treatment::Deny(503),
            4 => Treatment::Refuse(503),
            // Longer than a request may take: the answer comes when nobody waits for it.
            5 if number.is_multiple_of(5) => Treatment::Delay(Duration::from_secs(6)),
            6 => Treatment::Delay(Duration::from_millis(300)),
            _ => Treatment::Pass,
        }
    });
    let mut hour = stage.advance(1);
    for hours in [1, 1, 20] {
        stage.send(150).await;
        stage.roll_up("hourly", hour).await;
        hour = stage.advance(hours);
    }
    stage.send(50).await;
    stage.roll_up("hourly", hour).await;
    stage.roll_up("daily", hour).await;
    assert!(stage.gateway.treated() > 120, "{}", stage.gateway.treated());
    let hourly = stage.assert_kept("hourly", "hour by hour").await;
    let daily = stage.assert_kept("daily", "at once").await;
    hourly.assert_is(&daily, "hour by hour against at once");
}
