//! Visitors of a subject: as sketches, and one by one while they are few.

use std::ops;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, AsArray as _, BinaryArray, RecordBatch};
use deltalake::arrow::datatypes::Int64Type;
use futures::future::try_join_all;
use linktide_common::bucket::{Day, Hour, Range};
use linktide_common::id::Subject;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;

use super::kept::Kept;
use super::{Names, Snapshot};
use crate::error::BatchError;
use crate::tables::columns::Columns;
use crate::tables::hourly;

/// Visitors of one subject in whole UTC hours: days from their own sketches, the hours at the edges from theirs. Nothing is put
/// together before it is asked for.
pub struct Visitors {
    /// Of the days that the hours touch, and perhaps of others.
    days: Vec<Arc<DayVisitors>>,
    touched: ops::Range<Day>,
    whole: ops::Range<Day>,
    edges: Vec<(ops::Range<Hour>, Vec<Arc<HourSketches>>)>,
}

impl Visitors {
    /// Those of the hours that were asked for.
    #[must_use]
    pub fn sketch(&self) -> Sketch {
        let mut union = Sketch::default();
        self.days.iter().for_each(|days| days.merge_into(&mut union, &self.whole));
        for (edge, hours) in &self.edges {
            let within = hours.iter().flat_map(|hours| &hours.0).filter(|(hour, _)| edge.contains(hour));
            within.for_each(|(_, sketch)| union.merge(sketch));
        }
        union
    }

    /// Whoever came on each UTC day that the hours touch, at whatever hour, while they are few: each day once and in no
    /// order. On a day that is not there, nobody clicked.
    pub fn days(&self) -> impl Iterator<Item = (Day, &VisitorSet)> {
        let days = self.days.iter().flat_map(|days| &days.each).filter(|(day, ..)| self.touched.contains(day));
        days.map(|(day, _, set)| (*day, set))
    }
}

impl Snapshot {
    /// Visitors of a subject in some hours.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn visitors(&self, subject: Subject, hours: ops::Range<Hour>) -> Result<Visitors, BatchError> {
        let touched = Range::new(hours.start.first_quarter(), hours.end.first_quarter()).days_touched();
        let (head, whole, tail) = Range::cut_hours(hours);
        let edges = [head, tail].into_iter().filter(|edge| !edge.is_empty());
        let edges = try_join_all(edges.map(async |edge| {
            let files = self.hourly.holding(&(edge.start.day()..Hour(edge.end.0 - 1).day().next()));
            Ok::<_, BatchError>((edge, self.kept(&self.hourly, files, subject).await?))
        }));
        let days = self.kept(&self.daily, self.daily.holding(&touched), subject);
        let (days, edges) = tokio::try_join!(days, edges)?;
        Ok(Visitors { days, touched, whole, edges })
    }
}

/// Visitors of days: as a sketch, and one by one.
struct DayVisitors {
    each: Box<[(Day, Option<Sketch>, VisitorSet)]>,
    /// The sketches of all its days in one, where they are several: most questions are about whole files.
    union: Option<Sketch>,
}

impl DayVisitors {
    /// Adds those of the days among these.
    fn merge_into(&self, sum: &mut Sketch, days: &ops::Range<Day>) {
        match &self.union {
            Some(union) if self.each.iter().all(|(day, ..)| days.contains(day)) => sum.merge(union),
            _ => {
                let within = self.each.iter().filter(|(day, ..)| days.contains(day));
                within.filter_map(|(_, sketch, _)| sketch.as_ref()).for_each(|sketch| sum.merge(sketch));
            }
        }
    }
}

impl Kept for DayVisitors {
    const COLUMNS: Names = &["day_bucket", "sketch", "visitor_hashes"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut days = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let (buckets, members) = (columns.dates("day_bucket")?, columns.lists("visitor_hashes")?);
            let sketches = columns.binaries("sketch")?;
            for row in 0..rows.num_rows() {
                let hashes = members.is_valid(row).then(|| members.value(row).as_primitive::<Int64Type>().clone());
                let set = hashes.map_or(VisitorSet::MANY, |hashes| hashes.values().iter().copied().collect());
                days.push((Day(buckets.value(row)), sketch(sketches, row)?, set));
            }
        }
        let union = (days.len() > 1).then(|| {
            let mut union = Sketch::default();
            days.iter().filter_map(|(_, sketch, _)| sketch.as_ref()).for_each(|sketch| union.merge(sketch));
            union
        });
        Ok(Self { each: days.into(), union })
    }

    fn beside(&self) -> usize {
        let days = self.each.iter().map(|(_, sketch, set)| size(sketch.as_ref()) + set.capacity());
        size_of_val(&*self.each) + size(self.union.as_ref()) + days.sum::<usize>()
    }
}

/// Sketches of hours.
struct HourSketches(Box<[(Hour, Sketch)]>);

impl Kept for HourSketches {
    const COLUMNS: Names = &["hour_bucket", "sketch"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut hours = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let (buckets, sketches) = (columns.instants("hour_bucket")?, columns.binaries("sketch")?);
            for row in 0..rows.num_rows() {
                if let Some(sketch) = sketch(sketches, row)? {
                    hours.push((hourly::hour_at(buckets.value(row))?, sketch));
                }
            }
        }
        Ok(Self(hours.into()))
    }

    fn beside(&self) -> usize {
        size_of_val(&*self.0) + self.0.iter().map(|(_, sketch)| size(Some(sketch))).sum::<usize>()
    }
}

fn size(sketch: Option<&Sketch>) -> usize {
    sketch.map_or(0, |sketch| sketch.as_bytes().len())
}

fn sketch(sketches: &BinaryArray, row: usize) -> Result<Option<Sketch>, BatchError> {
    let stored = sketches.is_valid(row).then(|| Sketch::from_bytes(sketches.value(row)));
    stored
        .transpose()
        .map_err(|error| BatchError::Corrupt { what: "a stored sketch".to_owned(), reason: error.to_string() })
}
