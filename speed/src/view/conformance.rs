//! What every view must do: one suite for all adapters.

use std::time::Duration;

use linktide_common::bucket::{Quarter, Timestamp};
use linktide_common::click::{Kind, Trigger};
use linktide_common::enrich::{Agent, EnrichedClick, Geo, Referrer, SaltedHash, Utm};
use linktide_common::id::{ClickId, Offset};
use linktide_common::repeat::Windows;
use linktide_common::visitors::{MOST, short};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::*;

const W: Hour = Hour(480_000);
pub(crate) const TENANT: TenantId = TenantId(7);
const EPOCH: Epoch = Epoch(0);
const PARTITION: PartitionId = PartitionId(0);
const COUNTED: Counts = Counts { humans: 1, bots: 0, previews: 0, repeats: 0 };

/// Limits under which the suite sees them work.
pub(crate) const LIMITS: Limits = Limits { cell_fields: 40, tenant_cells: 3 };

pub(crate) fn click(link: u64, received: Timestamp, clicked: Timestamp) -> EnrichedClick {
    EnrichedClick {
        tenant_id: TENANT,
        link_id: LinkId(link),
        click_id: ClickId(Uuid::from_u128(u128::from(link))),
        clicked_at: clicked,
        received_at: received,
        kind: Kind::Click,
        trigger: Trigger::Link,
        ip_hash: None,
        visitor: Some(visitor(link)),
        geo: Geo::default().into(),
        agent: Agent::default(),
        referrer: Referrer::default(),
        utm: Utm::default(),
        language: Some("en".into()),
        bot: None,
        suspected: None,
        user_agent: None,
        destination: None,
        slug: Some(format!("s{link}").into()),
        title: None,
    }
}

fn visitor(number: u64) -> SaltedHash {
    SaltedHash(u128::from(number).to_be_bytes())
}

/// A visitor whose hash is spread over all there can be.
fn scattered(number: u64) -> SaltedHash {
    SaltedHash((u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64).to_be_bytes())
}

fn position(offset: u64) -> Position {
    Position { offset: Offset(offset), received_at: W.start().plus_millis(i64::try_from(offset).unwrap()) }
}

fn at(offset: u64) -> Positions {
    Positions::from([(PARTITION, position(offset))])
}

/// Clicks at the offsets from `from` on, folded where every shard stands at `from`.
fn fold(from: u64, clicks: &[EnrichedClick]) -> Fold {
    fold_at(vec![at(from); SHARDS], from, clicks)
}

fn fold_at(standing: Standing, from: u64, clicks: &[EnrichedClick]) -> Fold {
    fold_with(&Arc::default(), standing, from, clicks)
}

fn fold_with(relations: &Arc<Relations>, standing: Standing, from: u64, clicks: &[EnrichedClick]) -> Fold {
    // Received time never runs back.
    let known = standing.iter().filter_map(|shard| shard.get(&PARTITION)).map(|position| position.received_at);
    let before = known.max().unwrap_or(W.start());
    let mut fold = Fold::with_relations(EPOCH, standing, at(from), Arc::clone(relations));
    for (offset, click) in (from..).zip(clicks) {
        fold.add(PARTITION, Offset(offset), click);
    }
    let to = from + clicks.len() as u64;
    let received_at = clicks.iter().map(|click| click.received_at).fold(before, Ord::max);
    fold.to = Positions::from([(PARTITION, Position { offset: Offset(to), received_at })]);
    fold
}

/// A fold that begins where the view stands.
async fn next(view: &dyn View, clicks: &[EnrichedClick]) -> Flushed {
    let standing = view.standing(EPOCH).await.unwrap();
    let from = standing[0][&PARTITION].offset.0;
    view.flush(fold_at(standing, from, clicks)).await.unwrap()
}

fn everything() -> Want {
    let range = Range::new(Quarter(0), Quarter(W.first_quarter().0 + 96));
    Want {
        range,
        dimensions: vec![Dimension::Language, Dimension::Country, Dimension::UtmSource],
        visitors: true,
        repeats: true,
    }
}

fn publication(watermark: Hour, cut: u64) -> Publication {
    let first = Publication::first(EPOCH, &[PARTITION], "r".into(), watermark.start());
    let mut cut_at = first.cut.clone();
    cut_at.iter_mut().for_each(|entry| entry.position = position(cut));
    Publication { cut: cut_at, ..first }
}

async fn read(view: &dyn View, subject: Subject, from: Hour) -> Slice {
    view.read(subject, from, &everything()).await.unwrap()
}

async fn humans(view: &dyn View, from: Hour) -> u64 {
    read(view, Subject::Tenant(TENANT), from).await.totals.iter().map(|(_, counts)| counts.humans).sum()
}

async fn offsets(view: &dyn View) -> Vec<Option<u64>> {
    let standing = view.standing(EPOCH).await.unwrap();
    standing.iter().map(|shard| shard.get(&PARTITION).map(|position| position.offset.0)).collect()
}

fn listed(slice: &Slice, dimension: Dimension) -> impl Iterator<Item = (&Text, Quarter, Counts)> {
    let of_dimension = slice.values.iter().filter(move |(of, _)| *of == dimension);
    let values = of_dimension.flat_map(|(_, by_value)| &by_value.values);
    values.flat_map(|(value, series)| series.iter().map(move |(quarter, counts)| (value, *quarter, *counts)))
}

fn values(slice: &Slice, dimension: Dimension) -> Vec<(String, u64, u64)> {
    let mut values: BTreeMap<String, Counts> = BTreeMap::new();
    for (value, _, counts) in listed(slice, dimension) {
        *values.entry(value.to_string()).or_default() += counts;
    }
    values.into_iter().map(|(value, counts)| (value, counts.humans, counts.bots)).collect()
}

/// Runs all of it on an empty view with [`LIMITS`].
pub(crate) async fn check(view: &dyn View) {
    flush_applies_where_the_fold_began(view).await;
    what_was_counted_is_read(view).await;
    shard_that_is_ahead_skips_what_it_has(view).await;
    top_links_are_cut_by_event_time(view).await;
    links_are_counted_by_received_hour(view).await;
    gaps_and_lags_are_told(view).await;
    what_is_forgotten_stays_so(view).await;
    large_dimension_stops_growing_and_sums_hold(view).await;
    tenant_with_too_many_links_keeps_totals(view).await;
    visitors_are_the_same_few_or_many(view).await;
    visitors_are_known_one_by_one_while_they_are_few(view).await;
    repeats_are_counted_in_whatever_order_and_parts_clicks_come(view).await;
    addresses_that_click_often_are_suspected(view).await;
    what_is_erased_is_gone_and_the_rest_stays(view).await;
    cleared_view_begins_again(view).await;
}

async fn flush_applies_where_the_fold_began(view: &dyn View) {
    let first = W.start();
    assert_eq!(view.held().await.unwrap(), Held::default());
    assert_eq!(view.flush(fold(0, &[click(1, first, first)])).await.unwrap(), Flushed::Mismatch, "it has not begun");
    view.begin(EPOCH, &at(0), W).await.unwrap();
    view.begin(EPOCH, &at(9), W).await.unwrap();
    assert_eq!(offsets(view).await, [Some(0); SHARDS], "a position that stands is not begun again");
    assert!(view.standing(Epoch(1)).await.unwrap().iter().all(Positions::is_empty), "another life of the log");

    let two = [click(1, first, first), click(2, first, first)];
    assert_eq!(view.flush(fold(0, &two)).await.unwrap(), Flushed::Applied);
    assert_eq!(view.flush(fold(0, &two)).await.unwrap(), Flushed::Mismatch, "a replay");
    assert_eq!(view.flush(fold(1, &two[..1])).await.unwrap(), Flushed::Mismatch, "a zombie");
    assert_eq!(humans(view, W).await, 2);
    assert_eq!(offsets(view).await, [Some(2); SHARDS]);
    let held = view.held().await.unwrap();
    assert_eq!((held.from, held.positions[&(EPOCH, PARTITION)].offset), (Some(W), Offset(2)));
}

async fn what_was_counted_is_read(view: &dyn View) {
    let (first, second) = (W.start(), W.next().start());
    let late = first.plus_millis(-90 * 60_000);
    let mut bot = click(1, second, late);
    bot.bot = Some("ua:test".into());
    bot.utm.source = Some("mail".into());
    let mut preview = click(1, second, second);
    preview.kind = Kind::Preview;
    assert_eq!(next(view, &[click(1, second, first), bot, preview]).await, Flushed::Applied);

    let slice = read(view, Subject::Link(TENANT, LinkId(1)), W).await;
    let count = |humans, bots, previews| Counts { humans, bots, previews, repeats: 0 };
    let quarter = |at| Quarter::of(at);
    assert_eq!(
        slice.totals,
        [(quarter(late), count(0, 1, 0)), (quarter(first), count(2, 0, 0)), (quarter(second), count(0, 0, 1))]
    );
    assert_eq!((slice.first, slice.last), (Some(late), Some(first)), "a preview is no click");
    assert_eq!(slice.label.as_ref().unwrap().slug.as_deref(), Some("s1"));
    assert_eq!(values(&slice, Dimension::Country), [("(none)".to_owned(), 2, 1)]);
    assert_eq!(values(&slice, Dimension::Language), [("en".to_owned(), 2, 1)]);
    assert_eq!(values(&slice, Dimension::UtmSource), [("(none)".to_owned(), 2, 0), ("mail".to_owned(), 0, 1)]);
    let mailed = listed(&slice, Dimension::UtmSource);
    let mut by_quarter: BTreeMap<_, Counts> = BTreeMap::new();
    for (value, quarter, counts) in mailed {
        *by_quarter.entry((quarter, &**value)).or_default() += counts;
    }
    let expected = [((quarter(late), "mail"), count(0, 1, 0)), ((quarter(first), "(none)"), count(2, 0, 0))];
    assert_eq!(by_quarter, expected.into());
    assert!(!slice.is_guarded());
    let counted =
        |slice: &Slice| slice.visitors.iter().map(|(hour, sketch)| (*hour, sketch.count())).collect::<Vec<_>>();
    assert_eq!(counted(&slice), [(W, 1)], "a bot is no visitor");
    assert_eq!(counted(&read(view, Subject::Tenant(TENANT), W).await), [(W, 2)]);

    assert_eq!(humans(view, W.next()).await, 1, "only what was received from an hour on");
    let narrow = Want { range: Range::new(quarter(late), quarter(late).next()), ..everything() };
    let slice = view.read(Subject::Link(TENANT, LinkId(1)), W, &narrow).await.unwrap();
    assert_eq!((slice.totals.len(), values(&slice, Dimension::Language)), (1, vec![("en".to_owned(), 0, 1)]));
    assert!(read(view, Subject::Tenant(TenantId(8)), W).await.totals.is_empty(), "a stranger has nothing");
}

async fn shard_that_is_ahead_skips_what_it_has(view: &dyn View) {
    // A flush that reached some shards only: the one of this link has it, its tenant's has not.
    let (link, tenant) = (Subject::Link(TENANT, LinkId(3)), Subject::Tenant(TENANT));
    let (ahead, before) = (Shard::of(link).index(), humans(view, W).await);
    assert_ne!(Shard::of(link), Shard::of(tenant));
    let standing = view.standing(EPOCH).await.unwrap();
    let from = standing[0][&PARTITION].offset.0;
    let clicks = [click(3, W.next().start(), W.start())];
    let mut partly = fold_at(standing.clone(), from, &clicks);
    for (place, shard) in partly.shards.iter_mut().enumerate() {
        if place != ahead {
            *shard = crate::fold::ShardFold::default();
        }
    }
    assert_eq!(view.flush(partly).await.unwrap(), Flushed::Applied);
    assert_eq!(
        view.held().await.unwrap().positions[&(EPOCH, PARTITION)].offset.0,
        from,
        "no further than the last shard"
    );
    assert_eq!(view.flush(fold_at(standing, from, &clicks)).await.unwrap(), Flushed::Mismatch);
    let standing = view.standing(EPOCH).await.unwrap();
    assert_eq!(standing[ahead][&PARTITION].offset.0, from + 1);
    // The others applied all the same; what is left is to begin from where each stands.
    assert_eq!(view.flush(fold_at(standing, from, &clicks)).await.unwrap(), Flushed::Applied);
    assert_eq!(humans(view, W).await, before + 1);
    let link = read(view, link, W).await;
    assert_eq!(link.totals.iter().map(|(_, counts)| counts.humans).sum::<u64>(), 1);
}

async fn top_links_are_cut_by_event_time(view: &dyn View) {
    let links = async |from, range| {
        let slice = view.links(TENANT, from, range).await.unwrap();
        let mut links: Vec<_> = slice.links.iter().map(|(link, counts)| (link.0, counts.humans, counts.bots)).collect();
        links.sort_unstable();
        (links, slice.labels.len())
    };
    assert_eq!(links(W, everything().range).await, (vec![(1, 2, 1), (2, 1, 0), (3, 1, 0)], 3));
    assert_eq!(links(W.next(), everything().range).await.0, [(1, 1, 1), (3, 1, 0)]);
    let late = Quarter::of(W.start().plus_millis(-90 * 60_000));
    assert_eq!(links(W, Range::new(late, late.next())).await.0, [(1, 0, 1)], "cut within an hour");
    assert_eq!(links(W, Range::new(late.next(), late.next().next())).await.0, []);
}

async fn links_are_counted_by_received_hour(view: &dyn View) {
    let end = Hour(W.0 + 24);
    let listed = async |from| {
        let links = view.links(TENANT, from, everything().range).await.unwrap().links;
        let whole = |counts: Counts| counts.humans + counts.bots + counts.previews;
        links.into_iter().map(|(link, counts)| ((TENANT, link), whole(counts))).collect::<BTreeMap<_, _>>()
    };
    let all = view.counted(W..end).await.unwrap();
    assert_eq!(all.links, listed(W).await);
    assert_eq!(all.held.positions, view.held().await.unwrap().positions);
    let (early, late) =
        (view.counted(W..W.next()).await.unwrap().links, view.counted(W.next()..end).await.unwrap().links);
    assert_eq!(late, listed(W.next()).await);
    assert!(!early.is_empty() && early.values().chain(late.values()).sum::<u64>() == all.links.values().sum::<u64>());
    assert_eq!(view.counted(W..W).await.unwrap().links, BTreeMap::new());
}

async fn gaps_and_lags_are_told(view: &dyn View) {
    let standing = view.standing(EPOCH).await.unwrap();
    let from = standing[0][&PARTITION].offset;
    let gap = Gap { partition: PARTITION, from, to: Offset(from.0 + 5) };
    let mut fold = fold_at(standing, gap.to.0, &[]);
    fold.gaps = vec![gap];
    assert_eq!(view.flush(fold).await.unwrap(), Flushed::Applied);
    let lag = Lag { position: gap.to, end: Offset(100), seconds: 3 };
    view.tell(EPOCH, &BTreeMap::from([(PARTITION, lag)])).await.unwrap();
    let held = view.held().await.unwrap();
    assert_eq!(held.gaps, [gap]);
    assert_eq!((held.positions[&(EPOCH, PARTITION)].offset, held.lags[&(EPOCH, PARTITION)]), (gap.to, lag));
}

async fn what_is_forgotten_stays_so(view: &dyn View) {
    let gap = view.held().await.unwrap().gaps[0];
    view.forget_behind(&publication(W.next(), gap.from.0)).await.unwrap();
    let held = view.held().await.unwrap();
    assert_eq!((held.from, held.gaps.len()), (Some(W.next()), 1), "the cut has not passed the gap");
    assert_eq!(humans(view, W).await, 2);
    let link = read(view, Subject::Link(TENANT, LinkId(1)), W).await;
    assert_eq!(link.visitors.len(), 1, "the visitors of an event hour stay while later received clicks are of it");
    assert!(link.label.is_some());
    let forgotten = read(view, Subject::Link(TENANT, LinkId(2)), W).await;
    assert!(forgotten.label.is_none() && forgotten.visitors.is_empty() && forgotten.totals.is_empty());
    view.forget_behind(&publication(W, gap.to.0)).await.unwrap();
    let held = view.held().await.unwrap();
    assert_eq!((held.from, held.gaps.len()), (Some(W.next()), 0), "it never goes back");
    // What a late worker folds of a deleted hour is batch's.
    assert_eq!(next(view, &[click(1, W.start(), W.start())]).await, Flushed::Applied);
    assert_eq!(humans(view, W).await, 2);
}

async fn what_is_erased_is_gone_and_the_rest_stays(view: &dyn View) {
    let held = view.held().await.unwrap().from.unwrap();
    let (now, later) = (held.start(), held.next().start());
    let tenant = TenantId(TENANT.0 + 1);
    let click = |link, received, clicked| EnrichedClick { tenant_id: tenant, ..click(link, received, clicked) };
    let (link, other) = (Subject::Link(tenant, LinkId(601)), Subject::Link(tenant, LinkId(602)));
    let clicks = [click(601, now, now), click(602, now, now), click(601, later, later), click(602, later, now)];
    assert_eq!(next(view, &clicks).await, Flushed::Applied);
    let before = read(view, other, held).await;
    let tombstone = Tombstone::new(link, held.next(), 0);
    for _ in 0..2 {
        view.erase(&tombstone).await.unwrap();
        assert_eq!(read(view, link, held).await.totals, [(Quarter::of(later), COUNTED)], "of the erased hours");
        assert!(read(view, link, held).await.label.is_none());
        let found = read(view, other, held).await;
        assert_eq!((&found.totals, &found.values), (&before.totals, &before.values));
        assert_eq!(found.visitors, before.visitors);
        assert!(found.label.is_some());
    }
    let listed = view.links(tenant, held, everything().range).await.unwrap();
    let count = |wanted: u64| listed.links.iter().find(|(link, _)| link.0 == wanted).map(|(_, counts)| counts.humans);
    assert_eq!((count(601), count(602)), (Some(1), Some(2)));

    view.erase(&Tombstone::new(Subject::Tenant(TenantId(99)), held.next(), 0)).await.unwrap();
    view.erase(&Tombstone::new(Subject::Tenant(tenant), held.next(), 0)).await.unwrap();
    let whole = Subject::Tenant(tenant);
    let left = read(view, whole, held).await.totals.iter().map(|(_, counts)| counts.humans).sum::<u64>();
    assert_eq!(left, 2, "what was received later stays");
    assert_eq!(read(view, other, held).await.totals, [(Quarter::of(now), COUNTED)]);
    // Of what is deleted nothing comes back with the hours that are forgotten next.
    view.forget_behind(&publication(Hour(held.0 + 2), 10_000)).await.unwrap();
    assert!(read(view, whole, held).await.totals.is_empty());
}

async fn large_dimension_stops_growing_and_sums_hold(view: &dyn View) {
    let at = W.next().start();
    let with = |number: u64| {
        let mut click = click(20, at, at);
        click.utm.source = (!number.is_multiple_of(5)).then(|| format!("u{number}").into());
        click
    };
    let clicks: Vec<_> = (0..100).map(with).collect();
    for part in clicks.chunks(20) {
        assert_eq!(next(view, part).await, Flushed::Applied);
    }
    assert_eq!(next(view, &clicks[1..2]).await, Flushed::Applied);
    let slice = read(view, Subject::Link(TENANT, LinkId(20)), W.next()).await;
    let sources = values(&slice, Dimension::UtmSource);
    let listed = sources.iter().filter(|(source, ..)| source != "(none)").count();
    assert!((20..=LIMITS.cell_fields).contains(&listed), "{listed}");
    assert!(sources.contains(&("(none)".to_owned(), 20, 0)), "what has no value is told apart from what was left out");
    assert!(sources.contains(&("u1".to_owned(), 2, 0)), "a value that stands goes on");
    assert_eq!(values(&slice, Dimension::Language), [("en".to_owned(), 101, 0)], "a small dimension is never guarded");
    assert_eq!(slice.totals, [(Quarter::of(at), Counts { humans: 101, ..Counts::default() })]);
    assert!(slice.is_guarded());
}

async fn tenant_with_too_many_links_keeps_totals(view: &dyn View) {
    let at = W.next().start();
    let shard = Shard::of(Subject::Link(TenantId(9), LinkId(0)));
    let same = (0..).filter(|link| Shard::of(Subject::Link(TenantId(9), LinkId(*link))) == shard);
    let links: Vec<u64> = same.take(LIMITS.tenant_cells + 2).collect();
    let of = |link: &u64| EnrichedClick { tenant_id: TenantId(9), visitor: Some(visitor(5)), ..click(*link, at, at) };
    let windows = Windows::new(Some(Duration::from_secs(30)), []);
    let relations = Arc::new(Relations { windows, ..Relations::default() });
    for link in links.iter().chain(&links) {
        let standing = view.standing(EPOCH).await.unwrap();
        let from = standing[0][&PARTITION].offset.0;
        let fold = fold_with(&relations, standing, from, &[of(link)]);
        assert_eq!(view.flush(fold).await.unwrap(), Flushed::Applied);
    }
    let mut without = 0;
    for link in &links {
        let slice = read(view, Subject::Link(TenantId(9), LinkId(*link)), W.next()).await;
        assert_eq!(
            slice.totals,
            [(Quarter::of(at), Counts { humans: 2, repeats: 1, ..Counts::default() })],
            "totals are never guarded, repeats among them"
        );
        if slice.is_guarded() {
            without += 1;
            assert_eq!(
                (slice.values.iter().all(|(_, by_value)| by_value.values.is_empty()), slice.visitors.len()),
                (true, 0),
                "all of it has other values"
            );
        }
    }
    assert_eq!(without, 2);
    let tenant = read(view, Subject::Tenant(TenantId(9)), W.next()).await;
    assert_eq!((tenant.is_guarded(), values(&tenant, Dimension::Language)[0].1), (false, 2 * links.len() as u64));
    assert_eq!(tenant.totals[0].1.repeats, links.len() as u64);
}

async fn visitors_are_the_same_few_or_many(view: &dyn View) {
    let at = W.next().start();
    let mut plain = Sketch::new();
    for (link, count) in [(30, 300), (30, 5_000)] {
        let from = |number| EnrichedClick { visitor: Some(visitor(number)), ..click(link, at, at) };
        let clicks: Vec<_> = (0..count).map(from).collect();
        clicks.iter().filter_map(|click| click.visitor).for_each(|visitor| _ = plain.insert(&visitor.0));
        assert_eq!(next(view, &clicks).await, Flushed::Applied);
    }
    let slice = read(view, Subject::Link(TENANT, LinkId(30)), W.next()).await;
    let registers = |sketch: &Sketch| sketch.registers().collect::<Vec<_>>();
    assert_eq!(registers(&slice.visitors[0].1), registers(&plain));
}

async fn repeats_are_counted_in_whatever_order_and_parts_clicks_come(view: &dyn View) {
    const WINDOW: i64 = 30_000;
    let held = view.held().await.unwrap().from.unwrap();
    let (tenant, other) = (TenantId(TENANT.0 + 2), TenantId(TENANT.0 + 3));
    let windows = Windows::new(Some(Duration::from_millis(30_000)), [(other, None)]);
    let relations = Arc::new(Relations { windows, pace: None });
    let mut random = StdRng::seed_from_u64(5);
    // By link, visitor and received hour: when somebody clicked.
    let mut people: BTreeMap<(u64, u64, Hour), Vec<Timestamp>> = BTreeMap::new();
    for hour in [held, held.next()] {
        let mut clicks = Vec::new();
        for _ in 0..200 {
            let (link, number) = (random.random_range(701..703), random.random_range(0..4));
            let late = random.random_range(0..1_200_000) + 5_000_000 * i64::from(random.random_bool(0.2));
            let at = hour.start().plus_millis(600_000 - late);
            let mut click = EnrichedClick { tenant_id: tenant, ..click(link, hour.start(), at) };
            click.visitor = Some(scattered(number));
            match random.random_range(0..10) {
                0 => click.bot = Some("ua:test".into()),
                1 => click.kind = Kind::Preview,
                2 => click.tenant_id = other,
                _ => people.entry((link, number, hour)).or_default().push(at),
            }
            clicks.push(click);
        }
        // So many that they are not looked for one behind the other.
        for (visitors, seconds) in [(300, 0), (6_000, 20), (6_000, 40), (6_000, 100)] {
            for number in 0..visitors {
                let at = hour.start().plus_millis(1000 * seconds);
                let mut click = EnrichedClick { tenant_id: tenant, ..click(701, hour.start(), at) };
                click.visitor = Some(scattered(number));
                people.entry((701, number, hour)).or_default().push(at);
                clicks.push(click);
            }
        }
        while !clicks.is_empty() {
            let most = if clicks.len() > 18_000 { 60 } else { 5_000 };
            let rest = clicks.split_off(random.random_range(1..most).min(clicks.len()));
            let standing = view.standing(EPOCH).await.unwrap();
            let from = standing[0][&PARTITION].offset.0;
            let fold = fold_with(&relations, standing, from, &clicks);
            assert_eq!(view.flush(fold.clone()).await.unwrap(), Flushed::Applied);
            assert_eq!(view.flush(fold).await.unwrap(), Flushed::Mismatch, "a replay");
            clicks = rest;
        }
    }
    let plain = |only: Option<u64>, from: Hour| {
        let mut repeats: BTreeMap<Quarter, u64> = BTreeMap::new();
        for ((link, _, hour), clicks) in &people {
            let mut clicks = clicks.clone();
            clicks.sort_unstable();
            for pair in clicks.windows(2).filter(|pair| pair[1].millis_since(pair[0]) <= WINDOW) {
                if only.is_none_or(|only| only == *link) && *hour >= from {
                    *repeats.entry(Quarter::of(pair[1])).or_default() += 1;
                }
            }
        }
        repeats
    };
    let counted = async |subject, from| {
        let totals = read(view, subject, from).await.totals.into_iter();
        let repeats =
            totals.filter(|(_, counts)| counts.repeats > 0).map(|(quarter, counts)| (quarter, counts.repeats));
        repeats.collect::<BTreeMap<_, _>>()
    };
    assert!(plain(None, held).values().sum::<u64>() > 50 && plain(None, held).len() > 4);
    for from in [held, held.next()] {
        for link in [701, 702] {
            assert_eq!(counted(Subject::Link(tenant, LinkId(link)), from).await, plain(Some(link), from));
        }
        for _ in 0..2 {
            assert_eq!(counted(Subject::Tenant(tenant), from).await, plain(None, from));
        }
    }
    assert_eq!(counted(Subject::Tenant(other), held).await, BTreeMap::new(), "a tenant without a window");
    for range in [everything().range, Range::new(held.first_quarter(), held.first_quarter().next())] {
        let listed = view.links(tenant, held, range).await.unwrap().links;
        assert!(listed.len() == 2 && listed.iter().all(|(_, counts)| counts.repeats == 0), "{listed:?}");
    }
    let without = Want { repeats: false, ..everything() };
    let totals = view.read(Subject::Tenant(tenant), held, &without).await.unwrap().totals;
    assert!(totals.iter().all(|(_, counts)| counts.repeats == 0), "nobody looks into every shard for nothing");
    // An erased link's are gone, and its tenant's stay until the watermark has passed, as its clicks do.
    view.erase(&Tombstone::new(Subject::Link(tenant, LinkId(701)), held.next(), 0)).await.unwrap();
    let left = plain(Some(701), held.next());
    assert_eq!(counted(Subject::Link(tenant, LinkId(701)), held).await, left);
    assert_eq!(counted(Subject::Tenant(tenant), held).await, plain(None, held));
    view.forget_behind(&publication(held.next(), 0)).await.unwrap();
    assert_eq!(counted(Subject::Tenant(tenant), held.next()).await, plain(None, held.next()));
    view.erase(&Tombstone::new(Subject::Tenant(tenant), Hour(held.0 + 2), 0)).await.unwrap();
    assert_eq!(counted(Subject::Tenant(tenant), held.next()).await, BTreeMap::new());
}

async fn addresses_that_click_often_are_suspected(view: &dyn View) {
    let held = view.held().await.unwrap().from.unwrap();
    let mut random = StdRng::seed_from_u64(9);
    // Where few are many every click is a sample; where 60 are, one in two.
    for (most, most_samples, link) in [(20, 20, 801), (60, 30, 802)] {
        let pace = Pace::above(most);
        let relations = Arc::new(Relations { pace: Some(pace), ..Relations::default() });
        let (tenant, mut plain) = (TenantId(link), [PlainRates::default(), PlainRates::default()]);
        for hour in [held, held.next()] {
            for _ in 0..20 {
                let clicks: Vec<_> = (0..random.random_range(1..150))
                    .map(|_| {
                        let link = link + 100 * u64::from(random.random_bool(0.3));
                        let at = hour.start().plus_millis(-400_000 * random.random_range(0..3));
                        // Half of them come from one address, the rest from many.
                        let address = if random.random_bool(0.5) { 1 } else { random.random_range(2..60_u128) };
                        let mut click = EnrichedClick { tenant_id: tenant, ..click(link, hour.start(), at) };
                        click.click_id = ClickId(Uuid::from_u128(random.random()));
                        click.ip_hash = Some(SaltedHash((address << 64).to_be_bytes()));
                        match random.random_range(0..20) {
                            0 => click.suspected = Some("suspected:test".into()),
                            1 => click.bot = Some("ua:test".into()),
                            2 => click.ip_hash = None,
                            3 => click.kind = Kind::Preview,
                            _ => {}
                        }
                        click
                    })
                    .collect();
                let standing = view.standing(EPOCH).await.unwrap();
                let fold = fold_with(&relations, standing.clone(), standing[0][&PARTITION].offset.0, &clicks);
                assert_eq!(view.flush(fold.clone()).await.unwrap(), Flushed::Applied);
                assert_eq!(view.flush(fold).await.unwrap(), Flushed::Mismatch, "a replay");
                let of_link: Vec<_> = clicks.iter().filter(|click| click.link_id.0 == link).collect();
                plain[0].add(hour, &of_link, pace);
                plain[1].add(hour, &clicks.iter().collect::<Vec<_>>(), pace);
            }
        }
        for (subject, plain) in [Subject::Link(tenant, LinkId(link)), Subject::Tenant(tenant)].into_iter().zip(plain) {
            let (often, seldom): (Vec<&[u64; 3]>, Vec<_>) =
                plain.minutes.values().partition(|sums| sums[0] > most_samples);
            assert!(often.len() >= 3 && seldom.len() > 100, "{} and {}", often.len(), seldom.len());
            let [told, all] = [1, 2].map(|place| often.iter().map(|sums| sums[place]).sum::<u64>());
            assert!(told <= all && told * 10 >= all * 9, "nearly all of them, and never more: {told} of {all}");
            let want = Want { dimensions: vec![Dimension::BotReason], ..everything() };
            let slice = view.read(subject, held, &want).await.unwrap();
            let counted = values(&slice, Dimension::BotReason).into_iter();
            let counted: BTreeMap<_, _> = counted.map(|(reason, people, bots)| (reason, people + bots)).collect();
            let mut expected = plain.others;
            expected.insert("suspected:rate".to_owned(), told);
            *expected.get_mut("(none)").unwrap() -= told;
            assert_eq!(counted, expected, "above {most}, {subject:?}");
        }
    }
}

/// A plain count of what addresses do on a subject.
#[derive(Default)]
struct PlainRates {
    /// By received hour, minute and address: samples, clicks of folds that have a sample, all clicks.
    minutes: BTreeMap<(Hour, i64, SaltedHash), [u64; 3]>,
    /// Clicks by reason, whatever their rate.
    others: BTreeMap<String, u64>,
}

impl PlainRates {
    fn add(&mut self, hour: Hour, clicks: &[&EnrichedClick], pace: Pace) {
        let mut folded: BTreeMap<_, [u64; 2]> = BTreeMap::new();
        for click in clicks.iter().filter(|click| click.kind == Kind::Click) {
            let reason = Dimension::BotReason.value(click);
            *self.others.entry(reason.to_owned()).or_default() += 1;
            if let (Some(address), "(none)") = (click.ip_hash, reason) {
                let minute = click.clicked_at.as_millis().div_euclid(60_000);
                let [samples, all] = folded.entry((hour, minute, address)).or_default();
                (*samples, *all) = (*samples + u64::from(pace.samples(click.click_id)), *all + 1);
            }
        }
        for (key, [samples, all]) in folded {
            let sums = self.minutes.entry(key).or_default();
            *sums = [sums[0] + samples, sums[1] + if samples > 0 { all } else { 0 }, sums[2] + all];
        }
    }
}

async fn visitors_are_known_one_by_one_while_they_are_few(view: &dyn View) {
    let (early, at) = (W.next().start(), Hour(W.0 + 2).start());
    let whole = |link| Subject::Link(TENANT, LinkId(link));
    let from =
        |link, received, number: u64| EnrichedClick { visitor: Some(scattered(number)), ..click(link, received, at) };
    let set = |numbers: std::ops::Range<u64>| -> VisitorSet {
        numbers.map(|number| short(&from(0, at, number).visitor.unwrap().0)).collect()
    };
    let most = MOST as u64;
    for (link, visitors) in [(40, 1), (41, 2), (42, most), (43, most + 1), (44, 3_000)] {
        // Some twice, in several flushes, and of two received hours.
        let (half, all): (Vec<_>, Vec<_>) =
            ((0..visitors.div_ceil(2)).collect(), (0..visitors).rev().chain(0..visitors).collect());
        let first: Vec<_> = half.iter().map(|number| from(link, early, *number)).collect();
        let second: Vec<_> = all.iter().map(|number| from(link, at, *number)).collect();
        assert_eq!(next(view, &first).await, Flushed::Applied);
        for part in second.chunks(100.max(second.len() / 3)) {
            assert_eq!(next(view, part).await, Flushed::Applied);
        }
        for _ in 0..2 {
            let found = read(view, whole(link), W).await.days;
            assert_eq!(found, [(Day::of(at), Arc::new(set(0..visitors)))], "{visitors} visitors");
        }
        assert_eq!(read(view, whole(link), W).await.days[0].1.members().is_some(), visitors <= most);
    }
    // Days of event time, late clicks among them; bots, previews and whoever is not known are no visitors.
    let yesterday = Day(Day::of(at).0 - 1);
    let mut clicks = vec![from(45, at, 1), from(45, at, 2), from(45, at, 3), from(45, at, 4)];
    clicks[1].clicked_at = yesterday.start();
    (clicks[2].bot, clicks[3].kind) = (Some("ua:test".into()), Kind::Preview);
    assert_eq!(next(view, &clicks).await, Flushed::Applied);
    let days = read(view, whole(45), W).await.days;
    assert_eq!(days, [(yesterday, Arc::new(set(2..3))), (Day::of(at), Arc::new(set(1..2)))]);
    let today = Want { range: Range::new(Quarter::of(at), Quarter::of(at).next()), ..everything() };
    assert_eq!(view.read(whole(45), W, &today).await.unwrap().days, days[1..]);
    assert_eq!(next(view, &[EnrichedClick { visitor: None, ..click(46, at, at) }]).await, Flushed::Applied);
    assert_eq!(read(view, whole(46), W).await.days, [(Day::of(at), Arc::new(VisitorSet::MANY))], "who is not known");
    // Of an erased hour nobody is left, and whoever came later stays.
    let later = [from(41, at, 7)];
    assert_eq!(next(view, &later).await, Flushed::Applied);
    view.erase(&Tombstone::new(whole(41), Hour::of(at), 0)).await.unwrap();
    assert_eq!(read(view, whole(41), W).await.days[0].1.members().map(<[i64]>::len), Some(3));
    view.erase(&Tombstone::new(whole(41), Hour::of(at).next(), 0)).await.unwrap();
    assert_eq!(read(view, whole(41), W).await.days, []);
    // What is forgotten with a received hour leaves those of the next one.
    assert_eq!(next(view, &[from(47, early, 1), from(47, at, 2)]).await, Flushed::Applied);
    view.forget_behind(&publication(Hour::of(at), 0)).await.unwrap();
    assert_eq!(read(view, whole(47), Hour::of(at)).await.days, [(Day::of(at), Arc::new(set(2..3)))]);
}

async fn cleared_view_begins_again(view: &dyn View) {
    view.clear().await.unwrap();
    let held = view.held().await.unwrap();
    assert_eq!((held.from, held.positions.len()), (None, 0));
    assert_eq!(next_of_cleared(view).await, Flushed::Mismatch);
    view.begin(EPOCH, &at(1), W).await.unwrap();
    assert_eq!(next(view, &[click(1, W.start(), W.start())]).await, Flushed::Applied);
    assert_eq!(humans(view, W).await, 1, "nothing of before");
    assert_eq!(view.links(TENANT, W, everything().range).await.unwrap().links.len(), 1);
}

async fn next_of_cleared(view: &dyn View) -> Flushed {
    view.flush(fold(0, &[click(1, W.start(), W.start())])).await.unwrap()
}
