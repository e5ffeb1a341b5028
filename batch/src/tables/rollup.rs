//! What all rollup tables have in common: one row per key always, and rows of the same key add up.
//!
//! `rollup(A ∪ B) = rollup(A) + rollup(B)` for parts cut at received hours is the law the whole layer rests on.

use std::collections::BTreeMap;

use deltalake::arrow::array::RecordBatch;
use linktide_common::bucket::Day;

use crate::error::BatchError;
use crate::table::Definition;

/// A rollup table.
pub(crate) trait Rollup: Sized + Send + 'static {
    /// What a row is about, in the order of the file.
    type Key: Ord + Clone + Send + Sync;
    /// What a row says.
    type Row: Clone + Send + Sync;

    fn definition() -> Definition;

    /// The event day a row belongs to; none in a table that has no time.
    fn day(key: &Self::Key) -> Option<Day>;

    /// Adds another part's row of the same key.
    fn add(row: &mut Self::Row, other: Self::Row);

    fn encode(rows: &BTreeMap<Self::Key, Self::Row>) -> Result<RecordBatch, BatchError>;

    fn decode(rows: &RecordBatch) -> Result<Vec<(Self::Key, Self::Row)>, BatchError>;
}

/// The rows of a rollup.
pub(crate) type Rows<R> = BTreeMap<<R as Rollup>::Key, <R as Rollup>::Row>;

/// Adds a row to those there are.
pub(crate) fn add_to<R: Rollup>(rows: &mut Rows<R>, key: R::Key, row: R::Row) {
    match rows.entry(key) {
        std::collections::btree_map::Entry::Occupied(mut known) => R::add(known.get_mut(), row),
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert(row);
        }
    }
}
