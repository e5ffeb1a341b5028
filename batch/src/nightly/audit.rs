//! The audit: what an increment adds, as speed counted the same clicks, link by link.
//!
//! Both layers count by the log's own stamps, so between two cuts they have the same clicks by definition, all traffic
//! together (who is a bot may differ by rules): drift means a fault in one of them. It is looked for before the increment is
//! published, because speed lets go of its cells afterwards; it holds nothing up. What came of it is kept as
//! `audit/<n>.json`, by the number of the plan.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::id::{Epoch, LinkId, PartitionId, Subject, TenantId};
use linktide_common::log::Position;
use linktide_common::publication::{CutEntry, Publication};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::Nightly;
use super::increment::Increment;
use super::session::Session;
use crate::error::BatchError;
use crate::metrics;
use crate::tables::Lake;
use crate::tables::columns::{Columns, counted};

/// Links that are listed in a report; the sums are of all.
const LISTED: usize = 100;
/// Between two questions how far speed has come; it doubles up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// Clicks and previews of each link.
type Links = BTreeMap<(TenantId, LinkId), u64>;

/// What another layer counted in some hours of receipt.
#[derive(Debug, Clone, Default)]
pub struct Recount {
    /// How far it had read when it was asked.
    pub positions: BTreeMap<(Epoch, PartitionId), Position>,
    /// The hour of receipt from which on it holds everything.
    pub held_from: Option<Hour>,
    /// Clicks and previews of each link.
    pub links: BTreeMap<(TenantId, LinkId), u64>,
}

/// Asks another layer to count the clicks received in some hours, or in none.
pub type Recounter = Arc<dyn Fn(Range<Hour>) -> BoxFuture<'static, Result<Recount, String>> + Send + Sync>;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The number of the increment's plan.
    pub plan: u64,
    /// The clicks of an increment were received from this hour on.
    pub from: Hour,
    /// They were received before this one.
    pub to: Hour,
    /// When it was made.
    pub made_at: Timestamp,
    /// Why speed's counts could not be compared; none where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// Clicks and previews that batch adds.
    pub batch: u64,
    /// As many by speed's count.
    pub speed: u64,
    /// Links that were compared.
    pub links: u64,
    /// Links whose counts differ.
    pub drifted: u64,
    /// By how many clicks, all of them together.
    pub drift: u64,
    /// The first of the links that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// A link that the layers count differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which link.
    pub link_id: LinkId,
    /// Clicks and previews by batch.
    pub batch: u64,
    /// By speed.
    pub speed: u64,
}

impl Nightly {
    /// Compares what an increment adds, as `clicks` of the session has it, with speed's count, and keeps the report.
    pub(super) async fn audit(
        &self,
        session: &Session,
        plan: u64,
        increment: Increment<'_>,
        published: &Publication,
    ) -> Result<(), BatchError> {
        let Some(recount) = &self.recounter else { return Ok(()) };
        let mut ours = count(session).await?;
        let mut theirs = self.recounted(recount, increment).await.map(|recount| recount.links);
        // A subject that is being erased may be gone from one layer already.
        let stays = |(tenant, link): &(TenantId, LinkId)| {
            let subject = Subject::Link(*tenant, *link);
            !published.tombstones.iter().any(|tombstone| tombstone.is_of(subject))
        };
        ours.retain(|owner, _| stays(owner));
        if let Ok(theirs) = &mut theirs {
            theirs.retain(|owner, _| stays(owner));
        }
        let audit =
            Audit { plan, from: increment.from, to: increment.to, made_at: self.clock.now(), ..compare(&ours, theirs) };
        if audit.not_compared.is_none() {
            metrics::AUDIT_DRIFT.set(i64::try_from(audit.drift).unwrap_or(i64::MAX));
        }
        match &audit.not_compared {
            Some(why) => {
                metrics::AUDITS.with_label_values(&["not_compared"]).inc();
                tracing::warn!(plan, why, "the audit could not compare with the speed layer");
            }
            None if audit.drift > 0 => {
                metrics::AUDITS.with_label_values(&["drift"]).inc();
                tracing::error!(
                    plan,
                    drift = audit.drift,
                    links = audit.drifted,
                    "speed and batch count differently: linktide audit tells which links"
                );
            }
            None => metrics::AUDITS.with_label_values(&["agreed"]).inc(),
        }
        keep(&self.lake, &audit).await
    }

    /// Speed's count once it has passed the cut, or why there is none.
    async fn recounted(&self, recount: &Recounter, increment: Increment<'_>) -> Result<Recount, String> {
        let ask = async {
            let [mut pause, longest] = PAUSES;
            // How far it has come is told with any count, also with that of no hour, which costs it little.
            while !has_passed(&recount(increment.from..increment.from).await?, increment)? {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            let recount = recount(increment.from..increment.to).await?;
            let whole = has_passed(&recount, increment)?;
            if whole { Ok(recount) } else { Err("it was set back while it counted".to_owned()) }
        };
        let patience = self.config.audit_patience;
        tokio::time::timeout(patience, ask)
            .await
            .unwrap_or_else(|_| Err(format!("it had not read up to the cut within {} s", patience.as_secs())))
    }
}

/// Whether speed has read up to the cut; an error where it never can have all of it.
fn has_passed(recount: &Recount, increment: Increment<'_>) -> Result<bool, String> {
    if let Some(from) = recount.held_from.filter(|from| *from > increment.from) {
        return Err(format!("it holds clicks received from {} on alone", from.start()));
    }
    // A partition without a click before the cut need not have been begun.
    let passed = |entry: &CutEntry| {
        let position = recount.positions.get(&(entry.epoch, entry.partition));
        entry.position.offset.0 == 0 || position.is_some_and(|position| position.offset >= entry.position.offset)
    };
    Ok(increment.cut_to.iter().all(passed))
}

/// Clicks and previews of each link that the increment adds.
async fn count(session: &Session) -> Result<Links, BatchError> {
    let mut links = BTreeMap::new();
    if !session.has("clicks") {
        return Ok(links);
    }
    let query = "SELECT tenant_id, link_id, count(*) AS clicks FROM clicks GROUP BY tenant_id, link_id";
    for rows in session.query(query).await? {
        let columns = Columns::new(&rows);
        let (tenants, ids, clicks) =
            (columns.numbers("tenant_id")?, columns.numbers("link_id")?, columns.numbers("clicks")?);
        for row in 0..rows.num_rows() {
            let owner = (TenantId(tenants.value(row).cast_unsigned()), LinkId(ids.value(row).cast_unsigned()));
            links.insert(owner, counted(clicks.value(row)));
        }
    }
    Ok(links)
}

/// The part of a report that rests on the counts.
fn compare(batch: &Links, speed: Result<Links, String>) -> Audit {
    let (speed, not_compared) = match speed {
        Ok(speed) => (speed, None),
        Err(why) => (BTreeMap::new(), Some(why)),
    };
    let mut audit = Audit {
        plan: 0,
        from: Hour(0),
        to: Hour(0),
        made_at: Timestamp::MIN,
        not_compared,
        batch: batch.values().sum(),
        speed: speed.values().sum(),
        links: 0,
        drifted: 0,
        drift: 0,
        differences: Vec::new(),
    };
    if audit.not_compared.is_some() {
        return audit;
    }
    let mut both: Vec<_> = batch.keys().chain(speed.keys()).copied().collect();
    both.sort_unstable();
    both.dedup();
    audit.links = both.len() as u64;
    for owner in both {
        let count = |of: &BTreeMap<_, u64>| of.get(&owner).copied().unwrap_or_default();
        let (batch, speed) = (count(batch), count(&speed));
        if batch != speed {
            audit.drifted += 1;
            audit.drift += batch.abs_diff(speed);
            if audit.differences.len() < LISTED {
                audit.differences.push(Difference { tenant_id: owner.0, link_id: owner.1, batch, speed });
            }
        }
    }
    audit
}

fn place(plan: u64) -> Path {
    Path::from(format!("audit/{plan:020}.json"))
}

/// The first report of an increment stays: a run that finishes it later finds less in the speed layer.
async fn keep(lake: &Lake, audit: &Audit) -> Result<(), BatchError> {
    let json = serde_json::to_vec_pretty(audit).expect("a report is plain values");
    match lake.objects().put_opts(&place(audit.plan), json.into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The reports on clicks received in these hours, the oldest first.
///
/// # Errors
/// [`BatchError`] where they cannot be read.
pub async fn audits(lake: &Lake, received: Range<Hour>) -> Result<Vec<Audit>, BatchError> {
    let objects = lake.objects();
    let mut places: Vec<Path> =
        objects.list(Some(&Path::from("audit"))).map_ok(|object| object.location).try_collect().await?;
    places.sort_unstable();
    let mut audits = Vec::new();
    for place in places {
        let bytes = objects.get(&place).await?.bytes().await?;
        let audit: Audit = serde_json::from_slice(&bytes)
            .map_err(|error| BatchError::Corrupt { what: place.to_string(), reason: error.to_string() })?;
        if audit.from < received.end && audit.to > received.start {
            audits.push(audit);
        }
    }
    Ok(audits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(counts: &[(u64, u64)]) -> Links {
        counts.iter().map(|(link, count)| ((TenantId(0), LinkId(*link)), *count)).collect()
    }

    #[test]
    fn drift_is_the_sum_of_what_differs_in_either_direction() {
        let audit = compare(&links(&[(1, 5), (2, 7), (3, 1)]), Ok(links(&[(1, 5), (2, 4), (4, 2)])));
        assert_eq!((audit.batch, audit.speed, audit.links, audit.drifted, audit.drift), (13, 11, 4, 3, 6));
        let named: Vec<_> = audit.differences.iter().map(|one| (one.link_id.0, one.batch, one.speed)).collect();
        assert_eq!(named, [(2, 7, 4), (3, 1, 0), (4, 0, 2)]);
    }

    #[test]
    fn what_was_not_compared_is_no_drift() {
        let audit = compare(&links(&[(1, 5)]), Err("away".to_owned()));
        assert_eq!((audit.batch, audit.drift, audit.not_compared.as_deref()), (5, 0, Some("away")));
    }
}
