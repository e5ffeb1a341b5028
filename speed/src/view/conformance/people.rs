//! What every view must know of people: visitors, repeats, and addresses in a hurry.

use linktide_common::visitors::{MOST, short};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

pub(super) async fn check(view: &dyn View) {
    visitors_are_the_same_few_or_many(view).await;
    visitors_are_known_one_by_one_while_they_are_few(view).await;
    repeats_are_counted_in_whatever_order_and_parts_clicks_come(view).await;
    addresses_that_click_often_are_suspected(view).await;
}

/// A visitor whose hash is spread over all there can be.
fn scattered(number: u64) -> SaltedHash {
    SaltedHash((u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64).to_be_bytes())
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
        let listed = view.links(tenant, held, range, false).await.unwrap().links;
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
