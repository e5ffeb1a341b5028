//! A small export as the body of an answer.
//!
//! Rows are made as they are read: two pieces wait at most. What goes wrong before the first piece is a problem document;
//! behind it the connection is broken off without the chunk that ends a body (over HTTP/2, the stream is reset), so that
//! every client that looks knows the file is cut off. A reader that stops reading is let go of after a while.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use linktide_common::problem::Problem;
use tokio::sync::mpsc;

use super::format::{Encoder, Format};
use super::source::{Batches, Rows, resolve};
use super::spec::Spec;
use super::{ExportError, Exports};
use crate::metrics;
use crate::state::Query;

/// Pieces that wait for the reader.
const WAITING: usize = 2;

/// A piece of the file; none: it was the last.
type Piece = Result<Option<Bytes>, io::Error>;

/// Answers with an export.
pub(crate) async fn stream(exports: &Arc<Exports>, query: &Query, spec: &Spec) -> Result<Response, Problem> {
    let ticket = exports.admission.admit(spec.tenant).await?;
    let resolved = resolve(query, spec).await?;
    let name = format!("{}.{}", spec.stem(resolved.range), spec.format.name());
    let publication = resolved.publication.number;
    let Rows { schema, batches, as_of } = exports.rows(query, spec, resolved).await?;
    let encoder = Encoder::start(spec.format, &schema).map_err(|error| Problem::from(ExportError::from(error)))?;
    let (pieces, mut waiting) = mpsc::channel(WAITING);
    let (this, format) = (Arc::clone(exports), spec.format);
    exports.pool.spawn(spec.tenant, async move {
        let outcome = this.send(encoder, batches, &pieces).await;
        metrics::EXPORTS.with_label_values(&["stream", format.name(), outcome]).inc();
        drop(ticket);
    });
    // What fails at once is told as such.
    let first = waiting.recv().await.unwrap_or_else(|| Err(cut_off())).map_err(failed)?;
    let rest = futures::stream::unfold(Some((first, waiting)), |next| async move {
        let (piece, mut waiting) = next?;
        let piece = piece?;
        Some(match waiting.recv().await.unwrap_or_else(|| Err(cut_off())) {
            Ok(following) => (vec![Ok(piece)], Some((following, waiting))),
            Err(error) => (vec![Ok(piece), Err(error)], None),
        })
    });
    let body = Body::from_stream(rest.flat_map(futures::stream::iter));
    Ok(answer(body, &name, format, publication, &as_of))
}

/// The pieces ended before the last: whoever made them panicked, was told to end, or gave the reader up.
fn cut_off() -> io::Error {
    io::Error::other(ExportError::Ends)
}

fn failed(error: io::Error) -> Problem {
    match error.into_inner().map(|inner| inner.downcast::<ExportError>()) {
        Some(Ok(error)) => (*error).into(),
        _ => ExportError::Ends.into(),
    }
}

/// The head of an answer that is a file.
pub(crate) fn answer(body: Body, name: &str, format: Format, publication: u64, as_of: &str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("linktide-publication", HeaderValue::from(publication));
    let texts = [
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::HeaderName::from_static("linktide-as-of"), as_of.to_owned()),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

impl Exports {
    /// Sends the pieces of a file; tells what came of it.
    async fn send(&self, encoder: Encoder, batches: Batches, pieces: &mpsc::Sender<Piece>) -> &'static str {
        match self.try_send(encoder, batches, pieces).await {
            Ok(true) => "done",
            Ok(false) => "left",
            Err(error) => {
                tracing::warn!(%error, "an export was broken off");
                let _ = pieces.send_timeout(Err(io::Error::other(error)), self.config.patience).await;
                "failed"
            }
        }
    }

    /// Whether the reader took all.
    async fn try_send(
        &self,
        mut encoder: Encoder,
        mut batches: Batches,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<bool, ExportError> {
        let (mut sent, most) = (0, self.config.stream_bytes);
        loop {
            // Much may be read before a row is found, and the reader be gone by then.
            let rows = tokio::select! {
                biased;
                () = pieces.closed() => return Ok(false),
                rows = batches.next() => rows,
            };
            let Some(rows) = rows.transpose()? else { break };
            let piece = encoder.write(&rows)?;
            sent += piece.len() as u64;
            if sent > most {
                return Err(ExportError::Refused(format!(
                    "more than {most} bytes are not streamed; take a job: POST /v1/exports"
                )));
            }
            if !piece.is_empty() && !self.hand_on(piece, pieces).await {
                return Ok(false);
            }
        }
        Ok(self.hand_on(encoder.finish()?, pieces).await
            && pieces.send_timeout(Ok(None), self.config.patience).await.is_ok())
    }

    async fn hand_on(&self, piece: Bytes, pieces: &mpsc::Sender<Piece>) -> bool {
        pieces.send_timeout(Ok(Some(piece)), self.config.patience).await.is_ok()
    }
}
