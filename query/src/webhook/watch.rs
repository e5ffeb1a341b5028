//! What came: counts against what webhooks wait for. An event is created by one process, before anyone is told of it.

use linktide_common::bucket::{Quarter, Range, Timestamp};
use linktide_common::count::Traffic;
use linktide_common::id::Subject;
use linktide_common::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shelf::{HookKey, Names, fired};
use super::subscription::{Event, Subscription};
use super::{WebhookError, Webhooks, reached};
use crate::ask::At;
use crate::metrics;
use crate::needs::{Needs, Wanted};
use crate::state::Query;

/// An event that came. Its body is what is sent, byte for byte.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Fired {
    pub(super) at: Timestamp,
    pub(super) body: String,
}

/// Clicks of a subject, and as of when.
struct Counted {
    clicks: u64,
    as_of: Timestamp,
    /// Whether both layers answered.
    whole: bool,
}

async fn count(query: &Query, subject: Subject, traffic: Traffic, range: Range) -> Result<Counted, Problem> {
    let mut wanted = Wanted::default();
    wanted.subject(subject, Needs { sums: vec![range], ..Needs::default() });
    let answers = query.ask(&At::Newest, &wanted).await?;
    let answer = answers.of(subject);
    let answered = answer.basis.answered();
    Ok(Counted {
        clicks: answer.totals(None).within(range).sum().clicks(traffic),
        as_of: answer.basis.as_of(),
        whole: answered.batch && answered.speed,
    })
}

/// All time, up to the quarter that a click may be ahead.
fn all_time(now: Timestamp) -> Range {
    Range::new(Quarter(0), Quarter(Quarter::of(now).0 + 2))
}

/// The last so many hours, from a whole quarter on.
fn last(hours: u32, now: Timestamp) -> Range {
    let end = Quarter::of(now).next();
    Range::new(Quarter(end.0 - i32::try_from(hours).unwrap_or(i32::MAX / 8) * 4), end)
}

/// What a new webhook need not tell of: milestones that were reached before.
pub(super) async fn passed(query: &Query, key: &HookKey, subscription: &mut Subscription) -> Result<(), Problem> {
    let subject = subscription.subject(key.tenant);
    let Event::Milestone { clicks, passed } = &mut subscription.event else { return Ok(()) };
    let counted = count(query, subject, subscription.traffic, all_time(query.clock.now())).await?;
    if !counted.whole {
        let detail = "a layer does not answer, so that nobody knows which milestones were reached before";
        return Err(Problem::new(linktide_common::problem::ProblemKind::NotReady, detail).retry_after(5));
    }
    *passed = clicks.iter().copied().filter(|number| *number <= counted.clicks).collect();
    Ok(())
}

impl Webhooks {
    /// Looks whether what a webhook waits for has come. A layer that is away makes counts lower, never higher: nothing is
    /// told too early.
    pub(super) async fn watch(
        &self,
        query: &Query,
        key: &HookKey,
        names: &Names,
        subscription: &Subscription,
    ) -> Result<(), WebhookError> {
        let (subject, now) = (subscription.subject(key.tenant), query.clock.now());
        let asked = |problem: Problem| WebhookError::Unanswered(problem.detail().to_owned());
        match &subscription.event {
            Event::Milestone { clicks, passed } => {
                let told = |number: u64| names.has(&fired(&milestone(number)));
                if clicks.iter().all(|number| passed.contains(number) || told(*number)) {
                    return Ok(());
                }
                let counted = count(query, subject, subscription.traffic, all_time(now)).await.map_err(asked)?;
                for number in subscription.event.reached(counted.clicks, told) {
                    let more = json!({ "milestone": number });
                    self.fire(key, subscription, &milestone(number), "link.milestone", &counted, now, more).await?;
                }
            }
            Event::Threshold { clicks, hours } => {
                let before =
                    names.events().filter_map(|event| event.strip_prefix(THRESHOLD)?.parse::<usize>().ok()).max();
                let number = before.map_or(0, |before| before + 1);
                if let Some(before) = before
                    && let Some(last) = self.shelf.read::<Fired>(key, &fired(&threshold(before))).await?
                    && now.millis_since(last.at) < i64::from(*hours) * 3_600_000
                {
                    // Windows that were told of do not overlap.
                    return Ok(());
                }
                let range = last(*hours, now);
                let counted = count(query, subject, subscription.traffic, range).await.map_err(asked)?;
                if counted.clicks > *clicks {
                    let window = json!({ "start": range.start.start().to_string(), "end": range.end.start().to_string(), "hours": hours });
                    let more = json!({ "threshold": clicks, "window": window });
                    self.fire(key, subscription, &threshold(number), "link.threshold", &counted, now, more).await?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what an event says")]
    async fn fire(
        &self,
        key: &HookKey,
        subscription: &Subscription,
        event: &str,
        kind: &str,
        counted: &Counted,
        now: Timestamp,
        more: serde_json::Value,
    ) -> Result<(), WebhookError> {
        let mut data = json!({
            "webhook_id": key.id.to_string(),
            "link_id": subscription.link_id,
            "traffic": subscription.traffic,
            "clicks": counted.clicks,
            "as_of": counted.as_of.to_string(),
        });
        if let (Some(data), serde_json::Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        let body = json!({ "type": kind, "timestamp": now.to_string(), "data": data }).to_string();
        if self.shelf.create(key, &fired(event), &Fired { at: now, body }).await? {
            metrics::WEBHOOK_EVENTS.inc();
            reached("query::webhook::fired");
        }
        Ok(())
    }

    /// An event that says nothing but that it arrives.
    pub(super) async fn fire_test(&self, query: &Query, key: &HookKey) -> Result<String, WebhookError> {
        let (now, event) = (query.clock.now(), format!("test-{}", crate::export::new_id(query.clock.now())));
        let data = json!({ "webhook_id": key.id.to_string() });
        let body = json!({ "type": "test", "timestamp": now.to_string(), "data": data }).to_string();
        self.shelf.create(key, &fired(&event), &Fired { at: now, body }).await?;
        Ok(event)
    }
}

const MILESTONE: &str = "milestone-";
const THRESHOLD: &str = "threshold-";

/// Whether it must be known for ever that an event came.
pub(super) fn comes_once(event: &str) -> bool {
    event.starts_with(MILESTONE)
}

fn milestone(number: u64) -> String {
    format!("{MILESTONE}{number}")
}

fn threshold(number: usize) -> String {
    format!("{THRESHOLD}{number:08}")
}
