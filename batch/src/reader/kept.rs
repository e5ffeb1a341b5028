//! What is kept in memory of an owner's rows in a file: far less than the columns that they are read from, each of which has
//! buffers and a header of its own, and with nothing left to look up by name.

use deltalake::arrow::array::{Array as _, RecordBatch, TimestampMicrosecondArray};
use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::label::Label;

use super::{DayRow, Names};
use crate::error::BatchError;
use crate::tables::columns::{Columns, counted, from_micros};
use crate::tables::daily::COUNTS;
use crate::tables::dimension::QuarterLists;
use crate::tables::hourly;
use crate::tables::link::Links;

/// What is kept of an owner's rows.
pub(super) trait Kept: Sized + Send + Sync + 'static {
    /// The columns that it is read from, beside those that say whose the rows are.
    const COLUMNS: Names;

    /// Reads an owner's rows, in their order in the file.
    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError>;

    /// Bytes that it takes in memory beside itself, about.
    fn beside(&self) -> usize;
}

/// Days with their counts.
pub(super) struct Days(pub(super) Box<[DayRow]>);

impl Kept for Days {
    const COLUMNS: Names =
        &["day_bucket", "total_clicks", "bot_clicks", "previews", "repeats", "first_click", "last_click"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut days = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let (buckets, counts) = (columns.dates("day_bucket")?, hourly::count_columns(&columns, COUNTS)?);
            let (first, last) = (columns.instants("first_click")?, columns.instants("last_click")?);
            days.extend((0..rows.num_rows()).map(|row| DayRow {
                day: Day(buckets.value(row)),
                counts: hourly::counts_at(&counts, row),
                first: instant(first, row),
                last: instant(last, row),
            }));
        }
        Ok(Self(days.into()))
    }

    fn beside(&self) -> usize {
        size_of_val(&*self.0)
    }
}

fn instant(column: &TimestampMicrosecondArray, row: usize) -> Option<Timestamp> {
    column.is_valid(row).then(|| column.value(row)).and_then(from_micros)
}

/// Hours with their counts, without empty ones.
pub(super) struct Hours(pub(super) Box<[(Hour, Counts)]>);

impl Kept for Hours {
    const COLUMNS: Names = &["hour_bucket", "total_clicks", "bot_clicks", "previews", "repeats"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut hours = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let (buckets, counts) = (columns.instants("hour_bucket")?, hourly::count_columns(&columns, COUNTS)?);
            for row in 0..rows.num_rows() {
                let counts = hourly::counts_at(&counts, row);
                if !counts.is_zero() {
                    hours.push((hourly::hour_at(buckets.value(row))?, counts));
                }
            }
        }
        Ok(Self(hours.into()))
    }

    fn beside(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Quarters with their counts, without empty ones.
pub(super) struct Quarters(pub(super) Box<[(Quarter, Counts)]>);

impl Kept for Quarters {
    const COLUMNS: Names = &hourly::BY_QUARTER;

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut quarters = Vec::new();
        for rows in rows {
            hourly::each_quarter(rows, |_, quarter, counts| quarters.push((quarter, counts)))?;
        }
        Ok(Self(quarters.into()))
    }

    fn beside(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Counts by value of each dimension, of each day or of each quarter.
pub(super) struct ByValue<T> {
    /// The values, one behind the other.
    texts: Box<str>,
    /// In the order of dimensions' names and of texts, as rows of one day are in a file.
    values: Box<[Value]>,
    counts: Box<[Counted<T>]>,
}

struct Value {
    dimension: Dimension,
    /// Where its text ends, and where its counts do.
    text: usize,
    counts: usize,
}

/// Clicks of a day or a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted<T> {
    pub(super) at: T,
    humans: u64,
    bots: u64,
}

impl<T> Counted<T> {
    pub(super) fn counts(&self) -> Counts {
        Counts { humans: self.humans, bots: self.bots, previews: 0, repeats: 0 }
    }
}

impl<T: Copy + Ord> ByValue<T> {
    fn of(mut found: Vec<(Dimension, &str, Counted<T>)>) -> Self {
        found.sort_by(|(one, text, counted), (other, as_text, as_counted)| {
            (one.name(), text, counted.at).cmp(&(other.name(), as_text, as_counted.at))
        });
        let (mut texts, mut values, mut counts) = (String::new(), Vec::<Value>::new(), Vec::with_capacity(found.len()));
        let mut before = None;
        for (dimension, text, counted) in found {
            if before != Some((dimension, text)) {
                before = Some((dimension, text));
                texts.push_str(text);
                values.push(Value { dimension, text: texts.len(), counts: 0 });
            }
            counts.push(counted);
            if let Some(value) = values.last_mut() {
                value.counts = counts.len();
            }
        }
        Self { texts: texts.into(), values: values.into(), counts: counts.into() }
    }
}

impl<T> ByValue<T> {
    /// Each value of a dimension, with its counts in their order.
    pub(super) fn of_dimension(&self, dimension: Dimension) -> impl Iterator<Item = (&str, &[Counted<T>])> {
        let first = self.values.partition_point(|value| value.dimension.name() < dimension.name());
        let (mut text, mut counts) = match first.checked_sub(1).map(|before| &self.values[before]) {
            Some(before) => (before.text, before.counts),
            None => (0, 0),
        };
        self.values[first..].iter().take_while(move |value| value.dimension == dimension).map(move |value| {
            let of = (&self.texts[text..value.text], &self.counts[counts..value.counts]);
            (text, counts) = (value.text, value.counts);
            of
        })
    }

    fn size(&self) -> usize {
        self.texts.len() + size_of_val(&*self.values) + size_of_val(&*self.counts)
    }
}

impl Kept for ByValue<Day> {
    const COLUMNS: Names = &["dimension", "day_bucket", "value", "click_count", "bot_count"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut found = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let (clicks, bots) = (columns.numbers("click_count")?, columns.numbers("bot_count")?);
            each_value(&columns, |row, dimension, text, day| {
                let bots = counted(bots.value(row));
                let humans = counted(clicks.value(row)).saturating_sub(bots);
                found.push((dimension, text, Counted { at: day, humans, bots }));
            })?;
        }
        Ok(Self::of(found))
    }

    fn beside(&self) -> usize {
        self.size()
    }
}

impl Kept for ByValue<Quarter> {
    const COLUMNS: Names = &["dimension", "day_bucket", "value", "quarters", "quarter_clicks", "quarter_bots"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut found = Vec::new();
        for rows in rows {
            let columns = Columns::new(rows);
            let lists = QuarterLists::of(&columns)?;
            each_value(&columns, |row, dimension, text, day| {
                let first = day.first_quarter().0;
                found.extend(lists.at(row).map(|(quarter, Counts { humans, bots, .. })| {
                    (dimension, text, Counted { at: Quarter(first + i32::from(quarter)), humans, bots })
                }));
            })?;
        }
        Ok(Self::of(found))
    }

    fn beside(&self) -> usize {
        self.size()
    }
}

/// Hands over each row of a dimension that is known.
fn each_value<'a>(
    columns: &Columns<'a>,
    mut take: impl FnMut(usize, Dimension, &'a str, Day),
) -> Result<(), BatchError> {
    let (names, texts, days) = (columns.texts("dimension")?, columns.texts("value")?, columns.dates("day_bucket")?);
    let mut known: Option<(&str, Option<Dimension>)> = None;
    for row in 0..names.len() {
        let name = names.value(row);
        let dimension = match known {
            Some((before, dimension)) if before == name => dimension,
            _ => name.parse().ok(),
        };
        known = Some((name, dimension));
        if let Some(dimension) = dimension {
            take(row, dimension, texts.value(row), Day(days.value(row)));
        }
    }
    Ok(())
}

/// What links are called.
pub(super) struct Labels(pub(super) Box<[Label]>);

impl Kept for Labels {
    const COLUMNS: Names = &["slug", "title", "destination", "labelled_at", "click_id"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut labels = Vec::new();
        for rows in rows {
            labels.extend(Links::labels(rows)?);
        }
        Ok(Self(labels.into()))
    }

    fn beside(&self) -> usize {
        let texts = |label: &Label| {
            let texts = [&label.slug, &label.title, &label.destination];
            texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
        };
        size_of_val(&*self.0) + self.0.iter().map(texts).sum::<usize>()
    }
}
