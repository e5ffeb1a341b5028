//! Exports: small ones in the answer, large ones as jobs.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use linktide_common::access::{Principal, Scope};
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::Exporter;
use crate::envelope::ResolvedRange;
use crate::export::Exports;
use crate::export::job::{Gone, Job, JobKey, Manifest, Progress, State as JobState};
use crate::export::spec::Spec;
use crate::export::stream;
use crate::params::{self, Parameters, link_id};
use crate::state::Query;

/// The most jobs that are listed.
const MOST_LISTED: usize = 50;

/// A job, as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportJob {
    id: String,
    /// `queued`, `running`, `done`, `failed`, `cancelled` or `gone`.
    state: &'static str,
    /// What the rows are.
    of: &'static str,
    format: &'static str,
    range: ResolvedRange,
    /// The publication that it is made as of.
    publication: u64,
    requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Why it failed, or why its files are there no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ExportResult>,
}

/// What a job made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportResult {
    rows: u64,
    bytes: u64,
    /// Every click received before it is in the result.
    as_of: String,
    /// How long the signed addresses are good; ask again for new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    urls_valid_for_seconds: Option<u64>,
    files: Vec<ExportFile>,
}

/// A file of a result; each is whole in itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportFile {
    name: String,
    rows: u64,
    bytes: u64,
    sha256: String,
    /// Where it is read: signed, at the store, or a place of this API.
    url: String,
}

/// The jobs of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExportJobs {
    /// The newest first.
    results: Vec<ExportJob>,
}

/// The exports of this process, where it has them.
pub(super) struct Enabled(Arc<Exports>);

impl FromRequestParts<Query> for Enabled {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, query: &Query) -> Result<Self, Problem> {
        let exports = query.exports.clone();
        let off = || Problem::new(ProblemKind::NotFound, "this process makes no exports: export.enabled is false");
        exports.map(Self).ok_or_else(off)
    }
}

/// The job that the path names: one of the caller's, or none that anybody is told of.
pub(super) struct Named(JobKey, Principal);

impl FromRequestParts<Query> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, query: &Query) -> Result<Self, Problem> {
        let Exporter(caller) = Exporter::from_request_parts(parts, query).await?;
        let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(parts, query)
            .await
            .map_err(|error| Problem::new(ProblemKind::NotFound, error.body_text()))?;
        let id = names.iter().find(|(name, _)| name == "id").map_or("", |(_, id)| id.as_str());
        // One form of an id alone: it becomes part of a place.
        let parsed = Uuid::parse_str(id).ok().filter(|parsed| parsed.to_string() == id);
        parsed.map(|id| Self(JobKey { tenant: caller.tenant, id }, caller)).ok_or_else(no_job)
    }
}

/// The file that the path names, if it is a number.
pub(super) struct Numbered(Option<usize>);

impl FromRequestParts<Query> for Numbered {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, query: &Query) -> Result<Self, Problem> {
        let names = Path::<Vec<(String, String)>>::from_request_parts(parts, query).await;
        let names = names.map_err(|error| Problem::new(ProblemKind::NotFound, error.body_text()))?;
        Ok(Self(names.iter().find(|(name, _)| name == "number").and_then(|(_, number)| number.parse().ok())))
    }
}

/// Hashes of visitors tell more than counts: only whoever may change what others may do takes them out.
fn may_see(caller: &Principal, spec: &Spec) -> Result<(), Problem> {
    if spec.visitors { Ok(caller.may(Scope::Admin)?) } else { Ok(()) }
}

fn no_job() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such export; GET /v1/exports lists yours")
}

/// An export of a link, streamed.
#[utoipa::path(get, path = "/v1/links/{link_id}/export", tag = "exports", responses((status = 200, description = "The file")))]
pub(super) async fn of_link(
    State(query): State<Query>,
    Exporter(caller): Exporter,
    Enabled(exports): Enabled,
    Path(link): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let spec = Spec::parse(&parameters, caller.tenant, Some(link_id("link_id", &link)?))?;
    may_see(&caller, &spec)?;
    stream::stream(&exports, &query, &spec).await
}

/// An export of all links together, or of some, streamed.
#[utoipa::path(get, path = "/v1/account/export", tag = "exports", responses((status = 200, description = "The file")))]
pub(super) async fn of_account(
    State(query): State<Query>,
    Exporter(caller): Exporter,
    Enabled(exports): Enabled,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let spec = Spec::parse(&parameters, caller.tenant, None)?;
    may_see(&caller, &spec)?;
    stream::stream(&exports, &query, &spec).await
}

/// Asks for an export as files. The body is a JSON object with the parameters of `GET /v1/account/export`.
#[utoipa::path(post, path = "/v1/exports", tag = "exports", request_body = Object, responses((status = 202, body = ExportJob)))]
pub(super) async fn create(
    State(query): State<Query>,
    Exporter(caller): Exporter,
    Enabled(exports): Enabled,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let json = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !json.starts_with("application/json") {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, "send the parameters as application/json"));
    }
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(ProblemKind::MalformedBody, format!("the body is no JSON: {error}")))?;
    let Value::Object(body) = body else {
        let detail = "the body is a JSON object whose members are the parameters of an export";
        return Err(Problem::new(ProblemKind::MalformedBody, detail));
    };
    let parameters = Parameters::of(params::members(body)?);
    may_see(&caller, &Spec::parse(&parameters, caller.tenant, None)?)?;
    let job = exports.take_in(&query, caller.tenant, &parameters).await?;
    let place = format!("/v1/exports/{}", job.key.id);
    let mut response = (StatusCode::ACCEPTED, Json(view(&exports, job).await?)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The caller's jobs, the newest first.
#[utoipa::path(get, path = "/v1/exports", tag = "exports", responses((status = 200, body = ExportJobs)))]
pub(super) async fn list(
    State(query): State<Query>,
    Exporter(caller): Exporter,
    Enabled(exports): Enabled,
    parameters: Parameters,
) -> Result<Json<ExportJobs>, Problem> {
    parameters.only(&[])?;
    let mut results = Vec::new();
    for job in exports.jobs(&query, caller.tenant, MOST_LISTED).await? {
        // One that tells visitors apart is not for everyone who may export.
        if may_see(&caller, &job.spec).is_ok() {
            results.push(view(&exports, job).await?);
        }
    }
    Ok(Json(ExportJobs { results }))
}

/// A job, as it stands.
#[utoipa::path(get, path = "/v1/exports/{id}", tag = "exports", responses((status = 200, body = ExportJob)))]
pub(super) async fn show(
    State(query): State<Query>,
    Named(key, caller): Named,
    Enabled(exports): Enabled,
) -> Result<Json<ExportJob>, Problem> {
    let job = exports.job(&query, key).await?.ok_or_else(no_job)?;
    may_see(&caller, &job.spec)?;
    Ok(Json(view(&exports, job).await?))
}

/// Ends a job that is not over; deletes the files of one that is.
#[utoipa::path(delete, path = "/v1/exports/{id}", tag = "exports", responses((status = 204, description = "It is over, and its files are gone")))]
pub(super) async fn cancel(
    State(query): State<Query>,
    Named(key, _): Named,
    Enabled(exports): Enabled,
) -> Result<StatusCode, Problem> {
    exports.cancel(&query, key).await?.ok_or_else(no_job)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A file of a job's result.
#[utoipa::path(get, path = "/v1/exports/{id}/parts/{number}", tag = "exports", responses((status = 200, description = "The file")))]
pub(super) async fn part(
    State(query): State<Query>,
    Named(key, caller): Named,
    Enabled(exports): Enabled,
    Numbered(number): Numbered,
) -> Result<Response, Problem> {
    let job = exports.job(&query, key).await?.ok_or_else(no_job)?;
    may_see(&caller, &job.spec)?;
    let manifest = match &job.state {
        JobState::Done { manifest, .. } => manifest,
        JobState::Gone(why) => return Err(gone(*why)),
        state => {
            let detail = format!("the export is {}; a file is there once it is done", name_of(state));
            return Err(Problem::new(ProblemKind::NotFound, detail));
        }
    };
    let no_file = || {
        let detail = format!("the export has {} files, numbered from 0", manifest.files.len());
        Problem::new(ProblemKind::NotFound, detail)
    };
    let number = number.ok_or_else(no_file)?;
    let file = manifest.files.get(number).ok_or_else(no_file)?;
    let found = exports.file(&key, file).await?.ok_or_else(|| gone(Gone::Deleted))?;
    let size = found.meta.size;
    let bytes = found.into_stream().map(|piece| piece.map_err(std::io::Error::other));
    let name = job.file_name(number, manifest);
    let mut response =
        stream::answer(Body::from_stream(bytes), &name, job.spec.format, job.publication(), &manifest.as_of);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", file.sha256)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn gone(why: Gone) -> Problem {
    Problem::new(ProblemKind::Gone, reason(why))
}

fn reason(why: Gone) -> &'static str {
    match why {
        Gone::Expired => "its files were kept as long as results are (export.keep): ask for it again",
        Gone::Erased => "clicks that may be in it were erased since: ask for it again",
        Gone::Deleted => "its files were deleted",
    }
}

fn name_of(state: &JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running(_) => "running",
        JobState::Done { .. } => "done",
        JobState::Failed { .. } => "failed",
        JobState::Cancelled { .. } => "cancelled",
        JobState::Gone(_) => "gone",
    }
}

async fn view(exports: &Exports, job: Job) -> Result<ExportJob, Problem> {
    let mut shown = ExportJob {
        id: job.key.id.to_string(),
        state: name_of(&job.state),
        of: job.spec.of.name(),
        format: job.spec.format.name(),
        range: ResolvedRange::new(job.range(), &job.spec.asked.zone),
        publication: job.publication(),
        requested_at: job.request.requested_at.to_string(),
        progress: None,
        ended_at: None,
        reason: None,
        result: None,
    };
    match &job.state {
        JobState::Queued => {}
        JobState::Running(progress) => shown.progress = Some(*progress),
        JobState::Done { manifest, at } => {
            shown.ended_at = Some(at.to_string());
            shown.result = Some(result(exports, &job, manifest).await?);
        }
        JobState::Failed { why, at } => {
            shown.ended_at = Some(at.to_string());
            shown.reason = Some(why.clone());
        }
        JobState::Cancelled { at } => shown.ended_at = Some(at.to_string()),
        JobState::Gone(why) => shown.reason = Some(reason(*why).to_owned()),
    }
    Ok(shown)
}

async fn result(exports: &Exports, job: &Job, manifest: &Manifest) -> Result<ExportResult, Problem> {
    let signed = exports.addresses(job, manifest).await?;
    let place = |number: usize| match &signed {
        Some(signed) => signed.get(number).cloned().unwrap_or_default(),
        None => format!("/v1/exports/{}/parts/{number}", job.key.id),
    };
    let describe = |(number, file): (usize, &crate::export::job::ResultFile)| ExportFile {
        name: job.file_name(number, manifest),
        rows: file.rows,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        url: place(number),
    };
    Ok(ExportResult {
        rows: manifest.rows(),
        bytes: manifest.bytes(),
        as_of: manifest.as_of.clone(),
        urls_valid_for_seconds: signed.as_ref().map(|_| exports.config.address_valid_for.as_secs()),
        files: manifest.files.iter().enumerate().map(describe).collect(),
    })
}
