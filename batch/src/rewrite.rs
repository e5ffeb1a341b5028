//! Replacing files of a table, once: the one way in which jobs change tables.
//!
//! 1. Whether the job's commit has landed is looked up in the snapshot that the commit is made from: `txn` is no filter.
//! 2. Every file to be replaced must still be in that snapshot: what another commit replaced would come back.
//! 3. The commit is for the version behind that snapshot alone. After any error the table is read again, because a commit
//!    can land and still return one, and all begins anew.

use deltalake::kernel::{Add, Transaction};
use linktide_common::bucket::Hour;

use crate::error::BatchError;
use crate::table::{File, Rows, Table};

/// Set to the number of the plan by every job that changes a table.
const JOB: &str = "job";
/// Set to the new watermark by increments, too.
const INCREMENT: &str = "increment";
const ATTEMPTS: usize = 5;

/// What lets a job's commit to a table land once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    /// The number of the plan.
    pub(crate) plan: u64,
    /// Of an increment, the watermark it ends at.
    pub(crate) watermark: Option<Hour>,
}

impl Fence {
    /// Whether the job's commit is in this version of the table; an error where a later job's is.
    pub(crate) async fn has_landed(self, table: &Table) -> Result<bool, BatchError> {
        let mut landed = false;
        for transaction in self.transactions() {
            match table.transaction(&transaction.app_id).await? {
                Some(done) if done > transaction.version => {
                    return Err(BatchError::Fenced {
                        table: table.definition.name.to_owned(),
                        found: format!("{} {done}", transaction.app_id),
                        expected: format!("one up to {}", transaction.version),
                    });
                }
                Some(done) => landed |= done == transaction.version,
                None => {}
            }
        }
        Ok(landed)
    }

    fn transactions(self) -> Vec<Transaction> {
        let increment = self.watermark.map(|watermark| Transaction::new(INCREMENT, i64::from(watermark.0)));
        let job = Transaction::new(JOB, i64::try_from(self.plan).unwrap_or(i64::MAX));
        increment.into_iter().chain([job]).collect()
    }
}

/// Replaces `removed` by `added`, unless that is done.
pub(crate) async fn rewrite(
    table: &mut Table,
    removed: &[File],
    added: &[Add],
    rows: Rows,
    fence: Fence,
) -> Result<(), BatchError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        if fence.has_landed(table).await? {
            return Ok(());
        }
        check_present(table, removed)?;
        match table.commit(added.to_vec(), removed, rows, fence.transactions()).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        table.reload().await?;
    }
    if fence.has_landed(table).await? {
        return Ok(());
    }
    Err(last.unwrap_or_else(|| BatchError::Unavailable(format!("{} changes too often", table.definition.name))))
}

fn check_present(table: &Table, removed: &[File]) -> Result<(), BatchError> {
    if removed.is_empty() {
        return Ok(());
    }
    let present: std::collections::HashSet<_> = table.files()?.into_iter().map(|file| file.path).collect();
    match removed.iter().find(|file| !present.contains(&file.path)) {
        None => Ok(()),
        Some(gone) => Err(BatchError::Fenced {
            table: table.definition.name.to_owned(),
            found: format!("no {}", gone.path),
            expected: "the files that were read".to_owned(),
        }),
    }
}
