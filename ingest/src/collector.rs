//! The collector: `POST /v1/clicks`, a click, an array of clicks, or a click a line.
//!
//! It says of each record whether it was taken, and if not, why. What it says is taken is in the log, and counted.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, Reject, RejectReason};
use linktide_common::id::TenantId;
use linktide_common::log::{Append, LogError};
use linktide_common::problem::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::emitter::new_id;
use crate::router::Ingest;
use crate::{body, metrics};

const FUTURE_MS: i64 = 5 * 60_000;
const DAY_MS: i64 = 86_400_000;

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

/// What became of the records of a body.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Collected {
    /// Records that are clicks now.
    taken: usize,
    /// Records that are not.
    refused: usize,
    /// Each record, in order.
    records: Vec<RecordOutcome>,
}

/// What became of one record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordOutcome {
    /// Its place in the body, from 0.
    index: usize,
    /// `taken` or `refused`.
    status: &'static str,
    /// The click's id, given or new.
    #[serde(skip_serializing_if = "Option::is_none")]
    click_id: Option<String>,
    /// What is unusual about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    /// Why it was refused.
    #[serde(flatten)]
    refusal: Option<Refusal>,
}

/// Why a record was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refusal {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    detail: String,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self {
            reason: reject.reason.name(),
            field: reject.field,
            position: reject.position,
            detail: reject.to_string(),
        }
    }
}

/// Takes clicks: a JSON object, an array, or an object a line; gzip and zstd bodies.
#[utoipa::path(
    post,
    path = "/v1/clicks",
    tag = "clicks",
    params(("ack" = Option<String>, Query, description = "`log` (the default) answers when the log has the clicks, `buffer` at once")),
    request_body(content = String, content_type = "application/json", description = "a click, an array of clicks, or a click a line"),
    responses(
        (status = 202, description = "every record was taken, or some were: each says", body = Collected),
        (status = 400, description = "the body cannot be split into records"),
        (status = 413, description = "the body is too large"),
        (status = 415, description = "the encoding is not read"),
        (status = 422, description = "every record was refused", body = Collected),
        (status = 503, description = "the log takes no clicks now"),
    )
)]
pub(crate) async fn collect(
    State(ingest): State<Ingest>,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let Query(parameters) = parameters.map_err(|error| {
        Problem::new(ProblemKind::UnknownParameter, error.body_text())
            .with("allowed", serde_json::json!(["ack=log", "ack=buffer"]))
    })?;
    let body = body::unpack(&headers, whole(body, ingest.config.body_bytes)?)?;
    let records = body::records(&body)?;
    let now = ingest.clock.now();
    let tenant = TenantId(0);
    let mut outcomes = Vec::with_capacity(records.len());
    let mut clicks = Vec::new();
    for (index, range) in records.into_iter().enumerate() {
        match admit(body[range].trim_ascii(), tenant, now, &ingest) {
            Ok((click, note)) => {
                let click_id = click.click_id.map(|id| id.to_string());
                outcomes.push(RecordOutcome { index, status: "taken", click_id, note, refusal: None });
                clicks.push(click);
            }
            Err(reject) => {
                let refusal = Some(reject.into());
                outcomes.push(RecordOutcome { index, status: "refused", click_id: None, note: None, refusal });
            }
        }
    }
    let (taken, refused) = (clicks.len(), outcomes.len() - clicks.len());
    match parameters.ack {
        Ack::Log => {
            ingest.log.append(clicks.iter().map(record).collect()).await.map_err(|error| unavailable(&error))?
        }
        Ack::Buffer => {
            for click in clicks {
                ingest.emitter.emit(click);
            }
        }
    }
    metrics::COLLECTED.with_label_values(&["collector", "taken"]).inc_by(taken as u64);
    metrics::COLLECTED.with_label_values(&["collector", "refused"]).inc_by(refused as u64);
    let status = if taken == 0 && refused > 0 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(Collected { taken, refused, records: outcomes })).into_response())
}

/// The body, or why it was not read.
pub(crate) fn whole(
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
    limit: usize,
) -> Result<Bytes, Problem> {
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
    tenant: TenantId,
    now: Timestamp,
    ingest: &Ingest,
) -> Result<(Click, Option<&'static str>), Reject> {
    let mut click = Click::parse(record)?;
    if click.tenant_id != tenant {
        let detail = format!("tenant {} is not the sender's", click.tenant_id);
        return Err(Reject { reason: RejectReason::ForeignTenant, field: Some("tenant_id"), detail, position: None });
    }
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
    .retry_after(5)
}
