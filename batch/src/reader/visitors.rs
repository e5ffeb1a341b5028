//! Visitors of a subject: as sketches, and one by one while they are few.

use std::ops;

use deltalake::arrow::array::{Array as _, AsArray as _};
use deltalake::arrow::datatypes::Int64Type;
use linktide_common::bucket::{Day, Hour, Range};
use linktide_common::id::Subject;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;

use super::{Names, Snapshot, whose};
use crate::error::BatchError;
use crate::tables::columns::Columns;
use crate::tables::hourly;

const DAY_VISITORS: Names = &["tenant_id", "link_id", "day_bucket", "sketch", "visitor_hashes"];
const HOUR_SKETCH: Names = &["tenant_id", "link_id", "hour_bucket", "sketch"];

/// Visitors of one subject.
#[derive(Debug, Default)]
pub struct Visitors {
    /// Those of the hours that were asked for.
    pub sketch: Sketch,
    /// Those of each UTC day that the hours touch, each day once and in no order. On a day that is not there, nobody clicked.
    pub days: Vec<(Day, VisitorSet)>,
}

impl Snapshot {
    /// Visitors of a subject in whole UTC hours: days from their own sketches, the hours at the edges from theirs. Whoever
    /// came on one of the days that the hours touch, at whatever hour, is told beside them, while they are few.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn visitors(&self, subject: Subject, hours: ops::Range<Hour>) -> Result<Visitors, BatchError> {
        let touched = Range::new(hours.start.first_quarter(), hours.end.first_quarter()).days_touched();
        let (head, whole, tail) = Range::cut_hours(hours);
        let files = self.daily.holding(&touched);
        let by_day = self.scan(&self.daily, files, whose(subject), DAY_VISITORS, move |rows, found: &mut Visitors| {
            let columns = Columns::new(rows);
            let (buckets, members) = (columns.dates("day_bucket")?, columns.lists("visitor_hashes")?);
            let day = |row| Day(buckets.value(row));
            for row in (0..rows.num_rows()).filter(|row| touched.contains(&day(*row))) {
                let hashes = members.is_valid(row).then(|| members.value(row).as_primitive::<Int64Type>().clone());
                let set = hashes.map_or(VisitorSet::MANY, |hashes| hashes.values().iter().copied().collect());
                found.days.push((day(row), set));
            }
            take_sketches(&columns, |row| whole.contains(&day(row)), &mut found.sketch)
        });
        let mut found = by_day.await?;
        for edge in [head, tail].into_iter().filter(|edge| !edge.is_empty()) {
            let files = self.hourly.holding(&(edge.start.day()..Hour(edge.end.0 - 1).day().next()));
            let part = self.scan(&self.hourly, files, whose(subject), HOUR_SKETCH, move |rows, union: &mut Sketch| {
                let columns = Columns::new(rows);
                let buckets = columns.instants("hour_bucket")?;
                let within = |row| hourly::hour_at(buckets.value(row)).is_ok_and(|hour| edge.contains(&hour));
                take_sketches(&columns, within, union)
            });
            found.sketch.merge(&part.await?);
        }
        Ok(found)
    }
}

/// Adds the sketches of the rows that lie `within`.
fn take_sketches(columns: &Columns<'_>, within: impl Fn(usize) -> bool, union: &mut Sketch) -> Result<(), BatchError> {
    let sketches = columns.binaries("sketch")?;
    for row in (0..sketches.len()).filter(|row| sketches.is_valid(*row) && within(*row)) {
        union
            .merge_bytes(sketches.value(row))
            .map_err(|error| BatchError::Corrupt { what: "a stored sketch".to_owned(), reason: error.to_string() })?;
    }
    Ok(())
}
