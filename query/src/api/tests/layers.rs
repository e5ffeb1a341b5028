//! Real layers: the log, the archive, nightly runs and the speed worker in a temporary folder, against a plain count.

use std::collections::{BTreeMap, BTreeSet};
use std::ops;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use linktide_batch::reader::Tables;
use linktide_batch::{ArchiveConfig, Archiver, Correct, Flusher, Lake, Nightly, NightlyConfig};
use linktide_common::bucket::{Day, Edge, Hour, Quarter, Range, Timestamp, Zone, parse_instant};
use linktide_common::clock::Clock;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, Rules, VisitorIdentity};
use linktide_common::id::{ClickId, LinkId, Subject, TenantId};
use linktide_common::intake::Intake;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogReader as _, LogWriter as _};
use linktide_common::secret::Secret;
use linktide_common::visitors::MOST;
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{MemoryView, View};
use linktide_speed::{SpeedConfig, SpeedWorker};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::stage::{W, ask, post};
use crate::{Query, QueryConfig, router};

const ZONES: [&str; 6] =
    ["UTC", "Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"];
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    log: Arc<EmbeddedLog>,
    clock: Clock,
    lake: Lake,
    flusher: Flusher,
    view: Arc<MemoryView>,
    router: Router,
    random: StdRng,
    plain: Vec<Plain>,
    _stop: DropGuard,
    folder: tempfile::TempDir,
}

/// A click as it must be counted.
struct Plain {
    link: u64,
    host: u8,
    received: Hour,
    at: Timestamp,
    bot: bool,
    language: &'static str,
}

/// What is asked of whom.
struct Asked {
    link: u64,
    traffic: &'static str,
    range: ops::Range<Quarter>,
}

impl Asked {
    /// Whether the click is counted for all links.
    fn within(&self, click: &Plain) -> bool {
        let of_traffic = self.traffic == "all" || click.bot == (self.traffic == "bot");
        of_traffic && self.range.contains(&Quarter::of(click.at))
    }

    /// Whether it is counted for the link asked about, 0 being all of them.
    fn counts(&self, click: &Plain) -> bool {
        self.within(click) && (self.link == 0 || click.link == self.link)
    }
}

fn enricher() -> Arc<Enricher> {
    let config = EnrichConfig {
        salt_secret: Secret::new(vec![1]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles::default(),
        floor_days: 36_530,
    };
    Arc::new(Enricher::new(config).unwrap())
}

impl World {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(W.start());
        let config = EmbeddedConfig { partitions: 2, sync: false, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), &config, clock.clone()).unwrap();
        let enricher = enricher();
        let lake = Lake::in_folder(&folder.path().join("lake")).unwrap();
        let intake = |layer| Intake::new(layer, Box::new(log.reader()), Arc::clone(&enricher), clock.clone(), 1_000);
        let config = ArchiveConfig::default();
        let (archiver, flusher) = Archiver::open(lake.clone(), intake("archive"), clock.clone(), config).await.unwrap();
        let view = Arc::new(MemoryView::new());
        let shared = Arc::clone(&view) as Arc<dyn View>;
        let brisk = Duration::from_millis(1);
        // Some views let go of what is history at once, others still hold it: neither may change a count.
        let keep_behind = if seed.is_multiple_of(2) { Duration::ZERO } else { PATIENCE * 10 };
        let config = SpeedConfig { flush_interval: brisk, keep_behind, ..SpeedConfig::default() };
        let worker = SpeedWorker::new(intake("speed"), Arc::clone(&shared), lake.publications().watch(), config);
        let stop = CancellationToken::new();
        tokio::spawn(archiver.run(stop.clone()));
        tokio::spawn(worker.run(stop.clone()));
        // History begins where the first publication does: before time moves on.
        let begun = lake.publications().watch().wait_for(Option::is_some).await.map(|_| ());
        begun.unwrap();
        let tables = Arc::new(Tables::new(lake.clone(), 1 << 26));
        let (reader, publications) = (SpeedReader::new(shared), lake.publications().clone());
        let query = Query::new(tables, reader, publications, clock.clone(), QueryConfig::default(), stop.clone());
        Self {
            log,
            clock,
            lake,
            flusher,
            view,
            router: router(query),
            random: StdRng::seed_from_u64(seed),
            plain: Vec::new(),
            _stop: stop.drop_guard(),
            folder,
        }
    }

    /// Clicks of now, early ones and late ones, shuffled, some of them twice.
    async fn send(&mut self, clicks: usize) {
        let mut records = Vec::new();
        for _ in 0..clicks {
            let record = self.click();
            if self.random.random_bool(0.15) {
                records.push(record.clone());
            }
            records.push(record);
        }
        for at in (1..records.len()).rev() {
            records.swap(at, self.random.random_range(0..=at));
        }
        self.log.append(records).await.unwrap();
    }

    fn click(&mut self) -> Append {
        let random = &mut self.random;
        let ago = [600_000i64, 90_000_000, 2_000_000_000][random.random_range(0..3)];
        let ahead = if random.random_bool(0.1) { 240_000 } else { -random.random_range(0..ago) };
        let (at, bot) = (self.clock.now().plus_millis(ahead), random.random_bool(0.3));
        let (link, language) = (random.random_range(1..4), ["en", "hi", "ne"][random.random_range(0..3)]);
        // A few of them click all the time.
        let hosts = if random.random_bool(0.5) { 2 } else { 40 };
        let (host, id) = (random.random_range(0..hosts), Uuid::from_u128(random.random()));
        let agent =
            if bot { "curl/8.5.0" } else { "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0" };
        let click = json!({
            "link_id": link, "click_id": id.to_string(), "clicked_at": at.as_millis(), "language": language,
            "ip": format!("203.0.113.{host}"), "user_agent": agent, "slug": format!("s{link}"),
        });
        let received = Hour::of(self.clock.now());
        self.plain.push(Plain { link, host, received, at, bot, language });
        Append { key: ClickId(id), payload: Bytes::from(click.to_string()) }
    }

    fn nightly(&self) -> Nightly {
        let rules = Arc::new(Rules::load(GeoFiles::default()).unwrap());
        let config = NightlyConfig { rate_bots: None, ..NightlyConfig::default() };
        Nightly::new(self.lake.clone(), self.clock.clone(), rules, config)
    }

    /// Moves time on to `hour`, and history up to it.
    async fn roll_up(&self, hour: Hour) {
        self.clock.set(hour.start());
        assert!(tokio::time::timeout(PATIENCE, self.flusher.archived_through(hour.start())).await.unwrap());
        self.nightly().run(Some(hour)).await.unwrap();
        let published = self.lake.publications().watch().borrow().as_ref().map(|published| published.watermark);
        assert_eq!(published, Some(hour));
    }

    /// Waits until the view stands at the end of the log.
    async fn until_counted(&self) {
        let counted = async {
            while !self.counted().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
    }

    async fn counted(&self) -> bool {
        let reader = self.log.reader();
        let held = self.view.held().await.unwrap().positions;
        for partition in self.log.partitions() {
            let high = reader.bounds(partition).await.unwrap().high;
            if held.get(&(self.log.epoch(), partition)).map(|position| position.offset) != Some(high) {
                return false;
            }
        }
        true
    }

    async fn get(&self, place: &str) -> Value {
        let (status, answer) = ask(&self.router, place).await;
        assert_eq!(status, 200, "{place}: {answer}");
        assert_eq!(answer["meta"]["freshness"]["gaps"], json!([]), "{place}");
        answer
    }

    async fn check(&mut self) {
        self.until_counted().await;
        for _ in 0..8 {
            let random = &mut self.random;
            let (zone, unit) = (
                ZONES[random.random_range(0..ZONES.len())],
                ["hour", "day", "week", "month"][random.random_range(0..4)],
            );
            let start = Quarter(W.first_quarter().0 - random.random_range(-200..2_600));
            let end = Quarter(start.0 + random.random_range(1..3_000));
            let traffic = ["human", "bot", "all"][random.random_range(0..3)];
            let asked = Asked { link: random.random_range(0..5), traffic, range: start..end };
            let when = format!("start={}&end={}&timezone={zone}&traffic={traffic}", start.start(), end.start());
            self.check_one(&asked, &when, unit).await;
        }
    }

    async fn check_one(&self, asked: &Asked, when: &str, unit: &str) {
        let subject = if asked.link == 0 { "account".to_owned() } else { format!("links/{}", asked.link) };
        let counted: Vec<&Plain> = self.plain.iter().filter(|click| asked.counts(click)).collect();
        let expected = counted.len() as u64;
        let summary = self.get(&format!("/v1/{subject}/summary?{when}")).await;
        assert_eq!(summary["results"]["clicks"], expected, "{subject} {when}");
        self.check_visitors(asked, when, &summary["results"]["uniques"]);
        self.check_repeats(asked, when, &summary["results"]["unique_clicks"]);
        let series = self.get(&format!("/v1/{subject}/timeseries?{when}&unit={unit}")).await;
        assert_eq!(sum(&series["results"]), expected, "{subject} {when} {unit}");
        if asked.traffic == "human" {
            let buckets = series["results"].as_array().unwrap().iter();
            let unique: u64 = buckets.map(|bucket| bucket["unique_clicks"].as_u64().unwrap()).sum();
            assert_eq!(summary["results"]["unique_clicks"], unique, "{subject} {when} {unit}");
        }
        for limit in [1, 1000] {
            let place = format!("/v1/{subject}/breakdown?{when}&by=language,device&limit={limit}");
            let answer = self.get(&place).await;
            for dimension in answer["results"].as_array().unwrap() {
                assert_eq!(sum(&dimension["values"]), expected, "{place}");
            }
            for value in answer["results"][0]["values"].as_array().unwrap() {
                let clicks = counted.iter().filter(|click| value["value"] == click.language).count();
                assert!(value["value"] == "(other)" || value["clicks"] == clicks, "{place}: {value}");
            }
        }
        self.check_filters(&subject, &counted, when, unit).await;
        self.check_heatmap(&subject, &counted, when).await;
        self.check_links(asked, when, unit).await;
        self.check_together(&subject, asked, when, unit).await;
    }

    /// Whole hours are counted, and exactly where nobody came on their days beside them.
    fn check_visitors(&self, asked: &Asked, when: &str, uniques: &Value) {
        let hours = Range::new(asked.range.start, asked.range.end).hours_touched();
        let days = hours.start.day()..Hour(hours.end.0 - 1).day().next();
        let people = self.plain.iter().filter(|click| !click.bot && (asked.link == 0 || click.link == asked.link));
        let on_days: Vec<&Plain> = people.filter(|click| days.contains(&Day::of(click.at))).collect();
        let within = on_days.iter().filter(|click| hours.contains(&Hour::of(click.at)));
        let visitors: BTreeSet<_> = within.clone().map(|click| (click.host, Day::of(click.at))).collect();
        let (count, estimate) = (visitors.len() as f64, uniques["estimate"].as_f64().unwrap());
        if within.count() == on_days.len() {
            assert_eq!((&uniques["method"], &uniques["standard_error"]), (&json!("exact"), &json!(0.0)), "{when}");
            assert_eq!(uniques["estimate"], visitors.len(), "{when}");
        } else {
            assert_eq!((&uniques["method"], &uniques["standard_error"]), (&json!("hll"), &json!(0.008125)), "{when}");
            assert!((estimate - count).abs() <= 2.0 + count * 0.03, "{when}: {estimate} for {count}");
        }
    }

    /// Of people's clicks, those that follow no other one of the same address closely.
    fn check_repeats(&self, asked: &Asked, when: &str, unique: &Value) {
        assert_eq!(unique, &self.unique_clicks(asked, asked.link), "{when}");
    }

    /// Of a link, or of all of them, as the API tells it.
    fn unique_clicks(&self, asked: &Asked, link: u64) -> Value {
        if asked.traffic != "human" {
            return Value::Null;
        }
        let mut people: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
        for click in self.plain.iter().filter(|click| !click.bot && (link == 0 || click.link == link)) {
            let key = (click.link, click.host, Day::of(click.at), click.received);
            people.entry(key).or_default().push(click.at);
        }
        let mut expected = 0;
        for clicks in people.values_mut() {
            clicks.sort_unstable();
            let close = |place: usize| place > 0 && clicks[place].millis_since(clicks[place - 1]) <= 30_000;
            let within = |place: &usize| asked.range.contains(&Quarter::of(clicks[*place])) && !close(*place);
            expected += (0..clicks.len()).filter(within).count();
        }
        json!(expected)
    }

    /// Clicks of people on a link, each from an address of its own.
    async fn visit(&self, link: u64, visitors: std::ops::Range<u32>, at: Timestamp) {
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";
        let click = |visitor: u32| {
            let id = Uuid::from_u128(
                u128::from(link) << 96 | u128::from(visitor) << 64 | u128::try_from(at.as_millis()).unwrap(),
            );
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + visitor).to_string();
            let click = json!({
                "link_id": link, "click_id": id.to_string(), "clicked_at": at.as_millis(), "ip": ip, "user_agent": agent,
            });
            Append { key: ClickId(id), payload: Bytes::from(click.to_string()) }
        };
        for part in visitors.collect::<Vec<_>>().chunks(500) {
            self.log.append(part.iter().copied().map(click).collect()).await.unwrap();
        }
    }

    async fn check_filters(&self, subject: &str, counted: &[&Plain], when: &str, unit: &str) {
        for (filter, through) in [
            ("language=en", &["en"][..]),
            ("language=hi,ne", &["hi", "ne"]),
            ("language=-en", &["hi", "ne"]),
            ("language=-hi,ne,xx", &["en"]),
            ("language=(none)", &[]),
            ("utm_source=(none)", &["en", "hi", "ne"]),
            ("utm_source=-mail", &["en", "hi", "ne"]),
        ] {
            let expected = counted.iter().filter(|click| through.contains(&click.language)).count() as u64;
            let place = |question: &str| format!("/v1/{subject}/{question}?{when}&{filter}");
            let summary = self.get(&place("summary")).await["results"].clone();
            assert_eq!((&summary["clicks"], &summary["uniques"]), (&json!(expected), &json!(null)), "{}", place(""));
            let series = self.get(&format!("{}&unit={unit}", place("timeseries"))).await;
            assert_eq!(sum(&series["results"]), expected, "{unit} {}", place(""));
            let dimension = filter.split('=').next().unwrap();
            let values =
                self.get(&format!("{}&by={dimension}&limit=1", place("breakdown"))).await["results"][0].clone();
            assert_eq!((sum(&values["values"]), &values["total"]), (expected, &json!(expected)), "{}", place(""));
            assert_eq!(self.get(&place("heatmap")).await["results"]["total"], expected, "{}", place(""));
        }
    }

    /// Each hour of the week against the offset of the zone, in plain arithmetic.
    async fn check_heatmap(&self, subject: &str, counted: &[&Plain], when: &str) {
        let answer = self.get(&format!("/v1/{subject}/heatmap?{when}")).await;
        let zone = Zone::parse(answer["query"]["timezone"].as_str().unwrap()).unwrap();
        let mut hours = vec![vec![0u64; 24]; 7];
        for click in counted {
            let quarter = Quarter::of(click.at);
            let local = i64::from(quarter.0) + zone.offset_quarters(quarter.start());
            // 1 January 1970 was a Thursday.
            let (day, hour) = (local.div_euclid(96) + 3, local.rem_euclid(96) / 4);
            hours[usize::try_from(day.rem_euclid(7)).unwrap()][usize::try_from(hour).unwrap()] += 1;
        }
        assert_eq!(answer["results"], json!({ "total": counted.len(), "hours": hours }), "{subject} {when}");
    }

    async fn check_links(&self, asked: &Asked, when: &str, unit: &str) {
        let mut clicks: BTreeMap<u64, u64> = BTreeMap::new();
        self.plain
            .iter()
            .filter(|click| asked.within(click))
            .for_each(|click| *clicks.entry(click.link).or_default() += 1);
        let total: u64 = clicks.values().sum();
        let links = self.get(&format!("/v1/links?{when}&limit=2")).await["results"].clone();
        let listed = sum(&links["links"]) + links["other"].as_u64().unwrap();
        assert_eq!((&links["total"], listed, &links["count"]), (&json!(total), total, &json!(clicks.len())));
        for sort in ["clicks", "link_id"] {
            let (mut paged, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = self.get(&format!("/v1/links?{when}&limit=1&sort={sort}{cursor}")).await["results"].clone();
                let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
                let on_page = page["links"].as_array().unwrap().iter();
                for link in on_page.clone() {
                    let expected = self.unique_clicks(asked, number(&link["link_id"]));
                    assert_eq!(link["unique_clicks"], expected, "{when} {link}");
                    let slug = format!("s{}", number(&link["link_id"]));
                    assert_eq!(link["label"]["slug"], slug, "{when} {link}");
                }
                paged.extend(on_page.map(|link| (number(&link["link_id"]), link["clicks"].as_u64().unwrap())));
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let mut all: Vec<(u64, u64)> = clicks.clone().into_iter().collect();
            if sort == "clicks" {
                all.sort_by_key(|(link, clicks)| (std::cmp::Reverse(*clicks), *link));
            }
            assert_eq!(paged, all, "{when} {sort}");
        }
        let found = self.get(&format!("/v1/links?{when}&search=S2")).await["results"].clone();
        let expected = clicks.get(&2).copied().unwrap_or_default();
        assert_eq!((&found["total"], sum(&found["links"])), (&json!(expected), expected), "{when}");
        let compared = self.get(&format!("/v1/compare?links=3,1,9&{when}&unit={unit}")).await["results"].clone();
        for (link, id) in compared.as_array().unwrap().iter().zip([3, 1, 9]) {
            let expected = clicks.get(&id).copied().unwrap_or_default();
            assert_eq!((&link["link_id"], &link["clicks"]), (&json!(id.to_string()), &json!(expected)), "{when}");
            assert_eq!(sum(&link["series"]), expected, "{when} {unit}");
            assert_eq!(link["unique_clicks"], self.unique_clicks(asked, id), "{when}");
        }
    }

    /// Many questions at once are answered as each by itself.
    async fn check_together(&self, subject: &str, asked: &Asked, when: &str, unit: &str) {
        let link = (asked.link > 0).then(|| asked.link.to_string());
        let of_it = |mut question: Value| {
            question["link_id"] = json!(link);
            question
        };
        let mut body = json!({ "questions": [
            of_it(json!({ "ask": "summary", "compare": "previous" })),
            of_it(json!({ "ask": "timeseries", "unit": unit })),
            of_it(json!({ "ask": "breakdown", "by": ["language", "device"], "limit": 2 })),
            of_it(json!({ "ask": "timeseries", "unit": unit, "language": ["-en"] })),
            of_it(json!({ "ask": "heatmap", "interval": "7d", "timezone": "UTC" })),
            { "ask": "links", "limit": 2 },
            { "ask": "compare", "links": [1, "2"] },
        ] });
        for (name, value) in when.split('&').map(|pair| pair.split_once('=').unwrap()) {
            body[name] = json!(value);
        }
        let (status, together) = post(&self.router, "/v1/query", &body).await;
        assert_eq!(status, 200, "{together}");
        let places = [
            format!("{subject}/summary?{when}&compare=previous"),
            format!("{subject}/timeseries?{when}&unit={unit}"),
            format!("{subject}/breakdown?{when}&by=language,device&limit=2"),
            format!("{subject}/timeseries?{when}&unit={unit}&language=-en"),
            format!("{subject}/heatmap?interval=7d&traffic={}", asked.traffic),
            format!("links?{when}&limit=2"),
            format!("compare?links=1,2&{when}"),
        ];
        for (one, place) in together["results"].as_array().unwrap().iter().zip(places) {
            let alone = self.get(&format!("/v1/{place}")).await;
            assert_eq!((&one["results"], &one["range"]), (&alone["results"], &alone["meta"]["range"]), "{place}");
            assert_eq!(one["query"], alone["query"], "{place}");
        }
        let compared = &together["results"][0]["results"]["comparison"];
        let edge = |name: &str| {
            let text = compared["range"][name].as_str().unwrap();
            parse_instant(text, &Zone::utc(), Edge::Start).unwrap()
        };
        let before = Asked { link: asked.link, traffic: asked.traffic, range: edge("start")..edge("end") };
        let expected = self.plain.iter().filter(|click| before.counts(click)).count();
        assert_eq!(compared["clicks"], expected, "{when}: {compared}");
    }
}

fn sum(listed: &Value) -> u64 {
    listed.as_array().unwrap().iter().map(|one| one["clicks"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn timeseries_total_and_breakdown_are_the_plain_count_over_every_seam() {
    for seed in 0..3 {
        let mut world = World::new(seed).await;
        let mut hour = W;
        for _ in 0..3 {
            world.send(40).await;
            world.check().await;
            hour = Hour(hour.0 + world.random.random_range(1..30));
            world.roll_up(hour).await;
            // What is history now is counted as before, and late clicks of it still come in.
            world.check().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_are_exact_up_to_the_switch_over_the_seam() {
    let world = World::new(4).await;
    let most = u32::try_from(MOST).unwrap();
    let numbers = [(11, 1), (12, 2), (13, 100), (14, most), (15, most + 1), (16, 2_000)];
    let yesterday = W.start().plus_millis(-20 * 3_600_000);
    for (link, visitors) in numbers {
        world.visit(link, 0..visitors.div_ceil(2), W.start()).await;
        world.visit(link, 0..1, yesterday).await;
    }
    let asked = async |world: &World, link: u64, when: &str| {
        let summary = world.get(&format!("/v1/links/{link}/summary?{when}")).await;
        let uniques = summary["results"]["uniques"].clone();
        (uniques["method"].as_str().unwrap().to_owned(), uniques["estimate"].as_u64().unwrap())
    };
    let few = |visitors: u32| visitors <= most;
    for rolled_up in [false, true] {
        if rolled_up {
            world.until_counted().await;
            world.roll_up(W.next()).await;
        }
        for (link, visitors) in numbers {
            // All of them again, and a late click of yesterday: of someone else, and by a copy.
            world.visit(link, 0..visitors, W.start().plus_millis(60_000)).await;
            for _ in 0..2 {
                world.visit(link, 1..2, yesterday.plus_millis(i64::from(rolled_up))).await;
            }
        }
        world.until_counted().await;
        for (link, visitors) in numbers {
            let (method, estimate) = asked(&world, link, "start=2026-11-24&end=2026-11-24").await;
            assert_eq!(method, if few(visitors) { "exact" } else { "hll" }, "{visitors} visitors");
            let error = estimate.abs_diff(u64::from(visitors));
            assert!(
                if few(visitors) { error == 0 } else { error <= u64::from(visitors) / 20 },
                "{visitors}: {estimate}"
            );
            // Those of yesterday, with a salt of its own.
            let expected = u64::from(visitors) + 2;
            let (method, estimate) = asked(&world, link, "start=2026-11-23&end=2026-11-24").await;
            assert!(!few(visitors) || (method == "exact" && estimate == expected), "{visitors}: {estimate}");
            assert_eq!(asked(&world, link, "start=2026-11-23&end=2026-11-23").await, ("exact".to_owned(), 2));
        }
    }
    // Erased with everything else, and whoever comes later is counted anew.
    let erased = Subject::Link(TenantId(0), LinkId(13));
    world.nightly().correct(Correct::Erase(erased)).await.unwrap();
    let later = Hour(W.0 + 3);
    world.roll_up(later).await;
    world.visit(13, 5..8, later.start()).await;
    world.until_counted().await;
    assert_eq!(asked(&world, 13, "start=2026-11-23&end=2026-11-24").await, ("exact".to_owned(), 3));
    assert_eq!(asked(&world, 14, "start=2026-11-24&end=2026-11-24").await, ("exact".to_owned(), u64::from(most)));
}

#[tokio::test(flavor = "multi_thread")]
async fn day_on_the_seam_rests_on_both_layers_and_visitors_are_the_same_in_either() {
    let mut world = World::new(9).await;
    world.send(60).await;
    world.until_counted().await;
    let recent = world.get("/v1/account/summary?interval=30d").await["results"].clone();
    world.roll_up(W.next()).await;
    world.until_counted().await;
    let history = world.get("/v1/account/summary?interval=30d").await;
    assert_eq!(history["results"]["uniques"]["estimate"], recent["uniques"]["estimate"]);
    assert_eq!(history["results"]["first_click"], recent["first_click"]);
    assert_eq!(history["meta"]["freshness"]["complete_through"], W.next().start().to_string());
    world.send(60).await;
    world.until_counted().await;
    let series = world.get("/v1/account/timeseries?interval=7d&traffic=all").await;
    let today = series["results"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&today["layers"], &today["partial"]), (&json!(["batch", "speed"]), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_cannot_be_read_cost_a_list_nothing_else() {
    let mut world = World::new(5).await;
    world.send(60).await;
    world.roll_up(W.next()).await;
    let links = world.folder.path().join("lake/tables/link");
    let files = std::fs::read_dir(&links).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).collect();
    assert!(!files.is_empty(), "no labels in {}", links.display());
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let answer = world.get("/v1/links?interval=all&traffic=all").await;
    assert_eq!(answer["results"]["total"], world.plain.len());
    let freshness = &answer["meta"]["freshness"];
    assert_eq!((&freshness["layers"]["batch"]["state"], &freshness["stale"]), (&json!("ok"), &json!(true)));
    assert!(freshness["reasons"][0].as_str().unwrap().contains("labels of links are not told"), "{freshness}");
    // Links cannot be found by labels that are not there: nothing is told, rather than too little.
    let found = world.get("/v1/links?interval=all&traffic=all&search=s2").await;
    assert_eq!(found["meta"]["freshness"]["layers"]["batch"]["state"], "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn report_as_of_a_past_publication_stays_the_same_until_an_erasure_takes_from_it() {
    let questions = [
        "links/1/summary?interval=all&traffic=all",
        "account/timeseries?interval=30d&unit=day&timezone=Asia/Kolkata",
        "account/breakdown?interval=7d&by=language,device",
        "links?interval=all&traffic=bot",
    ];
    let mut world = World::new(12).await;
    world.send(80).await;
    world.roll_up(W.next()).await;
    let number = ask(&world.router, "/v1/freshness").await.1["layers"]["batch"]["publication"].as_u64().unwrap();
    let as_of = |question: &str| format!("/v1/{question}&publication={number}");
    let mut first = Vec::new();
    for question in questions {
        let answer = world.get(&as_of(question)).await;
        let freshness = &answer["meta"]["freshness"];
        assert_eq!((&freshness["as_of"], &freshness["stale"]), (&json!(W.next().start().to_string()), &json!(false)));
        assert_eq!(
            (&freshness["layers"]["speed"]["state"], &answer["query"]["publication"]),
            (&json!("not_asked"), &json!(number))
        );
        first.push((answer["results"].clone(), answer["meta"]["range"].clone()));
    }
    assert_eq!(first[3].0["total"], world.plain.iter().filter(|click| click.bot).count() as u64);

    // Clicks come in, time passes, history moves on: the report does not.
    world.send(80).await;
    world.roll_up(Hour(W.0 + 40)).await;
    world.send(80).await;
    world.until_counted().await;
    for (question, (results, range)) in questions.iter().zip(&first) {
        let answer = world.get(&as_of(question)).await;
        assert_eq!((&answer["results"], &answer["meta"]["range"]), (results, range), "{question}");
        assert_ne!(&world.get(&format!("/v1/{question}")).await["results"], results, "{question}");
    }

    let erased = Subject::Link(TenantId(0), LinkId(1));
    world.nightly().correct(Correct::Erase(erased)).await.unwrap();
    for question in questions {
        let (status, answer) = ask(&world.router, &as_of(question)).await;
        assert_eq!(status, 410, "{question}: {answer}");
    }
    // What was erased is no part of what another link has.
    world.get(&as_of("links/2/summary?interval=all")).await;
    let (status, answer) = ask(&world.router, "/v1/links?publication=99999").await;
    assert_eq!((status, &answer["parameter"]), (400, &json!("publication")), "{answer}");
}
