//! What every view must do: one suite for all adapters.

use linktide_common::bucket::{Quarter, Timestamp};
use linktide_common::click::{Kind, Trigger};
use linktide_common::enrich::{Agent, EnrichedClick, Geo, Referrer, SaltedHash, Utm};
use linktide_common::id::{ClickId, Offset, PartitionId};
use linktide_common::log::Position;
use uuid::Uuid;

use super::*;

const W: Hour = Hour(480_000);
const TENANT: TenantId = TenantId(7);

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
        visitor: Some(SaltedHash([u8::try_from(link).unwrap(); 16])),
        geo: Geo::default().into(),
        agent: Agent::default(),
        referrer: Referrer::default(),
        utm: Utm::default(),
        language: Some("en".into()),
        bot: None,
        user_agent: None,
        destination: None,
        slug: Some(format!("s{link}").into()),
        title: None,
    }
}

fn at(offset: u64) -> Positions {
    let position = Position { offset: Offset(offset), received_at: W.start() };
    Positions::from([(PartitionId(0), position)])
}

fn fold(from: u64, to: u64, clicks: &[EnrichedClick]) -> Fold {
    let mut fold = Fold::new(at(from));
    clicks.iter().for_each(|click| fold.add(click));
    fold.to = at(to);
    fold
}

fn everything() -> Want {
    let range = Range::new(W.first_quarter(), Quarter(W.first_quarter().0 + 96));
    Want { range, dimensions: vec![Dimension::Language, Dimension::Country], visitors: true }
}

async fn humans(view: &dyn View, from: Hour) -> u64 {
    let slice = view.read(Subject::Tenant(TENANT), from, &everything()).await.unwrap();
    slice.totals.iter().map(|(_, counts)| counts.humans).sum()
}

/// Runs all of it on an empty view.
pub(crate) async fn check(view: &dyn View) {
    let (first, second) = (W.start(), W.next().start());
    assert_eq!(view.held().await.unwrap(), Held::default());
    // A view that never began takes nothing.
    assert_eq!(view.flush(fold(0, 1, &[click(1, first, first)])).await.unwrap(), Flushed::Mismatch);
    view.begin(&at(0), W, &[]).await.unwrap();
    view.begin(&at(9), W, &[]).await.unwrap();
    assert_eq!(view.held().await.unwrap().positions, at(0));

    assert_eq!(
        view.flush(fold(0, 2, &[click(1, first, first), click(2, first, first)])).await.unwrap(),
        Flushed::Applied
    );
    assert_eq!(view.flush(fold(0, 2, &[click(1, first, first)])).await.unwrap(), Flushed::Mismatch);
    assert_eq!(humans(view, W).await, 2);
    assert_eq!(view.flush(fold(2, 3, &[click(1, second, first)])).await.unwrap(), Flushed::Applied);
    assert_eq!(view.held().await.unwrap().positions, at(3));

    let slice = view.read(Subject::Link(TENANT, LinkId(1)), W, &everything()).await.unwrap();
    assert_eq!(slice.totals, [(W.first_quarter(), Counts { humans: 2, ..Counts::default() })]);
    assert_eq!((slice.first, slice.last), (Some(first), Some(first)));
    assert_eq!(slice.label.unwrap().slug.as_deref(), Some("s1"));
    let mut values =
        slice.values.iter().map(|(dimension, value, counts)| (*dimension, &**value, counts.humans)).collect::<Vec<_>>();
    values.sort_unstable();
    assert_eq!(values, [(Dimension::Country, "(none)", 2), (Dimension::Language, "en", 2)]);
    assert_eq!(slice.visitors.iter().map(|(hour, sketch)| (*hour, sketch.count())).collect::<Vec<_>>(), [(W, 1)]);

    assert_eq!(humans(view, W.next()).await, 1);
    let mut links = view.links(TENANT, W, everything().range).await.unwrap().links;
    links.sort_unstable_by_key(|(link, _)| *link);
    assert_eq!(links.iter().map(|(link, counts)| (link.0, counts.humans)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    assert_eq!(humans_of_stranger(view).await, 0);

    view.forget_below(W.next()).await.unwrap();
    assert_eq!(view.held().await.unwrap().from, Some(W.next()));
    assert_eq!(humans(view, W).await, 1);
    view.forget_below(W).await.unwrap();
    assert_eq!(view.held().await.unwrap().from, Some(W.next()), "what is forgotten stays so");
}

async fn humans_of_stranger(view: &dyn View) -> usize {
    view.read(Subject::Tenant(TenantId(8)), W, &everything()).await.unwrap().totals.len()
}
