//! Going through all rows of a tenant, of its own and of its links.
//!
//! Files are read side by side and looked at in their order, on threads of the processor, in turn with other tenants. The
//! rows may be many: they come piece by piece, and nothing of them is kept.

use std::sync::Arc;

use deltalake::ObjectStore;
use deltalake::arrow::array::RecordBatch;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use linktide_common::headroom::give_way;

use super::Names;
use super::files::{File, Files, IDS, Part, tenant};
use super::footer::Whose;
use crate::error::BatchError;
use crate::tables::columns::Columns;

/// Files that one question reads at once.
const FILES_AT_ONCE: usize = 32;
/// Pieces of a tenant's rows that are read ahead of the one that is looked at.
const PIECES_AHEAD: usize = 3;

impl Files {
    /// What `take` makes of all rows of a tenant, of their ids and other columns.
    pub(super) async fn scan<T: Default + Send + 'static>(
        &self,
        objects: &Arc<dyn ObjectStore>,
        files: Vec<Arc<File>>,
        of: i64,
        columns: Names,
        take: impl Fn(&RecordBatch, &mut T) -> Result<(), BatchError> + Send + 'static,
    ) -> Result<T, BatchError> {
        let _turn = self.turns.turn(tenant(of)).await?;
        let pieces = |file: Arc<File>| async move {
            let footer = self.footer(objects, &file).await?;
            let rows = footer.owners.candidates(Whose::Tenant(of)).rows;
            let pieces = footer.groups(&rows).into_iter().map(move |(_, first, rows)| {
                Ok::<_, BatchError>((Arc::clone(&file), first + rows.start..first + rows.end))
            });
            Ok::<_, BatchError>(stream::iter(pieces.collect::<Vec<_>>()))
        };
        let read = |(file, rows): (Arc<File>, _)| async move {
            let part = self.part(objects, &file, rows, IDS, columns).await?;
            Ok::<_, BatchError>((file, part))
        };
        let read = stream::iter(files)
            .map(pieces)
            .buffered(FILES_AT_ONCE)
            .try_flatten()
            .map_ok(read)
            .try_buffered(PIECES_AHEAD);
        let mut read = std::pin::pin!(read);
        let mut state = (take, T::default());
        while let Some((file, part)) = read.try_next().await? {
            let piece = move || {
                each_of(part, of, |rows| (state.0)(rows, &mut state.1)).map_err(|error| file.named(error))?;
                Ok::<_, BatchError>(state)
            };
            state = self.scans.run(tenant(of), piece).await??;
        }
        Ok(state.1)
    }
}

/// Hands over the rows of a tenant.
fn each_of(
    part: Part,
    tenant: i64,
    mut take: impl FnMut(&RecordBatch) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    for rows in part.decode()?.into_iter().inspect(|_| give_way()) {
        let tenants = Columns::new(&rows).numbers("tenant_id")?;
        let from = tenants.values().partition_point(|of| *of < tenant);
        let to = tenants.values().partition_point(|of| *of <= tenant);
        if from < to {
            take(&rows.slice(from, to - from))?;
        }
    }
    Ok(())
}
