//! Answering: from a question to a response, and for how long it may be kept.
//!
//! The validator of an answer is made of all that it says but the moments that pass by themselves (`as_of`, ages): whoever
//! is told that nothing changed goes on showing what was true as of then. How long an answer may be kept follows from
//! what it rests on:
//!
//! - a report as of a past publication is the same each time, until an erasure takes from it: a day;
//! - a range that ended long before the watermark changes only by clicks that come in very late: an hour;
//! - anything else may change at any moment: it is asked again each time, and costs no body where nothing changed;
//! - an answer that lacks something is not kept at all.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use linktide_common::bucket::Timestamp;
use linktide_common::headroom::{Headroom, give_way};
use linktide_common::id::Subject;
use linktide_common::pool::PoolError;
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ask::{At, Lane, refused};
use crate::envelope::{Meta, ResolvedRange};
use crate::freshness::{Basis, Freshness};
use crate::needs::Wanted;
use crate::params::Parameters;
use crate::question::{Kind, Question, Resolved};
use crate::state::Query;

/// How long a report may be kept, in seconds.
const REPORT: u32 = 24 * 3600;
/// How long an answer about a settled range may be kept, in seconds.
const SETTLED: u32 = 3600;
/// How far behind the watermark a range is settled, in milliseconds: two days.
const LATE: i64 = 48 * 3600 * 1000;

/// An answer as it is sent.
#[derive(Debug)]
pub(super) struct Answered {
    body: Bytes,
    etag: HeaderValue,
    keep: HeaderValue,
}

/// What several questions ask, at one publication.
pub(super) struct Asked {
    pub(super) at: At,
    pub(super) questions: Vec<Resolved>,
}

/// What was found.
pub(super) struct Found {
    /// The results of each question as JSON, with what was asked.
    pub(super) parts: Vec<Part>,
    pub(super) freshness: Freshness,
    keep: HeaderValue,
}

/// One question's part of an answer.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) results: Box<RawValue>,
    #[serde(skip)]
    pub(super) range: ResolvedRange,
    pub(super) query: crate::envelope::Echo,
}

/// Answers one question.
pub(super) async fn one(
    query: &Query,
    kind: Kind,
    parameters: &Parameters,
    subject: Subject,
) -> Result<Answered, Problem> {
    #[derive(Serialize)]
    struct Whole {
        results: Box<RawValue>,
        meta: Meta,
        query: crate::envelope::Echo,
    }
    let question = Question::parse(kind, parameters, subject)?;
    let at = query.at(question.publication(), subject).await?;
    let questions = vec![question.resolve(query, &at).await?];
    let whole = |mut found: Found| {
        let Part { results, range, query } = found.parts.pop().expect("one question has one answer");
        let Found { freshness, keep, .. } = found;
        let mut says = DefaultHasher::new();
        (results.get(), &range).hash(&mut says);
        let meta = Meta { freshness: freshness.clone(), range };
        Answered::new(&Whole { results, meta, query }, says, &freshness, keep)
    };
    answer(query, Asked { at, questions }, whole).await
}

/// Asks both layers once for all questions, and makes of what is found a whole answer, beside the runtime of the requests.
pub(super) async fn answer(
    query: &Query,
    asked: Asked,
    whole: impl FnOnce(Found) -> Result<Answered, Problem> + Send + 'static,
) -> Result<Answered, Problem> {
    let Asked { at, mut questions } = asked;
    let mut wanted = Wanted::default();
    questions.iter().for_each(|question| question.wants(&mut wanted));
    let tenant = wanted.tenant().expect("every question wants something");
    let lane = query.lane(&wanted);
    // Whoever takes much holds nobody up.
    let _served = (lane == Lane::Here).then(|| Headroom::here().serve(tenant));
    let answers = query.ask_in(lane, &at, &wanted).await?;
    let (asking, now) = (query.clone(), query.clock.now());
    let make = move || {
        let basis = Basis::of_all(answers.bases()).expect("every question wants something");
        let mut unsure = Vec::new();
        let mut part = |question: &mut Resolved| {
            give_way();
            let results = question.answer(&asking, &answers, &basis);
            let results = serde_json::value::to_raw_value(&results).map_err(|error| internal(&error))?;
            unsure.extend(question.unsure());
            let range = ResolvedRange::new(question.range(), &question.asked().zone);
            Ok(Part { results, range, query: question.echo() })
        };
        let parts = questions.iter_mut().map(&mut part).collect::<Result<Vec<_>, Problem>>()?;
        unsure.dedup();
        let freshness = basis.freshness(now, &asking.config, unsure);
        let keep = keep(&at, &freshness, &questions, basis.publication.watermark.start());
        whole(Found { parts, freshness, keep })
    };
    let answering = Arc::clone(&query.answering);
    let made = async move { answering.run(tenant, make).await };
    let made = match lane {
        Lane::Here => made.await,
        Lane::Behind(tenant) => query.background.run(tenant, made).await.unwrap_or(Err(PoolError::Broken)),
    };
    made.map_err(refused)?
}

fn internal(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Internal, error.to_string())
}

/// How long the answer to these questions may be kept.
fn keep(at: &At, freshness: &Freshness, questions: &[Resolved], watermark: Timestamp) -> HeaderValue {
    let settled = watermark.plus_millis(-LATE);
    let seconds = match at {
        _ if freshness.stale => return HeaderValue::from_static("no-store"),
        At::Past(_) => REPORT,
        At::Newest if questions.iter().all(|question| question.ends_by(settled)) => SETTLED,
        At::Newest => return HeaderValue::from_static("private, no-cache"),
    };
    HeaderValue::try_from(format!("private, max-age={seconds}")).expect("digits and words are a header's value")
}

impl Answered {
    /// A whole answer. `says` has taken in what it tells beside how fresh it is.
    pub(super) fn new(
        whole: &impl Serialize,
        mut says: DefaultHasher,
        freshness: &Freshness,
        keep: HeaderValue,
    ) -> Result<Self, Problem> {
        freshness.lasting().hash(&mut says);
        let body = serde_json::to_vec(whole).map_err(|error| internal(&error))?;
        let etag = format!("W/\"{:016x}\"", says.finish());
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits are a header's value");
        Ok(Self { body: body.into(), etag, keep })
    }
}

impl Found {
    /// How long it may be kept.
    pub(super) fn keep(&self) -> HeaderValue {
        self.keep.clone()
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::ETAG, self.etag),
            (header::CACHE_CONTROL, self.keep),
            // The same place says other things to others.
            (header::VARY, HeaderValue::from_static("authorization")),
        ];
        (headers, self.body).into_response()
    }
}

/// Leaves out the body of an answer that the caller has already.
pub(super) async fn unless_known(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let known: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let response = next.run(request).await;
    match response.headers().get(header::ETAG) {
        Some(etag) if is_get && response.status() == StatusCode::OK && names(&known, etag) => {
            not_modified(response.headers())
        }
        _ => response,
    }
}

/// Whether a list of validators names this one, compared weakly (RFC 9110, 8.8.3.2).
fn names(known: &[HeaderValue], etag: &HeaderValue) -> bool {
    let bare = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let Ok(etag) = etag.to_str().map(bare) else { return false };
    let lists = known.iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| one.trim() == "*" || bare(one) == etag)
}

fn not_modified(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    for name in [header::ETAG, header::CACHE_CONTROL, header::VARY] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
