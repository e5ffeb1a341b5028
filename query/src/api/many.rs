//! `POST /v1/query`: many questions in one round trip, answered at one watermark.
//!
//! The body has the parameters that all questions share, and the questions, each with its own beside `ask`: the names and
//! values of the single questions. Numbers may be numbers, lists may be arrays. One question that cannot be asked refuses
//! the whole body, and says which it was: half of a dashboard is none.

use std::hash::{DefaultHasher, Hash as _};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use linktide_common::access::Principal;
use linktide_common::dimension::Dimension;
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answered::{Answered, Asked, Found, Part, answer};
use super::caller::Reader;
use crate::envelope::{Echo, ResolvedRange};
use crate::freshness::Freshness;
use crate::params::{self, Parameters};
use crate::question::{Kind, Question};
use crate::state::Query;

/// The most questions of one body.
pub(crate) const MOST_QUESTIONS: usize = 50;
/// The largest body, in bytes.
pub(super) const LARGEST: usize = 64 * 1024;

/// Answers to many questions.
#[derive(Serialize, ToSchema)]
pub(super) struct Answers {
    /// In the order of the questions.
    results: Vec<One>,
    meta: Shared,
}

/// The answer to one of many questions.
#[derive(Serialize, ToSchema)]
struct One {
    /// What was asked.
    ask: &'static str,
    /// As the single question answers it.
    #[schema(value_type = Value)]
    results: Box<RawValue>,
    /// The range that was answered.
    range: ResolvedRange,
    query: Echo,
}

/// What all answers rest on.
#[derive(Serialize, ToSchema)]
struct Shared {
    freshness: Freshness,
}

/// Many questions at one watermark.
#[utoipa::path(post, path = "/v1/query", tag = "account",
    request_body(content = Value, description = "Parameters that all questions share, and `questions`: an array of objects with `ask` (the kind), `link_id` for one about a link, and the question's own parameters"),
    responses((status = 200, body = Answers)))]
pub(super) async fn query(
    State(query): State<Query>,
    Reader(caller): Reader,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answered, Problem> {
    let body = body.map_err(|error| match error.status().as_u16() {
        413 => Problem::new(ProblemKind::PayloadTooLarge, format!("a body of questions has at most {LARGEST} bytes")),
        _ => Problem::new(ProblemKind::MalformedBody, format!("the body could not be read: {error}")),
    })?;
    let questions = parse(&body, &caller)?;
    let publication = questions.first().and_then(|(_, question)| question.publication());
    let mut at = None;
    let (mut kinds, mut resolved) = (Vec::new(), Vec::new());
    for (number, (kind, question)) in questions.into_iter().enumerate() {
        // What was erased since is refused for each subject; the publication is the same one.
        let of_it = query.at(publication, question.subject()).await.map_err(|problem| of(number, problem))?;
        kinds.push(kind);
        resolved.push(question.resolve(&query, &of_it).await.map_err(|problem| of(number, problem))?);
        at = Some(of_it);
    }
    let at = at.expect("a body has questions");
    let whole = |found: Found| {
        let keep = found.keep();
        let mut says = DefaultHasher::new();
        let one = |(kind, part): (Kind, Part)| {
            (part.results.get(), &part.range).hash(&mut says);
            One { ask: kind.name(), results: part.results, range: part.range, query: part.query }
        };
        let results = kinds.into_iter().zip(found.parts).map(one).collect();
        let freshness = found.freshness.clone();
        Answered::new(&Answers { results, meta: Shared { freshness: found.freshness } }, says, &freshness, keep)
    };
    answer(&query, Asked { at, questions: resolved }, whole).await
}

/// A problem of one question of many.
fn of(number: usize, problem: Problem) -> Problem {
    problem.within(&format!("questions[{number}]")).with("question", json!(number))
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail)
}

fn parse(body: &[u8], caller: &Principal) -> Result<Vec<(Kind, Question)>, Problem> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| malformed(format!("the body is no JSON: {error}")))?;
    let Value::Object(mut common) = body else {
        return Err(malformed("the body is a JSON object with `questions`, and what they have in common"));
    };
    let questions = match common.remove("questions") {
        Some(Value::Array(questions)) => questions,
        _ => return Err(malformed("`questions` is missing; give an array of objects, each with `ask`")),
    };
    if questions.is_empty() || questions.len() > MOST_QUESTIONS {
        let detail = format!("`questions` has {} questions, from 1 to {MOST_QUESTIONS} are answered", questions.len());
        return Err(malformed(detail));
    }
    let common = params::members(common)?;
    let dimensions = Dimension::ALL.iter().map(|dimension| dimension.name());
    let known: Vec<&str> = params::COMMON.iter().copied().chain(dimensions).collect();
    Parameters::of_members(common.clone(), &[]).only(&known)?;
    let one = |(number, question)| parse_one(question, &common, caller).map_err(|problem| of(number, problem));
    questions.into_iter().enumerate().map(one).collect()
}

fn parse_one(question: Value, common: &[(String, String)], caller: &Principal) -> Result<(Kind, Question), Problem> {
    let Value::Object(mut question) = question else {
        return Err(malformed("a question is an object with `ask` and its parameters"));
    };
    let names: Vec<&str> = Kind::ALL.iter().map(|(name, ..)| *name).collect();
    let ask = question.remove("ask");
    let kind = ask.as_ref().and_then(Value::as_str).and_then(Kind::named).ok_or_else(|| {
        let value =
            ask.as_ref().map_or_else(String::new, |ask| ask.as_str().map_or_else(|| ask.to_string(), str::to_owned));
        Problem::parameter("ask", &value, format!("`ask` is one of: {}", names.join(", ")))
            .with("allowed", json!(names))
    })?;
    let mut own = params::members(question)?;
    let link = own.iter().position(|(name, _)| name == "link_id" && kind.is_of_a_subject());
    let subject = match link.map(|at| own.swap_remove(at)) {
        Some((name, id)) => caller.link(params::link_id(&name, &id)?)?,
        None => caller.account()?,
    };
    if let Some((name, value)) = own.iter().find(|(name, _)| name == "publication") {
        return Err(Problem::parameter(
            name,
            value,
            "`publication` is of all questions together; give it beside `questions`",
        ));
    }
    Ok((kind, Question::parse(kind, &Parameters::of_members(own, common), subject)?))
}
