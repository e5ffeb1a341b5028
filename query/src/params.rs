//! Parameters: parsed strictly into a question. What is not known is an error that says what is.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use linktide_common::bucket::{Edge, Interval, Quarter, Range, Timestamp, Unit, Zone, parse_instant, resolve_interval};
use linktide_common::count::Traffic;
use linktide_common::dimension::Dimension;
use linktide_common::filter::{Filter, escape};
use linktide_common::id::LinkId;
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::{Map, Value, json};

/// The most values or links an answer lists.
pub(crate) const MOST_LISTED: usize = 1000;
/// How many it lists where nothing is said.
pub(crate) const LISTED: usize = 10;
/// Whose clicks can be asked for.
pub(crate) const TRAFFIC: &[&str] = &["human", SUSPECTED, "bot", "all"];
/// Whose clicks a live stream can count.
pub(crate) const LIVE_TRAFFIC: &[&str] = &["human", "bot", "all"];
const SUSPECTED: &str = "suspected";

/// The parameters as they were sent.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| {
            Problem::new(ProblemKind::InvalidParameter, format!("the parameters cannot be read: {}", error.body_text()))
        })
    }
}

/// When a question asks about.
#[derive(Debug, Clone)]
pub(crate) enum When {
    Interval(&'static str, Interval),
    /// The range, and its two ends as they were sent.
    Between(Range, [String; 2]),
}

/// The parameters every question has.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) zone: Zone,
    pub(crate) when: When,
    pub(crate) traffic: Traffic,
    /// The past publication it is asked as of.
    pub(crate) publication: Option<u64>,
    /// Each by a dimension of its own.
    pub(crate) filters: Vec<Filter>,
}

/// What a question without a range asks about.
pub(crate) const DEFAULT: (&str, Interval) = ("30d", Interval::Days30);
/// The parameters of every question; the name of each dimension is one too, a filter by its values.
pub(crate) const COMMON: &[&str] = &["start", "end", "interval", "timezone", "traffic", "publication"];

impl Parameters {
    /// Refuses every parameter but these, and one that stands twice.
    pub(crate) fn only(&self, allowed: &[&str]) -> Result<(), Problem> {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                return Err(unknown(name, value, allowed));
            }
            if self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(Problem::parameter(name, value, format!("`{name}` stands twice; give it once")));
            }
        }
        Ok(())
    }

    /// Parameters that did not come in a query string.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// What was sent, as it was.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The parameters of a question in a body: its own, and those it has in common with others.
    pub(crate) fn of_members(own: Vec<(String, String)>, common: &[(String, String)]) -> Self {
        let said: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        // A range of its own takes the place of the common one, whichever way either is said.
        let is_range = |name: &str| ["start", "end", "interval"].contains(&name);
        let has_range = said.iter().any(|name| is_range(name));
        let inherited =
            common.iter().filter(|(name, _)| !(said.contains(&name.as_str()) || has_range && is_range(name)));
        let inherited: Vec<_> = inherited.cloned().collect();
        Self(own.into_iter().chain(inherited).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// One of a fixed set of names.
    pub(crate) fn named<T: FromStr>(&self, name: &str, allowed: &[&str]) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Problem::parameter(name, value, format!("`{name}` is one of: {}", allowed.join(", ")))
                .with("allowed", json!(allowed))
        })
    }

    /// The parameters every question has, where there are none but these and `own`.
    pub(crate) fn asked(&self, own: &[&str]) -> Result<Asked, Problem> {
        let dimensions = Dimension::ALL.iter().map(|dimension| dimension.name());
        let allowed: Vec<&str> = COMMON.iter().chain(own).copied().chain(dimensions).collect();
        self.only(&allowed)?;
        let zone = self.zone()?;
        let (when, publication, mut filters) = (self.when(&zone)?, self.publication()?, self.filters()?);
        let traffic = match self.get("traffic") {
            // Suspected clicks are people's with a reason: a filter like any other.
            Some(SUSPECTED) => {
                filters.push(Filter::suspected());
                Traffic::Human
            }
            _ => self.named("traffic", TRAFFIC)?.unwrap_or_default(),
        };
        Ok(Asked { zone, when, traffic, publication, filters })
    }

    /// The zone and the traffic of a live stream.
    pub(crate) fn live(&self, allowed: &[&str]) -> Result<(Zone, Traffic), Problem> {
        self.only(allowed)?;
        Ok((self.zone()?, self.named("traffic", LIVE_TRAFFIC)?.unwrap_or_default()))
    }

    fn zone(&self) -> Result<Zone, Problem> {
        self.get("timezone").map_or(Ok(Zone::utc()), |name| {
            Zone::parse(name).map_err(|error| Problem::parameter("timezone", name, error.to_string()))
        })
    }

    fn filters(&self) -> Result<Vec<Filter>, Problem> {
        let given = Dimension::ALL.iter().filter_map(|dimension| Some((*dimension, self.get(dimension.name())?)));
        given
            .map(|(dimension, text)| {
                Filter::parse(dimension, text)
                    .map_err(|error| Problem::parameter(dimension.name(), text, error.to_string()))
            })
            .collect()
    }

    fn publication(&self) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get("publication") else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Problem::parameter("publication", value, "`publication` is the number of one, as `meta.freshness` tells it")
        })
    }

    fn when(&self, zone: &Zone) -> Result<When, Problem> {
        let names: Vec<&str> = Interval::NAMES.iter().map(|(name, _)| *name).collect();
        let interval: Option<Interval> = self.named("interval", &names)?;
        let (start, end) = (self.edge("start", Edge::Start, zone)?, self.edge("end", Edge::End, zone)?);
        match (interval, start, end) {
            (None, None, None) => Ok(When::Interval(DEFAULT.0, DEFAULT.1)),
            (Some(interval), None, None) => {
                let name = Interval::NAMES.iter().find(|(_, known)| *known == interval).map_or("", |(name, _)| name);
                Ok(When::Interval(name, interval))
            }
            (None, Some(start), Some(end)) => {
                let said = ["start", "end"].map(|name| self.get(name).unwrap_or_default().to_owned());
                let range = Range::between(start, end, zone)
                    .map_err(|error| Problem::parameter("end", &said[1], error.to_string()))?;
                Ok(When::Between(range, said))
            }
            (Some(_), _, _) => Err(Problem::parameter(
                "interval",
                self.get("interval").unwrap_or_default(),
                "`interval` is a range of its own; give either `interval`, or `start` and `end`",
            )),
            (None, start, _) => {
                let lacking = if start.is_some() { "end" } else { "start" };
                Err(missing(lacking, format!("`{lacking}` is missing; give `start` and `end` together, or `interval`")))
            }
        }
    }

    fn edge(&self, name: &str, edge: Edge, zone: &Zone) -> Result<Option<Quarter>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        parse_instant(text, zone, edge).map(Some).map_err(|error| {
            // A plus sign that was not written as %2B arrives as a space.
            let hint = if text.contains(' ') { "; write the + of an offset as %2B" } else { "" };
            Problem::parameter(name, text, format!("{error}{hint}"))
        })
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
        let Some(value) = self.get("by") else {
            let detail = format!("`by` is missing; give one or several of: {}", names.join(", "));
            return Err(missing("by", detail).with("allowed", json!(names)));
        };
        let mut dimensions = Vec::new();
        for name in value.split(',') {
            let dimension = name.trim().parse().map_err(|()| wrong(name))?;
            if !dimensions.contains(&dimension) {
                dimensions.push(dimension);
            }
        }
        Ok(dimensions)
    }

    /// The ids of links, with commas between them, each once and at most so many; none where none are named.
    pub(crate) fn links(&self, most: usize) -> Result<Vec<LinkId>, Problem> {
        let Some(text) = self.get("links") else { return Ok(Vec::new()) };
        let mut links = Vec::new();
        for id in text.split(',') {
            let link = link_id("links", id.trim())?;
            if links.contains(&link) {
                continue;
            }
            if links.len() == most {
                let detail = format!("`links` names more than {most} links; ask for fewer at once");
                return Err(Problem::parameter("links", text, detail));
            }
            links.push(link);
        }
        Ok(links)
    }

    /// How many values are listed.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let Some(value) = self.get("limit") else { return Ok(LISTED) };
        let limit = value.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
        limit.ok_or_else(|| {
            Problem::parameter("limit", value, format!("`limit` is a whole number from 1 to {MOST_LISTED}"))
                .with("allowed", json!({"minimum": 1, "maximum": MOST_LISTED}))
        })
    }
}

impl Asked {
    /// The range asked about; `earliest` is where everything begins.
    pub(crate) fn range(&self, now: Timestamp, earliest: Quarter) -> Range {
        match self.when {
            When::Interval(_, interval) => resolve_interval(interval, &self.zone, now, earliest),
            When::Between(range, _) => range,
        }
    }

    /// The name of the traffic asked for.
    pub(crate) fn traffic_name(&self) -> &'static str {
        match self.traffic {
            Traffic::Human => "human",
            Traffic::Bot => "bot",
            Traffic::All => "all",
        }
    }

    /// Whether the range depends on where everything begins.
    pub(crate) fn asks_for_all(&self) -> bool {
        matches!(self.when, When::Interval(_, Interval::All))
    }
}

/// Parameters from the members of a JSON object: texts, numbers, truths, and lists of texts and numbers. Null is none.
pub(crate) fn members(object: Map<String, Value>) -> Result<Vec<(String, String)>, Problem> {
    let there = object.into_iter().filter(|(_, value)| !value.is_null());
    there.map(|(name, value)| text(&name, value).map(|text| (name, text))).collect()
}

fn text(name: &str, value: Value) -> Result<String, Problem> {
    let is_filter = name.parse::<Dimension>().is_ok();
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Array(values) => {
            let word = |value| match value {
                // The minus of what is not counted stands before the value, here as in a text.
                Value::String(word) if is_filter => Ok(match word.strip_prefix('-') {
                    Some(rest) => format!("-{}", escape(rest)),
                    None => escape(&word),
                }),
                Value::String(word) => Ok(word),
                Value::Number(number) => Ok(number.to_string()),
                other => Err(Problem::parameter(name, &other.to_string(), format!("`{name}` lists texts or numbers"))),
            };
            Ok(values.into_iter().map(word).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        other => Err(Problem::parameter(name, &other.to_string(), format!("`{name}` is a text, a number or a list"))),
    }
}

/// A link's id in the parameter of that name.
pub(crate) fn link_id(name: &str, text: &str) -> Result<LinkId, Problem> {
    let id = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
    id.ok_or_else(|| Problem::parameter(name, text, "a link's id is a whole number from 0 to 18446744073709551615"))
}

/// A parameter that the question needs and does not have.
pub(crate) fn missing(name: &str, detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidParameter, detail).with("parameter", json!(name)).with("value", json!(null))
}

/// A parameter that the question does not have, with the one that was probably meant.
fn unknown(name: &str, value: &str, allowed: &[&str]) -> Problem {
    let cut = |text: &str| text.chars().take(60).collect::<String>();
    let meant = allowed.iter().map(|known| (distance(&cut(name), known), *known)).min();
    let meant = meant.filter(|(distance, known)| *distance <= 1 + known.len() / 4).map(|(_, known)| known);
    let there_are =
        if allowed.is_empty() { "there are none".to_owned() } else { format!("there are: {}", allowed.join(", ")) };
    let hint = meant.map_or_else(String::new, |known| format!("did you mean `{known}`? "));
    let detail = format!("`{}` is no parameter here; {hint}{there_are}", cut(name));
    let problem = Problem::new(ProblemKind::UnknownParameter, detail)
        .with("parameter", json!(cut(name)))
        .with("value", json!(cut(value)))
        .with("allowed", json!(allowed));
    match meant {
        Some(known) => problem.with("suggestion", json!(known)),
        None => problem,
    }
}

/// How many letters must be added, left out or changed to make one word of the other (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, known) in other.iter().enumerate() {
            let changed = diagonal + usize::from(*known != letter);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
