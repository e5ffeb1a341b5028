//! What a webhook waits for: parsed once from a request, and kept as it was understood.

use std::collections::BTreeSet;

use linktide_common::bucket::Timestamp;
use linktide_common::count::Traffic;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::problem::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::address::Receiver;

/// Raised when an older Linktide could no longer follow a subscription.
pub(super) const FORMAT: u32 = 1;
/// The most milestones of one webhook.
const MOST_MILESTONES: usize = 50;
/// The longest that a threshold looks back: 30 days.
const MOST_HOURS: u32 = 720;

/// A subscription, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(super) format: u32,
    pub(crate) url: String,
    /// None: all of the tenant's links together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link_id: Option<LinkId>,
    pub(crate) traffic: Traffic,
    pub(crate) event: Event,
    pub(crate) created_at: Timestamp,
}

/// What it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// Clicks of all time reach one of these numbers.
    Milestone {
        /// The numbers.
        clicks: BTreeSet<u64>,
        /// Those that had been reached when the webhook was made: nobody is told of them.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        passed: BTreeSet<u64>,
    },
    /// More than this number of clicks within so many hours up to now.
    Threshold {
        /// The number.
        clicks: u64,
        /// How many hours: 1 to 720.
        hours: u32,
    },
}

impl Subscription {
    pub(super) fn subject(&self, tenant: TenantId) -> Subject {
        self.link_id.map_or(Subject::Tenant(tenant), |link| Subject::Link(tenant, link))
    }

    /// Reads a request for a webhook.
    pub(super) fn parse(body: &Value, private: bool, now: Timestamp) -> Result<Self, Problem> {
        let wrong = |name: &str, value: &Value, detail: String| {
            let shown: String = value.to_string().chars().take(100).collect();
            Problem::new(ProblemKind::InvalidParameter, detail)
                .with("parameter", json!(name))
                .with("value", json!(shown))
        };
        let Some(members) = body.as_object() else {
            return Err(Problem::new(ProblemKind::MalformedBody, "the body is a JSON object"));
        };
        const KNOWN: [&str; 4] = ["url", "link_id", "traffic", "event"];
        if let Some((name, value)) = members.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
            return Err(wrong(name, value, format!("`{name}` is no member here; there are: {}", KNOWN.join(", "))));
        }
        let get = |name: &str| members.get(name).unwrap_or(&Value::Null);
        let url = get("url").as_str().unwrap_or_default();
        let receiver = Receiver::parse(url, private).map_err(|why| wrong("url", get("url"), why))?;
        let link_id = match get("link_id") {
            Value::Null => None,
            value => Some(
                serde_json::from_value(value.clone()).map_err(|error| wrong("link_id", value, error.to_string()))?,
            ),
        };
        let traffic = match get("traffic") {
            Value::Null => Traffic::Human,
            value => value
                .as_str()
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| wrong("traffic", value, "`traffic` is one of: human, bot, all".to_owned()))?,
        };
        let event = Event::parse(get("event")).map_err(|why| wrong("event", get("event"), why))?;
        Ok(Self { format: FORMAT, url: receiver.url.to_string(), link_id, traffic, event, created_at: now })
    }
}

impl Event {
    fn parse(value: &Value) -> Result<Self, String> {
        let says = r#"`event` is {"type": "milestone", "clicks": [1000, 10000]} or {"type": "threshold", "clicks": 500, "hours": 24}"#;
        let event: Self = serde_json::from_value(value.clone()).map_err(|error| format!("{says}: {error}"))?;
        match &event {
            Self::Milestone { passed, .. } if !passed.is_empty() => Err(says.to_owned()),
            Self::Milestone { clicks, .. } if clicks.is_empty() || clicks.contains(&0) => {
                Err("`clicks` of a milestone are numbers from 1 on".to_owned())
            }
            Self::Milestone { clicks, .. } if clicks.len() > MOST_MILESTONES => {
                Err(format!("a webhook has at most {MOST_MILESTONES} milestones"))
            }
            Self::Threshold { hours, .. } if !(1..=MOST_HOURS).contains(hours) => {
                Err(format!("`hours` of a threshold are 1 to {MOST_HOURS}"))
            }
            _ => Ok(event),
        }
    }

    /// The milestones that nobody was told of and that this number of clicks reaches.
    pub(super) fn reached(&self, clicks: u64, told: impl Fn(u64) -> bool) -> Vec<u64> {
        match self {
            Self::Milestone { clicks: numbers, passed } => numbers
                .iter()
                .copied()
                .filter(|number| *number <= clicks && !passed.contains(number) && !told(*number))
                .collect(),
            Self::Threshold { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::MIN;

    #[test]
    fn subscription_is_read_and_what_is_none_is_refused_with_its_name() {
        let milestone = json!({ "url": "https://example.com/hook", "link_id": "42", "event": { "type": "milestone", "clicks": [10, 5, 10] } });
        let read = Subscription::parse(&milestone, false, NOW).unwrap();
        assert_eq!((read.link_id, read.traffic), (Some(LinkId(42)), Traffic::Human));
        assert_eq!(read.event.reached(9, |_| false), [5]);
        assert_eq!(read.event.reached(10, |number| number == 5), [10]);
        let kept = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<Subscription>(kept).unwrap().event, read.event);

        let fine = json!({ "url": "https://example.com", "event": { "type": "threshold", "clicks": 5, "hours": 24 }, "traffic": "all" });
        assert!(Subscription::parse(&fine, false, NOW).is_ok());
        let wrong = [
            ("url", json!("http://example.com")),
            ("url", json!(5)),
            ("url", Value::Null),
            ("link_id", json!(-1)),
            ("link_id", json!("../7")),
            ("traffic", json!("some")),
            ("event", Value::Null),
            ("event", json!({ "type": "threshold", "clicks": 5, "hours": 0 })),
            ("event", json!({ "type": "threshold", "clicks": 5, "hours": 721 })),
            ("event", json!({ "type": "threshold", "clicks": 5 })),
            ("event", json!({ "type": "milestone", "clicks": [] })),
            ("event", json!({ "type": "milestone", "clicks": [0] })),
            ("event", json!({ "type": "milestone", "clicks": [5], "passed": [5] })),
            ("event", json!({ "type": "milestone", "clicks": (1..100).collect::<Vec<u64>>() })),
            ("event", json!({ "type": "other" })),
            ("more", json!(1)),
        ];
        for (name, value) in wrong {
            let mut body = fine.clone();
            body[name] = value;
            let problem = Subscription::parse(&body, false, NOW).unwrap_err();
            assert!(problem.detail().contains(name) || name == "url" || name == "link_id" || name == "event", "{body}");
            assert_eq!(problem.kind(), ProblemKind::InvalidParameter, "{body}");
        }
    }
}
