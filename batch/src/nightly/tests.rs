//! Archive and nightly runs against a plain count, on real tables in a folder, with crashes between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deltalake::arrow::array::{Array as _, AsArray as _};
use deltalake::arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use linktide_common::bucket::{Day, Quarter, Range};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, VisitorIdentity};
use linktide_common::id::{ClickId, LinkId, Subject, TenantId};
use linktide_common::intake::Intake;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogWriter as _};
use linktide_common::secret::Secret;
use linktide_common::sketch::Sketch;
use linktide_servers::{Gateway, S3, Treatment};
use object_store::ObjectStoreExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::archive::{ArchiveConfig, Archiver};
use crate::reader::{Snapshot, Tables};

mod damage;

const START: Hour = Hour(494_000);
const TENANT: TenantId = TenantId(0);
const STEPS: [Step; 6] =
    [Step::Planned, Step::Rolled, Step::MergedHourly, Step::MergedDaily, Step::MergedDimensions, Step::MergedLinks];

struct World {
    log: Arc<EmbeddedLog>,
    clock: Clock,
    enricher: Arc<Enricher>,
    lake: Lake,
    archiver: Archiver,
    random: StdRng,
    plain: Plain,
    sent: Vec<Append>,
    _folder: tempfile::TempDir,
}

/// What a plain count of the same clicks says.
#[derive(Default)]
struct Plain {
    totals: BTreeMap<(Option<LinkId>, Quarter), Counts>,
    languages: BTreeMap<(Option<LinkId>, String, Quarter), Counts>,
    visitors: BTreeMap<Option<LinkId>, BTreeSet<(u8, Day)>>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::in_folder_unsynced(&folder.path().join("lake")).unwrap();
        Self::over(lake, folder, seed).await
    }

    async fn over(lake: Lake, folder: tempfile::TempDir, seed: u64) -> Self {
        let clock = Clock::manual(START.start());
        let config = EmbeddedConfig { partitions: 2, sync: false, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), &config, clock.clone()).unwrap();
        let config = EnrichConfig {
            salt_secret: Secret::new(vec![1]),
            visitor: VisitorIdentity::Ip,
            geo: GeoFiles::default(),
            floor_days: 36_530,
        };
        let enricher = Arc::new(Enricher::new(config).unwrap());
        let archiver = archiver(&log, &enricher, &lake, &clock).await;
        let random = StdRng::seed_from_u64(seed);
        Self {
            log,
            clock,
            enricher,
            lake,
            archiver,
            random,
            plain: Plain::default(),
            sent: Vec::new(),
            _folder: folder,
        }
    }

    fn nightly(&self, crash_after: Option<Step>) -> Nightly {
        let mut nightly = Nightly::new(self.lake.clone(), self.clock.clone(), "r".into());
        nightly.crash_after = crash_after;
        nightly
    }

    async fn send(&mut self, clicks: usize) {
        let mut records = Vec::new();
        for _ in 0..clicks {
            if let (true, Some(copy)) = (self.random.random_bool(0.1), self.sent.last()) {
                records.push(copy.clone());
                continue;
            }
            records.push(self.click());
            self.sent.extend(records.last().cloned());
        }
        self.log.append(records).await.unwrap();
    }

    /// A click of now, of some days ago, or of years ago.
    fn click(&mut self) -> Append {
        let random = &mut self.random;
        let ago = [600_000, 90_000_000, 4_000_000_000, 300_000_000_000][random.random_range(0..4)];
        let clicked = self.clock.now().plus_millis(-random.random_range(0..ago));
        let (link, host, id) =
            (random.random_range(0..5u64), random.random_range(0..40u8), Uuid::from_u128(random.random()));
        let (preview, bot) = (random.random_bool(0.1), random.random_bool(0.3));
        let language = ["en", "de", "hi"][random.random_range(0..3)];
        let agent =
            if bot { "curl/8.5.0" } else { "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0" };
        let json = format!(
            r#"{{"link_id":{link},"click_id":"{id}","clicked_at":{},"ip":"203.0.113.{host}","user_agent":"{agent}","language":"{language}","method":"{}","slug":"s{link}"}}"#,
            clicked.as_millis(),
            if preview { "HEAD" } else { "GET" },
        );
        let counts = Counts {
            humans: u64::from(!preview && !bot),
            bots: u64::from(!preview && bot),
            previews: u64::from(preview),
        };
        let quarter = Quarter::of(clicked);
        for owner in [None, Some(LinkId(link))] {
            *self.plain.totals.entry((owner, quarter)).or_default() += counts;
            if !preview {
                *self.plain.languages.entry((owner, language.to_owned(), quarter)).or_default() += counts;
            }
            if counts.humans > 0 {
                self.plain.visitors.entry(owner).or_default().insert((host, quarter.day()));
            }
        }
        Append { key: ClickId(id), payload: Bytes::from(json) }
    }

    /// Moves the clock and archives all that was received before.
    async fn archive_through(&mut self, hour: Hour) {
        self.clock.set(hour.start());
        while !self.archiver.has_committed(hour.start()) {
            self.archiver.step(Duration::from_millis(1)).await.unwrap();
        }
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        let publication = self.lake.publications().latest().await.unwrap().unwrap();
        Tables::new(self.lake.clone(), 1 << 24).at(&publication).await.unwrap()
    }

    /// Everything that is published equals the plain count of everything that was sent.
    async fn check(&self) {
        let snapshot = self.snapshot().await;
        let all = Range::new(Quarter(0), Quarter(3_000_000));
        // A range whose edges are no whole days, for the sums by value.
        let part = Range::new(Quarter(START.first_quarter().0 - 333), Quarter(START.first_quarter().0 + 555));
        for owner in [None, Some(LinkId(0)), Some(LinkId(3)), Some(LinkId(99))] {
            let subject = owner.map_or(Subject::Tenant(TENANT), |link| Subject::Link(TENANT, link));
            let mut quarters = snapshot.quarters(subject, all).await.unwrap();
            quarters.sort_unstable_by_key(|(quarter, _)| *quarter);
            let of_owner = self.plain.totals.iter().filter(|((of, _), _)| *of == owner);
            let expected: Vec<_> = of_owner.map(|((_, quarter), counts)| (*quarter, *counts)).collect();
            assert_eq!(quarters, expected, "{owner:?}");

            let mut days: BTreeMap<Day, Counts> = BTreeMap::new();
            for (quarter, counts) in &expected {
                *days.entry(quarter.day()).or_default() += *counts;
            }
            let found: BTreeMap<_, _> =
                snapshot.days(subject).await.unwrap().into_iter().map(|row| (row.day, row.counts)).collect();
            assert_eq!(found, days);

            for range in [all, part] {
                let mut values: BTreeMap<String, Counts> = BTreeMap::new();
                for ((_, language, _), counts) in
                    self.plain.languages.iter().filter(|((of, _, quarter), _)| *of == owner && range.contains(*quarter))
                {
                    *values.entry(language.clone()).or_default() += *counts;
                }
                let found = snapshot.values(subject, &[Dimension::Language], range).await.unwrap();
                let found: BTreeMap<_, _> =
                    found.into_iter().map(|(_, value, counts)| (value.to_string(), counts)).collect();
                assert_eq!(found, values);
            }
            let visitors = self.plain.visitors.get(&owner).map_or(0, BTreeSet::len) as f64;
            let union: Sketch = snapshot.visitors(subject, Hour(0)..Hour(750_000)).await.unwrap();
            assert!((union.count() as f64 - visitors).abs() <= 2.0 + visitors * 0.03, "{union:?} for {visitors}");
        }
        let links = snapshot.links(TENANT, part).await.unwrap();
        let mut expected: BTreeMap<LinkId, Counts> = BTreeMap::new();
        for ((owner, _), counts) in self.plain.totals.iter().filter(|((_, quarter), _)| part.contains(*quarter)) {
            if let Some(link) = owner {
                *expected.entry(*link).or_default() += *counts;
            }
        }
        assert_eq!(links.into_iter().collect::<BTreeMap<_, _>>(), expected);
        let labels = snapshot.labels(TENANT, Some(LinkId(3))).await.unwrap();
        assert_eq!(labels[&LinkId(3)].slug.as_deref(), Some("s3"));
    }
}

async fn archiver(log: &Arc<EmbeddedLog>, enricher: &Arc<Enricher>, lake: &Lake, clock: &Clock) -> Archiver {
    let intake = Intake::new("archive", Box::new(log.reader()), Arc::clone(enricher), clock.clone(), 1000);
    let config = ArchiveConfig { commit_clicks: 25, poll_records: 10, ..ArchiveConfig::default() };
    Archiver::open(lake.clone(), intake, clock.clone(), config).await.unwrap().0
}

#[tokio::test]
async fn rollups_equal_a_plain_count_whatever_the_cadence_and_wherever_a_run_ends() {
    for seed in 0..3 {
        let mut world = World::new(seed).await;
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
                world.nightly(Some(step)).run(None, &|_| {}).await.unwrap_err();
                // What came in since the crash waits for the next run.
                world.send(10).await;
            }
        }
        hour = Hour(hour.0 + 1);
        world.archive_through(hour).await;
        while let Outcome::Published { .. } = world.nightly(None).run(None, &|_| {}).await.unwrap() {}
        world.check().await;
    }
}

#[tokio::test]
async fn rollups_equal_a_plain_count_over_a_bucket_that_refuses_loses_answers_and_denies_what_it_did() {
    let s3 = S3::start("clicks");
    let gateway = Gateway::before(s3.port());
    let lake = Lake::in_bucket(&crate::s3::tests::config(&gateway.url())).unwrap();
    let mut world = World::over(lake, tempfile::tempdir().unwrap(), 5).await;
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
        world.nightly(Some(step)).run(None, &|_| {}).await.unwrap_err();
        let (one, other) = (world.nightly(None), world.nightly(None));
        let quiet = |_: Stage| {};
        let (one, other) = tokio::join!(one.run(None, &quiet), other.run(None, &quiet));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    }
    while let Outcome::Published { .. } = world.nightly(None).run(None, &|_| {}).await.unwrap() {}
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
        let quiet = |_: Stage| {};
        let (one, other) = tokio::join!(one.run(None, &quiet), other.run(None, &quiet));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        while let Outcome::Published { .. } = world.nightly(None).run(None, &|_| {}).await.unwrap() {}
    }
    world.check().await;
}

#[tokio::test]
async fn nothing_is_published_before_every_partition_has_passed_the_hour() {
    let mut world = World::new(1).await;
    world.send(5).await;
    let outcome = world.nightly(None).run(None, &|_| {}).await.unwrap();
    assert_eq!(outcome, Outcome::Nothing { why: "nothing was archived yet".into() });
    // The archive's first look publishes the hour it begins in: what came before is received in it.
    world.archive_through(START).await;
    world.archive_through(START.next()).await;
    world.send(5).await;
    let through = Some(START.next());
    assert!(
        matches!(world.nightly(None).run(through, &|_| {}).await.unwrap(), Outcome::Published { clicks: 1.., to, .. } if to == START.next())
    );
    assert!(matches!(world.nightly(None).run(None, &|_| {}).await.unwrap(), Outcome::Nothing { .. }));
}

#[tokio::test]
async fn months_that_have_turned_are_one_file() {
    let mut world = World::new(2).await;
    for hours in [30, 60, 1000] {
        world.send(50).await;
        world.archive_through(Hour(START.0 + hours)).await;
        world.nightly(None).run(None, &|_| {}).await.unwrap();
    }
    let mut names: Vec<String> = world
        .lake
        .table(<Daily as crate::tables::rollup::Rollup>::definition())
        .await
        .unwrap()
        .files()
        .unwrap()
        .iter()
        .map(|file| file.path.filename().unwrap().split('.').next().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    let young = Hour(START.0 + 1000).start().to_string()[..7].to_owned();
    assert!(names.iter().all(|name| (name.len() == 7) == (name[..7] < *young)), "{names:?}");
    names.dedup();
    assert_eq!(
        names.len(),
        world.lake.table(<Daily as crate::tables::rollup::Rollup>::definition()).await.unwrap().files().unwrap().len()
    );
    world.check().await;
}

/// Every row of a table: what it says, and its sketch. A label or a count that differs is another row.
async fn rows_of<R: crate::tables::rollup::Rollup>(lake: &Lake) -> BTreeMap<String, Option<Vec<u8>>> {
    let table = lake.table(R::definition()).await.unwrap();
    let mut all = BTreeMap::new();
    for file in table.files().unwrap() {
        let bytes = table.objects().get(&file.path).await.unwrap().bytes().await.unwrap();
        for rows in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let sketches = rows.column_by_name("sketch").map(|column| column.as_binary::<i32>().clone());
            let schema = rows.schema();
            let plain = schema.fields().iter().zip(rows.columns()).filter(|(field, _)| field.name() != "sketch");
            let plain: Vec<_> =
                plain.map(|(_, column)| ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap()).collect();
            for row in 0..rows.num_rows() {
                let text = plain.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
                let sketch = sketches.as_ref().filter(|sketches| sketches.is_valid(row));
                let registers =
                    sketch.map(|sketches| Sketch::from_bytes(sketches.value(row)).unwrap().registers().collect());
                assert_eq!(all.insert(text, registers), None, "one row a key");
            }
        }
    }
    all
}

#[tokio::test]
async fn parts_cut_at_received_hours_add_up_to_the_whole_row_by_row() {
    let mut world = World::new(11).await;
    world.archive_through(START).await;
    let whole = Lake::in_folder_unsynced(&world._folder.path().join("whole")).unwrap();
    let mut other = archiver(&world.log, &world.enricher, &whole, &world.clock).await;
    other.step(Duration::from_millis(1)).await.unwrap();
    let mut hour = START;
    for _ in 0..6 {
        world.send(40).await;
        hour = Hour(hour.0 + [1, 3, 300][world.random.random_range(0..3)]);
        world.archive_through(hour).await;
        assert!(matches!(world.nightly(None).run(None, &|_| {}).await.unwrap(), Outcome::Published { .. }));
    }
    while !other.has_committed(hour.start()) {
        other.step(Duration::from_millis(1)).await.unwrap();
    }
    let at_once = Nightly { lake: whole.clone(), ..world.nightly(None) };
    assert!(matches!(at_once.run(None, &|_| {}).await.unwrap(), Outcome::Published { to, .. } if to == hour));
    assert_eq!(rows_of::<Hourly>(&world.lake).await, rows_of::<Hourly>(&whole).await);
    assert_eq!(rows_of::<Daily>(&world.lake).await, rows_of::<Daily>(&whole).await);
    assert_eq!(rows_of::<Dimensions>(&world.lake).await, rows_of::<Dimensions>(&whole).await);
    assert_eq!(rows_of::<Links>(&world.lake).await, rows_of::<Links>(&whole).await);
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
    table.commit(Vec::new(), &[], vec![deltalake::kernel::Transaction::new("compaction", 1)]).await.unwrap();
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
