//! Rows that a query answered, put in the order of the file they go to.
//!
//! The database would sort them, too, but takes each of the pieces that it gets them in for as large as all together, and
//! holds what it has sorted beside what it was given.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, RecordBatch};
use deltalake::arrow::compute::interleave_record_batch;
use deltalake::arrow::row::{RowConverter, SortField};

use crate::error::BatchError;
use crate::tables::columns::missing;

/// Rows that are put together at once; a group of them may become hundreds.
const AT_ONCE: usize = 1024;

/// The rows by these columns, some at a time. What is null comes first.
pub(super) fn in_order(
    rows: &[RecordBatch],
    by: &[&str],
) -> Result<impl Iterator<Item = Result<RecordBatch, BatchError>>, BatchError> {
    let keys_of = |rows: &RecordBatch| -> Result<Vec<ArrayRef>, BatchError> {
        let named = |name: &&str| rows.column_by_name(name).map(Arc::clone).ok_or_else(|| missing(name));
        by.iter().map(named).collect()
    };
    let mut order: Vec<(usize, usize)> = Vec::new();
    if let Some(first) = rows.first() {
        let field = |column: &ArrayRef| SortField::new(column.data_type().clone());
        let converter = RowConverter::new(keys_of(first)?.iter().map(field).collect())?;
        let mut keys = Vec::with_capacity(rows.len());
        for (number, rows) in rows.iter().enumerate() {
            keys.push(converter.convert_columns(&keys_of(rows)?)?);
            order.extend((0..rows.num_rows()).map(|row| (number, row)));
        }
        order.sort_unstable_by(|(one, row), (other, of_other)| keys[*one].row(*row).cmp(&keys[*other].row(*of_other)));
    }
    let rows: Vec<&RecordBatch> = rows.iter().collect();
    let starts = (0..order.len()).step_by(AT_ONCE);
    Ok(starts.map(move |from| {
        let some = &order[from..order.len().min(from + AT_ONCE)];
        Ok(interleave_record_batch(&rows, some)?)
    }))
}
