//! What is kept in memory of an owner's rows in a file: far less than the columns that they are read from, each of which has
//! buffers and a header of its own, and with nothing left to look up by name.

use std::marker::PhantomData;

use deltalake::arrow::array::{Array as _, RecordBatch, TimestampMicrosecondArray};
use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::label::Label;

use super::series::{Moment, Series, pack, put, take, unpacked};
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
pub(super) struct Hours(pub(super) Series<Hour>);

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
        Ok(Self(hours.into_iter().collect()))
    }

    fn beside(&self) -> usize {
        self.0.size()
    }
}

/// Quarters with their counts, without empty ones.
pub(super) struct Quarters(pub(super) Series<Quarter>);

impl Kept for Quarters {
    const COLUMNS: Names = &hourly::BY_QUARTER;

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut quarters = Vec::new();
        for rows in rows {
            hourly::each_quarter(rows, |_, quarter, counts| quarters.push((quarter, counts)))?;
        }
        Ok(Self(quarters.into_iter().collect()))
    }

    fn beside(&self) -> usize {
        self.0.size()
    }
}

/// Counts by value of each dimension, of each day or of each quarter.
pub(super) struct ByValue<T> {
    /// The values, one behind the other.
    texts: Box<str>,
    /// Of each value, how long its text is, how many bytes its counts take, and those.
    counts: Box<[u8]>,
    /// Where each dimension ends, in the order of names, as rows of one day are in a file.
    dimensions: Box<[Ends]>,
    of: PhantomData<T>,
}

struct Ends {
    dimension: Dimension,
    texts: usize,
    counts: usize,
}

impl<T: Moment + Ord> ByValue<T> {
    fn of(mut found: Vec<(Dimension, &str, T, Counts)>) -> Self {
        found.sort_by(|(one, text, at, _), (other, as_text, as_at, _)| {
            (one.name(), text, at).cmp(&(other.name(), as_text, as_at))
        });
        let (mut texts, mut counts, mut dimensions) = (String::new(), Vec::new(), Vec::<Ends>::new());
        let mut packed = Vec::new();
        for value in found.chunk_by(|(one, text, ..), (other, as_text, ..)| (one, text) == (other, as_text)) {
            let Some((dimension, text, ..)) = value.first().copied() else { continue };
            packed.clear();
            pack(value.iter().map(|(.., at, counts)| (*at, *counts)), &mut packed);
            texts.push_str(text);
            put(text.len() as u64, &mut counts);
            put(packed.len() as u64, &mut counts);
            counts.extend_from_slice(&packed);
            let ends = Ends { dimension, texts: texts.len(), counts: counts.len() };
            match dimensions.last_mut().filter(|last| last.dimension == dimension) {
                Some(last) => *last = ends,
                None => dimensions.push(ends),
            }
        }
        Self { texts: texts.into(), counts: counts.into(), dimensions: dimensions.into(), of: PhantomData }
    }
}

impl<T: Moment> ByValue<T> {
    /// Each value of a dimension, with its counts in their order.
    pub(super) fn of_dimension(
        &self,
        dimension: Dimension,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = (T, Counts)>)> {
        let place = self.dimensions.iter().position(|ends| ends.dimension == dimension);
        let (mut texts, mut counts) = match place {
            Some(place) => {
                let (text, first) = match place.checked_sub(1).map(|before| &self.dimensions[before]) {
                    Some(before) => (before.texts, before.counts),
                    None => (0, 0),
                };
                let ends = &self.dimensions[place];
                (&self.texts[text..ends.texts], &self.counts[first..ends.counts])
            }
            None => ("", &[][..]),
        };
        std::iter::from_fn(move || {
            if counts.is_empty() {
                return None;
            }
            let (text, len) = (length(&mut counts), length(&mut counts));
            let (value, others) = texts.split_at(text);
            let (of_value, rest) = counts.split_at(len);
            (texts, counts) = (others, rest);
            Some((value, unpacked(of_value)))
        })
    }

    fn size(&self) -> usize {
        self.texts.len() + self.counts.len() + size_of_val(&*self.dimensions)
    }
}

fn length(bytes: &mut &[u8]) -> usize {
    usize::try_from(take(bytes)).unwrap_or_default()
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
                found.push((dimension, text, day, Counts { humans, bots, previews: 0, repeats: 0 }));
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
                let quarters = lists.at(row).map(|(quarter, counts)| (Quarter(first + i32::from(quarter)), counts));
                found.extend(quarters.map(|(quarter, counts)| (dimension, text, quarter, counts)));
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
