//! Sorting and deleting raw days, and cleaning up behind them.

use std::collections::BTreeSet;
use std::time::Duration;

use deltalake::arrow::array::AsArray as _;
use deltalake::arrow::datatypes::Int64Type;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use linktide_common::bucket::{Day, Hour, Quarter, Range};
use linktide_common::clock::Clock;
use linktide_common::id::Subject;
use object_store::ObjectStoreExt as _;

use super::world::{START, TENANT, World};
use crate::nightly::{NightlyConfig, Outcome, raw};
use crate::reader::Tables;
use crate::rewrite::{Fence, rewrite};
use crate::table::{Rows, Table};
use crate::tables::click_event;

const DAY: i32 = 24;

async fn raw_table(world: &World) -> Table {
    world.lake.table(click_event::definition()).await.unwrap()
}

/// The places in the log of all raw clicks, each once.
async fn places(world: &World) -> BTreeSet<(i64, i64)> {
    let table = raw_table(world).await;
    let mut places = BTreeSet::new();
    for file in table.files().unwrap() {
        let bytes = table.objects().get(&file.path).await.unwrap().bytes().await.unwrap();
        for rows in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let numbers = |name| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let (partitions, offsets) = (numbers("partition"), numbers("offset"));
            for row in 0..rows.num_rows() {
                assert!(places.insert((partitions.value(row), offsets.value(row))), "a click is there twice");
            }
        }
    }
    places
}

/// Clicks on some days, rolled up once a day.
async fn days(world: &mut World, days: i32) -> Hour {
    let begin = Hour::of(world.clock.now());
    for day in 1..=days {
        for part in 0..2 {
            world.send(30).await;
            world.archive_through(Hour(begin.0 + day * DAY - 12 + part * 12)).await;
        }
        world.settle().await;
    }
    Hour(begin.0 + days * DAY)
}

#[tokio::test]
async fn closed_days_are_sorted_once_and_lose_nothing() {
    let mut world = World::new(21).await;
    let hour = days(&mut world, 2).await;
    let table = raw_table(&world).await;
    for (day, files) in raw::by_day(&table).unwrap() {
        let sorted = files.iter().filter(|file| raw::is_sorted(&file.path)).count();
        let expected = if day < hour.day() { (1, 1) } else { (0, files.len()) };
        assert_eq!((sorted, files.len()), expected, "{day:?}");
    }
    let version = table.version().unwrap();
    assert!(matches!(world.nightly(None).run(None).await.unwrap(), Outcome::Nothing { .. }));
    assert_eq!(raw_table(&world).await.version().unwrap(), version, "sorted again");
    // What the table says of itself: rows only lie elsewhere.
    let log = world.folder.path().join("lake/tables/click_event/_delta_log");
    let mut moved = 0;
    for entry in std::fs::read_dir(log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(path).unwrap();
            if text.contains("sorted.") {
                assert!(!text.contains("\"dataChange\":true"), "{text}");
                moved += 1;
            }
        }
    }
    assert!(moved > 0);
    world.check().await;
}

#[tokio::test]
async fn sorting_and_deleting_are_finished_wherever_they_ended() {
    let steps = [
        (None, "batch::compact::sorted"),
        (None, "batch::compact::rewritten"),
        (Some(1), "batch::delete::rewritten"),
        (Some(1), "batch::delete::unmarked"),
    ];
    let mut world = World::new(22).await;
    world.hurry();
    days(&mut world, 1).await;
    for (raw_days, step) in steps {
        world.send(40).await;
        let hour = Hour(Hour::of(world.clock.now()).0 + 2 * DAY);
        world.archive_through(hour).await;
        world.config.raw_days = raw_days;
        let before = places(&world).await;
        world.nightly(Some(step)).run(None).await.expect_err(step);
        // What comes in meanwhile waits; another process goes on.
        world.send(10).await;
        world.archive_through(hour.next()).await;
        world.settle().await;
        if raw_days.is_none() {
            assert!(places(&world).await.is_superset(&before), "{step}");
        }
        world.check().await;
    }
    let newest = world.newest().await;
    let table = raw_table(&world).await;
    let first = *raw::by_day(&table).unwrap().keys().next().unwrap();
    assert!(first.0 >= newest.watermark.day().0 - 1);
    assert!(newest.deleted_through < Some(first) && newest.deleted_through.is_some());
}

#[tokio::test]
async fn vacuum_keeps_what_a_kept_publication_names_and_nothing_else() {
    let mut world = World::new(23).await;
    world.config = NightlyConfig { publications: Duration::from_secs(3 * 86_400), ..world.config };
    // The stamps of files are the system's: from now on, as far as they are concerned.
    let now = Hour::of(Clock::system().now());
    world.archive_through(Hour(now.0 + 48)).await;
    days(&mut world, 2).await;
    let old = world.newest().await;
    let subject = Subject::Tenant(TENANT);
    let all = Range::new(Quarter(0), Quarter(3_000_000));
    let before = Tables::new(world.lake.clone(), 1 << 24).at(&old).await.unwrap().quarters(subject, all).await.unwrap();
    let orphan = world.folder.path().join("lake/tables/link_stats_daily/event_month=2026-01/2026-01.orphan.parquet");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, b"x").unwrap();

    days(&mut world, 2).await;
    assert!(!orphan.exists(), "what no version names stays");
    // Replaced two days ago, and still what the publication of then answers from.
    let again = Tables::new(world.lake.clone(), 1 << 24).at(&old).await.unwrap().quarters(subject, all).await.unwrap();
    assert_eq!(again, before);

    let daily = world.folder.path().join("lake/tables/link_stats_daily");
    days(&mut world, 6).await;
    let kept = world.lake.publications().kept().await.unwrap();
    assert!(kept.iter().all(|publication| publication.number > old.number));
    assert!(
        Tables::new(world.lake.clone(), 1 << 24).at(&old).await.is_err() || {
            let snapshot = Tables::new(world.lake.clone(), 1 << 24).at(&old).await.unwrap();
            snapshot.quarters(subject, all).await.is_err()
        }
    );
    for publication in kept {
        let snapshot = Tables::new(world.lake.clone(), 1 << 24).at(&publication.into()).await.unwrap();
        snapshot.quarters(subject, all).await.unwrap();
    }
    let first = daily.join("_delta_log/00000000000000000000.json");
    assert!(!first.exists(), "a log that no kept version needs");
    world.check().await;
}

#[tokio::test]
async fn maintenance_is_finished_wherever_it_ended() {
    let mut world = World::new(25).await;
    world.config.publications = Duration::from_secs(86_400);
    let now = Hour::of(Clock::system().now());
    world.archive_through(Hour(now.0 + 48)).await;
    days(&mut world, 1).await;
    for step in ["batch::maintenance::expired", "batch::maintenance::vacuumed"] {
        days(&mut world, 1).await;
        let hour = Hour(Hour::of(world.clock.now()).0 + 2 * DAY);
        world.archive_through(hour).await;
        world.nightly(Some(step)).run(None).await.expect_err(step);
        world.settle().await;
        world.check().await;
    }
    let maintained = world.nightly(None).maintain().await.unwrap();
    assert!(maintained.files > 0, "what the last run did not get to");
    let again = world.nightly(None).maintain().await.unwrap();
    assert_eq!((again.publications, again.files), (0, 0));
    world.check().await;
}

#[tokio::test]
async fn rewrite_lands_once_and_never_on_what_another_replaced() {
    let mut world = World::new(24).await;
    world.archive_through(START).await;
    world.send(30).await;
    world.archive_through(START.next()).await;
    let mut stale = raw_table(&world).await;
    let files = stale.files().unwrap();
    // The archive goes on meanwhile: the rewrite reads the table again, and lands.
    world.send(30).await;
    world.archive_through(Hour(START.0 + 2)).await;
    let fence = Fence { plan: 7, watermark: None };
    let mut second = raw_table(&world).await;
    rewrite(&mut stale, &files[..1], &[], Rows::Changed, fence).await.unwrap();
    let version = stale.version().unwrap();
    rewrite(&mut stale, &files[..1], &[], Rows::Changed, fence).await.unwrap();
    rewrite(&mut second, &files[..1], &[], Rows::Changed, fence).await.unwrap();
    assert_eq!((stale.version().unwrap(), second.version().unwrap()), (version, version), "landed twice");
    // Another job that read the same files finds them replaced.
    let later = Fence { plan: 8, watermark: None };
    let error = rewrite(&mut second, &files[..1], &[], Rows::Changed, later).await.unwrap_err();
    assert!(error.to_string().contains("no received_date="), "{error}");
    // An earlier one comes too late.
    let earlier = Fence { plan: 6, watermark: None };
    let error = rewrite(&mut second, &[], &[], Rows::Changed, earlier).await.unwrap_err();
    assert!(error.to_string().contains("job 7"), "{error}");
}

#[test]
fn day_of_a_file_is_that_of_its_folder() {
    let path = "received_date=2026-03-01/sorted.x.parquet".into();
    assert_eq!(raw::day_of(&path), Some(Day(20_513)));
    assert!(raw::is_sorted(&path) && !raw::is_sorted(&"received_date=2026-03-01/x.parquet".into()));
    assert_eq!(raw::day_of(&"x.parquet".into()), None);
}
