//! What all rollup tables have in common: one row per key always, and rows of the same key add up.
//!
//! A table says how a new click is a row of it, how a row that is there is one, and how rows of one key become one. Both
//! kinds of rows go through the same sums, so `rollup(A ∪ B) = rollup(A) + rollup(B)` for parts cut at received hours
//! holds by construction.

use deltalake::arrow::array::RecordBatch;

use crate::error::BatchError;
use crate::table::Definition;

/// A rollup table. The queries are DataFusion's SQL.
pub(crate) trait Rollup {
    /// What rows are grouped by, in the order of the file.
    const KEY: &'static [&'static str];
    /// The column of a row's event day, or of an instant on it; none in a table that has no time.
    const DAY: Option<&'static str>;
    /// Whether a tenant has rows of its own, without a link.
    const HAS_TENANTS: bool;
    /// What it costs to hold a row that is there, in such rows as links of few clicks have: a whole number.
    const WEIGHT: &'static str = "1";

    fn definition() -> Definition;

    /// Rows of new clicks: from `clicks`, one a click, or `everyone`, where each is there for its tenant, too.
    fn clicks() -> String;

    /// The same columns of the rows that are there, from `kept`.
    fn kept() -> String;

    /// What becomes of the rows of one key.
    fn sums() -> String;

    /// What is asked of each group, from the key and the sums.
    fn columns() -> String;

    /// The rows of the table that some groups are, in their order; the first column stays.
    fn rows(groups: RecordBatch) -> Result<Vec<RecordBatch>, BatchError> {
        Ok(vec![groups])
    }
}
