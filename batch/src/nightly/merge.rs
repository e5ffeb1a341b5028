//! Merge: `new = old + increment`, for the files that hold the event days in question, in one commit a table.
//!
//! While a month is young each of its event days has a file; once the month has turned, its files become one. The name of
//! a file says which days it holds: `2026-03-01.<id>.parquet` or `2026-03.<id>.parquet`; a table without days has one
//! file. So one key always has one row.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::Transaction;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use linktide_common::bucket::{Day, Hour, Timestamp};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::error::BatchError;
use crate::table::{File, Table};
use crate::tables::Lake;
use crate::tables::rollup::{Rollup, Rows, add_to};

/// Fences increments: set to the new watermark in the commit that adds them.
const APPLICATION: &str = "increment";
const ATTEMPTS: usize = 5;
const ALL: &str = "all";

/// Which file a day's rows are in: the day, or the month, as text.
fn slot(day: Option<Day>, young: &str) -> String {
    let Some(day) = day else { return ALL.to_owned() };
    let date = day.start().to_string();
    if date[..7] < *young { date[..7].to_owned() } else { date[..10].to_owned() }
}

fn month_of(hour: Hour) -> String {
    hour.start().to_string()[..7].to_owned()
}

/// What a file's name says it holds.
fn held_by(file: &File) -> &str {
    file.path.filename().and_then(|name| name.split('.').next()).unwrap_or_default()
}

/// Whether a slot takes over what a file holds: the same, or days of the month that the slot is.
fn takes(slot: &str, held: &str) -> bool {
    held == slot || (slot.len() == 7 && held.starts_with(slot))
}

/// Adds an increment to its table, once; the table's version with it.
pub(crate) async fn merge<R: Rollup>(lake: &Lake, rows: Rows<R>, to: Hour, now: Timestamp) -> Result<u64, BatchError> {
    let mut table = lake.table(R::definition()).await?;
    let fence = i64::from(to.0);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match table.transaction(APPLICATION).await? {
            Some(done) if done == fence => return table.version(),
            Some(done) if done > fence => {
                return Err(BatchError::Fenced {
                    table: table.definition.name.to_owned(),
                    found: format!("increment {done}"),
                    expected: format!("an increment before {fence}"),
                });
            }
            _ => {}
        }
        match add::<R>(&mut table, &rows, to, now).await {
            Ok(()) => return table.version(),
            Err(error) => last = Some(error),
        }
        // It may have landed all the same: only the table knows.
        table.reload().await?;
    }
    Err(last.unwrap_or_else(|| BatchError::Unavailable(format!("{} changes too often", table.definition.name))))
}

async fn add<R: Rollup>(table: &mut Table, rows: &Rows<R>, to: Hour, now: Timestamp) -> Result<(), BatchError> {
    let young = month_of(to);
    let mut parts: BTreeMap<String, Rows<R>> = BTreeMap::new();
    let files = table.files()?;
    // Days of a month that is no longer young go into one file, whether anything new came for them or not.
    let turned = |file: &&File| held_by(file).len() == 10 && held_by(file)[..7] < *young;
    let mut slots: BTreeSet<String> = files.iter().filter(turned).map(|file| held_by(file)[..7].to_owned()).collect();
    slots.extend(rows.keys().map(|key| slot(R::day(key), &young)));
    let replaced: Vec<File> =
        files.into_iter().filter(|file| slots.iter().any(|slot| takes(slot, held_by(file)))).collect();
    for file in &replaced {
        for (key, row) in read::<R>(table, file).await? {
            add_to::<R>(parts.entry(slot(R::day(&key), &young)).or_default(), key, row);
        }
    }
    for (key, row) in rows {
        add_to::<R>(parts.entry(slot(R::day(key), &young)).or_default(), key.clone(), row.clone());
    }
    let mut added = Vec::new();
    for (slot, part) in parts {
        let id = uuid::Uuid::new_v4();
        let month = (slot != ALL).then(|| slot[..7].to_owned());
        let folder = month.as_ref().map(|month| format!("event_month={month}/")).unwrap_or_default();
        let path = Path::from(format!("{folder}{slot}.{id}.parquet"));
        added.push(table.write(&path, month.as_deref(), &R::encode(&part)?, now).await?);
    }
    table.commit(added, &replaced, vec![Transaction::new(APPLICATION, i64::from(to.0))]).await
}

async fn read<R: Rollup>(table: &Table, file: &File) -> Result<Vec<(R::Key, R::Row)>, BatchError> {
    let bytes = table.objects().get(&file.path).await?.bytes().await?;
    tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
            rows.extend(R::decode(&batch?)?);
        }
        Ok(rows)
    })
    .await
    .map_err(|error| BatchError::Unavailable(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_days_have_files_and_older_months_have_one() {
        let day = |text: &str| {
            Some(Day::of(Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()))
        };
        assert_eq!(slot(day("2026-03-01T00:00:00Z"), "2026-03"), "2026-03-01");
        assert_eq!(slot(day("2026-04-01T00:00:00Z"), "2026-03"), "2026-04-01");
        assert_eq!(slot(day("2026-02-28T00:00:00Z"), "2026-03"), "2026-02");
        assert_eq!(slot(None, "2026-03"), "all");
        assert!(takes("2026-02", "2026-02-28") && takes("2026-02", "2026-02"));
        assert!(!takes("2026-02-28", "2026-02") && !takes("2026-02", "2026-03-01"));
    }
}
