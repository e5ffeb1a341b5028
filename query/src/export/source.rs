//! Where the rows of an export come from, at one publication.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use linktide_batch::reader::raw::columns;
use linktide_common::bucket::Range;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::{Publication, Tombstone};
use serde_json::json;

use super::spec::{Of, Spec};
use super::{ExportError, Exports, rollup};
use crate::ask::At;
use crate::state::Query;

pub(super) type Batches = BoxStream<'static, Result<RecordBatch, ExportError>>;

/// Rows that are on their way, and as of when they are whole.
pub(super) struct Rows {
    pub(super) schema: SchemaRef,
    pub(super) batches: Batches,
    pub(super) as_of: String,
}

/// An export with its range and its publication.
pub(super) struct Resolved {
    pub(super) at: At,
    pub(super) publication: Arc<Publication>,
    pub(super) range: Range,
}

/// What an export is about, as of now or as of the publication it names.
pub(super) async fn resolve(query: &Query, spec: &Spec) -> Result<Resolved, Problem> {
    let at = query.at(spec.asked.publication, spec.subject()).await?;
    let (now, publication) = match &at {
        At::Past(past) => (past.watermark.start(), Arc::clone(past)),
        At::Newest => (query.clock.now(), query.pinned()?),
    };
    let earliest = if spec.asked.asks_for_all() {
        let (earliest, unsure) = query.earliest(&at, spec.subject(), now).await?;
        if let Some(why) = unsure.into_iter().next() {
            return Err(Problem::new(ProblemKind::NotReady, why).retry_after(5));
        }
        earliest
    } else {
        publication.watermark.first_quarter()
    };
    let range = spec.asked.range(now, earliest);
    refuse_what_was_deleted(spec, &publication, range)?;
    Ok(Resolved { range, at, publication })
}

/// A file does not say that it lacks clicks: whoever wants one that does has to say so.
fn refuse_what_was_deleted(spec: &Spec, publication: &Publication, range: Range) -> Result<(), Problem> {
    let sealed = publication.sealed_through().filter(|_| spec.of == Of::Clicks && !spec.incomplete);
    match sealed.filter(|sealed| range.start.day() <= *sealed) {
        None => Ok(()),
        Some(sealed) => Err(Problem::new(
            ProblemKind::Gone,
            format!(
                "raw clicks were deleted by age (retention.raw_days), so that those of before {} are not whole; begin there, or take what is left with `incomplete=true`",
                sealed.next().start()
            ),
        )
        .with("whole_from", json!(sealed.next().start().to_string()))),
    }
}

impl Exports {
    /// The rows of an export that is to be streamed: few enough, or refused.
    pub(super) async fn rows(
        self: &Arc<Self>,
        query: &Query,
        spec: &Spec,
        resolved: Resolved,
    ) -> Result<Rows, Problem> {
        if spec.of != Of::Clicks {
            let (rows, as_of) = rollup::rows(self, query, spec, &resolved.at, resolved.range).await?;
            self.check_rows(rows.iter().map(RecordBatch::num_rows).sum())?;
            return Ok(of_batches(spec, rows, as_of));
        }
        let erased = query.pinned()?.tombstones.clone();
        let (this, visitors) = (Arc::clone(self), spec.visitors);
        let wanted = spec.wanted(resolved.range);
        let publication = Arc::clone(&resolved.publication);
        let opened = self.pool.run(spec.tenant, async move {
            let most = this.config.stream_rows;
            let snapshot = this.raw.at(&publication).await?;
            let files = snapshot.files(&wanted)?;
            let rows_at_most = files.iter().map(|file| file.rows).try_fold(0u64, |sum, rows| Some(sum + rows?));
            let files: Vec<String> = files.into_iter().map(|file| file.path).collect();
            let counted = match rows_at_most {
                Some(rows) if rows <= most as u64 => 0,
                _ => snapshot.count(&wanted, &files, &erased, most + 1).await?,
            };
            if counted > most {
                return Ok::<_, ExportError>(Err(counted));
            }
            let clicks = snapshot.clicks(&wanted, &files, &erased).await?;
            Ok(Ok(clicks.map_err(ExportError::from).boxed()))
        });
        match opened.await.unwrap_or(Err(ExportError::Ends)).map_err(Problem::from)? {
            Ok(batches) => Ok(Rows {
                schema: columns(visitors),
                batches,
                as_of: resolved.publication.watermark.start().to_string(),
            }),
            Err(counted) => Err(self.check_rows(counted).err().unwrap_or_else(|| ExportError::Ends.into())),
        }
    }

    fn check_rows(&self, rows: usize) -> Result<(), Problem> {
        let most = self.config.stream_rows;
        if rows <= most {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::ExportTooLarge,
            format!("the export has more than {most} rows, which are not streamed; send the same parameters as JSON to POST /v1/exports, which makes files of them, or ask for less"),
        )
        .with("rows", json!(most))
        .with("job", json!("/v1/exports")))
    }
}

/// The rows of one step of a job: clicks of these files, or all rows of a rollup, as of the job's publication.
pub(super) async fn slice_rows(
    exports: &Exports,
    query: &Query,
    spec: &Spec,
    range: Range,
    publication: &Arc<Publication>,
    files: &[String],
    erased: &[Tombstone],
) -> Result<Rows, ExportError> {
    if spec.of != Of::Clicks {
        let at = At::Past(Arc::clone(publication));
        let refused = |problem: Problem| ExportError::Refused(problem.detail().to_owned());
        let (rows, as_of) = rollup::rows(exports, query, spec, &at, range).await.map_err(refused)?;
        return Ok(of_batches(spec, rows, as_of));
    }
    let snapshot = exports.raw.at(publication).await?;
    let clicks = snapshot.clicks(&spec.wanted(range), files, erased).await?;
    Ok(Rows {
        schema: schema(spec),
        batches: clicks.map_err(ExportError::from).boxed(),
        as_of: publication.watermark.start().to_string(),
    })
}

/// The columns of an export.
pub(super) fn schema(spec: &Spec) -> SchemaRef {
    if spec.of == Of::Clicks { columns(spec.visitors) } else { rollup::schema(spec.of) }
}

fn of_batches(spec: &Spec, rows: Vec<RecordBatch>, as_of: String) -> Rows {
    Rows { schema: schema(spec), batches: futures::stream::iter(rows.into_iter().map(Ok)).boxed(), as_of }
}
