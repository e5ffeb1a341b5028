//! What every view must do: one suite for all adapters.

mod people;

use std::time::Duration;

use linktide_common::bucket::{Quarter, Timestamp};
use linktide_common::click::{Kind, Trigger};
use linktide_common::enrich::{Agent, EnrichedClick, Geo, Referrer, SaltedHash, Utm};
use linktide_common::id::{ClickId, Offset};
use linktide_common::repeat::Windows;
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
    people::check(view).await;
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
        let slice = view.links(TENANT, from, range, true).await.unwrap();
        let without = view.links(TENANT, from, range, false).await.unwrap();
        assert_eq!((without.links.len(), without.labels.len()), (slice.links.len(), 0));
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
        let links = view.links(TENANT, from, everything().range, false).await.unwrap().links;
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
    let listed = view.links(tenant, held, everything().range, false).await.unwrap();
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

async fn cleared_view_begins_again(view: &dyn View) {
    view.clear().await.unwrap();
    let held = view.held().await.unwrap();
    assert_eq!((held.from, held.positions.len()), (None, 0));
    assert_eq!(next_of_cleared(view).await, Flushed::Mismatch);
    view.begin(EPOCH, &at(1), W).await.unwrap();
    assert_eq!(next(view, &[click(1, W.start(), W.start())]).await, Flushed::Applied);
    assert_eq!(humans(view, W).await, 1, "nothing of before");
    assert_eq!(view.links(TENANT, W, everything().range, false).await.unwrap().links.len(), 1);
}

async fn next_of_cleared(view: &dyn View) -> Flushed {
    view.flush(fold(0, &[click(1, W.start(), W.start())])).await.unwrap()
}
