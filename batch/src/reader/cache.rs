//! What stays in memory of the tables' files, within two budgets: the files, and rows that were decoded from them.
//!
//! A file is never changed, and its name is never given again, so whatever was read of it holds for good.

use std::ops::Range;
use std::sync::Arc;

use deltalake::ObjectStore;
use deltalake::arrow::array::RecordBatch;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::file::{Loaded, Whose};
use crate::error::BatchError;
use crate::tables::parquet::ROWS_A_PAGE;

/// An owner's rows that are more than these are kept by themselves, not by the page.
const MANY: usize = 4 * ROWS_A_PAGE;
const FILES: usize = 4096;
const BLOCKS: usize = 1 << 16;

/// Names of columns that are read together.
pub(super) type Names = &'static [&'static str];

#[derive(Clone)]
struct BySize;

impl Weighter<String, Arc<Loaded>> for BySize {
    fn weight(&self, _path: &String, file: &Arc<Loaded>) -> u64 {
        file.size() as u64
    }
}

impl Weighter<Block, Arc<Vec<RecordBatch>>> for BySize {
    fn weight(&self, _block: &Block, rows: &Arc<Vec<RecordBatch>>) -> u64 {
        rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum::<u64>().max(1)
    }
}

/// Rows of a file, by columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Block {
    path: Arc<str>,
    columns: Names,
    rows: Range<usize>,
}

pub(super) struct Files {
    files: Cache<String, Arc<Loaded>, BySize>,
    blocks: Cache<Block, Arc<Vec<RecordBatch>>, BySize>,
}

impl Files {
    /// Up to `memory` bytes of files, and a quarter of that of decoded rows.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            files: Cache::with_weighter(FILES, memory, BySize),
            blocks: Cache::with_weighter(BLOCKS, memory / 4, BySize),
        }
    }

    pub(super) async fn get(
        &self,
        objects: &Arc<dyn ObjectStore>,
        table: &str,
        path: &Path,
    ) -> Result<Arc<Loaded>, BatchError> {
        let named = |reason: String| BatchError::Corrupt { what: format!("{table}/{path}"), reason };
        let load = async {
            let (place, bytes) = (path.to_string(), objects.get(path).await?.bytes().await?);
            let loaded = tokio::task::spawn_blocking(move || Loaded::new(&place, bytes)).await;
            let loaded = loaded.map_err(|error| BatchError::Unavailable(error.to_string()))?;
            loaded.map(Arc::new).map_err(|error| named(error.to_string()))
        };
        self.files.get_or_insert_async(path.as_ref(), load).await
    }

    /// The named columns of the rows of a file that are `whose`.
    pub(super) fn rows(&self, file: &Loaded, whose: Whose, columns: Names) -> Result<Vec<RecordBatch>, BatchError> {
        let rows = file.rows_of(whose);
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        if matches!(whose, Whose::Tenant(_)) {
            // All links of a tenant would only empty the cache.
            return file.read(rows, columns);
        }
        // Sketches are large: a page of counts is soon decoded, the sketches of a thousand rows are not.
        if columns.contains(&"sketch") || rows.len() > MANY {
            return Ok(self.block(file, columns, rows)?.as_ref().clone());
        }
        let mut found = Vec::new();
        for first in (rows.start / ROWS_A_PAGE * ROWS_A_PAGE..rows.end).step_by(ROWS_A_PAGE) {
            let mut at = first;
            for batch in self.block(file, columns, first..(first + ROWS_A_PAGE).min(file.len()))?.iter() {
                let (from, to) = (rows.start.max(at), rows.end.min(at + batch.num_rows()));
                if from < to {
                    found.push(batch.slice(from - at, to - from));
                }
                at += batch.num_rows();
            }
        }
        Ok(found)
    }

    fn block(&self, file: &Loaded, columns: Names, rows: Range<usize>) -> Result<Arc<Vec<RecordBatch>>, BatchError> {
        let block = Block { path: Arc::clone(file.path()), columns, rows: rows.clone() };
        self.blocks.get_or_insert_with(&block, || file.read(rows, columns).map(Arc::new))
    }
}
