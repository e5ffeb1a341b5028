//! The questions about a subject, a link or the whole account: the same for both.
//!
//! Parameters are parsed whole before any layer is asked.

use linktide_common::bucket::{Bucket, Range, buckets};
use linktide_common::dimension::{Dimension, OTHER};
use linktide_common::enrich::{Text, VisitorIdentity};
use linktide_common::id::Subject;
use linktide_common::problem::Problem;
use linktide_common::sketch::STANDARD_ERROR;

use super::results::{Breakdown, LinkLabel, Summary, TimeBucket, Uniques, ValueCount};
use crate::answer::{Answer, At, Needs};
use crate::envelope::{Echo, Envelope, Meta, ResolvedRange, instant};
use crate::freshness::Basis;
use crate::merge::{self, Listed};
use crate::params::{self, Asked, Parameters};
use crate::state::Query;

/// A question with its range.
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) range: Range,
    pub(super) at: At,
    subject: Subject,
    /// What is not known of the range because a layer is away.
    unsure: Vec<String>,
}

impl Question {
    pub(super) async fn resolve(query: &Query, asked: Asked, subject: Subject) -> Result<Self, Problem> {
        let at = query.at(asked.publication, subject).await?;
        // A past publication knows no later present than its watermark.
        let (now, watermark) = match &at {
            At::Past(past) => (past.watermark.start(), past.watermark),
            At::Newest => (query.clock.now(), query.pinned()?.watermark),
        };
        let (earliest, unsure) = if asked.asks_for_all() {
            query.earliest(&at, subject, now).await?
        } else {
            (watermark.first_quarter(), Vec::new())
        };
        Ok(Self { range: asked.range(now, earliest), at, asked, subject, unsure })
    }

    /// Says what the answer lacks because the speed layer left it out.
    fn note(&mut self, answer: &Answer) {
        if answer.guarded {
            let why = "the speed layer left out values or visitors of what was received since complete_through, because there were too many: the next publication has them all";
            self.unsure.push(why.to_owned());
        }
    }

    pub(super) fn envelope<T>(
        self,
        query: &Query,
        basis: &Basis,
        results: T,
        more: impl FnOnce(&mut Echo),
    ) -> Envelope<T> {
        let mut echo = Echo::new(&self.asked, self.subject.link().map(|link| link.to_string()));
        more(&mut echo);
        let freshness = basis.freshness(query.clock.now(), &query.config, self.unsure);
        Envelope {
            results,
            meta: Meta { freshness, range: ResolvedRange::new(self.range, &self.asked.zone) },
            query: echo,
        }
    }
}

pub(super) async fn summary(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Summary>, Problem> {
    let mut question = Question::resolve(query, parameters.asked(params::SUMMARY)?, subject).await?;
    let needs = Needs { buckets: vec![question.range], visitors: true, label: true, ..Needs::default() };
    let answer = query.ask(&question.at, subject, question.range, &needs).await?;
    question.note(&answer);
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
            identity: match query.config.visitor {
                VisitorIdentity::Ip => "ip",
                VisitorIdentity::IpUserAgent => "ip_user_agent",
            },
            salt_window: "1 UTC day",
            range: ResolvedRange::new(merge::whole_hours(&question.range.hours_touched()), zone),
        },
        first_click: answer.first.map(|at| zone.format(at)),
        last_click: answer.last.map(|at| zone.format(at)),
        label: answer.label.clone().map(LinkLabel::from),
    };
    Ok(question.envelope(query, &answer.basis, results, |_| {}))
}

pub(super) async fn timeseries(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Vec<TimeBucket>>, Problem> {
    let (asked, unit) = (parameters.asked(params::TIMESERIES)?, parameters.unit()?);
    let question = Question::resolve(query, asked, subject).await?;
    let zone = question.asked.zone.clone();
    let cut = buckets(question.range, unit, &zone)
        .map_err(|error| Problem::parameter("unit", unit.name(), error.to_string()))?;
    let needs = Needs { buckets: cut.iter().map(|bucket| bucket.range).collect(), ..Needs::default() };
    let answer = query.ask(&question.at, subject, question.range, &needs).await?;
    let watermark = answer.basis.publication.watermark;
    let (as_of, answered) = (answer.basis.as_of(), answer.basis.answered());
    let describe = |bucket: &Bucket| {
        let by_layer = answer.totals.within(bucket.range);
        let counts = by_layer.sum();
        TimeBucket {
            start: instant(bucket.range.start, &zone),
            end: instant(bucket.range.end, &zone),
            clicks: counts.clicks(question.asked.traffic),
            bots: counts.bots,
            previews: counts.previews,
            layers: merge::layers(bucket.range, watermark, by_layer, answered),
            partial: merge::partial(bucket, watermark, as_of, answered),
        }
    };
    let results = cut.iter().map(describe).collect();
    Ok(question.envelope(query, &answer.basis, results, |echo| echo.unit = Some(unit.name())))
}

pub(super) async fn breakdown(
    query: &Query,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Envelope<Vec<Breakdown>>, Problem> {
    let (asked, dimensions, limit) = (parameters.asked(params::BREAKDOWN)?, parameters.by()?, parameters.limit()?);
    let mut question = Question::resolve(query, asked, subject).await?;
    let traffic = question.asked.traffic;
    let needs = Needs { buckets: vec![question.range], dimensions: dimensions.clone(), ..Needs::default() };
    let answer = query.ask(&question.at, subject, question.range, &needs).await?;
    question.note(&answer);
    let total = answer.totals.within(question.range).sum().clicks(traffic);
    let describe = |dimension: &Dimension| {
        // A value that a sender called `(other)` is counted among the others, or the name would stand twice.
        let of_it = answer.values.iter().filter(|((of, value), _)| of == dimension && **value != *OTHER);
        let (listed, rest) =
            merge::top(of_it.map(|((_, value), counts)| (value.clone(), *counts)), traffic, total, limit);
        let other = (rest > 0).then(|| Listed { value: merge::other(), clicks: rest });
        let count = |listed: Listed<Text>| ValueCount {
            value: listed.value.to_string(),
            clicks: listed.clicks,
            share: listed.clicks as f64 / total.max(1) as f64,
        };
        Breakdown { dimension: dimension.name(), total, values: listed.into_iter().chain(other).map(count).collect() }
    };
    let results = dimensions.iter().map(describe).collect();
    Ok(question.envelope(query, &answer.basis, results, |echo| {
        echo.by = Some(dimensions.iter().map(|dimension| dimension.name()).collect());
        echo.limit = Some(limit);
    }))
}
