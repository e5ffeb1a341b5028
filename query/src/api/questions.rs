//! The questions about a subject, a link or the whole account: the same for both.

use linktide_common::bucket::{Range, buckets};
use linktide_common::dimension::Dimension;
use linktide_common::enrich::VisitorIdentity;
use linktide_common::id::{Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::problem::Problem;
use linktide_common::sketch::STANDARD_ERROR;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{Answer, Needs};
use crate::envelope::{Echo, Envelope, Meta, ResolvedRange, instant};
use crate::merge::{self, Listed};
use crate::params::{Asked, Parameters};
use crate::state::Query;

/// Whose links are asked about: without keys there is one tenant.
pub(crate) const TENANT: TenantId = TenantId(0);

/// Counts of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    /// Clicks of the traffic asked for.
    clicks: u64,
    /// Clicks of machines.
    bots: u64,
    /// HEAD requests.
    previews: u64,
    uniques: Uniques,
    /// Event time of the first click of all, whatever the range.
    first_click: Option<String>,
    /// Event time of the last click of all, whatever the range.
    last_click: Option<String>,
    /// What people call the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<LinkLabel>,
}

/// Different visitors that are people.
#[derive(Debug, Serialize, ToSchema)]
struct Uniques {
    /// How many there are, about.
    estimate: u64,
    /// `hll`: a HyperLogLog of 16,384 registers.
    method: &'static str,
    /// Relative standard error of the estimate.
    standard_error: f64,
    /// What tells visitors apart: `ip` or `ip_user_agent`.
    #[schema(value_type = String)]
    identity: VisitorIdentity,
    /// How long the same visitor is known as one: then the salt changes.
    salt_window: &'static str,
    /// The whole UTC hours that were counted.
    range: ResolvedRange,
}

/// What people call a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkLabel {
    slug: Option<String>,
    title: Option<String>,
    destination: Option<String>,
}

impl From<Label> for LinkLabel {
    fn from(label: Label) -> Self {
        let text = |text: Option<linktide_common::enrich::Text>| text.map(|text| text.to_string());
        Self { slug: text(label.slug), title: text(label.title), destination: text(label.destination) }
    }
}

/// A bucket of a timeseries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeBucket {
    start: String,
    end: String,
    /// Clicks of the traffic asked for.
    clicks: u64,
    /// Clicks of machines.
    bots: u64,
    /// HEAD requests.
    previews: u64,
    /// The layers it rests on.
    layers: Vec<&'static str>,
    /// Whether the range cuts it off, or its time is not over.
    partial: bool,
}

/// A dimension with its most frequent values.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Breakdown {
    dimension: &'static str,
    /// The sum of all values.
    total: u64,
    values: Vec<ValueCount>,
}

/// A value of a dimension.
#[derive(Debug, Serialize, ToSchema)]
struct ValueCount {
    /// The value; `(none)` is a click without one, `(other)` all values that are not listed.
    value: String,
    clicks: u64,
    /// Its part of the total, 0 to 1.
    share: f64,
}

/// A question, resolved.
struct Question {
    asked: Asked,
    range: Range,
    subject: Subject,
}

impl Question {
    async fn resolve(query: &Query, parameters: &Parameters, own: &[&str], subject: Subject) -> Result<Self, Problem> {
        parameters.only(own)?;
        let asked = parameters.asked()?;
        Ok(Self { range: range(query, &asked, subject).await?, asked, subject })
    }

    fn envelope<T>(self, query: &Query, answer: &Answer, results: T, more: impl FnOnce(&mut Echo)) -> Envelope<T> {
        let mut echo = Echo::new(&self.asked, self.subject.link().map(|link| link.to_string()));
        more(&mut echo);
        let freshness = answer.basis.freshness(query.clock.now(), &query.config);
        Envelope {
            results,
            meta: Meta { freshness, range: ResolvedRange::new(self.range, &self.asked.zone) },
            query: echo,
        }
    }
}

/// The range a question asks about.
pub(crate) async fn range(query: &Query, asked: &Asked, subject: Subject) -> Result<Range, Problem> {
    let publication = query.pinned()?;
    let earliest =
        if asked.asks_for_all() { query.earliest(&publication, subject).await } else { publication.watermark.start() };
    Ok(asked.range(query.clock.now(), earliest))
}

pub(crate) async fn summary(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Summary>, Problem> {
    let question = Question::resolve(query, parameters, &[], subject).await?;
    let needs = Needs { buckets: vec![question.range], visitors: true, label: true, ..Needs::default() };
    let answer = query.ask(subject, question.range, &needs).await?;
    let zone = &question.asked.zone;
    let counts = answer.totals.within(question.range).sum();
    let results = Summary {
        clicks: counts.clicks(question.asked.traffic),
        bots: counts.bots,
        previews: counts.previews,
        uniques: Uniques {
            estimate: answer.visitors.count(),
            method: "hll",
            standard_error: STANDARD_ERROR,
            identity: query.config.visitor,
            salt_window: "1 UTC day",
            range: ResolvedRange::new(merge::whole_hours(&question.range.hours_touched()), zone),
        },
        first_click: answer.first.map(|at| zone.format(at)),
        last_click: answer.last.map(|at| zone.format(at)),
        label: answer.label.clone().map(LinkLabel::from),
    };
    Ok(question.envelope(query, &answer, results, |_| {}))
}

pub(crate) async fn timeseries(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Vec<TimeBucket>>, Problem> {
    let question = Question::resolve(query, parameters, &["unit"], subject).await?;
    let (unit, zone) = (parameters.unit()?, question.asked.zone.clone());
    let cut = buckets(question.range, unit, &zone)
        .map_err(|error| Problem::parameter("unit", unit.name(), error.to_string()))?;
    let needs = Needs { buckets: cut.iter().map(|bucket| bucket.range).collect(), ..Needs::default() };
    let answer = query.ask(subject, question.range, &needs).await?;
    let watermark = answer.basis.publication.watermark;
    let as_of = answer.basis.as_of();
    let describe = |bucket: &linktide_common::bucket::Bucket| {
        let by_layer = answer.totals.within(bucket.range);
        let counts = by_layer.sum();
        TimeBucket {
            start: instant(bucket.range.start, &zone),
            end: instant(bucket.range.end, &zone),
            clicks: counts.clicks(question.asked.traffic),
            bots: counts.bots,
            previews: counts.previews,
            layers: merge::layers(bucket, watermark, by_layer),
            partial: bucket.clipped || bucket.range.end.start() > as_of,
        }
    };
    let results = cut.iter().map(describe).collect();
    Ok(question.envelope(query, &answer, results, |echo| echo.unit = Some(unit.name())))
}

pub(crate) async fn breakdown(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Vec<Breakdown>>, Problem> {
    let question = Question::resolve(query, parameters, &["by", "limit"], subject).await?;
    let (dimensions, limit, traffic) = (parameters.by()?, parameters.limit()?, question.asked.traffic);
    let needs = Needs { buckets: vec![question.range], dimensions: dimensions.clone(), ..Needs::default() };
    let answer = query.ask(subject, question.range, &needs).await?;
    let total = answer.totals.within(question.range).sum().clicks(traffic);
    let describe = |dimension: &Dimension| {
        let of_it = answer.values.iter().filter(|((of, _), _)| of == dimension);
        let (listed, rest) =
            merge::top(of_it.map(|((_, value), counts)| (value.clone(), *counts)), traffic, total, limit);
        let other = (rest > 0).then(|| Listed { value: merge::other(), clicks: rest });
        let count = |listed: Listed<linktide_common::enrich::Text>| ValueCount {
            value: listed.value.to_string(),
            clicks: listed.clicks,
            share: listed.clicks as f64 / total.max(1) as f64,
        };
        Breakdown { dimension: dimension.name(), total, values: listed.into_iter().chain(other).map(count).collect() }
    };
    let results = dimensions.iter().map(describe).collect();
    Ok(question.envelope(query, &answer, results, |echo| {
        echo.by = Some(dimensions.iter().map(|dimension| dimension.name()).collect());
        echo.limit = Some(limit);
    }))
}
