//! Several links side by side.

use linktide_common::bucket::Unit;
use linktide_common::id::{LinkId, Subject};
use linktide_common::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{LinkLabel, Resolved, TimeBucket, timeseries};
use crate::answer::Answers;
use crate::freshness::Basis;
use crate::needs::Needs;
use crate::params::{Parameters, missing};

/// The most links that are compared at once.
pub(crate) const MOST_LINKS: usize = 25;

#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) links: Vec<LinkId>,
    pub(super) unit: Option<Unit>,
}

/// A link beside others.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComparedLink {
    link_id: String,
    /// Clicks of the traffic asked for.
    clicks: u64,
    /// Clicks of people without repeats; null as in a summary.
    unique_clicks: Option<u64>,
    /// Clicks of machines.
    bots: u64,
    /// HEAD requests; null under a filter, since they have no values.
    previews: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LinkLabel>,
    /// Its counts over time, where a unit was asked for: the same buckets for every link.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<TimeBucket>>,
}

impl Ask {
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Problem> {
        let links = parameters.links(MOST_LINKS)?;
        if links.is_empty() {
            let detail = "`links` is missing; give the ids of links with commas between them";
            return Err(missing("links", detail.to_owned()));
        }
        let unit = parameters.get("unit").map(|_| parameters.unit()).transpose()?;
        Ok(Self { links, unit })
    }

    pub(super) fn needs(&self, question: &Resolved) -> Needs {
        let buckets = question.buckets.iter().map(|bucket| bucket.range);
        Needs { label: true, ..question.sums(buckets.chain([question.range]).collect()) }
    }

    pub(super) fn answer(&self, question: &Resolved, answers: &Answers, basis: &Basis) -> Vec<ComparedLink> {
        let describe = |link: &LinkId| {
            let answer = answers.of(Subject::Link(question.subject.tenant(), *link));
            let counts = answer.totals(question.filter()).within(question.range).sum();
            ComparedLink {
                link_id: link.to_string(),
                clicks: counts.clicks(question.asked.traffic),
                unique_clicks: question.unique_clicks(counts),
                bots: counts.bots,
                previews: question.filter().is_none().then_some(counts.previews),
                label: answer.label().map(LinkLabel::from),
                series: self.unit.map(|_| timeseries::answer(question, answer, basis)),
            }
        };
        self.links.iter().map(describe).collect()
    }
}
