//! The view against real servers: one alone, and a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use linktide_common::bucket::{Day, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::SaltedHash;
use linktide_common::id::{LinkId, Offset};
use linktide_common::log::Position;
use linktide_common::repeat::Windows;
use linktide_common::visitors::VisitorSet;
use linktide_servers::{Redis, RedisCluster};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::view::{MemoryView, Pace, Relations, conformance};

fn view(url: String, limits: Limits) -> RedisView {
    RedisView::new(&RedisConfig { url, user: None, password: None, limits, kept: 1 << 20 }).unwrap()
}

#[tokio::test]
async fn it_does_what_every_view_must_on_one_server() {
    let redis = Redis::start();
    conformance::check(&view(redis.url(), conformance::LIMITS)).await;
}

#[tokio::test]
async fn it_does_what_every_view_must_on_a_cluster() {
    let cluster = RedisCluster::start();
    conformance::check(&view(cluster.url(), conformance::LIMITS)).await;
}

/// What is wanted, and what a view gave, in a form that two views give alike.
type Given = (
    Vec<(Quarter, Counts)>,
    BTreeMap<(Dimension, String, Quarter), Counts>,
    BTreeMap<Hour, Vec<u8>>,
    Vec<(Day, Arc<VisitorSet>)>,
    (Option<Timestamp>, Option<Timestamp>),
);

async fn given(view: &dyn View, subject: Subject, want: &Want) -> Given {
    let slice = view.read(subject, W, want).await.unwrap();
    let mut values: BTreeMap<_, Counts> = BTreeMap::new();
    for (dimension, by_value) in &slice.values {
        for (value, series) in &by_value.values {
            for (quarter, counts) in series {
                *values.entry((*dimension, value.to_string(), *quarter)).or_default() += *counts;
            }
        }
    }
    let visitors = slice.visitors.iter().map(|(hour, sketch)| (*hour, sketch.registers().collect()));
    (slice.totals.clone(), values, visitors.collect(), slice.days, (slice.first, slice.last))
}

/// Clicks of each link in a range.
async fn listed(view: &dyn View, range: Range) -> BTreeMap<LinkId, Counts> {
    view.links(conformance::TENANT, W, range, false).await.unwrap().links.into_iter().collect()
}

const W: Hour = Hour(480_000);
const EPOCH: Epoch = Epoch(0);
const DIMENSIONS: [Dimension; 4] =
    [Dimension::Country, Dimension::Language, Dimension::UtmSource, Dimension::BotReason];

/// A view that is given clicks of two partitions, which run through the hours each at its own pace.
struct Ahead<'a> {
    views: [&'a dyn View; 2],
    positions: Positions,
    random: StdRng,
}

impl Ahead<'_> {
    async fn flush(&mut self) {
        let standing = vec![self.positions.clone(); crate::shard::SHARDS];
        let windows = Windows::new(Some(Duration::from_secs(120)), []);
        let relations = Arc::new(Relations { windows, pace: Some(Pace::above(3)) });
        let mut fold = Fold::with_relations(EPOCH, standing, self.positions.clone(), relations);
        let mut to = self.positions.clone();
        for (partition, position) in &mut to {
            position.received_at = position.received_at.plus_millis(self.random.random_range(0..50 * 60_000));
            for _ in 0..self.random.random_range(1..8) {
                let late = self.random.random_range(0..3) * self.random.random_range(0..90 * 60_000);
                let link = self.random.random_range(1..4);
                let mut click = conformance::click(link, position.received_at, position.received_at.plus_millis(-late));
                click.visitor = Some(SaltedHash((self.random.random_range(0..40_u128) << 64).to_be_bytes()));
                click.ip_hash = Some(SaltedHash((self.random.random_range(0..2_u128) << 64).to_be_bytes()));
                click.bot = self.random.random_bool(0.2).then(|| "ua:test".into());
                click.utm.source = self.random.random_bool(0.5).then(|| format!("u{}", link * 7).into());
                fold.add(*partition, position.offset, &click);
                position.offset = position.offset.next();
            }
        }
        fold.to = to.clone();
        for view in self.views {
            assert_eq!(view.flush(fold.clone()).await.unwrap(), Flushed::Applied);
        }
        self.positions = to;
    }

    fn want(&mut self) -> (Subject, Want) {
        let link = self.random.random_range(0..4);
        let subject = match link {
            0 => Subject::Tenant(conformance::TENANT),
            link => Subject::Link(conformance::TENANT, LinkId(link)),
        };
        let start = W.first_quarter().0 - 20 + self.random.random_range(0..60);
        let range = Range::new(Quarter(start), Quarter(start + self.random.random_range(1..200)));
        let dimensions = DIMENSIONS.into_iter().filter(|_| self.random.random_bool(0.5)).collect();
        let (visitors, repeats) = (self.random.random_bool(0.5), self.random.random_bool(0.5));
        (subject, Want { range, dimensions, visitors, repeats })
    }
}

#[tokio::test]
async fn hours_that_are_kept_change_no_answer() {
    let redis = Redis::start();
    for seed in 0..6 {
        let (plain, kept) = (MemoryView::new(), view(redis.url(), Limits::default()));
        let apart = kept.apart();
        kept.clear().await.unwrap();
        let begun = Position { offset: Offset(0), received_at: W.start() };
        let mut positions = Positions::from([(PartitionId(0), begun), (PartitionId(1), begun)]);
        for view in [&plain as &dyn View, &kept] {
            view.begin(EPOCH, &positions, W).await.unwrap();
        }
        let random = StdRng::seed_from_u64(seed);
        let mut ahead = Ahead { views: [&plain, &kept], positions: positions.clone(), random };
        for step in 0..40 {
            if step == 25 {
                // A partition that nobody had named gives clicks of hours that were over for the others.
                positions = Positions::from([(PartitionId(2), begun)]);
                for view in [&plain as &dyn View, &kept] {
                    view.begin(EPOCH, &positions, W).await.unwrap();
                }
                ahead.positions.extend(positions.clone());
            }
            ahead.flush().await;
            for _ in 0..6 {
                let (subject, want) = ahead.want();
                let plain = given(&plain, subject, &want).await;
                // Whoever asks apart is told the same, of hours that the other one keeps.
                for asked in [&kept, &apart] {
                    assert_eq!(
                        given(asked, subject, &want).await,
                        plain,
                        "seed {seed}, step {step}, {subject:?}, {want:?}"
                    );
                }
            }
            // A list is a transaction for each shard.
            if step % 4 != 0 {
                continue;
            }
            let (_, Want { range, .. }) = ahead.want();
            let links = listed(&plain, range).await;
            for asked in [&kept, &apart] {
                assert_eq!(listed(asked, range).await, links, "seed {seed}, step {step}, {range:?}");
            }
        }
    }
}

/// One partition, at the start of an hour.
fn at(offset: u64, hour: Hour) -> Positions {
    Positions::from([(PartitionId(0), Position { offset: Offset(offset), received_at: hour.start() })])
}

#[tokio::test]
async fn hour_that_is_over_is_read_once() {
    let redis = Redis::start();
    let view = view(redis.url(), Limits::default());
    view.begin(EPOCH, &at(0, W), W).await.unwrap();
    let mut fold = Fold::new(EPOCH, vec![at(0, W); crate::shard::SHARDS], at(0, W));
    fold.add(PartitionId(0), Offset(0), &conformance::click(1, W.start(), W.start()));
    fold.to = at(1, W.next());
    assert_eq!(view.flush(fold).await.unwrap(), Flushed::Applied);
    let subject = Subject::Link(conformance::TENANT, LinkId(1));
    let range = Range::new(W.first_quarter(), W.next().first_quarter());
    let want = Want { range, dimensions: DIMENSIONS.to_vec(), visitors: true, repeats: true };
    let first = given(&view, subject, &want).await;
    assert_eq!((first.0.len(), first.2.len()), (1, 1));
    let links = listed(&view, range).await;
    assert_eq!(links.len(), 1);

    let mut questions = redis::pipe();
    questions.del(keys::totals(subject, W)).del(keys::cell(subject, W)).del(keys::visitors(subject, W));
    questions.del(keys::top(Shard::of(subject), conformance::TENANT, W));
    let deleted: (u64, u64, u64, u64) = view.ask(&questions).await.unwrap();
    assert_eq!(deleted, (1, 1, 1, 1));
    assert_eq!(given(&view, subject, &want).await, first, "nobody looks for it again");
    assert_eq!(listed(&view, range).await, links);
    let narrower = Want { dimensions: vec![Dimension::Country], visitors: false, ..want.clone() };
    assert_eq!(given(&view, subject, &narrower).await.0, first.0);

    // A view that was begun anew is read as it is, even where it stands where it did, and whoever began it.
    let another = self::view(redis.url(), Limits::default());
    another.clear().await.unwrap();
    another.begin(EPOCH, &at(1, W.next()), W).await.unwrap();
    assert_eq!(given(&view, subject, &want).await.0, []);
    assert_eq!(listed(&view, range).await, BTreeMap::new());
}

#[tokio::test]
async fn what_is_kept_grows_by_each_hour_that_is_over() {
    let redis = Redis::start();
    let view = view(redis.url(), Limits::default());
    view.begin(EPOCH, &at(0, W), W).await.unwrap();
    let (later, subject) = (Hour(W.0 + 4), Subject::Link(conformance::TENANT, LinkId(1)));
    let range = Range::new(W.first_quarter(), later.first_quarter());
    let want = Want { range, dimensions: DIMENSIONS.to_vec(), visitors: true, repeats: true };
    for (offset, hour) in (0..).zip((W.0..later.0).map(Hour)) {
        let mut fold = Fold::new(EPOCH, vec![at(offset, hour); crate::shard::SHARDS], at(offset, hour));
        fold.add(PartitionId(0), Offset(offset), &conformance::click(1, hour.start(), hour.start()));
        fold.to = at(offset + 1, hour.next());
        assert_eq!(view.flush(fold).await.unwrap(), Flushed::Applied);
        // Twice: read, and then as it was kept.
        for _ in 0..2 {
            let totals = given(&view, subject, &want).await.0;
            assert_eq!(totals.iter().map(|(_, counts)| counts.humans).sum::<u64>(), offset + 1);
            assert_eq!(listed(&view, range).await.values().map(|counts| counts.humans).sum::<u64>(), offset + 1);
        }
        let kept = view.kept.find(subject, W, &want).unwrap();
        assert_eq!(*settled::Over::hours(&*kept), W..hour.next());
    }
}
