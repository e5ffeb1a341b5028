//! Imports: the past in chunks, each counted once.
//!
//! An import is known by the digest of its content, a chunk by its number. The log sets the mark of a chunk in the same
//! step as it appends the chunk's clicks: sent again, tomorrow or after a crash, it answers that it stands already.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use bytes::Bytes;
use linktide_common::click::Click;
use linktide_common::id::ClickId;
use linktide_common::log::Marked;
use linktide_common::problem::Problem;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::collector::{record, unavailable, whole};
use crate::router::Ingest;
use crate::sender::Sender;
use crate::{body, metrics};

/// What became of a chunk.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChunkOutcome {
    /// Clicks in it.
    pub(crate) taken: usize,
    /// Whether they were counted at an earlier time: then this one counted nothing.
    pub(crate) already: bool,
    /// Records that are no clicks.
    pub(crate) refused: Vec<RefusedRecord>,
}

/// A record of a chunk that is no click.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RefusedRecord {
    /// Its place in the chunk, from 0.
    pub(crate) index: usize,
    /// The kind of reason.
    pub(crate) reason: String,
    /// The reason in words.
    pub(crate) detail: String,
}

/// Takes a chunk of an import, once: a click a line, gzip and zstd bodies.
#[utoipa::path(
    put,
    path = "/v1/imports/{digest}/chunks/{number}",
    tag = "clicks",
    security(("bearer" = [])),
    params(
        ("digest" = String, Path, description = "SHA-256 of the import's content, 64 hexadecimal digits"),
        ("number" = u64, Path, description = "which chunk of it"),
    ),
    request_body(content = String, content_type = "application/x-ndjson", description = "a click a line"),
    responses(
        (status = 200, description = "the chunk is counted, now or since an earlier time", body = ChunkOutcome),
        (status = 400, description = "the digest or the number is none"),
        (status = 401, description = "nobody knows who sends: a credential is missing, or is none any more"),
        (status = 403, description = "the credential lacks the scope `ingest`"),
        (status = 413, description = "the body is too large"),
        (status = 503, description = "the log takes no clicks now"),
    )
)]
pub(crate) async fn put_chunk(
    State(ingest): State<Arc<Ingest>>,
    sender: Sender,
    Path((digest, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Json<ChunkOutcome>, Problem> {
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::parameter("digest", &digest, "the digest has 64 hexadecimal digits"));
    }
    let number: u64 =
        number.parse().map_err(|_| Problem::parameter("number", &number, "a chunk has a number from 0 on"))?;
    let body = body::unpack(&headers, whole(body, ingest.config.body_bytes)?)?;
    let tenant = sender.tenant;
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    for (index, range) in body::lines(&body).into_iter().enumerate() {
        match Click::parse(body[range].trim_ascii()) {
            Ok(mut click) => {
                click.imported = true;
                // What an edge signed in the past is too old to be believed now.
                click.edge_signals = None;
                click.tenant_id = tenant;
                click.click_id.get_or_insert_with(|| id_of(&digest, number, index));
                records.push(record(&click));
            }
            Err(reject) => {
                let reason = reject.reason.name().to_owned();
                refused.push(RefusedRecord { index, reason, detail: reject.to_string() });
            }
        }
    }
    let taken = records.len();
    let mark = format!("import/{tenant}/{}/{number}", digest.to_ascii_lowercase());
    let marked = ingest.log.append_marked(&mark, records).await.map_err(|error| unavailable(&error))?;
    let already = marked == Marked::Already;
    if !already {
        metrics::COLLECTED.with_label_values(&["import", "taken"]).inc_by(taken as u64);
        metrics::COLLECTED.with_label_values(&["import", "refused"]).inc_by(refused.len() as u64);
    }
    Ok(Json(ChunkOutcome { taken, already, refused }))
}

/// An id that a record of an import has at every run.
fn id_of(digest: &str, chunk: u64, index: usize) -> ClickId {
    let hash = Sha256::new()
        .chain_update(digest.to_ascii_lowercase())
        .chain_update(chunk.to_be_bytes())
        .chain_update(index.to_be_bytes())
        .finalize();
    ClickId(Uuid::new_v8(hash[..16].try_into().expect("a SHA-256 has 32 bytes")))
}
