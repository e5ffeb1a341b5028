//! One Parquet file of a rollup, held in memory: whose rows are where in it, without planning a query.
//!
//! Rows are in the order of their owners, so a list of owners with their first rows finds anybody's by bisection, and the
//! page index finds their pages. A file that is not in that order is refused: its answers would be wrong.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::RecordBatch;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use deltalake::parquet::file::metadata::PageIndexPolicy;

use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner};

/// Rows decoded at once.
const BATCH: usize = 8192;

/// Whose rows are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// One owner's.
    Owner(Owner),
    /// All of a tenant's links and its own.
    Tenant(i64),
}

/// A file with its parsed footer and page index.
pub(super) struct Loaded {
    path: Arc<str>,
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    /// Each owner with the first of its rows, in order.
    owners: Vec<(Owner, usize)>,
    rows: usize,
}

impl Loaded {
    pub(super) fn new(path: &str, bytes: Bytes) -> Result<Self, BatchError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&bytes, options)?;
        let mut file = Self { path: path.into(), bytes, metadata, owners: Vec::new(), rows: 0 };
        file.find_owners()?;
        Ok(file)
    }

    fn find_owners(&mut self) -> Result<(), BatchError> {
        let rows = self.metadata.metadata().file_metadata().num_rows();
        let all = 0..usize::try_from(rows).unwrap_or_default();
        for batch in self.read(all, &["tenant_id", "link_id"])? {
            let owners = Columns::new(&batch).owners()?;
            for row in 0..batch.num_rows() {
                let owner = owners.at(row);
                match self.owners.last() {
                    Some((last, _)) if *last == owner => {}
                    Some((last, _)) if *last > owner => {
                        return Err(BatchError::Corrupt {
                            what: self.path.to_string(),
                            reason: format!("row {} is not in the order of tenants and links", self.rows + row),
                        });
                    }
                    _ => self.owners.push((owner, self.rows + row)),
                }
            }
            self.rows += batch.num_rows();
        }
        self.owners.shrink_to_fit();
        Ok(())
    }

    /// Its place, which no other file has.
    pub(super) fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// How much memory it takes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.metadata.metadata().memory_size() + self.owners.len() * size_of::<(Owner, usize)>()
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The rows that are `whose`, which lie together.
    pub(super) fn rows_of(&self, whose: Whose) -> Range<usize> {
        let before = |less: &dyn Fn(&Owner) -> bool| {
            let at = self.owners.partition_point(|(owner, _)| less(owner));
            self.owners.get(at).map_or(self.rows, |(_, first)| *first)
        };
        match whose {
            Whose::Owner(wanted) => before(&|owner| *owner < wanted)..before(&|owner| *owner <= wanted),
            Whose::Tenant(tenant) => before(&|owner| owner.tenant < tenant)..before(&|owner| owner.tenant <= tenant),
        }
    }

    /// The named columns of some rows.
    pub(super) fn read(&self, rows: Range<usize>, columns: &[&str]) -> Result<Vec<RecordBatch>, BatchError> {
        let metadata = self.metadata.metadata();
        let total =
            metadata.row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or_default()).sum();
        let schema = metadata.file_metadata().schema_descr();
        let roots = self.metadata.schema().fields().iter().enumerate();
        let wanted = roots.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(at, _)| at);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
            .with_projection(ProjectionMask::roots(schema, wanted))
            .with_row_selection(RowSelection::from_consecutive_ranges(std::iter::once(rows), total))
            .with_batch_size(BATCH)
            .build()?;
        Ok(reader.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use deltalake::arrow::array::{ArrayRef, Int64Array};
    use deltalake::parquet::arrow::ArrowWriter;

    use super::*;

    /// A file of owners, each with its number of rows.
    fn file(owners: &[(i64, Option<i64>, usize)]) -> Result<Loaded, BatchError> {
        let rows = || owners.iter().flat_map(|owner| std::iter::repeat_n(owner, owner.2));
        let tenants: ArrayRef = Arc::new(Int64Array::from_iter_values(rows().map(|owner| owner.0)));
        let links: ArrayRef = Arc::new(rows().map(|owner| owner.1).collect::<Int64Array>());
        let batch =
            RecordBatch::try_from_iter_with_nullable([("tenant_id", tenants, false), ("link_id", links, true)])?;
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        Loaded::new("test.parquet", bytes.into())
    }

    #[test]
    fn rows_of_an_owner_and_of_a_tenant_lie_together() {
        let file =
            file(&[(-1, None, 2), (-1, Some(7), 3), (0, None, 1), (0, Some(-5), 4), (0, Some(9), 20_000)]).unwrap();
        let rows = |tenant, link| file.rows_of(Whose::Owner(Owner { tenant, link }));
        assert_eq!((rows(-1, None), rows(-1, Some(7)), rows(0, None)), (0..2, 2..5, 5..6));
        assert_eq!((rows(0, Some(-5)), rows(0, Some(9))), (6..10, 10..20_010));
        assert!(rows(0, Some(8)).is_empty() && rows(1, None).is_empty() && rows(-1, Some(8)).is_empty());
        assert_eq!((file.rows_of(Whose::Tenant(-1)), file.rows_of(Whose::Tenant(0))), (0..5, 5..20_010));
        assert!(file.rows_of(Whose::Tenant(-2)).is_empty());
        let read: usize = file
            .read(9..11, &["link_id"])
            .unwrap()
            .iter()
            .map(|batch| batch.column(0).null_count() + batch.num_rows())
            .sum();
        assert_eq!(read, 2);
    }

    #[test]
    fn file_in_another_order_is_refused() {
        let error = file(&[(0, Some(1), 1), (0, None, 1)]).err().unwrap();
        assert!(error.to_string().contains("row 1"), "{error}");
    }
}
