//! Counts of a range, its visitors, and what it is compared with.

use linktide_common::bucket::{Comparison, Interval, Range};
use linktide_common::count::Counts;
use linktide_common::enrich::VisitorIdentity;
use linktide_common::problem::Problem;
use linktide_common::sketch::STANDARD_ERROR;
use serde::Serialize;
use utoipa::ToSchema;

use super::{LinkLabel, Resolved};
use crate::answer::{Answer, Answers, Visitors};
use crate::envelope::ResolvedRange;
use crate::merge;
use crate::needs::Needs;
use crate::params::{Asked, Parameters, When};
use crate::state::Query;

#[derive(Debug, Clone)]
pub(super) struct Ask {
    compare: Option<Comparison>,
    interval: Option<Interval>,
}

/// Counts of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Clicks of the traffic asked for.
    clicks: u64,
    /// Clicks of people without repeats, those that closely follow another click of the same visitor on the same link; null
    /// under a filter, of other traffic, and where the tenant has no window for repeats.
    unique_clicks: Option<u64>,
    /// Clicks of machines.
    bots: u64,
    /// HEAD requests; null under a filter, since they have no values.
    previews: Option<u64>,
    /// Visitors; null under a filter, since rollups count them of all clicks together.
    uniques: Option<Uniques>,
    /// Event time of the first click of all, whatever the range; null under a filter.
    first_click: Option<String>,
    /// Event time of the last click of all, whatever the range; null under a filter.
    last_click: Option<String>,
    /// What people call the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LinkLabel>,
    /// The range it is compared with, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Compared>,
}

/// Different visitors that are people.
#[derive(Debug, Serialize, ToSchema)]
struct Uniques {
    /// How many there are, about where the method is `hll`.
    estimate: u64,
    /// `exact` where each was counted: there were few on each UTC day. `hll`: a HyperLogLog of 16,384 registers.
    #[schema(examples("exact", "hll"))]
    method: &'static str,
    /// Relative standard error of the estimate; 0 where it is exact.
    standard_error: f64,
    /// What tells visitors apart: `ip` or `ip_user_agent`.
    identity: &'static str,
    /// How long the same visitor is known as one: then the salt changes.
    salt_window: &'static str,
    /// The whole UTC hours that were counted.
    range: ResolvedRange,
}

/// Counts of the range that another one is compared with.
#[derive(Debug, Serialize, ToSchema)]
struct Compared {
    /// `previous` or `year`.
    with: &'static str,
    range: ResolvedRange,
    clicks: u64,
    unique_clicks: Option<u64>,
    bots: u64,
    previews: Option<u64>,
    /// Estimate of its visitors.
    uniques: Option<u64>,
    /// By how much clicks are more than then: 0.25 is a quarter more, null where there were none.
    clicks_change: Option<f64>,
    /// By how much visitors are more than then.
    uniques_change: Option<f64>,
}

impl Ask {
    pub(super) fn parse(parameters: &Parameters, asked: &Asked) -> Result<Self, Problem> {
        let names: Vec<&str> = Comparison::NAMES.iter().map(|(name, _)| *name).collect();
        let interval = match asked.when {
            When::Interval(_, interval) => Some(interval),
            When::Between(..) => None,
        };
        let compare: Option<Comparison> = parameters.named("compare", &names)?;
        if let Some(compare) = compare {
            let nowhere = Range::new(linktide_common::bucket::Quarter(0), linktide_common::bucket::Quarter(1));
            compare
                .of(nowhere, interval, &asked.zone)
                .map_err(|error| Problem::parameter("compare", compare.name(), error.to_string()))?;
        }
        Ok(Self { compare, interval })
    }

    pub(super) fn comparison(&self) -> Option<&'static str> {
        self.compare.map(Comparison::name)
    }

    fn compared(&self, question: &Resolved) -> Option<(&'static str, Range)> {
        let compare = self.compare?;
        let range = compare.of(question.range, self.interval, &question.asked.zone).ok()?;
        Some((compare.name(), range))
    }

    pub(super) fn needs(&self, question: &Resolved) -> Needs {
        let ranges: Vec<Range> =
            [question.range].into_iter().chain(self.compared(question).map(|(_, range)| range)).collect();
        let visitors = if question.filter().is_some() { Vec::new() } else { ranges.clone() };
        let mut needs = Needs { seen: question.filter().is_none(), label: true, ..question.sums(ranges) };
        // Whether visitors can be counted one by one depends on who came on their days beside them.
        needs.sums.extend(visitors.iter().flat_map(|range| merge::beside_in_days(*range)));
        Needs { visitors, ..needs }
    }

    pub(super) fn answer(&self, question: &Resolved, query: &Query, answers: &Answers) -> Summary {
        let answer = answers.of(question.subject);
        let (zone, traffic) = (&question.asked.zone, question.asked.traffic);
        let whole = question.filter().is_none();
        let most = query.config.exact_visitors;
        let now = Counted::of(question, answer, question.range, most);
        let comparison = self.compared(question).map(|(with, range)| {
            let then = Counted::of(question, answer, range, most);
            Compared {
                with,
                range: ResolvedRange::new(range, zone),
                clicks: then.counts.clicks(traffic),
                unique_clicks: question.unique_clicks(then.counts),
                bots: then.counts.bots,
                previews: whole.then_some(then.counts.previews),
                uniques: then.visitors.map(Visitors::count),
                clicks_change: change(now.counts.clicks(traffic), then.counts.clicks(traffic)),
                uniques_change: now
                    .visitors
                    .zip(then.visitors)
                    .and_then(|(now, then)| change(now.count(), then.count())),
            }
        });
        let seen = |at: Option<linktide_common::bucket::Timestamp>| at.filter(|_| whole).map(|at| zone.format(at));
        Summary {
            clicks: now.counts.clicks(traffic),
            unique_clicks: question.unique_clicks(now.counts),
            bots: now.counts.bots,
            previews: whole.then_some(now.counts.previews),
            uniques: now.visitors.map(|visitors| uniques(visitors, question, query)),
            first_click: seen(answer.first()),
            last_click: seen(answer.last()),
            label: answer.label().map(LinkLabel::from),
            comparison,
        }
    }
}

struct Counted {
    counts: Counts,
    visitors: Option<Visitors>,
}

impl Counted {
    fn of(question: &Resolved, answer: &Answer, range: Range, most: Option<usize>) -> Self {
        let counts = answer.totals(question.filter()).within(range).sum();
        let visitors = question.filter().is_none().then(|| answer.visitors(range, most));
        Self { counts, visitors }
    }
}

fn uniques(visitors: Visitors, question: &Resolved, query: &Query) -> Uniques {
    let (method, standard_error) = match visitors {
        Visitors::Exact(_) => ("exact", 0.0),
        Visitors::Estimate(_) => ("hll", STANDARD_ERROR),
    };
    Uniques {
        estimate: visitors.count(),
        method,
        standard_error,
        identity: match query.config.visitor {
            VisitorIdentity::Ip => "ip",
            VisitorIdentity::IpUserAgent => "ip_user_agent",
        },
        salt_window: "1 UTC day",
        range: ResolvedRange::new(merge::whole_hours(&question.range.hours_touched()), &question.asked.zone),
    }
}

/// By how much more it is now, as a part of then.
fn change(now: u64, then: u64) -> Option<f64> {
    (then > 0).then(|| now as f64 / then as f64 - 1.0)
}
