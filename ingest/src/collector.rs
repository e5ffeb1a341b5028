//! The collector: `POST /v1/clicks`, a click, an array of clicks, or a click a line.
//!
//! It says of each record whether it was taken, and if not, why. What it says is taken is in the log, and counted. A record
//! over its tenant's quota is refused alone; where nothing was taken for want of a quota, of room in the buffer, or of a
//! log, the status says so, and when to come again.

mod outcome;

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, Reject, RejectReason, edge};
use linktide_common::id::TenantId;
use linktide_common::log::{Append, LogError};
use linktide_common::problem::{Problem, ProblemKind};
use serde::Deserialize;

use crate::emitter::new_id;
use crate::quota::{OverQuota, with_fields};
use crate::router::Ingest;
use crate::sender::Sender;
use crate::{body, metrics};
use outcome::{Collected, RecordOutcome, Refusal};

const FUTURE_MS: i64 = 5 * 60_000;
const DAY_MS: i64 = 86_400_000;
/// Seconds after which a log that took nothing, or a full buffer, is worth another try.
const AGAIN: u32 = 5;

/// Whether the answer waits for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ack {
    /// The clicks are in the log when the answer comes.
    #[default]
    Log,
    /// The clicks are in the emitter's buffer.
    Buffer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameters {
    ack: Ack,
}

type Asked = Result<Query<Parameters>, axum::extract::rejection::QueryRejection>;
type Sent = Result<Bytes, axum::extract::rejection::BytesRejection>;

/// Takes clicks: a JSON object, an array, or an object a line; gzip and zstd bodies.
#[utoipa::path(
    post,
    path = "/v1/clicks",
    tag = "clicks",
    security(("bearer" = [])),
    params(("ack" = Option<String>, Query, description = "`log` (the default) answers when the log has the clicks, `buffer` at once")),
    request_body(content = String, content_type = "application/json", description = "a click, an array of clicks, or a click a line"),
    responses(
        (status = 202, description = "every record was taken, or some were: each says", body = Collected),
        (status = 400, description = "the body cannot be split into records"),
        (status = 401, description = "nobody knows who sends: a credential is missing, or is none any more"),
        (status = 403, description = "the credential lacks the scope `ingest`"),
        (status = 413, description = "the body is too large"),
        (status = 415, description = "the encoding is not read"),
        (status = 422, description = "every record was refused", body = Collected),
        (status = 429, description = "every record was over its tenant's quota"),
        (status = 503, description = "the log takes no clicks now, or the buffer is full"),
    )
)]
pub(crate) async fn collect(
    State(ingest): State<Arc<Ingest>>,
    sender: Sender,
    parameters: Asked,
    headers: HeaderMap,
    body: Sent,
) -> Response {
    let mut tenant = sender.tenant;
    let answer = answer(&ingest, &sender, parameters, &headers, body, &mut tenant).await.unwrap_or_else(|problem| {
        let reason = match problem.kind() {
            ProblemKind::LogUnavailable => return problem.into_response(),
            ProblemKind::PayloadTooLarge => "body_too_large",
            _ => "bad_request",
        };
        metrics::REFUSED.with_label_values(&[reason]).inc();
        problem.into_response()
    });
    with_fields(answer, &ingest.quotas, tenant)
}

/// The answer; `tenant` becomes the one whose quotas it is about.
async fn answer(
    ingest: &Ingest,
    sender: &Sender,
    parameters: Asked,
    headers: &HeaderMap,
    body: Sent,
    tenant: &mut TenantId,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters.map_err(|error| {
        Problem::new(ProblemKind::UnknownParameter, error.body_text())
            .with("allowed", serde_json::json!(["ack=log", "ack=buffer"]))
    })?;
    let body = body::unpack(headers, whole(body, ingest.config.body_bytes)?)?;
    let mut sorted = sort(ingest, sender, &body)?;
    *tenant = sorted.tenant.unwrap_or(sender.tenant);
    let mut full = 0;
    match parameters.ack {
        Ack::Log => append(ingest, &sorted.clicks).await?,
        Ack::Buffer => full = buffer(ingest, &mut sorted),
    }
    let Sorted { outcomes: records, over, overs, .. } = sorted;
    let refused = records.iter().filter(|record| record.refusal.is_some()).count();
    let taken = records.len() - refused;
    metrics::COLLECTED.with_label_values(&["collector", "taken"]).inc_by(taken as u64);
    metrics::COLLECTED.with_label_values(&["collector", "refused"]).inc_by(refused as u64);
    for refusal in records.iter().filter_map(|record| record.refusal.as_ref()) {
        metrics::REFUSED.with_label_values(&[refusal.reason]).inc();
    }
    if taken == 0 && full > 0 {
        return Err(Problem::new(
            ProblemKind::LogUnavailable,
            "the buffer in front of the log is full; nothing of this request was taken, send it again",
        )
        .retry_after(AGAIN));
    }
    let status = match over {
        Some(over) if overs == records.len() => return Ok(over.into_response()),
        _ if taken == 0 && refused > 0 => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::ACCEPTED,
    };
    let mut response = (status, axum::Json(Collected { taken, refused, records })).into_response();
    let again = over.map(|over| over.retry_after()).into_iter().chain((full > 0).then_some(AGAIN)).max();
    if let Some(seconds) = again {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// The records of a body, each taken so far or refused.
#[derive(Default)]
struct Sorted {
    outcomes: Vec<RecordOutcome>,
    /// Those that were taken, with their places.
    clicks: Vec<(usize, Click)>,
    /// The quota that takes longest to fill, and how many records were over one.
    over: Option<OverQuota>,
    overs: usize,
    /// Whose quotas matter most to the sender: those of a tenant that was refused, or else the first one's.
    tenant: Option<TenantId>,
}

fn sort(ingest: &Ingest, sender: &Sender, body: &[u8]) -> Result<Sorted, Problem> {
    let records = body::records(body)?;
    let now = ingest.clock.now();
    let mut sorted = Sorted { outcomes: Vec::with_capacity(records.len()), ..Sorted::default() };
    for (index, range) in records.into_iter().enumerate() {
        let bytes = range.len();
        let outcome = match admit(body[range].trim_ascii(), now, ingest, sender) {
            Err(reject) => RecordOutcome::refused(index, reject.into()),
            Ok((click, note)) => match ingest.quotas.admit(click.tenant_id, bytes) {
                Ok(()) => {
                    sorted.tenant.get_or_insert(click.tenant_id);
                    let outcome = RecordOutcome::taken(index, &click, note);
                    sorted.clicks.push((index, click));
                    outcome
                }
                Err(over) => {
                    sorted.overs += 1;
                    if sorted.over.is_none_or(|longest| longest.retry_after() < over.retry_after()) {
                        (sorted.over, sorted.tenant) = (Some(over), Some(over.tenant));
                    }
                    RecordOutcome::refused(index, over.into())
                }
            },
        };
        sorted.outcomes.push(outcome);
    }
    Ok(sorted)
}

/// Into the log; returns when it has them.
async fn append(ingest: &Ingest, clicks: &[(usize, Click)]) -> Result<(), Problem> {
    if clicks.is_empty() {
        return Ok(());
    }
    let within = ingest.config.ack_within;
    let appended = ingest.log.append(clicks.iter().map(|(_, click)| record(click)).collect());
    let outcome = tokio::time::timeout(within, appended).await.unwrap_or_else(|_| {
        Err(LogError::Unavailable(format!("it acknowledged nothing within {} s", within.as_secs_f64())))
    });
    outcome.map_err(|error| {
        metrics::REFUSED.with_label_values(&["log_unavailable"]).inc_by(clicks.len() as u64);
        unavailable(&error)
    })
}

/// Into the emitter's buffer; says how many it had no room for.
fn buffer(ingest: &Ingest, sorted: &mut Sorted) -> usize {
    let mut full = 0;
    for (index, click) in sorted.clicks.drain(..) {
        if let Err(reason) = ingest.emitter.offer(click) {
            full += 1;
            sorted.outcomes[index] = RecordOutcome::refused(index, Refusal::from(reason));
        }
    }
    full
}

/// The body, or why it was not read.
pub(crate) fn whole(body: Sent, limit: usize) -> Result<Bytes, Problem> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(ProblemKind::PayloadTooLarge, format!("a body may have {limit} bytes; send less at once"))
                .with("limit", serde_json::json!(limit))
        }
        _ => Problem::new(ProblemKind::MalformedBody, error.body_text()),
    })
}

fn admit(
    record: &[u8],
    now: Timestamp,
    ingest: &Ingest,
    sender: &Sender,
) -> Result<(Click, Option<&'static str>), Reject> {
    let mut click = Click::parse(record)?;
    click.tenant_id = sender.tenant_of(click.tenant_id, ingest.config.any_tenant)?;
    // Only an import may be older than the floor, and only the import's door says that it is one.
    click.imported = false;
    let clicked_at = *click.clicked_at.get_or_insert(now);
    let floor = now.plus_millis(-ingest.config.floor_days * DAY_MS);
    if clicked_at < floor {
        let detail = format!(
            "{clicked_at} lies before {floor}, the oldest a click may be; older ones are taken by `linktide import`"
        );
        return Err(Reject { reason: RejectReason::TooOld, field: Some("clicked_at"), detail, position: None });
    }
    edge::resolve(&mut click, ingest.config.edge.as_deref(), now);
    let ahead = clicked_at > now.plus_millis(FUTURE_MS);
    click.click_id.get_or_insert_with(|| new_id(now));
    Ok((click, ahead.then_some("clicked_at lies in the future: it counts when it was received")))
}

/// The record the log gets.
pub(crate) fn record(click: &Click) -> Append {
    let mut json = Vec::with_capacity(512);
    click.to_json(&mut json);
    Append { key: click.click_id.unwrap_or(linktide_common::id::ClickId(uuid::Uuid::nil())), payload: json.into() }
}

/// What a caller is told when the log takes nothing.
pub(crate) fn unavailable(error: &LogError) -> Problem {
    Problem::new(
        ProblemKind::LogUnavailable,
        format!("{error}; nothing of this request is sure to be counted, send it again"),
    )
    .retry_after(AGAIN)
}
