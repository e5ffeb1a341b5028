//! A log, its archive and its tables, beside a plain count of what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalake::arrow::array::{Array as _, AsArray as _};
use deltalake::arrow::row::{RowConverter, SortField};
use deltalake::arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, Rules, VisitorIdentity};
use linktide_common::id::{ClickId, LinkId, Subject, TenantId};
use linktide_common::intake::Intake;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogWriter as _};
use linktide_common::publication::Publication;
use linktide_common::secret::Secret;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::MOST;
use object_store::ObjectStoreExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use crate::archive::{ArchiveConfig, Archiver};
use crate::nightly::{Nightly, NightlyConfig, Outcome};
use crate::reader::{Snapshot, Tables};
use crate::tables::Lake;
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::rollup::Rollup;

pub(super) const START: Hour = Hour(494_000);
pub(super) const TENANT: TenantId = TenantId(0);

/// A log, its archive and its tables, with all that was ever sent.
pub(super) struct World {
    pub(super) log: Arc<EmbeddedLog>,
    pub(super) clock: Clock,
    pub(super) enricher: Arc<Enricher>,
    pub(super) lake: Lake,
    pub(super) archiver: Archiver,
    pub(super) random: StdRng,
    /// Links that are clicked on.
    pub(super) links: u64,
    /// Addresses that click.
    pub(super) hosts: u8,
    /// How long ago the clicks of now are, in milliseconds.
    pub(super) spread: i64,
    pub(super) config: NightlyConfig,
    pub(super) rules: Arc<Rules>,
    clicks: Vec<Sent>,
    erased: Vec<Erased>,
    sent: Vec<Append>,
    pub(super) folder: tempfile::TempDir,
}

/// A click that was sent.
#[derive(Clone)]
struct Sent {
    link: LinkId,
    host: u8,
    at: Timestamp,
    received: Hour,
    preview: bool,
    bot: bool,
    language: &'static str,
    append: Append,
}

/// A link that was erased.
struct Erased {
    link: LinkId,
    /// Of what was received before this hour.
    before: Hour,
    /// The watermark of then: what was received behind it was never rolled up.
    watermark: Hour,
}

impl Erased {
    fn covers(&self, sent: &Sent) -> bool {
        self.link == sent.link && sent.received < self.before
    }
}

/// What a plain count of the same clicks says.
#[derive(Default)]
struct Plain {
    totals: BTreeMap<(Option<LinkId>, Quarter), Counts>,
    languages: BTreeMap<(Option<LinkId>, String, Quarter), Counts>,
    visitors: BTreeMap<Option<LinkId>, BTreeSet<(u8, Day)>>,
    /// Clicks that are a bot's for their rate alone.
    rate_bots: u64,
    repeats: u64,
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::in_folder_unsynced(&folder.path().join("lake")).unwrap();
        Self::over(lake, folder, seed).await
    }

    pub(super) async fn over(lake: Lake, folder: tempfile::TempDir, seed: u64) -> Self {
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
        let rules = enricher.rules();
        Self {
            log,
            clock,
            enricher,
            lake,
            archiver,
            random,
            links: 5,
            hosts: 40,
            spread: 600_000,
            config: NightlyConfig { rate_bots: None, ..NightlyConfig::default() },
            rules,
            clicks: Vec::new(),
            erased: Vec::new(),
            sent: Vec::new(),
            folder,
        }
    }

    pub(super) fn nightly(&self, stop_at: Option<&'static str>) -> Nightly {
        let nightly = Nightly::new(self.lake.clone(), self.clock.clone(), Arc::clone(&self.rules), self.config.clone());
        Nightly { stop_at, ..nightly }
    }

    pub(super) async fn send(&mut self, clicks: usize) {
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

    /// Clicks of now alone.
    pub(super) async fn send_now(&mut self, clicks: usize) {
        let spread = self.spread;
        let records = (0..clicks).map(|_| self.click_within(spread)).collect();
        self.log.append(records).await.unwrap();
    }

    /// A click of now, of some days ago, or of years ago.
    fn click(&mut self) -> Append {
        let ago = [self.spread, 90_000_000, 4_000_000_000, 300_000_000_000][self.random.random_range(0..4)];
        self.click_within(ago)
    }

    fn click_within(&mut self, ago: i64) -> Append {
        let random = &mut self.random;
        let clicked = self.clock.now().plus_millis(-random.random_range(0..ago));
        let (link, host, id) =
            (random.random_range(0..self.links), random.random_range(0..self.hosts), Uuid::from_u128(random.random()));
        let (preview, bot) = (random.random_bool(0.1), random.random_bool(0.3));
        let language = ["en", "de", "hi"][random.random_range(0..3)];
        let agent =
            if bot { "curl/8.5.0" } else { "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0" };
        let json = format!(
            r#"{{"link_id":{link},"click_id":"{id}","clicked_at":{},"ip":"203.0.113.{host}","user_agent":"{agent}","language":"{language}","method":"{}","slug":"s{link}"}}"#,
            clicked.as_millis(),
            if preview { "HEAD" } else { "GET" },
        );
        let append = Append { key: ClickId(id), payload: Bytes::from(json) };
        let received = Hour::of(self.clock.now());
        let (link, append_too) = (LinkId(link), append.clone());
        self.clicks.push(Sent { link, host, at: clicked, received, preview, bot, language, append: append_too });
        append
    }

    /// The plain count of all that was sent and not erased.
    fn plain(&self) -> Plain {
        let minute = |sent: &Sent| (sent.host, sent.at.as_millis().div_euclid(60_000), sent.received);
        let mut often: BTreeMap<_, u32> = BTreeMap::new();
        let judged = |sent: &&Sent| {
            let never = |erased: &Erased| erased.covers(sent) && sent.received >= erased.watermark;
            !sent.preview && !self.erased.iter().any(never)
        };
        for sent in self.clicks.iter().filter(judged) {
            *often.entry(minute(sent)).or_default() += 1;
        }
        let mut plain = Plain::default();
        // By link, address, day and hour of receipt: when people clicked.
        let mut people: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
        let is_erased = |sent: &&Sent| self.erased.iter().any(|erased| erased.covers(sent));
        for sent in self.clicks.iter().filter(|sent| !is_erased(sent)) {
            let too_often = self.config.rate_bots.is_some_and(|most| often.get(&minute(sent)) > Some(&most));
            let bot = sent.bot || too_often;
            plain.rate_bots += u64::from(too_often && !sent.bot && !sent.preview);
            let counts = Counts {
                humans: u64::from(!sent.preview && !bot),
                bots: u64::from(!sent.preview && bot),
                previews: u64::from(sent.preview),
                repeats: 0,
            };
            if counts.humans > 0 {
                people.entry((sent.link, sent.host, Day::of(sent.at), sent.received)).or_default().push(sent.at);
            }
            let quarter = Quarter::of(sent.at);
            for owner in [None, Some(sent.link)] {
                *plain.totals.entry((owner, quarter)).or_default() += counts;
                if !sent.preview {
                    *plain.languages.entry((owner, sent.language.to_owned(), quarter)).or_default() += counts;
                }
                if counts.humans > 0 {
                    plain.visitors.entry(owner).or_default().insert((sent.host, quarter.day()));
                }
            }
        }
        let window = i64::from(self.config.repeats.of(TENANT).unwrap_or_default());
        for ((link, ..), mut clicks) in people {
            clicks.sort_unstable();
            for pair in clicks.windows(2).filter(|pair| window > 0 && pair[1].millis_since(pair[0]) <= window) {
                for owner in [None, Some(link)] {
                    plain.totals.entry((owner, Quarter::of(pair[1]))).or_default().repeats += 1;
                }
                plain.repeats += 1;
            }
        }
        plain
    }

    /// How many clicks of all that were sent and not erased are repeats.
    pub(super) fn repeats(&self) -> u64 {
        self.plain().repeats
    }

    /// Visitors of each owner and day are told one by one where they are few, and not where they are many; tells whether
    /// there are any of either.
    pub(super) async fn check_visitors(&self) -> (bool, bool) {
        let (snapshot, plain) = (self.snapshot().await, self.plain());
        let (mut few, mut many) = (false, false);
        for owner in [None].into_iter().chain((0..self.links).map(|link| Some(LinkId(link)))) {
            let subject = owner.map_or(Subject::Tenant(TENANT), |link| Subject::Link(TENANT, link));
            let mut expected: BTreeMap<Day, usize> = BTreeMap::new();
            for (_, day) in plain.visitors.get(&owner).into_iter().flatten() {
                *expected.entry(*day).or_default() += 1;
            }
            let found = snapshot.visitors(subject, Hour(0)..Hour(750_000)).await.unwrap();
            for (day, set) in found.days() {
                let count = expected.remove(&day).unwrap_or_default();
                assert_eq!(set.members().map(<[i64]>::len), Some(count).filter(|count| *count <= MOST), "{owner:?}");
                (few, many) = (few || set.members().is_some(), many || set.members().is_none());
            }
            assert_eq!(expected, BTreeMap::new(), "{owner:?}");
        }
        (few, many)
    }

    /// What was sent of the links that `keep` takes, in another world that rolls it up at once.
    pub(super) async fn remade(&self, keep: impl Fn(LinkId) -> bool) -> Self {
        let mut other = Self::new(0).await;
        let hour = Hour::of(self.clock.now());
        other.archive_through(Hour(hour.0 - 1)).await;
        let kept = self.clicks.iter().filter(|sent| keep(sent.link)).map(|sent| sent.append.clone());
        other.log.append(kept.collect()).await.unwrap();
        other.archive_through(hour).await;
        other.settle().await;
        other
    }

    /// Takes down that a link was erased now.
    pub(super) async fn erased(&mut self, link: u64) {
        let (before, watermark) = (Hour::of(self.clock.now()).next(), self.newest().await.watermark);
        self.erased.push(Erased { link: LinkId(link), before, watermark });
    }

    /// From now on few addresses click, and so often that many of their minutes are a bot's.
    pub(super) fn hurry(&mut self) {
        (self.hosts, self.spread, self.config.rate_bots) = (3, 60_000, Some(2));
    }

    /// Runs until there is nothing to do.
    pub(super) async fn settle(&self) {
        while let Outcome::Published { .. } = self.nightly(None).run(None).await.unwrap() {}
    }

    pub(super) async fn newest(&self) -> Arc<Publication> {
        self.lake.publications().latest().await.unwrap().unwrap()
    }

    /// Moves the clock and archives all that was received before.
    pub(super) async fn archive_through(&mut self, hour: Hour) {
        self.clock.set(hour.start());
        while !self.archiver.has_committed(hour.start()) {
            self.archiver.step(Duration::from_millis(1)).await.unwrap();
        }
    }

    pub(super) async fn snapshot(&self) -> Arc<Snapshot> {
        let publication = self.lake.publications().latest().await.unwrap().unwrap();
        Tables::new(self.lake.clone(), 1 << 24).at(&publication).await.unwrap()
    }

    /// Everything that is published equals the plain count of everything that was sent.
    pub(super) async fn check(&self) {
        let (snapshot, plain) = (self.snapshot().await, self.plain());
        let all = Range::new(Quarter(0), Quarter(3_000_000));
        // A range whose edges are no whole days, for the sums by value.
        let part = Range::new(Quarter(START.first_quarter().0 - 333), Quarter(START.first_quarter().0 + 555));
        for owner in [None, Some(LinkId(0)), Some(LinkId(3)), Some(LinkId(99))] {
            let subject = owner.map_or(Subject::Tenant(TENANT), |link| Subject::Link(TENANT, link));
            let mut quarters = snapshot.quarters(subject, all).await.unwrap();
            quarters.sort_unstable_by_key(|(quarter, _)| *quarter);
            let of_owner = plain.totals.iter().filter(|((of, _), _)| *of == owner);
            let expected: Vec<_> = of_owner.map(|((_, quarter), counts)| (*quarter, *counts)).collect();
            assert_eq!(quarters, expected, "{owner:?}");

            let mut days: BTreeMap<Day, Counts> = BTreeMap::new();
            for (quarter, counts) in &expected {
                *days.entry(quarter.day()).or_default() += *counts;
            }
            let found: BTreeMap<_, _> = snapshot
                .days(subject, all.days_touched())
                .await
                .unwrap()
                .into_iter()
                .map(|row| (row.day, row.counts))
                .collect();
            assert_eq!(found, days);

            for range in [all, part] {
                let mut values: BTreeMap<String, Counts> = BTreeMap::new();
                for ((_, language, _), counts) in
                    plain.languages.iter().filter(|((of, _, quarter), _)| *of == owner && range.contains(*quarter))
                {
                    *values.entry(language.clone()).or_default() += *counts;
                }
                let mut found: BTreeMap<String, Counts> = BTreeMap::new();
                for (value, counts) in snapshot.values(subject, range).await.unwrap().of(Dimension::Language) {
                    *found.entry(value.to_owned()).or_default() += counts;
                }
                assert_eq!(found, values);
            }
            let visitors = plain.visitors.get(&owner).map_or(0, BTreeSet::len) as f64;
            let found = snapshot.visitors(subject, Hour(0)..Hour(750_000)).await.unwrap();
            let estimate = found.sketch().count() as f64;
            assert!((estimate - visitors).abs() <= 2.0 + visitors * 0.03, "{:?} for {visitors}", found.sketch());
            let known: usize = found.days().map(|(_, set)| set.members().unwrap().len()).sum();
            assert_eq!(known, plain.visitors.get(&owner).map_or(0, BTreeSet::len), "40 addresses are few");
        }
        let links = snapshot.links(TENANT, part).await.unwrap();
        let mut expected: BTreeMap<LinkId, Counts> = BTreeMap::new();
        for ((owner, _), counts) in plain.totals.iter().filter(|((_, quarter), _)| part.contains(*quarter)) {
            if let Some(link) = owner {
                *expected.entry(*link).or_default() += *counts;
            }
        }
        assert_eq!(links.into_iter().collect::<BTreeMap<_, _>>(), expected);
        let labels = snapshot.labels(TENANT, None).await.unwrap();
        let labelled: Vec<_> = labels.iter().map(|(link, label)| (*link, label.slug.clone())).collect();
        let clicked: BTreeSet<LinkId> = plain.totals.keys().filter_map(|(owner, _)| *owner).collect();
        let expected: Vec<_> = clicked.into_iter().map(|link| (link, Some(format!("s{link}").into()))).collect();
        assert_eq!(labelled.into_iter().collect::<BTreeMap<_, _>>(), expected.into_iter().collect());
        let reasons = snapshot.values(Subject::Tenant(TENANT), all).await.unwrap();
        let rated = reasons.of(Dimension::BotReason).filter(|(reason, _)| *reason == "rate");
        assert_eq!(rated.map(|(_, counts)| counts.bots).sum::<u64>(), plain.rate_bots);
    }
}

pub(super) async fn archiver(log: &Arc<EmbeddedLog>, enricher: &Arc<Enricher>, lake: &Lake, clock: &Clock) -> Archiver {
    let intake = Intake::new("archive", Box::new(log.reader()), Arc::clone(enricher), clock.clone(), 1000);
    let config = ArchiveConfig { commit_clicks: 25, poll_records: 10, ..ArchiveConfig::default() };
    Archiver::open(lake.clone(), intake, clock.clone(), config).await.unwrap().0
}

/// Every row of a table: what it says, and its sketch. A label or a count that differs is another row. Rows of a file are in
/// the order of their keys.
pub(super) async fn rows_of<R: Rollup>(lake: &Lake) -> BTreeMap<String, Option<Vec<u8>>> {
    let table = lake.table(R::definition()).await.unwrap();
    let mut all = BTreeMap::new();
    for file in table.files().unwrap() {
        let bytes = table.objects().get(&file.path).await.unwrap().bytes().await.unwrap();
        let mut last = None;
        for rows in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let rows = rows.unwrap();
            let keys: Vec<_> = R::KEY.iter().map(|name| Arc::clone(rows.column_by_name(name).unwrap())).collect();
            let fields = keys.iter().map(|column| SortField::new(column.data_type().clone())).collect();
            for key in &RowConverter::new(fields).unwrap().convert_columns(&keys).unwrap() {
                let key = Some(key.owned());
                assert!(last <= key, "rows of {} are out of order", file.path);
                last = key;
            }
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

/// Every row of all rollups.
pub(super) async fn rollups(lake: &Lake) -> Vec<BTreeMap<String, Option<Vec<u8>>>> {
    vec![
        rows_of::<Hourly>(lake).await,
        rows_of::<Daily>(lake).await,
        rows_of::<Dimensions>(lake).await,
        rows_of::<Links>(lake).await,
    ]
}
