//! A plain count in memory, and the same numbers as a foreign client finds them in Redis.
//!
//! The keys are read here by their documented form alone, so that a mistake of the product's reader cannot hide one of its
//! writer.

use std::collections::{BTreeMap, BTreeSet};

use fred::prelude::*;
use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::click::Kind;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::{EnrichedClick, SaltedHash};
use linktide_common::sketch::Sketch;
use linktide_common::visitors::MOST;

/// Everything that is counted, whatever hour it was received in.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// By subject, event quarter, and `""` for people, `b` for bots, `p` for previews, `r` for repeats; a tenant's are in all
    /// shards.
    totals: BTreeMap<(String, i32, &'static str), u64>,
    /// By subject, event quarter, dimension, value, and whether bots are counted.
    cells: BTreeMap<(String, i32, &'static str, String, bool), u64>,
    /// By tenant, event hour, link and who.
    top: BTreeMap<(String, i32, String, &'static str), u64>,
    /// Registers by the sketch's name.
    visitors: BTreeMap<String, Vec<u8>>,
    /// By subject and event date: 64 bits of each hash, nobody where they are too many.
    members: BTreeMap<(String, String), BTreeSet<i64>>,
    /// Event time of the first and last click of each subject.
    seen: BTreeMap<String, (i64, i64)>,
}

/// The plain count.
#[derive(Default)]
pub(super) struct Oracle {
    counted: Counted,
    sketches: BTreeMap<String, Sketch>,
    /// By tenant, link, visitor and received hour: when somebody clicked.
    people: BTreeMap<(String, String, SaltedHash, Hour), Vec<Timestamp>>,
}

impl Oracle {
    pub(super) fn count(&mut self, click: &EnrichedClick) {
        let quarter = Quarter::of(click.clicked_at);
        let who = match (click.kind, &click.bot) {
            (Kind::Preview, _) => "p",
            (_, Some(_)) => "b",
            _ => "",
        };
        let tenant = click.tenant_id.to_string();
        let link = click.link_id.to_string();
        if let (Some(visitor), "") = (click.visitor, who) {
            let key = (tenant.clone(), format!("{tenant}/{link}"), visitor, Hour::of(click.received_at));
            self.people.entry(key).or_default().push(click.clicked_at);
        }
        *self.counted.top.entry((tenant.clone(), quarter.hour().0, link.clone(), who)).or_default() += 1;
        for (kind, subject) in [("link", format!("{tenant}/{link}")), ("tenant", tenant)] {
            *self.counted.totals.entry((subject.clone(), quarter.0, who)).or_default() += 1;
            if who == "p" {
                continue;
            }
            let at = click.clicked_at.as_millis();
            let seen = self.counted.seen.entry(subject.clone()).or_insert((at, at));
            *seen = (seen.0.min(at), seen.1.max(at));
            for dimension in Dimension::ALL.iter().filter(|dimension| dimension.value(click) != NONE) {
                let value = dimension.value(click).to_owned();
                let key = (subject.clone(), quarter.0, dimension.name(), value, who == "b");
                *self.counted.cells.entry(key).or_default() += 1;
            }
            if let (Some(visitor), "") = (click.visitor, who) {
                let instant = quarter.hour().start().to_string();
                let members = self.counted.members.entry((subject.clone(), instant[..10].to_owned())).or_default();
                members.insert(i64::from_be_bytes(visitor.0[..8].try_into().unwrap()));
                for window in [&instant[..10], &instant[..13]] {
                    self.sketches.entry(format!("{kind}:{subject}:uv:{window}")).or_default().insert(&visitor.0);
                }
            }
        }
    }

    /// Clicks and previews of a subject.
    pub(super) fn clicks_of(&self, subject: &str) -> u64 {
        self.counted.totals.iter().filter(|((of, ..), _)| of == subject).map(|(_, count)| count).sum()
    }

    /// People's clicks on each link of a tenant: all of them, and those that are no repeats.
    pub(super) fn people_of(&self, tenant: &str) -> BTreeMap<String, (u64, u64)> {
        let mut links = BTreeMap::<String, (u64, u64)>::new();
        for ((subject, ..), count) in self.counted.totals.iter().filter(|((.., who), _)| who.is_empty()) {
            if let Some((_, link)) = subject.split_once('/').filter(|(of, _)| *of == tenant) {
                let (clicks, unique) = links.entry(link.to_owned()).or_default();
                (*clicks, *unique) = (*clicks + count, *unique + count);
            }
        }
        for (_, link, _) in self.repeats().into_iter().filter(|(of, ..)| of == tenant) {
            let (_, link) = link.split_once('/').unwrap();
            links.get_mut(link).unwrap().1 -= 1;
        }
        links
    }

    /// The tenant and the link of each repeat, and when it was.
    fn repeats(&self) -> Vec<(String, String, Timestamp)> {
        let mut repeats = Vec::new();
        for ((tenant, link, ..), clicks) in &self.people {
            let mut clicks = clicks.clone();
            clicks.sort_unstable();
            let close = clicks.windows(2).filter(|pair| pair[1].millis_since(pair[0]) <= 30_000);
            repeats.extend(close.map(|pair| (tenant.clone(), link.clone(), pair[1])));
        }
        repeats
    }

    pub(super) fn into_counted(mut self) -> Counted {
        for (tenant, link, at) in self.repeats() {
            for subject in [tenant, link] {
                *self.counted.totals.entry((subject, Quarter::of(at).0, "r")).or_default() += 1;
            }
        }
        let registers = self.sketches.into_iter().map(|(name, sketch)| (name, sketch.registers().collect()));
        Counted { visitors: registers.collect(), ..self.counted }.with_few()
    }
}

impl Counted {
    /// Those that are too many are nobody in particular.
    fn with_few(mut self) -> Self {
        self.members.values_mut().filter(|members| members.len() > MOST).for_each(BTreeSet::clear);
        self
    }

    /// Everything there is in Redis, of one server or of all masters of a cluster.
    pub(super) async fn read(redis: &Client, keys: &[String]) -> Self {
        let mut counted = Self::default();
        for key in keys {
            let Some((shard, name)) = key.split_once("}:") else { continue };
            assert!(shard.starts_with("{s"), "{key}");
            let parts: Vec<&str> = name.split(':').collect();
            match parts[..] {
                ["totals", subject, hour] => counted.take_totals(subject, first_quarter(hour), &hash(redis, key).await),
                ["cell", subject, hour] => counted.take_cell(subject, first_quarter(hour), &hash(redis, key).await),
                ["top", tenant, _] => {
                    let members: Vec<(String, f64)> =
                        redis.zrange(key.as_str(), 0, -1, None, false, None, true).await.unwrap();
                    counted.take_top(tenant, members);
                }
                ["visitors", subject, _, date] => {
                    let members: Vec<i64> = redis.custom(fred::cmd!("SMEMBERS"), vec![key.as_str()]).await.unwrap();
                    // A set that is as large as a known one may be takes one fold more, of which one too many are written at most.
                    assert!((1..=MOST + (MOST + 1)).contains(&members.len()), "{key}: {}", members.len());
                    counted.members.entry((subject.to_owned(), date.to_owned())).or_default().extend(members);
                }
                ["link" | "tenant", _, "uv", _] => {
                    let bytes: Vec<u8> = redis.get(key.as_str()).await.unwrap();
                    counted.visitors.insert(name.to_owned(), Sketch::from_bytes(&bytes).unwrap().registers().collect());
                }
                ["repeats", tenant, hour] => {
                    for (quarter, count) in hash(redis, key).await {
                        let quarter = first_quarter(hour) + quarter.parse::<i32>().unwrap();
                        *counted.totals.entry((tenant.to_owned(), quarter, "r")).or_default() +=
                            count.parse::<u64>().unwrap();
                    }
                }
                ["positions" | "breakdowns"] | ["visits" | "rates", ..] | ["tenants", _] | ["label", ..] => {}
                _ => panic!("an unknown key: {key}"),
            }
        }
        counted.with_few()
    }

    fn take_totals(&mut self, subject: &str, first: i32, fields: &BTreeMap<String, String>) {
        for (field, value) in fields {
            if field == "f" || field == "l" {
                let at: i64 = value.parse().unwrap();
                let seen = self.seen.entry(subject.to_owned()).or_insert((at, at));
                *seen = (seen.0.min(at), seen.1.max(at));
                continue;
            }
            let who = ["b", "p", "r"].into_iter().find(|who| field.ends_with(who)).unwrap_or_default();
            let quarter: i32 = field.trim_end_matches(who).parse().unwrap();
            *self.totals.entry((subject.to_owned(), first + quarter, who)).or_default() +=
                value.parse::<u64>().unwrap();
        }
    }

    fn take_cell(&mut self, subject: &str, first: i32, fields: &BTreeMap<String, String>) {
        for (field, value) in fields {
            let at = field.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let quarter: i32 = field[..at].parse().unwrap();
            let dimension = dimension(field.as_bytes()[at]);
            let bots = match field.as_bytes()[at + 1] {
                b':' => false,
                b'!' => true,
                other => panic!("{field}: {other}"),
            };
            let key = (subject.to_owned(), first + quarter, dimension, field[at + 2..].to_owned(), bots);
            *self.cells.entry(key).or_default() += value.parse::<u64>().unwrap();
        }
    }

    fn take_top(&mut self, tenant: &str, members: Vec<(String, f64)>) {
        for (member, score) in members {
            let parts: Vec<&str> = member.split('|').collect();
            let who = match parts.get(2) {
                None => "",
                Some(&"b") => "b",
                Some(_) => "p",
            };
            let key = (tenant.to_owned(), parts[0].parse().unwrap(), parts[1].to_owned(), who);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a score counts clicks")]
            let clicks = score as u64;
            *self.top.entry(key).or_default() += clicks;
        }
    }

    /// Fails with the first differences.
    pub(super) fn assert_is(&self, oracle: &Self, what: &str) {
        fn differences<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
            found: &BTreeMap<K, V>,
            expected: &BTreeMap<K, V>,
        ) -> Vec<String> {
            let keys = found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>();
            let differ = keys.into_iter().filter(|key| found.get(key) != expected.get(key));
            differ.map(|key| format!("{key:?}: {:?}, not {:?}", found.get(key), expected.get(key))).collect()
        }
        assert!(!oracle.totals.is_empty() && !oracle.cells.is_empty() && !oracle.visitors.is_empty());
        let names = |counted: &Self| counted.visitors.keys().cloned().map(|name| (name, ())).collect();
        let all = [
            ("totals", differences(&self.totals, &oracle.totals)),
            ("cells", differences(&self.cells, &oracle.cells)),
            ("top links", differences(&self.top, &oracle.top)),
            ("first and last", differences(&self.seen, &oracle.seen)),
            ("visitors", differences(&self.members, &oracle.members)),
            ("sketches' names", differences(&names(self), &names(oracle))),
        ];
        for (kind, differ) in all {
            assert!(
                differ.is_empty(),
                "{what}: {} {kind} differ, such as {:#?}",
                differ.len(),
                &differ[..differ.len().min(5)]
            );
        }
        let differ =
            oracle.visitors.iter().filter(|(name, registers)| self.visitors.get(*name) != Some(registers)).count();
        assert_eq!(differ, 0, "{what}: registers of sketches differ");
    }
}

async fn hash(redis: &Client, key: &str) -> BTreeMap<String, String> {
    redis.hgetall(key).await.unwrap()
}

fn first_quarter(hour: &str) -> i32 {
    Hour(hour.parse().unwrap()).first_quarter().0
}

fn dimension(letter: u8) -> &'static str {
    match letter {
        b'c' => "country",
        b'r' => "region",
        b't' => "city",
        b'n' => "continent",
        b'h' => "referrer",
        b'k' => "referrer_class",
        b'd' => "device",
        b'b' => "browser",
        b'o' => "os",
        b's' => "utm_source",
        b'm' => "utm_medium",
        b'p' => "utm_campaign",
        b'g' => "trigger",
        b'l' => "language",
        b'w' => "bot_reason",
        other => panic!("no dimension has the letter {other}"),
    }
}
