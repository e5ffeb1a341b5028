//! Rows of a job on their way into files.
//!
//! A file is held in memory until it is whole, about [`super::ExportConfig::part_bytes`], and is written at once under a name
//! that no other attempt has.

use bytes::Bytes;
use futures::StreamExt as _;
use linktide_common::headroom::give_way;
use object_store::PutPayload;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::format::Encoder;
use super::job::ResultFile;
use super::shelf::JobKey;
use super::source::Rows;
use super::spec::Spec;
use super::{ExportError, Exports};

/// Bytes of a file that are digested at once: they take less than a millisecond.
const DIGESTED: usize = 512 << 10;

/// Rows on their way into files of about the same size.
pub(super) struct Files<'a> {
    pub(super) exports: &'a Exports,
    pub(super) key: JobKey,
    pub(super) spec: &'a Spec,
    /// What their names begin with.
    pub(super) name: String,
    pub(super) written: Vec<ResultFile>,
}

/// The file that is open.
struct Open {
    encoder: Encoder,
    content: Content,
    rows: u64,
}

/// What there is of a file so far.
#[derive(Default)]
struct Content {
    pieces: Vec<Bytes>,
    bytes: usize,
    digest: Sha256,
}

impl Open {
    fn start(spec: &Spec, rows: &Rows) -> Result<Self, ExportError> {
        Ok(Self { encoder: Encoder::start(spec.format, &rows.schema)?, content: Content::default(), rows: 0 })
    }
}

impl Content {
    fn push(&mut self, piece: Bytes) {
        for bytes in piece.chunks(DIGESTED) {
            give_way();
            self.digest.update(bytes);
        }
        self.bytes += piece.len();
        self.pieces.push(piece);
    }
}

impl Files<'_> {
    pub(super) async fn take(self, rows: Rows, cancelled: &CancellationToken) -> Result<Vec<ResultFile>, ExportError> {
        self.take_all(rows, cancelled, false).await
    }

    /// The same; with `even_empty` there is a file of columns alone where there are no rows.
    pub(super) async fn take_all(
        mut self,
        mut rows: Rows,
        cancelled: &CancellationToken,
        even_empty: bool,
    ) -> Result<Vec<ResultFile>, ExportError> {
        let mut open = if even_empty { Some(Open::start(self.spec, &rows)?) } else { None };
        loop {
            // Much may be read before a row is found.
            let batch = tokio::select! {
                biased;
                () = cancelled.cancelled() => return Err(ExportError::Cancelled),
                batch = rows.batches.next() => batch,
            };
            let Some(batch) = batch.transpose()? else { break };
            if batch.num_rows() == 0 {
                continue;
            }
            let mut file = match open.take() {
                Some(file) => file,
                None => Open::start(self.spec, &rows)?,
            };
            file.content.push(file.encoder.write(&batch)?);
            file.rows += batch.num_rows() as u64;
            if file.content.bytes >= self.exports.config.part_bytes {
                self.close(file).await?;
            } else {
                open = Some(file);
            }
        }
        if let Some(file) = open {
            self.close(file).await?;
        }
        Ok(self.written)
    }

    async fn close(&mut self, file: Open) -> Result<(), ExportError> {
        let Open { encoder, mut content, rows } = file;
        content.push(encoder.finish()?);
        let name = format!("{}.{:06}.{}", self.name, self.written.len(), self.spec.format.name());
        self.exports.shelf.write(&self.key, &name, PutPayload::from_iter(content.pieces)).await?;
        self.exports.reached("export::file::behind")?;
        let sha256 = content.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.written.push(ResultFile { file: name, rows, bytes: content.bytes as u64, sha256 });
        Ok(())
    }
}
