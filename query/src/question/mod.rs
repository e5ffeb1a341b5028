//! The questions: what each takes, what it needs of both layers, and what its answer looks like. A file a kind.
//!
//! 1. [`Question::parse`] reads the parameters, whole, before any layer is asked.
//! 2. [`Question::resolve`] fixes its range at a publication.
//! 3. [`Resolved::wants`] adds what it needs: several questions are read at once, at one watermark.
//! 4. [`Resolved::answer`] is a function of what both layers gave.

mod breakdown;
mod compare;
mod heatmap;
mod links;
mod summary;
mod timeseries;

use linktide_common::bucket::{Bucket, Range, Timestamp, buckets};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::filter::Filter;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

pub(crate) use breakdown::Breakdown;
pub(crate) use compare::{ComparedLink, MOST_LINKS};
pub(crate) use heatmap::Heatmap;
pub(crate) use links::{Ask as LinksAsk, SORTS, TopLinks};
pub(crate) use summary::Summary;
pub(crate) use timeseries::TimeBucket;

use crate::answer::Answers;
use crate::ask::At;
use crate::envelope::Echo;
use crate::freshness::Basis;
use crate::merge;
use crate::needs::{Needs, Told, Wanted};
use crate::params::{Asked, Parameters, When};
use crate::state::Query;

/// The kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Summary,
    Timeseries,
    Breakdown,
    Heatmap,
    Links,
    Compare,
}

impl Kind {
    /// Every kind by its name, with the parameters it takes beside the common ones and filters.
    pub(crate) const ALL: &'static [(&'static str, Self, &'static [&'static str])] = &[
        ("summary", Self::Summary, &["compare"]),
        ("timeseries", Self::Timeseries, &["unit"]),
        ("breakdown", Self::Breakdown, &["by", "limit"]),
        ("heatmap", Self::Heatmap, &[]),
        ("links", Self::Links, &["limit", "sort", "search", "cursor"]),
        ("compare", Self::Compare, &["links", "unit"]),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }

    pub(crate) fn takes(self) -> &'static [&'static str] {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(&[], |(.., takes)| takes)
    }

    /// Whether it can be asked of one link; the others are about several.
    pub(crate) fn is_of_a_subject(self) -> bool {
        !matches!(self, Self::Links | Self::Compare)
    }
}

/// A question with its own parameters.
#[derive(Debug, Clone)]
enum Ask {
    Summary(summary::Ask),
    Timeseries(timeseries::Ask),
    Breakdown(breakdown::Ask),
    Heatmap,
    Links(links::Ask),
    Compare(compare::Ask),
}

/// A question as it was understood.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    asked: Asked,
    subject: Subject,
    ask: Ask,
}

/// A question with its range.
pub(crate) struct Resolved {
    asked: Asked,
    subject: Subject,
    ask: Ask,
    range: Range,
    buckets: Vec<Bucket>,
    /// Whether unique clicks are told: of people alone, of all of them, and where the tenant has a window.
    unique: bool,
    /// What is not known of the range because a layer is away.
    unsure: Vec<String>,
}

/// What a question's answer holds.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Results {
    Summary(Box<Summary>),
    Timeseries(Vec<TimeBucket>),
    Breakdown(Vec<Breakdown>),
    Heatmap(Box<Heatmap>),
    Links(TopLinks),
    Compare(Vec<ComparedLink>),
}

impl Question {
    /// Reads a question about a subject; one about links is about the links of the subject's tenant.
    pub(crate) fn parse(kind: Kind, parameters: &Parameters, subject: Subject) -> Result<Self, Problem> {
        let asked = parameters.asked(kind.takes())?;
        let ask = match kind {
            Kind::Summary => Ask::Summary(summary::Ask::parse(parameters, &asked)?),
            Kind::Timeseries => Ask::Timeseries(timeseries::Ask { unit: parameters.unit()? }),
            Kind::Breakdown => Ask::Breakdown(breakdown::Ask { by: parameters.by()?, limit: parameters.limit()? }),
            Kind::Heatmap => Ask::Heatmap,
            Kind::Links => Ask::Links(links::Ask::parse(parameters, asked.traffic)?),
            Kind::Compare => Ask::Compare(compare::Ask::parse(parameters)?),
        };
        let question = Self { asked, subject, ask };
        question.refuse_what_no_rollup_holds()?;
        Ok(question)
    }

    /// Rollups know one dimension at a time.
    fn refuse_what_no_rollup_holds(&self) -> Result<(), Problem> {
        let asked: Vec<Dimension> = self.asked.filters.iter().map(Filter::dimension).collect();
        let Some(filter) = asked.first() else { return Ok(()) };
        if let Some(second) = asked.get(1) {
            return Err(self.not_in_rollups(&format!("`{filter}` and `{second}` together")));
        }
        match &self.ask {
            Ask::Links(_) => Err(self.not_in_rollups(&format!("links by `{filter}`"))),
            Ask::Breakdown(ask) => match ask.by.iter().find(|by| *by != filter) {
                Some(by) => Err(self.not_in_rollups(&format!("`{by}` of the clicks of some `{filter}`"))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn not_in_rollups(&self, what: &str) -> Problem {
        let filters = self.asked.filters.iter().map(|filter| (filter.dimension().name(), filter.to_string()));
        let when = match &self.asked.when {
            When::Interval(name, _) => vec![("interval", (*name).to_owned())],
            When::Between(_, [start, end]) => vec![("start", start.clone()), ("end", end.clone())],
        };
        let rest = [("timezone", self.asked.zone.name().to_owned()), ("traffic", self.asked.traffic_name().to_owned())];
        let pairs: Vec<(&str, String)> = filters.chain(when).chain(rest).collect();
        let place = match self.subject.link() {
            Some(link) => format!("/v1/links/{link}/export"),
            None => "/v1/account/export".to_owned(),
        };
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let export = format!("{place}?{query}");
        let detail = format!(
            "{what} cannot be told from rollups, which count one dimension at a time; export the raw clicks, and count them: {export}"
        );
        Problem::new(ProblemKind::NotInRollups, detail).with("export", json!(export))
    }

    pub(crate) fn publication(&self) -> Option<u64> {
        self.asked.publication
    }

    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    /// Fixes its range at a publication.
    pub(crate) async fn resolve(self, query: &Query, at: &At) -> Result<Resolved, Problem> {
        let Self { asked, subject, ask } = self;
        // A past publication knows no later present than its watermark.
        let (now, watermark) = match at {
            At::Past(past) => (past.watermark.start(), past.watermark),
            At::Newest => (query.clock.now(), query.pinned()?.watermark),
        };
        let (earliest, unsure) = if asked.asks_for_all() {
            query.earliest(at, subject, now).await?
        } else {
            (watermark.first_quarter(), Vec::new())
        };
        let range = match &ask {
            Ask::Links(ask) => ask.range(),
            _ => None,
        };
        let range = range.unwrap_or_else(|| asked.range(now, earliest));
        let unit = match &ask {
            Ask::Timeseries(ask) => Some(ask.unit),
            Ask::Compare(ask) => ask.unit,
            _ => None,
        };
        let cut = unit.map(|unit| {
            buckets(range, unit, &asked.zone)
                .map_err(|error| Problem::parameter("unit", unit.name(), error.to_string()))
        });
        let unique = query.tells_repeats(subject.tenant(), asked.traffic) && asked.filters.is_empty();
        Ok(Resolved { asked, subject, ask, range, buckets: cut.transpose()?.unwrap_or_default(), unique, unsure })
    }
}

impl Resolved {
    /// Adds what it needs.
    pub(crate) fn wants(&self, wanted: &mut Wanted) {
        let needs = match &self.ask {
            Ask::Summary(ask) => ask.needs(self),
            Ask::Timeseries(_) => self.sums(self.buckets.iter().map(|bucket| bucket.range).collect()),
            Ask::Breakdown(ask) => ask.needs(self),
            Ask::Heatmap => heatmap::needs(self),
            Ask::Links(ask) => {
                return wanted.links(self.subject.tenant(), self.range, Told::Listed(ask.clone()));
            }
            Ask::Compare(ask) => {
                let needs = ask.needs(self);
                let links = ask.links.iter().map(|link| Subject::Link(self.subject.tenant(), *link));
                return links.for_each(|link| wanted.subject(link, needs.clone()));
            }
        };
        wanted.subject(self.subject, needs);
    }

    /// Counts of ranges, of the clicks that the filter lets through.
    fn sums(&self, ranges: Vec<Range>) -> Needs {
        match self.filter() {
            Some(filter) => Needs {
                filtered: merge::disjoint(ranges).into_iter().map(|range| (filter.clone(), range)).collect(),
                ..Needs::default()
            },
            None => Needs { sums: ranges, repeats: self.unique, ..Needs::default() },
        }
    }

    /// Of some counts, those of clicks that are no repeats.
    fn unique_clicks(&self, counts: Counts) -> Option<u64> {
        self.unique.then(|| counts.unique())
    }

    fn filter(&self) -> Option<&Filter> {
        self.asked.filters.first()
    }

    /// Its answer, as of what all parts of it rest on.
    pub(crate) fn answer(&mut self, query: &Query, answers: &Answers, basis: &Basis) -> Results {
        self.note(answers);
        match &self.ask {
            Ask::Summary(ask) => Results::Summary(Box::new(ask.answer(self, query, answers))),
            Ask::Timeseries(_) => Results::Timeseries(timeseries::answer(self, answers.of(self.subject), basis)),
            Ask::Breakdown(ask) => Results::Breakdown(ask.answer(self, answers.of(self.subject))),
            Ask::Heatmap => Results::Heatmap(Box::new(heatmap::answer(self, answers.of(self.subject)))),
            Ask::Links(ask) => Results::Links(ask.answer(self, answers.links(self.subject.tenant(), self.range))),
            Ask::Compare(ask) => Results::Compare(ask.answer(self, answers, basis)),
        }
    }

    /// Says what the answer lacks because a layer left it out, or did not tell it in time.
    fn note(&mut self, answers: &Answers) {
        if let Ask::Links(_) = self.ask {
            self.unsure.extend_from_slice(&answers.links(self.subject.tenant(), self.range).untold);
        }
        let mut subjects = match &self.ask {
            Ask::Summary(_) | Ask::Breakdown(_) => vec![self.subject],
            Ask::Timeseries(_) | Ask::Heatmap => self.filter().map(|_| self.subject).into_iter().collect(),
            Ask::Compare(ask) if self.filter().is_some() => {
                ask.links.iter().map(|link| Subject::Link(self.subject.tenant(), *link)).collect()
            }
            Ask::Compare(_) | Ask::Links(_) => Vec::new(),
        }
        .into_iter();
        if subjects.any(|subject| answers.of(subject).guarded) {
            let why = "the speed layer left out values or visitors of what was received since complete_through, because there were too many: the next publication has them all";
            self.unsure.push(why.to_owned());
        }
    }

    /// What its reader must know beside how fresh the layers are.
    pub(crate) fn unsure(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unsure)
    }

    pub(crate) fn range(&self) -> Range {
        self.range
    }

    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Whether all clicks of the range were made before an instant.
    pub(crate) fn ends_by(&self, at: Timestamp) -> bool {
        self.range.end.start() <= at
    }

    /// What was asked, as it was understood.
    pub(crate) fn echo(&self) -> Echo {
        let mut echo = Echo::new(&self.asked, self.subject.link());
        match &self.ask {
            Ask::Summary(ask) => echo.compare = ask.comparison(),
            Ask::Timeseries(ask) => echo.unit = Some(ask.unit.name()),
            Ask::Breakdown(ask) => {
                echo.by = Some(ask.by.iter().map(|dimension| dimension.name()).collect());
                echo.limit = Some(ask.limit);
            }
            Ask::Heatmap => {}
            Ask::Links(ask) => ask.tell(&mut echo),
            Ask::Compare(ask) => {
                echo.links = Some(ask.links.iter().map(LinkId::to_string).collect());
                echo.unit = ask.unit.map(|unit| unit.name());
            }
        }
        echo
    }
}

/// What people call a link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkLabel {
    slug: Option<String>,
    title: Option<String>,
    destination: Option<String>,
}

impl From<&Label> for LinkLabel {
    fn from(label: &Label) -> Self {
        let text = |text: &Option<linktide_common::enrich::Text>| text.as_ref().map(|text| text.to_string());
        Self { slug: text(&label.slug), title: text(&label.title), destination: text(&label.destination) }
    }
}

/// All links of a tenant together.
pub(crate) fn account(tenant: TenantId) -> Subject {
    Subject::Tenant(tenant)
}
