//! Archive and jobs against a plain count, on real tables in a folder, with crashes between any two steps.

mod correct;
mod damage;
mod raw;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linktide_servers::{Gateway, S3, Treatment};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::tables::daily::Daily;
use crate::tables::slot::{Slot, run_of};
use linktide_common::id::{LinkId, Subject};
use world::{START, TENANT, World, archiver, rollups, rows_of};

/// Where an increment may end.
const STEPS: [&str; 9] = [
    "batch::plan::behind",
    "batch::increment::marked",
    "batch::increment::rolled",
    "batch::increment::merged_hourly",
    "batch::increment::merged_daily",
    "batch::increment::merged_dimensions",
    "batch::increment::merged_links",
    "batch::publish::before",
    "batch::publish::behind",
];

#[tokio::test]
async fn rollups_equal_a_plain_count_whatever_the_cadence_and_wherever_a_run_ends() {
    for seed in 0..3 {
        let mut world = World::new(seed).await;
        world.hurry();
        // Another archive that takes itself for the owner of every partition, and now and then moves on, too.
        let mut zombie = archiver(&world.log, &world.enricher, &world.lake, &world.clock).await;
        let mut hour = START;
        for round in 0..8 {
            world.send(60).await;
            for _ in 0..world.random.random_range(0..12) {
                zombie.step(Duration::from_millis(1)).await.unwrap();
                world.archiver.step(Duration::from_millis(1)).await.unwrap();
            }
            // Over months' ends, too: a turn of 400 hours.
            hour = Hour(hour.0 + [1, 1, 30, 400][world.random.random_range(0..4)]);
            world.archive_through(hour).await;
            if round % 3 == 1 {
                // A crash of the archive: what was committed stands, the rest is read again.
                world.archiver = archiver(&world.log, &world.enricher, &world.lake, &world.clock).await;
            }
            if round % 2 == 1 {
                let step = STEPS[world.random.random_range(0..STEPS.len())];
                world.nightly(Some(step)).run(None).await.unwrap_err();
                // What came in since the crash waits for the next run.
                world.send(10).await;
            }
        }
        hour = Hour(hour.0 + 1);
        world.archive_through(hour).await;
        world.settle().await;
        world.check().await;
    }
}

#[tokio::test]
async fn rollups_equal_a_plain_count_over_a_bucket_that_refuses_loses_answers_and_denies_what_it_did() {
    let s3 = S3::start("clicks");
    let gateway = Gateway::before(s3.port());
    let lake = Lake::in_bucket(&crate::s3::tests::config(&gateway.url())).unwrap();
    let mut world = World::over(lake, tempfile::tempdir().unwrap(), 5).await;
    world.hurry();
    let mut zombie = archiver(&world.log, &world.enricher, &world.lake, &world.clock).await;
    let requests = AtomicU64::new(0);
    gateway.treat(move |_| {
        // Every seventh or so, each time another way.
        let drawn = StdRng::seed_from_u64(requests.fetch_add(1, Ordering::Relaxed)).random_range(0..28);
        match drawn {
            0 => Treatment::Lose,
            1 => Treatment::Deny(500),
            2 => Treatment::Refuse(503),
            3 => Treatment::Deny(503),
            _ => Treatment::Pass,
        }
    });
    let mut hour = START;
    for hours in [1, 30, 400] {
        world.send(60).await;
        for _ in 0..4 {
            zombie.step(Duration::from_millis(1)).await.unwrap();
            world.archiver.step(Duration::from_millis(1)).await.unwrap();
        }
        hour = Hour(hour.0 + hours);
        world.archive_through(hour).await;
        let step = STEPS[world.random.random_range(0..STEPS.len())];
        world.nightly(Some(step)).run(None).await.unwrap_err();
        let (one, other) = (world.nightly(None), world.nightly(None));
        let (one, other) = tokio::join!(one.run(None), other.run(None));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    }
    world.settle().await;
    world.check().await;
    assert!(gateway.treated() > 50, "{}", gateway.treated());
}

#[tokio::test]
async fn two_runs_at_once_count_once() {
    let mut world = World::new(7).await;
    for hours in [2, 30] {
        world.send(100).await;
        world.archive_through(Hour(START.0 + hours)).await;
        let (one, other) = (world.nightly(None), world.nightly(None));
        let (one, other) = tokio::join!(one.run(None), other.run(None));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        world.settle().await;
    }
    world.check().await;
}

#[tokio::test]
async fn nothing_is_published_before_every_partition_has_passed_the_hour() {
    let mut world = World::new(1).await;
    world.send(5).await;
    let outcome = world.nightly(None).run(None).await.unwrap();
    assert_eq!(outcome, Outcome::Nothing { why: "nothing was archived yet".into() });
    // The archive's first look publishes the hour it begins in: what came before is received in it.
    world.archive_through(START).await;
    world.archive_through(START.next()).await;
    world.send(5).await;
    let through = Some(START.next());
    assert!(
        matches!(world.nightly(None).run(through).await.unwrap(), Outcome::Published { clicks: 1.., to, .. } if to == START.next())
    );
    assert!(matches!(world.nightly(None).run(None).await.unwrap(), Outcome::Nothing { .. }));
}

#[tokio::test]
async fn runs_and_thirds_and_months_that_are_over_are_one_file() {
    let mut world = World::new(2).await;
    let mut seen = std::collections::HashSet::new();
    for hours in [30, 60, 300, 330, 1000] {
        let until = Hour(START.0 + hours);
        world.send(50).await;
        world.archive_through(until).await;
        world.nightly(None).run(None).await.unwrap();
        let files = world.lake.table(Daily::definition()).await.unwrap().files().unwrap();
        let mut slots: Vec<Slot> = files.iter().map(|file| Slot::named(&file.path).unwrap()).collect();
        for slot in &slots {
            assert_eq!(slot.now(run_of(until.day())), *slot, "after {hours} hours");
            seen.insert(std::mem::discriminant(slot));
        }
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), files.len(), "after {hours} hours");
    }
    let kinds = [Slot::Day, Slot::Run, Slot::Third, Slot::Month].map(|kind| kind(START.day()));
    assert!(kinds.iter().all(|kind| seen.contains(&std::mem::discriminant(kind))), "{} kinds", seen.len());
    world.check().await;
}

#[tokio::test]
async fn parts_cut_at_received_hours_add_up_to_the_whole_row_by_row() {
    let mut world = World::new(11).await;
    world.hurry();
    world.archive_through(START).await;
    let whole = Lake::in_folder_unsynced(&world.folder.path().join("whole")).unwrap();
    let mut other = archiver(&world.log, &world.enricher, &whole, &world.clock).await;
    other.step(Duration::from_millis(1)).await.unwrap();
    let mut hour = START;
    for _ in 0..6 {
        world.send(40).await;
        hour = Hour(hour.0 + [1, 3, 300][world.random.random_range(0..3)]);
        world.archive_through(hour).await;
        assert!(matches!(world.nightly(None).run(None).await.unwrap(), Outcome::Published { .. }));
    }
    while !other.has_committed(hour.start()) {
        other.step(Duration::from_millis(1)).await.unwrap();
    }
    let at_once = Nightly { lake: whole.clone(), ..world.nightly(None) };
    assert!(matches!(at_once.run(None).await.unwrap(), Outcome::Published { to, .. } if to == hour));
    assert_eq!(rollups(&world.lake).await, rollups(&whole).await);
    let marks = rows_of::<RateBots>(&world.lake).await;
    assert!(!marks.is_empty());
    assert_eq!(marks, rows_of::<RateBots>(&whole).await);
    world.check().await;
}

#[tokio::test]
async fn owner_with_too_much_for_one_part_is_rolled_up_day_by_day() {
    let mut world = World::new(15).await;
    // All on one link, on the days of a month that is nearly over: it and its tenant have several parts.
    let nearly_over = Hour(START.0 + 24 * 20);
    (world.links, world.spread) = (1, 28 * 86_400_000);
    world.archive_through(nearly_over).await;
    world.send_now(1000).await;
    world.archive_through(nearly_over.next()).await;
    world.settle().await;
    world.check().await;
    // So they have when it turns.
    let before = rollups(&world.lake).await;
    world.archive_through(Hour(nearly_over.0 + 24 * 40)).await;
    world.settle().await;
    assert_eq!(rollups(&world.lake).await, before);
}

/// Sends in each of five hours, and rolls them up one by one, and in another lake at once: rows are the same. The hour behind
/// them.
async fn hour_by_hour_and_at_once(world: &mut World, mut send: impl AsyncFnMut(&mut World)) -> Hour {
    world.archive_through(START).await;
    let whole = Lake::in_folder_unsynced(&world.folder.path().join("whole")).unwrap();
    let mut other = archiver(&world.log, &world.enricher, &whole, &world.clock).await;
    other.step(Duration::from_millis(1)).await.unwrap();
    let mut hour = START;
    for _ in 0..5 {
        send(world).await;
        hour = hour.next();
        world.archive_through(hour).await;
        assert!(matches!(world.nightly(None).run(None).await.unwrap(), Outcome::Published { .. }));
    }
    while !other.has_committed(hour.start()) {
        other.step(Duration::from_millis(1)).await.unwrap();
    }
    let at_once = Nightly { lake: whole.clone(), ..world.nightly(None) };
    assert!(matches!(at_once.run(None).await.unwrap(), Outcome::Published { .. }));
    assert_eq!(rollups(&world.lake).await, rollups(&whole).await);
    hour
}

#[tokio::test]
async fn repeats_are_those_of_a_plain_count_whatever_the_cadence_and_what_is_erased_or_judged_anew() {
    let mut world = World::new(13).await;
    // A link and a handful of people who click all the time, many at once.
    (world.links, world.hosts, world.spread) = (3, 4, 20 * 60_000);
    world.config.rate_bots = Some(4);
    let send = async |world: &mut World| {
        world.send_now(60).await;
        world.clock.set(world.clock.now().plus_millis(1_200_000));
        world.send_now(60).await;
    };
    let hour = hour_by_hour_and_at_once(&mut world, send).await;
    assert!(world.repeats() > 15, "{}", world.repeats());
    world.check().await;
    world.nightly(None).correct(Correct::Erase(Subject::Link(TENANT, LinkId(0)))).await.unwrap();
    world.erased(0).await;
    world.check().await;
    // An open plan is finished with its own windows, whatever the settings say by then.
    world.send_now(60).await;
    world.archive_through(hour.next()).await;
    world.nightly(Some("batch::increment::rolled")).run(None).await.unwrap_err();
    let before = std::mem::take(&mut world.config.repeats);
    world.settle().await;
    world.config.repeats = before;
    world.check().await;
    // Without a window nothing is a repeat, and with one of its own a tenant has others.
    for (window, some) in [(None, false), (Some(Duration::from_secs(600)), true)] {
        let mut other = World::new(13).await;
        (other.links, other.hosts, other.spread) = (3, 4, 20 * 60_000);
        other.config.repeats = linktide_common::repeat::Windows::new(Some(Duration::from_secs(5)), [(TENANT, window)]);
        other.archive_through(START).await;
        other.send_now(60).await;
        other.archive_through(START.next()).await;
        other.settle().await;
        other.check().await;
        assert_eq!(other.repeats() > 0, some);
    }
}

#[tokio::test]
async fn visitors_are_told_one_by_one_up_to_the_switch_whatever_the_cadence() {
    let mut world = World::new(12).await;
    // All on today, on few links: a link has some dozens of visitors, the tenant more than a set holds.
    (world.links, world.hosts, world.spread) = (4, 250, 60_000);
    hour_by_hour_and_at_once(&mut world, async |world: &mut World| world.send_now(110).await).await;
    assert_eq!(world.check_visitors().await, (true, true), "some are known one by one, some are too many");
    // What is erased takes whoever came to no other link out of the tenant's set; what was too many stays so.
    world.nightly(None).correct(Correct::Erase(Subject::Link(TENANT, LinkId(0)))).await.unwrap();
    world.erased(0).await;
    world.check_visitors().await;
    let other = world.remade(|link| link != LinkId(0)).await;
    assert_eq!(rollups(&world.lake).await, rollups(&other.lake).await);
}

#[tokio::test]
async fn commit_of_another_job_does_not_throw_an_archive_back() {
    let mut world = World::new(3).await;
    world.send(20).await;
    world.archive_through(START.next()).await;
    world.send(20).await;
    while world.archiver.gathered() < 10 {
        world.archiver.step(Duration::from_millis(1)).await.unwrap();
    }
    let mut table = world.lake.table(click_event::definition()).await.unwrap();
    table
        .commit(Vec::new(), &[], crate::table::Rows::Moved, vec![deltalake::kernel::Transaction::new("compaction", 1)])
        .await
        .unwrap();
    let gathered = world.archiver.gathered();
    world.archiver.commit().await.unwrap();
    assert_eq!(world.archiver.gathered(), 0);
    table.reload().await.unwrap();
    // Where the archive had been thrown back, the commit would not have landed.
    let rows = |file: &crate::table::File| {
        let statistics: serde_json::Value = serde_json::from_str(file.statistics.as_deref().unwrap()).unwrap();
        statistics["numRecords"].as_u64().unwrap()
    };
    assert!(table.files().unwrap().iter().any(|file| rows(file) == gathered as u64));
}
