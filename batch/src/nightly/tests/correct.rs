//! Corrections: what was erased stays away, and what is judged or looked up again is as if it came today.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray};
use deltalake::arrow::datatypes::TimestampMicrosecondType;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use linktide_common::bucket::{Day, Hour, Quarter, Range};
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{AgentList, BotConfig, EnrichConfig, Enricher, GeoFiles, Points, Rules, VisitorIdentity};
use linktide_common::id::{LinkId, Subject};
use linktide_common::publication::Tombstone;
use linktide_common::secret::Secret;
use mmdb_writer::{Value, Writer};
use object_store::ObjectStoreExt as _;

use super::world::{START, TENANT, World, rollups};
use crate::nightly::session::Session;
use crate::nightly::{Correct, Corrected, DayReasons, Reason, clicks, overall, raw, reclassifications};
use crate::table::{Rows, Table};
use crate::tables::click_event;
use crate::tables::parquet::Encoder;

const ERASE: [&str; 9] = [
    "batch::plan::behind",
    "batch::correct::written",
    "batch::correct::rewritten",
    "batch::correct::erased_hourly",
    "batch::correct::erased_daily",
    "batch::correct::erased_dimensions",
    "batch::correct::erased_links",
    "batch::correct::erased_marks",
    "batch::publish::before",
];
const RECOMPUTE: [&str; 7] = [
    "batch::plan::behind",
    "batch::correct::written",
    "batch::correct::rewritten",
    "batch::correct::recomputed_hourly",
    "batch::correct::recomputed_daily",
    "batch::correct::recomputed_dimensions",
    "batch::publish::before",
];

fn link(number: u64) -> Correct {
    Correct::Erase(Subject::Link(TENANT, LinkId(number)))
}

async fn on(world: &mut World, hours: i32) -> Hour {
    let hour = Hour(Hour::of(world.clock.now()).0 + hours);
    world.archive_through(hour).await;
    hour
}

#[tokio::test]
async fn erasure_is_finished_wherever_it_ended_and_nothing_comes_back() {
    let mut world = World::new(31).await;
    world.links = 12;
    world.hurry();
    world.archive_through(START).await;
    for (number, step) in (1..).zip(ERASE) {
        world.send(60).await;
        on(&mut world, if number % 2 == 0 { 1 } else { 30 }).await;
        world.settle().await;
        // Some of it is archived and not rolled up, some is in the log alone.
        world.send(20).await;
        on(&mut world, 1).await;
        world.nightly(Some(step)).correct(link(number)).await.expect_err(step);
        world.erased(number).await;
        world.settle().await;
        world.check().await;
        assert_eq!(world.newest().await.tombstones.len() as u64, number, "{step}");
    }
    // Until the hour is over what comes is erased, too; from then on it counts.
    world.send(60).await;
    on(&mut world, 1).await;
    world.send(60).await;
    on(&mut world, 1).await;
    world.settle().await;
    world.check().await;
}

#[tokio::test]
async fn erasure_leaves_what_a_world_without_the_link_has_row_by_row() {
    let mut world = World::new(32).await;
    world.archive_through(START).await;
    for hours in [3, 40, 700] {
        world.send(60).await;
        on(&mut world, hours).await;
        world.settle().await;
    }
    let foreseen = world.nightly(None).foresee_correction(link(2)).await.unwrap();
    let corrected = world.nightly(None).correct(link(2)).await.unwrap();
    assert_eq!(corrected, foreseen);
    assert!(corrected.clicks > 0 && !corrected.days.is_empty() && corrected.sealed.is_empty());
    let other = world.remade(|link| link != LinkId(2)).await;
    assert_eq!(rollups(&world.lake).await, rollups(&other.lake).await);
    // Raw clicks are gone, and a tenant's erasure leaves nothing at all.
    assert_eq!(world.nightly(None).foresee_correction(link(2)).await.unwrap(), Corrected::default());
    world.nightly(None).correct(Correct::Erase(Subject::Tenant(TENANT))).await.unwrap();
    assert!(rollups(&world.lake).await.iter().all(|rows| rows.is_empty()));
}

#[tokio::test]
async fn erasure_reaches_days_whose_raw_clicks_are_deleted() {
    let mut world = World::new(33).await;
    world.archive_through(START).await;
    for hours in [3, 40, 100] {
        world.send(60).await;
        on(&mut world, hours).await;
        world.config.raw_days = Some(1);
        world.settle().await;
    }
    assert!(world.newest().await.sealed_through().is_some());
    world.nightly(None).correct(link(4)).await.unwrap();
    world.erased(4).await;
    world.check().await;
    let other = world.remade(|link| link != LinkId(4)).await;
    assert_eq!(rollups(&world.lake).await, rollups(&other.lake).await);
}

#[tokio::test]
async fn correction_waits_for_an_open_increment_and_an_increment_for_an_open_correction() {
    let mut world = World::new(34).await;
    world.archive_through(START).await;
    world.send(60).await;
    on(&mut world, 2).await;
    world.nightly(Some("batch::increment::merged_daily")).run(None).await.unwrap_err();
    world.nightly(None).correct(link(1)).await.unwrap();
    world.erased(1).await;
    world.check().await;
    world.send(60).await;
    on(&mut world, 2).await;
    world.nightly(Some("batch::correct::rewritten")).correct(link(2)).await.unwrap_err();
    world.erased(2).await;
    world.settle().await;
    world.check().await;
    // Both at once.
    world.send(60).await;
    on(&mut world, 2).await;
    let (one, other) = (world.nightly(None), world.nightly(None));
    let (erased, rolled) = tokio::join!(one.correct(link(3)), other.run(None));
    assert!(erased.is_ok() || rolled.is_ok(), "{erased:?} {rolled:?}");
    world.nightly(None).correct(link(3)).await.unwrap();
    world.erased(3).await;
    world.settle().await;
    world.check().await;
}

#[tokio::test]
async fn receipt_is_written_when_nothing_is_left() {
    let mut world = World::new(35).await;
    let now = Hour::of(linktide_common::clock::Clock::system().now());
    world.archive_through(Hour(now.0 + 48)).await;
    world.send(60).await;
    on(&mut world, 24).await;
    world.settle().await;
    let hour = Hour::of(world.clock.now());
    world.nightly(None).correct(link(1)).await.unwrap();
    world.erased(1).await;
    let waiting = world.nightly(None).erasures().await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert!(waiting[0].waits_for.iter().any(|reason| reason.contains("watermark")), "{waiting:?}");
    let receipts = world.folder.path().join("lake/receipt");
    for _ in 0..5 {
        world.send(20).await;
        on(&mut world, 10 * 24).await;
        assert!(!receipts.exists() || Hour::of(world.clock.now()).0 - hour.0 >= 30 * 24);
        world.settle().await;
    }
    let written = std::fs::read_dir(&receipts).unwrap().next().unwrap().unwrap().path();
    let receipt: serde_json::Value = serde_json::from_slice(&std::fs::read(written).unwrap()).unwrap();
    assert_eq!((receipt["tenant_id"].as_str(), receipt["link_id"].as_str()), (Some("0"), Some("1")));
    assert!(world.newest().await.tombstones.is_empty());
    assert!(world.nightly(None).erasures().await.unwrap().is_empty());
    world.check().await;
}

/// Rewrites the raw clicks as rules that knew no bots would have left them.
async fn forget_bots(world: &World) {
    store_reasons(world, None).await;
}

/// Rewrites the raw clicks as rules would have left them that gave each the same reason.
async fn store_reasons(world: &World, reason: Option<&str>) {
    let mut table: Table = world.lake.table(click_event::definition()).await.unwrap();
    let files = table.files().unwrap();
    let mut added = Vec::new();
    for file in &files {
        let bytes = table.objects().get(&file.path).await.unwrap().bytes().await.unwrap();
        let schema = table.definition.file_schema();
        for rows in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let column = |field: &deltalake::arrow::datatypes::FieldRef| -> ArrayRef {
                match field.name().as_str() {
                    "bot_reason" => Arc::new(StringArray::from(vec![reason; rows.num_rows()])),
                    "device" => Arc::new(StringArray::from(vec!["desktop"; rows.num_rows()])),
                    name => Arc::clone(rows.column_by_name(name).unwrap()),
                }
            };
            let columns = schema.fields().iter().map(column).collect();
            let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            let date = file.path.as_ref().split('/').next().unwrap().strip_prefix("received_date=").unwrap();
            let path = format!("received_date={date}/{}.parquet", uuid::Uuid::new_v4()).into();
            let encoder = Encoder::start(rows.schema());
            encoder.add(rows).await;
            let file = encoder.finish().await.unwrap();
            added.push(table.put(&path, Some(date), file, world.clock.now()).await.unwrap());
        }
    }
    table.commit(added, &files, Rows::Changed, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn bots_are_judged_again_wherever_the_backfill_ended() {
    let mut world = World::new(36).await;
    world.archive_through(START).await;
    for step in RECOMPUTE {
        world.send(40).await;
        on(&mut world, 30).await;
        forget_bots(&world).await;
        world.nightly(Some("batch::compact::sorted")).run(None).await.unwrap_err();
        world.settle().await;
        world.nightly(Some(step)).correct(Correct::Bots).await.expect_err(step);
        world.settle().await;
        world.check().await;
    }
    assert_eq!(world.nightly(None).foresee_correction(Correct::Bots).await.unwrap(), Corrected::default());
    let other = world.remade(|_| true).await;
    assert_eq!(rollups(&world.lake).await, rollups(&other.lake).await);
}

/// Clicks by event day and reason.
type Reasons = BTreeMap<(Day, String), u64>;

/// The stored reasons of all raw clicks, counted one by one.
async fn stored(world: &World) -> Reasons {
    let table = world.lake.table(click_event::definition()).await.unwrap();
    let mut reasons = Reasons::new();
    for file in table.files().unwrap() {
        let bytes = table.objects().get(&file.path).await.unwrap().bytes().await.unwrap();
        for rows in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let column = |name: &str| rows.column_by_name(name).unwrap();
            let times = column("clicked_at").as_primitive::<TimestampMicrosecondType>();
            let (bots, previews) = (column("bot_reason").as_string::<i32>(), column("preview").as_boolean());
            for row in (0..rows.num_rows()).filter(|row| !previews.value(*row)) {
                let day = Day(i32::try_from(times.value(row).div_euclid(86_400_000_000)).unwrap());
                let reason = if bots.is_valid(row) { bots.value(row) } else { "(none)" };
                *reasons.entry((day, reason.to_owned())).or_default() += 1;
            }
        }
    }
    reasons
}

/// The reasons that the rollups have.
async fn rolled_up(world: &World) -> Reasons {
    let (snapshot, mut reasons) = (world.snapshot().await, Reasons::new());
    for day in stored(world).await.into_keys().map(|(day, _)| day).collect::<std::collections::BTreeSet<_>>() {
        let range = Range::new(day.first_quarter(), day.next().first_quarter());
        let values = snapshot.values(Subject::Tenant(TENANT), range).await.unwrap();
        for (reason, counts) in values.of(Dimension::BotReason) {
            *reasons.entry((day, reason.to_owned())).or_default() += counts.humans + counts.bots;
        }
    }
    reasons
}

/// What days are told to have had, or to have now.
fn told(days: &[DayReasons], which: fn(&Reason) -> u64) -> Reasons {
    let of_day = |day: &DayReasons| {
        let date = day.day;
        let reasons = day.reasons.iter().map(|reason| ((date, reason.reason.clone()), which(reason)));
        reasons.filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    days.iter().flat_map(of_day).collect()
}

fn only(reasons: &Reasons, days: &[DayReasons]) -> Reasons {
    let listed = |day: Day| days.iter().any(|one| one.day == day);
    reasons.iter().filter(|((day, _), _)| listed(*day)).map(|(key, count)| (key.clone(), *count)).collect()
}

/// Rules that take the tests' browser for a bot's.
fn rules_against_people(folder: &std::path::Path) -> Arc<Rules> {
    let file = folder.join("bots.txt");
    std::fs::write(&file, "bot: Firefox/125\n").unwrap();
    let list = AgentList { name: "own".to_owned(), file, weight: Points::new(100).unwrap() };
    let config = EnrichConfig {
        salt_secret: Secret::new(vec![1]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles::default(),
        floor_days: 36_530,
    };
    let bots = BotConfig { agents: vec![list], ..BotConfig::default() };
    Enricher::with_bots(config, bots).unwrap().rules()
}

#[tokio::test]
async fn judging_again_tells_how_many_clicks_had_each_reason_and_have_it_now() {
    for (seed, stored_as) in [(40, None), (41, Some("ua:isbot"))] {
        let mut world = World::new(seed).await;
        world.archive_through(START).await;
        world.send(80).await;
        on(&mut world, 30).await;
        world.settle().await;
        store_reasons(&world, stored_as).await;
        let before = stored(&world).await;
        let foreseen = world.nightly(None).foresee_correction(Correct::Bots).await.unwrap();
        assert_eq!(stored(&world).await, before, "foreseeing changes nothing");
        assert!(reclassifications(&world.lake).await.unwrap().is_empty());
        let corrected = world.nightly(None).correct(Correct::Bots).await.unwrap();
        assert_eq!(corrected, foreseen);
        let after = stored(&world).await;
        let days = &corrected.reasons;
        assert!(days.len() > 3 && days.iter().all(|day| !day.sealed));
        assert_eq!(told(days, |reason| reason.before), only(&before, days));
        assert_eq!(told(days, |reason| reason.after), only(&after, days));
        // From person to bot, or from bot to person; as many clicks as before.
        let all = overall(days);
        let people = all.iter().find(|reason| reason.reason == "(none)").unwrap();
        assert_eq!(people.before < people.after, stored_as.is_some(), "{all:?}");
        let sum = |which: fn(&Reason) -> u64| all.iter().map(which).sum::<u64>();
        assert_eq!(sum(|reason| reason.before), sum(|reason| reason.after));
        let kept = reclassifications(&world.lake).await.unwrap();
        assert_eq!((kept.len(), &kept[0].corrected, &kept[0].reasons), (1, &corrected, &all));
        assert_eq!(rolled_up(&world).await, after);
        // Nothing is left: nothing is told, and nothing is kept of it.
        assert_eq!(world.nightly(None).correct(Correct::Bots).await.unwrap(), Corrected::default());
        assert_eq!(reclassifications(&world.lake).await.unwrap(), kept);
    }
}

#[tokio::test]
async fn judging_again_is_told_as_a_whole_wherever_it_ended_and_by_the_rules_that_were_written() {
    let mut world = World::new(42).await;
    world.links = 12;
    world.hurry();
    world.archive_through(START).await;
    world.send(80).await;
    on(&mut world, 30).await;
    world.settle().await;
    let (usual, against_people) = (Arc::clone(&world.rules), rules_against_people(world.folder.path()));
    let steps = RECOMPUTE.into_iter().chain(["batch::correct::reclassified"]);
    for (number, step) in (1..).zip(steps) {
        // Whoever finishes it knows other lists than whoever began: what was written by then stays, and is what is told.
        world.rules = Arc::clone(&against_people);
        let before = rolled_up(&world).await;
        assert!(before.keys().any(|(_, reason)| reason == "rate"), "{before:?}");
        let foreseen = world.nightly(None).foresee_correction(Correct::Bots).await.unwrap();
        world.nightly(Some(step)).correct(Correct::Bots).await.expect_err(step);
        let written = step != "batch::plan::behind"
            && step != "batch::correct::written"
            && step != "batch::correct::reclassified";
        world.rules = Arc::clone(&usual);
        world.settle().await;
        let kept = reclassifications(&world.lake).await.unwrap();
        let last = kept.last().map(|last| last.corrected.clone()).unwrap_or_default();
        assert_eq!(last, if written { foreseen } else { Corrected::default() }, "{number} {step}");
        let after = rolled_up(&world).await;
        assert_eq!(told(&last.reasons, |reason| reason.before), only(&before, &last.reasons), "{step}");
        assert_eq!(told(&last.reasons, |reason| reason.after), only(&after, &last.reasons), "{step}");
        // And back.
        let back = world.nightly(None).correct(Correct::Bots).await.unwrap();
        assert_eq!(back.clicks > 0, written, "{step}");
        assert_eq!(rolled_up(&world).await, before, "{step}");
        world.check().await;
        for object in reclassifications(&world.lake).await.unwrap() {
            world.lake.objects().delete(&object.place().into()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn sealed_days_keep_their_rollups_and_are_named() {
    let mut world = World::new(37).await;
    world.archive_through(START).await;
    world.send(40).await;
    on(&mut world, 30).await;
    world.settle().await;
    world.config.raw_days = Some(2);
    world.send(40).await;
    on(&mut world, 48).await;
    forget_bots(&world).await;
    world.settle().await;
    let before = rollups(&world.lake).await;
    let corrected = world.nightly(None).correct(Correct::Bots).await.unwrap();
    let sealed = world.newest().await.sealed_through().unwrap();
    assert!(!corrected.sealed.is_empty() && corrected.sealed.iter().all(|day| *day <= sealed));
    assert!(corrected.days.iter().all(|day| *day > sealed));
    let after = rollups(&world.lake).await;
    // A row of a day begins with owner and day: those of sealed days are the same.
    let of_sealed = |rows: &std::collections::BTreeMap<String, Option<Vec<u8>>>| {
        let day = |row: &str| row.split('|').nth(2).unwrap().to_owned();
        let last = sealed.start().to_string()[..10].to_owned();
        rows.keys().filter(|row| day(row) <= last).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_sealed(&after[1]), of_sealed(&before[1]));
    assert!(corrected.reasons.iter().all(|day| day.sealed == corrected.sealed.contains(&day.day)));
}

/// Rules that know the network of the tests' addresses.
fn rules_with_places(folder: &std::path::Path) -> Arc<Rules> {
    let path = folder.join("city.mmdb");
    let mut writer = Writer::builder("Test-City").build();
    let record = Value::map([("country_code", Value::from("DE"))]);
    writer.insert_value("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap(), record).unwrap();
    std::fs::write(&path, writer.to_bytes().unwrap()).unwrap();
    Arc::new(Rules::load(GeoFiles { city: Some(path), asn: None }).unwrap())
}

async fn countries(world: &World) -> Vec<(String, u64)> {
    let all = Range::new(Quarter(0), Quarter(3_000_000));
    let snapshot = world.snapshot().await;
    let found = snapshot.values(Subject::Tenant(TENANT), all).await.unwrap();
    let mut sums = std::collections::BTreeMap::new();
    for (value, counts) in found.of(Dimension::Country) {
        *sums.entry(value.to_owned()).or_default() += counts.humans;
    }
    sums.into_iter().collect()
}

#[tokio::test]
async fn places_are_looked_up_later_by_increments_and_by_the_backfill() {
    let mut world = World::new(38).await;
    world.archive_through(START).await;
    world.send(60).await;
    on(&mut world, 30).await;
    world.settle().await;
    assert!(world.nightly(None).correct(Correct::Geo).await.unwrap_err().to_string().contains("enrich.geoip"));
    let unknown = countries(&world).await;
    assert_eq!(unknown[0].0, "(none)");
    world.rules = rules_with_places(world.folder.path());
    // An increment asks the database that came meanwhile.
    world.send(60).await;
    on(&mut world, 30).await;
    world.settle().await;
    let both = countries(&world).await;
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both[0], unknown[0]);
    world.nightly(Some("batch::correct::rewritten")).correct(Correct::Geo).await.unwrap_err();
    world.settle().await;
    assert_eq!(countries(&world).await, [("DE".to_owned(), both[0].1 + both[1].1)]);
    world.check().await;
    // What the archive enriches without a database is looked up again behind the watermark, too.
    world.send(60).await;
    on(&mut world, 1).await;
    let foreseen = world.nightly(None).foresee_correction(Correct::Geo).await.unwrap();
    assert!(foreseen.clicks > 0);
    world.nightly(None).correct(Correct::Geo).await.unwrap();
    assert_eq!(world.nightly(None).foresee_correction(Correct::Geo).await.unwrap(), Corrected::default());
    world.settle().await;
    assert_eq!(countries(&world).await.len(), 1);
    world.check().await;
}

#[tokio::test]
async fn backfill_before_a_day_is_sorted_hides_nothing_that_was_erased() {
    let mut world = World::new(39).await;
    world.archive_through(START).await;
    world.send(60).await;
    // In the log alone when the link is erased; archived behind it, and not rolled up when the day is over.
    world.nightly(None).correct(link(1)).await.unwrap();
    world.erased(1).await;
    let day = on(&mut world, 30).await;
    forget_bots(&world).await;
    // The watermark has passed the day, and nobody has planned to sort it.
    world.nightly(Some("batch::publish::behind")).run(None).await.unwrap_err();
    world.nightly(None).correct(Correct::Bots).await.unwrap();
    world.settle().await;
    world.check().await;
    let subject = Subject::Link(TENANT, LinkId(1));
    let everything = Tombstone::new(subject, day.next(), 0);
    let table = world.lake.table(click_event::definition()).await.unwrap();
    let session = Session::new(&world.rules).unwrap();
    assert_eq!(raw::find(&session, &table, &clicks::erased(&everything)).await.unwrap().rows, 0);
}
