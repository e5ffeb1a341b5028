//! Which file it was, when a query failed: the engine that reads many at once does not say.
//!
//! A file that is gone it does not even miss: its name is taken for a folder's, with nothing in it. So it is asked for
//! before. What else may be wrong is only looked for after a failure, and then by reading each file as a whole.

use std::sync::Arc;

use deltalake::ObjectStore;
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _};

use crate::error::BatchError;
use crate::table::Table;

const GONE: &str = "it is gone, but the table names it";
/// Files asked for at once.
const AT_ONCE: usize = 16;

/// Files of a table that are read.
pub(crate) struct Reading {
    objects: Arc<dyn ObjectStore>,
    table: &'static str,
    schema: SchemaRef,
    files: Vec<Path>,
}

impl Reading {
    pub(crate) fn of(table: &Table, files: &[Path]) -> Self {
        Self {
            objects: table.objects(),
            table: table.definition.name,
            schema: table.definition.file_schema(),
            files: files.to_vec(),
        }
    }

    /// Fails where a file is gone.
    pub(crate) async fn check(&self) -> Result<(), BatchError> {
        let there = |file: Path| async move {
            match self.objects.head(&file).await {
                Ok(_) => Ok(()),
                Err(Error::NotFound { .. }) => Err(self.corrupt(&file, GONE.to_owned())),
                Err(error) => Err(error.into()),
            }
        };
        futures::stream::iter(self.files.clone()).map(there).buffer_unordered(AT_ONCE).try_collect().await
    }

    fn corrupt(&self, file: &Path, reason: String) -> BatchError {
        BatchError::Corrupt { what: format!("{}/{file}", self.table), reason }
    }

    /// The first file that is gone, damaged, or not as Linktide writes them.
    pub(super) async fn damaged(&self) -> Option<BatchError> {
        for file in &self.files {
            let reason = match self.objects.get(file).await {
                Ok(found) => match found.bytes().await {
                    Ok(bytes) => self.wrong(bytes),
                    Err(_) => None,
                },
                Err(Error::NotFound { .. }) => Some(GONE.to_owned()),
                // A store that fails now says nothing of its files.
                Err(_) => None,
            };
            if let Some(reason) = reason {
                return Some(self.corrupt(file, reason));
            }
        }
        None
    }

    fn wrong(&self, bytes: bytes::Bytes) -> Option<String> {
        let reader = match ParquetRecordBatchReaderBuilder::try_new(bytes) {
            Ok(reader) => reader,
            Err(error) => return Some(error.to_string()),
        };
        let needed = self.schema.fields().iter().filter(|field| !field.is_nullable());
        if let Some(field) = needed.into_iter().find(|field| reader.schema().column_with_name(field.name()).is_none()) {
            return Some(format!("it has no column {}: linktide did not write it", field.name()));
        }
        match reader.build() {
            Ok(mut rows) => rows.find_map(Result::err).map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }
}
