//! A plain model of history, made of the log alone, and the same as foreign readers find it in the tables.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use linktide_common::bucket::{Day, Hour, QUARTERS_PER_HOUR, Quarter, Timestamp};
use linktide_common::click::{Click, Kind};
use linktide_common::dimension::Dimension;
use linktide_common::enrich::{EnrichedClick, Enricher, Stamp};
use linktide_common::id::{Epoch, LinkId, Offset, PartitionId, TenantId};
use linktide_common::sketch::Sketch;
use linktide_common::visitors::MOST;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A tenant's link, or the whole tenant.
type Owner = (i64, Option<i64>);
type Place = (u32, u32, u64);

/// Every click there is, each once, by its place in the log.
#[derive(Default)]
pub(super) struct Oracle {
    clicks: BTreeMap<Place, EnrichedClick>,
}

/// What the rollups say.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// By owner and hour: clicks, bots, previews and repeats of each quarter.
    hours: BTreeMap<(Owner, i64), [[i64; 4]; 4]>,
    /// By owner and day: clicks, bots, previews, the first and the last click, and repeats.
    days: BTreeMap<(Owner, String), [i64; 6]>,
    /// By owner, dimension, day and value: clicks, and bots among them.
    values: BTreeMap<(Owner, String, String, String), [i64; 2]>,
    /// Registers of people by owner and hour or day.
    sketches: BTreeMap<(Owner, String), Vec<u8>>,
    /// People by owner and day, nobody where they are too many.
    members: BTreeMap<(Owner, String), BTreeSet<i64>>,
}

impl Oracle {
    /// Adds what a topic holds, which was first read at `watermark`.
    pub(super) fn read(&mut self, brokers: &str, topic: &str, epoch: Epoch, watermark: Hour, enricher: &Enricher) {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "oracle").create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        for partition in 0..metadata.topics()[0].partitions().len() {
            let partition = i32::try_from(partition).unwrap();
            let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
            let mut from = TopicPartitionList::new();
            from.add_partition_offset(topic, partition, KafkaOffset::Beginning).unwrap();
            consumer.assign(&from).unwrap();
            let (mut next, mut received_at, mut seen) = (0, watermark.start(), HashSet::new());
            let deadline = Instant::now() + PATIENCE;
            while next < end {
                // The client may come back for things of its own.
                let Some(message) = consumer.poll(PATIENCE) else {
                    assert!(Instant::now() < deadline, "{topic} does not go on at {partition}/{next} to {end}");
                    continue;
                };
                let message = message.unwrap();
                next = message.offset() + 1;
                let appended = message.timestamp().to_millis().and_then(Timestamp::from_millis).unwrap();
                received_at = received_at.max(appended);
                let Some(Ok(click)) = message.payload().map(Click::parse) else { continue };
                // The whole topic lies within the reach of copies.
                if click.click_id.is_some_and(|id| !seen.insert(id)) {
                    continue;
                }
                let (number, offset) = (u32::try_from(partition).unwrap(), u64::try_from(message.offset()).unwrap());
                let stamp = Stamp { epoch, partition: PartitionId(number), offset: Offset(offset), received_at };
                if let Ok(click) = enricher.enrich(click, stamp) {
                    self.clicks.insert((epoch.0, number, offset), click);
                }
            }
        }
    }

    /// Takes out what was erased.
    pub(super) fn forget(&mut self, erased: &[(TenantId, LinkId)]) {
        self.clicks.retain(|_, click| !erased.contains(&(click.tenant_id, click.link_id)));
    }

    fn before(&self, watermark: Hour) -> impl Iterator<Item = (&Place, &EnrichedClick)> {
        self.clicks.iter().filter(move |(_, click)| click.received_at < watermark.start())
    }

    /// How many were received before.
    pub(super) fn count_before(&self, watermark: Hour) -> usize {
        self.before(watermark).count()
    }

    /// Clicks and previews of a tenant.
    pub(super) fn of_tenant(&self, tenant: u64, watermark: Hour) -> u64 {
        self.before(watermark).filter(|(_, click)| click.tenant_id.0 == tenant).count() as u64
    }

    /// The rows of `click_event` as [`RAW`] asks for them, of the days of receipt from `since` on.
    pub(super) fn raw(&self, since: Option<Day>, watermark: Hour) -> Vec<Value> {
        let kept = |click: &EnrichedClick| Some(Day::of(click.received_at)) >= since;
        self.before(watermark).filter(|(_, click)| kept(click)).map(|(place, click)| raw(*place, click)).collect()
    }

    pub(super) fn rolled(&self, watermark: Hour) -> Rolled {
        let mut rolled = Rolled::default();
        let mut sketches: BTreeMap<(Owner, String), Sketch> = BTreeMap::new();
        // By tenant, link, visitor and received hour: when somebody clicked.
        let mut people: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
        for (_, click) in self.before(watermark) {
            let tenant = click.tenant_id.0.cast_signed();
            for owner in [(tenant, None), (tenant, Some(click.link_id.0.cast_signed()))] {
                rolled.count(owner, click);
                let person = click.kind != Kind::Preview && click.bot.is_none();
                if let Some(visitor) = click.visitor.filter(|_| person) {
                    let instant = Quarter::of(click.clicked_at).hour().start().to_string();
                    if let (_, Some(link)) = owner {
                        let key = (tenant, link, visitor.0, Hour::of(click.received_at));
                        people.entry(key).or_default().push(click.clicked_at);
                    }
                    let members = rolled.members.entry((owner, instant[..10].to_owned())).or_default();
                    members.insert(i64::from_be_bytes(visitor.0[..8].try_into().unwrap()));
                    for window in [&instant[..10], &instant[..13]] {
                        sketches.entry((owner, window.to_owned())).or_default().insert(&visitor.0);
                    }
                }
            }
        }
        for ((tenant, link, ..), mut clicks) in people {
            clicks.sort_unstable();
            for pair in clicks.windows(2).filter(|pair| pair[1].millis_since(pair[0]) <= 30_000) {
                [None, Some(link)].into_iter().for_each(|link| rolled.repeat((tenant, link), Quarter::of(pair[1])));
            }
        }
        rolled.members.values_mut().filter(|members| members.len() > MOST).for_each(BTreeSet::clear);
        let registers = sketches.into_iter().map(|(key, sketch)| (key, sketch.registers().collect()));
        Rolled { sketches: registers.collect(), ..rolled }
    }
}

impl Rolled {
    fn repeat(&mut self, owner: Owner, quarter: Quarter) {
        let in_hour = usize::try_from(quarter.0.rem_euclid(QUARTERS_PER_HOUR)).unwrap();
        let hour = self.hours.get_mut(&(owner, quarter.hour().start().as_millis())).unwrap();
        hour[3][in_hour] += 1;
        self.days.get_mut(&(owner, quarter.day().start().to_string()[..10].to_owned())).unwrap()[5] += 1;
    }

    fn count(&mut self, owner: Owner, click: &EnrichedClick) {
        let quarter = Quarter::of(click.clicked_at);
        let in_hour = usize::try_from(quarter.0.rem_euclid(QUARTERS_PER_HOUR)).unwrap();
        let preview = click.kind == Kind::Preview;
        let counts = [i64::from(!preview), i64::from(!preview && click.bot.is_some()), i64::from(preview)];
        let hour = self.hours.entry((owner, quarter.hour().start().as_millis())).or_default();
        let day = quarter.day().start().to_string()[..10].to_owned();
        let at = click.clicked_at.as_millis();
        let of_day = self.days.entry((owner, day.clone())).or_insert([0, 0, 0, i64::MAX, i64::MIN, 0]);
        for (kind, count) in counts.into_iter().enumerate() {
            hour[kind][in_hour] += count;
            of_day[kind] += count;
        }
        if preview {
            return;
        }
        (of_day[3], of_day[4]) = (of_day[3].min(at), of_day[4].max(at));
        for dimension in Dimension::ALL {
            let key = (owner, dimension.name().to_owned(), day.clone(), dimension.value(click).to_owned());
            let values = self.values.entry(key).or_default();
            (values[0], values[1]) = (values[0] + counts[0], values[1] + counts[1]);
        }
    }

    /// Takes the rows of [`HOURS`].
    pub(super) fn take_hours(&mut self, rows: &[Value]) {
        for row in rows {
            let (owner, at) = (owner(row), number(&row[2]));
            let counts: Vec<i64> = (3..19).map(|column| number(&row[column])).collect();
            let of = |kind: usize| std::array::from_fn(|quarter| counts[quarter * 4 + kind]);
            assert!(self.hours.insert((owner, at), [of(0), of(1), of(2), of(3)]).is_none(), "two rows of a key: {row}");
            assert_eq!(number(&row[21]), of(3).iter().sum::<i64>());
            let hour = Hour::of(Timestamp::from_millis(at).unwrap()).start().to_string()[..13].to_owned();
            self.take_sketch(owner, hour, &row[19], &row[20]);
        }
    }

    /// Takes the rows of [`DAYS`].
    pub(super) fn take_days(&mut self, rows: &[Value]) {
        for row in rows {
            let (owner, day) = (owner(row), text(&row[2]));
            // Of a day with nothing but previews, nobody says when its clicks were.
            let at = |column: usize, none: i64| row[column].as_i64().unwrap_or(none);
            let counts =
                [number(&row[3]), number(&row[4]), number(&row[5]), at(6, i64::MAX), at(7, i64::MIN), number(&row[12])];
            assert!(self.days.insert((owner, day.clone()), counts).is_none(), "two rows of a key: {row}");
            self.take_members(owner, day.clone(), &row[10], &row[11]);
            self.take_sketch(owner, day, &row[8], &row[9]);
        }
    }

    /// Takes the rows of [`VALUES`].
    pub(super) fn take_values(&mut self, rows: &[Value]) {
        for row in rows {
            let key = (owner(row), text(&row[2]), text(&row[3]), text(&row[4]));
            let counts = [number(&row[5]), number(&row[6])];
            assert_eq!((number(&row[7]), number(&row[8])), (counts[0], counts[1]), "its quarters do not add up: {row}");
            assert!(self.values.insert(key, counts).is_none(), "two rows of a key: {row}");
        }
    }

    /// A list without people is of a day without them; none at all is of one with too many.
    fn take_members(&mut self, owner: Owner, day: String, members: &Value, length: &Value) {
        let listed: Option<BTreeSet<i64>> = members.as_array().map(|list| list.iter().map(number).collect());
        if let Some(listed) = &listed {
            assert_eq!(listed.len(), usize::try_from(number(length)).unwrap(), "each once");
        }
        if listed.as_ref().is_none_or(|listed| !listed.is_empty()) {
            self.members.insert((owner, day), listed.unwrap_or_default());
        }
    }

    fn take_sketch(&mut self, owner: Owner, window: String, unique: &Value, sketch: &Value) {
        let Some(hex) = sketch.as_str() else {
            assert_eq!(number(unique), 0);
            return;
        };
        let sketch = Sketch::from_bytes(&bytes(hex)).unwrap();
        assert_eq!(u64::try_from(number(unique)).unwrap(), sketch.count());
        self.sketches.insert((owner, window), sketch.registers().collect());
    }

    /// Fails with the first differences.
    pub(super) fn assert_is(&self, expected: &Self, what: &str) {
        fn differences<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
            found: &BTreeMap<K, V>,
            expected: &BTreeMap<K, V>,
        ) -> Vec<String> {
            let keys: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
            let differ = keys.into_iter().filter(|key| found.get(key) != expected.get(key));
            differ.map(|key| format!("{key:?}: {:?}, not {:?}", found.get(key), expected.get(key))).collect()
        }
        assert!(!expected.hours.is_empty() && !expected.values.is_empty() && !expected.sketches.is_empty());
        for (kind, differ) in [
            ("hours", differences(&self.hours, &expected.hours)),
            ("days", differences(&self.days, &expected.days)),
            ("values", differences(&self.values, &expected.values)),
            ("visitors", differences(&self.members, &expected.members)),
        ] {
            let some = &differ[..differ.len().min(5)];
            assert!(differ.is_empty(), "{what}: {} {kind} differ, such as {some:#?}", differ.len());
        }
        assert!(self.sketches == expected.sketches, "{what}: registers of sketches differ");
    }
}

/// What is asked of `click_event`.
pub(super) const RAW: &str = r#"SELECT epoch, partition, "offset", tenant_id, link_id, epoch_ms(clicked_at), epoch_ms(received_at),
    click_id, preview, device, referrer_class, trigger, browser, os, referrer, language, bot_reason, ip_hash,
    CAST(received_date AS VARCHAR), user_agent, country, geo_pending FROM t ORDER BY epoch, partition, "offset""#;

fn raw((epoch, partition, offset): Place, click: &EnrichedClick) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    serde_json::json!([
        epoch,
        partition,
        offset,
        click.tenant_id.0,
        click.link_id.0,
        click.clicked_at.as_millis(),
        click.received_at.as_millis(),
        hex(click.click_id.0.as_bytes()),
        click.kind == Kind::Preview,
        click.agent.device.name(),
        click.referrer.class.name(),
        click.trigger.name(),
        click.agent.browser,
        click.agent.os,
        click.referrer.host,
        click.language,
        click.bot,
        click.ip_hash.map(|hash| hex(&hash.0)),
        click.received_at.to_string()[..10],
        click.user_agent,
        click.geo.country,
        click.geo.pending,
    ])
}

/// What is asked of `link_stats_hourly`.
pub(super) const HOURS: &str =
    "SELECT tenant_id, link_id, epoch_ms(hour_bucket), clicks_00, bots_00, previews_00, repeats_00, clicks_15, bots_15,
    previews_15, repeats_15, clicks_30, bots_30, previews_30, repeats_30, clicks_45, bots_45, previews_45, repeats_45,
    unique_ips, sketch, repeats FROM t";
/// What is asked of `link_stats_daily`.
pub(super) const DAYS: &str =
    "SELECT tenant_id, link_id, CAST(day_bucket AS VARCHAR), total_clicks, bot_clicks, previews,
    epoch_ms(first_click), epoch_ms(last_click), unique_ips, sketch, visitor_hashes, len(visitor_hashes), repeats FROM t";
/// What is asked of `link_stats_dimension`.
pub(super) const VALUES: &str =
    "SELECT tenant_id, link_id, dimension, CAST(day_bucket AS VARCHAR), value, click_count, bot_count,
    CAST(list_sum(quarter_clicks) AS BIGINT), CAST(list_sum(quarter_bots) AS BIGINT) FROM t";

fn owner(row: &Value) -> Owner {
    (number(&row[0]), row[1].as_i64())
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
