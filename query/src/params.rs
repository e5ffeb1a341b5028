//! Parameters: parsed strictly into a question. What is not known is an error that says what is.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use linktide_common::bucket::{
    Edge, Interval, Quarter, Range, RangeError, Timestamp, Unit, Zone, parse_instant, resolve_interval,
};
use linktide_common::count::Traffic;
use linktide_common::dimension::Dimension;
use linktide_common::id::LinkId;
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::json;

const MOST_LISTED: usize = 1000;

/// The parameters as they were sent.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| Problem::new(ProblemKind::InvalidParameter, error.body_text()))
    }
}

/// When a question asks about.
#[derive(Debug, Clone)]
pub(crate) enum When {
    Interval(&'static str, Interval),
    Between(Quarter, Quarter),
}

/// The parameters every question has.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) zone: Zone,
    pub(crate) when: When,
    pub(crate) traffic: Traffic,
}

/// What a question without a range asks about.
const DEFAULT: (&str, Interval) = ("30d", Interval::Days30);
const COMMON: &[&str] = &["start", "end", "interval", "timezone", "traffic"];

impl Parameters {
    /// Refuses a parameter that is neither common nor one of `own`, or that stands twice.
    pub(crate) fn only(&self, own: &[&str]) -> Result<(), Problem> {
        let allowed: Vec<&str> = COMMON.iter().chain(own).copied().collect();
        self.only_these(&allowed)
    }

    /// Refuses every parameter but these.
    pub(crate) fn only_these(&self, allowed: &[&str]) -> Result<(), Problem> {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let shown: String = name.chars().take(60).collect();
                let detail = format!("`{shown}` is no parameter here; there are: {}", allowed.join(", "));
                let problem = Problem::new(ProblemKind::UnknownParameter, detail);
                return Err(problem.with("parameter", json!(shown)).with("allowed", json!(allowed)));
            }
            if self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(Problem::parameter(name, value, format!("`{name}` stands twice")));
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// One of a fixed set of names.
    fn named<T: FromStr>(&self, name: &str, allowed: &[&str]) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Problem::parameter(name, value, format!("`{name}` is one of: {}", allowed.join(", ")))
                .with("allowed", json!(allowed))
        })
    }

    /// The parameters every question has.
    pub(crate) fn asked(&self) -> Result<Asked, Problem> {
        let zone = self.get("timezone").map_or(Ok(Zone::utc()), |name| {
            Zone::parse(name).map_err(|error| Problem::parameter("timezone", name, error.to_string()))
        })?;
        let traffic = self.named("traffic", &["human", "bot", "all"])?.unwrap_or_default();
        Ok(Asked { when: self.when(&zone)?, zone, traffic })
    }

    fn when(&self, zone: &Zone) -> Result<When, Problem> {
        let names: Vec<&str> = Interval::NAMES.iter().map(|(name, _)| *name).collect();
        let interval: Option<Interval> = self.named("interval", &names)?;
        let edge = |name, edge| {
            let parse = |text: &str| {
                parse_instant(text, zone, edge).map_err(|error| Problem::parameter(name, text, error.to_string()))
            };
            self.get(name).map(parse).transpose()
        };
        let (start, end) = (edge("start", Edge::Start)?, edge("end", Edge::End)?);
        match (interval, start, end) {
            (None, None, None) => Ok(When::Interval(DEFAULT.0, DEFAULT.1)),
            (Some(interval), None, None) => {
                let name = Interval::NAMES.iter().find(|(_, known)| *known == interval).map_or("", |(name, _)| name);
                Ok(When::Interval(name, interval))
            }
            (None, Some(start), Some(end)) => {
                Range::between(start, end, zone).map_err(|error| self.wrong_range(&error))?;
                Ok(When::Between(start, end))
            }
            (Some(_), _, _) => Err(Problem::parameter(
                "interval",
                self.get("interval").unwrap_or_default(),
                "give either `interval`, or `start` and `end`",
            )),
            (None, _, _) => Err(Problem::parameter(
                if start.is_some() { "end" } else { "start" },
                "",
                "`start` and `end` belong together; give both, or `interval`",
            )),
        }
    }

    fn wrong_range(&self, error: &RangeError) -> Problem {
        Problem::parameter("end", self.get("end").unwrap_or_default(), error.to_string())
    }

    /// The length of buckets; `day` where none is asked for.
    pub(crate) fn unit(&self) -> Result<Unit, Problem> {
        let names: Vec<&str> = Unit::NAMES.iter().map(|(name, _)| *name).collect();
        Ok(self.named("unit", &names)?.unwrap_or(Unit::Day))
    }

    /// The dimensions to break down by, one or several with commas between them.
    pub(crate) fn by(&self) -> Result<Vec<Dimension>, Problem> {
        let names: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
        let wrong = |value: &str| {
            Problem::parameter("by", value, format!("`by` is one or several of: {}", names.join(", ")))
                .with("allowed", json!(names))
        };
        let Some(value) = self.get("by") else { return Err(wrong("")) };
        let mut dimensions = Vec::new();
        for name in value.split(',') {
            let dimension = name.trim().parse().map_err(|()| wrong(name))?;
            if !dimensions.contains(&dimension) {
                dimensions.push(dimension);
            }
        }
        Ok(dimensions)
    }

    /// How many values are listed.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let Some(value) = self.get("limit") else { return Ok(10) };
        let limit = value.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
        limit.ok_or_else(|| {
            Problem::parameter("limit", value, format!("`limit` is a whole number from 1 to {MOST_LISTED}"))
        })
    }
}

impl Asked {
    /// The range asked about; `earliest` is where everything begins.
    pub(crate) fn range(&self, now: Timestamp, earliest: Timestamp) -> Range {
        match self.when {
            When::Interval(_, interval) => resolve_interval(interval, &self.zone, now, Quarter::of(earliest)),
            When::Between(start, end) => Range::new(start, end),
        }
    }

    /// Whether the range depends on where everything begins.
    pub(crate) fn asks_for_all(&self) -> bool {
        matches!(self.when, When::Interval(_, Interval::All))
    }
}

/// A link's id in a path.
pub(crate) fn link_id(text: &str) -> Result<LinkId, Problem> {
    text.parse().map_err(|_| {
        Problem::parameter("link_id", text, "a link's id is a whole number from 0 to 18446744073709551615")
    })
}
