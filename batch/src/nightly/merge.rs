//! Merge: `new = old + increment`, for the files that hold the event days in question, in one commit a table.
//!
//! While a month is young each of its event days has a file; once the month has turned, its files become one. The name of
//! a file says which days it holds: `2026-03-01.<id>.parquet` or `2026-03.<id>.parquet`; a table without days has one
//! file. So one key always has one row.
//!
//! Old rows and new clicks are grouped together by one query, which yields the rows file by file, each in the order of its
//! key. Nothing but the file that is being encoded is held in memory beyond the budget of the queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, Date32Array, RecordBatch};
use deltalake::arrow::compute::cast;
use deltalake::arrow::datatypes::{DataType, Date32Type, SchemaRef};
use deltalake::datafusion::error::DataFusionError;
use deltalake::datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use deltalake::datafusion::physical_plan::SendableRecordBatchStream;
use deltalake::kernel::{Add, Transaction};
use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Hour, Timestamp};
use object_store::path::Path;

use super::increment::{Session, Touched};
use crate::error::BatchError;
use crate::table::{File, Table};
use crate::tables::Lake;
use crate::tables::parquet::Encoder;
use crate::tables::rollup::Rollup;

/// Fences increments: set to the new watermark in the commit that adds them.
const APPLICATION: &str = "increment";
const ATTEMPTS: usize = 5;

/// Which days a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    /// A day of a young month.
    Day(Day),
    /// A month that has turned, by its first day.
    Month(Day),
    /// The one file of a table without days.
    All,
}

impl Slot {
    /// Where rows of a day belong, `young` being the first day of the young month.
    fn of(day: Day, young: Day) -> Self {
        if day >= young { Self::Day(day) } else { Self::Month(month_of(day)) }
    }

    /// Where rows of a file belong now, by the file's name.
    fn holding(file: &File, young: Day) -> Option<Self> {
        let name = file.path.filename()?.split('.').next()?;
        if name == "all" {
            return Some(Self::All);
        }
        let date = if name.len() == 7 { format!("{name}-01") } else { name.to_owned() };
        let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
        let day = Timestamp::from_millis(start.as_millisecond()).map(Day::of)?;
        Some(if name.len() == 7 { Self::Month(day) } else { Self::of(day, young) })
    }

    fn month(self) -> Option<String> {
        match self {
            Self::Day(day) | Self::Month(day) => Some(day.start().to_string()[..7].to_owned()),
            Self::All => None,
        }
    }

    /// A place for a file that no other has.
    fn place(self) -> Path {
        let name = match self {
            Self::Day(day) => day.start().to_string()[..10].to_owned(),
            Self::Month(day) => day.start().to_string()[..7].to_owned(),
            Self::All => "all".to_owned(),
        };
        let folder = self.month().map(|month| format!("event_month={month}/")).unwrap_or_default();
        Path::from(format!("{folder}{name}.{}.parquet", uuid::Uuid::new_v4()))
    }

    /// What its rows sort by before their key.
    fn first_day(self) -> Option<Day> {
        match self {
            Self::Day(day) | Self::Month(day) => Some(day),
            Self::All => None,
        }
    }
}

/// The first day of a day's month.
fn month_of(day: Day) -> Day {
    let date = day.start().to_string();
    let of_month: i32 = date[8..10].parse().expect("a date's last two letters are the day of its month");
    Day(day.0 - of_month + 1)
}

/// Adds an increment to its table, once; the table's version with it.
pub(crate) async fn merge<R: Rollup>(
    lake: &Lake,
    session: &Session,
    touched: &Touched,
    to: Hour,
    now: Timestamp,
) -> Result<u64, BatchError> {
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
        match add::<R>(&mut table, session, touched, to, now).await {
            Ok(()) => return table.version(),
            Err(error) => last = Some(error),
        }
        // It may have landed all the same: only the table knows.
        table.reload().await?;
    }
    Err(last.unwrap_or_else(|| BatchError::Unavailable(format!("{} changes too often", table.definition.name))))
}

async fn add<R: Rollup>(
    table: &mut Table,
    session: &Session,
    touched: &Touched,
    to: Hour,
    now: Timestamp,
) -> Result<(), BatchError> {
    let young = month_of(to.day());
    let files = slotted(table, young)?;
    let new = new_slots::<R>(touched, young);
    let mut slots = new.clone();
    // Days of a month that is no longer young go into one file, whether anything new came for them or not.
    slots.extend(turned(&files));
    let replaced: Vec<File> =
        files.into_iter().filter(|(_, slot)| slots.contains(slot)).map(|(file, _)| file).collect();
    let mut rows = Vec::new();
    if !new.is_empty() {
        rows.push(R::clicks());
    }
    if !replaced.is_empty() {
        let paths: Vec<Path> = replaced.iter().map(|file| file.path.clone()).collect();
        session.read("kept", table, &paths).await?;
        rows.push(R::kept());
    }
    let added = if rows.is_empty() {
        Vec::new()
    } else {
        session.or_damage(write::<R>(table, session, &rows, young, now)).await?
    };
    table.commit(added, &replaced, vec![Transaction::new(APPLICATION, i64::from(to.0))]).await
}

/// The files of a rollup with what they hold. One that Linktide did not write would be counted beside its own.
fn slotted(table: &Table, young: Day) -> Result<Vec<(File, Slot)>, BatchError> {
    let slotted = |file: File| match Slot::holding(&file, young) {
        Some(slot) => Ok((file, slot)),
        None => Err(BatchError::Corrupt {
            what: format!("table {}", table.definition.name),
            reason: format!(
                "linktide did not write its file {}; set the table back to the newest publication's version of it",
                file.path
            ),
        }),
    };
    table.files()?.into_iter().map(slotted).collect()
}

fn new_slots<R: Rollup>(touched: &Touched, young: Day) -> BTreeSet<Slot> {
    match R::DAY {
        Some(_) => touched.days.keys().map(|day| Slot::of(*day, young)).collect(),
        None => (touched.labelled > 0).then_some(Slot::All).into_iter().collect(),
    }
}

/// Months that have turned and still have files of days.
fn turned(files: &[(File, Slot)]) -> impl Iterator<Item = Slot> {
    let of_day = |file: &File| file.path.filename().and_then(|name| name.find('.')) == Some(10);
    files.iter().filter(move |(file, slot)| matches!(slot, Slot::Month(_)) && of_day(file)).map(|(_, slot)| *slot)
}

/// Writes the sums of `rows` as files, one a slot.
async fn write<R: Rollup>(
    table: &Table,
    session: &Session,
    rows: &[String],
    young: Day,
    now: Timestamp,
) -> Result<Vec<Add>, BatchError> {
    session.context().register_udf(slot_start(young));
    let stream = session.context().sql(&query::<R>(rows)).await?.execute_stream().await?;
    Files { table, young, now, schema: table.definition.file_schema(), open: None, added: Vec::new() }
        .take(stream)
        .await
}

fn query<R: Rollup>(rows: &[String]) -> String {
    let slot = R::DAY.map_or_else(|| "CAST(NULL AS DATE)".to_owned(), |day| format!("slot_start({day})"));
    let order: String = R::KEY.iter().map(|column| format!(", {column} ASC NULLS FIRST")).collect();
    format!(
        "SELECT {slot} AS slot, {columns} FROM (SELECT {key}, {sums} FROM ({rows}) GROUP BY {key}) ORDER BY slot{order}",
        columns = R::columns(),
        key = R::KEY.join(", "),
        sums = R::sums(),
        rows = rows.join(" UNION ALL ")
    )
}

/// `slot_start(day)`: the first day that is in one file with it.
fn slot_start(young: Day) -> ScalarUDF {
    let start = move |arguments: &[ColumnarValue]| {
        let days = ColumnarValue::values_to_arrays(arguments)?;
        let first = |day| Slot::of(Day(day), young).first_day().map_or(day, |first| first.0);
        let starts: Date32Array = days[0].as_primitive::<Date32Type>().unary(first);
        Ok::<_, DataFusionError>(ColumnarValue::Array(Arc::new(starts)))
    };
    create_udf("slot_start", vec![DataType::Date32], DataType::Date32, Volatility::Immutable, Arc::new(start))
}

/// Rows that come slot by slot, on their way into files.
struct Files<'a> {
    table: &'a Table,
    young: Day,
    now: Timestamp,
    schema: SchemaRef,
    open: Option<(Slot, Encoder)>,
    added: Vec<Add>,
}

impl Files<'_> {
    async fn take(mut self, mut rows: SendableRecordBatchStream) -> Result<Vec<Add>, BatchError> {
        while let Some(batch) = rows.try_next().await? {
            let starts = batch.column(0).as_primitive::<Date32Type>().clone();
            let mut from = 0;
            while from < batch.num_rows() {
                let slot = self.slot(&starts, from);
                let mut to = from + 1;
                while to < batch.num_rows() && self.slot(&starts, to) == slot {
                    to += 1;
                }
                self.add(slot, conform(&batch.slice(from, to - from), &self.schema)?).await?;
                from = to;
            }
        }
        self.close().await?;
        Ok(self.added)
    }

    fn slot(&self, starts: &Date32Array, row: usize) -> Slot {
        if starts.is_null(row) { Slot::All } else { Slot::of(Day(starts.value(row)), self.young) }
    }

    async fn add(&mut self, slot: Slot, rows: RecordBatch) -> Result<(), BatchError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != slot) {
            self.close().await?;
            self.open = Some((slot, Encoder::start(Arc::clone(&self.schema))));
        }
        if let Some((_, encoder)) = &self.open {
            encoder.add(rows).await;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), BatchError> {
        if let Some((slot, encoder)) = self.open.take() {
            let file = encoder.finish().await?;
            self.added.push(self.table.put(&slot.place(), slot.month().as_deref(), file, self.now).await?);
        }
        Ok(())
    }
}

/// The columns of a file, found by their names in the answer of a query.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, BatchError> {
    let column = |field: &Arc<deltalake::arrow::datatypes::Field>| -> Result<ArrayRef, BatchError> {
        let found = rows.column_by_name(field.name()).ok_or_else(|| BatchError::Corrupt {
            what: "a query".to_owned(),
            reason: format!("it has no column {}", field.name()),
        })?;
        Ok(cast(found, field.data_type())?)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str) -> Day {
        let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().unwrap();
        Day::of(Timestamp::from_millis(start.as_millisecond()).unwrap())
    }

    #[test]
    fn young_days_have_files_and_older_months_have_one() {
        let young = month_of(day("2026-03-01"));
        for (date, place) in [
            ("2026-03-01", "event_month=2026-03/2026-03-01."),
            ("2026-04-01", "event_month=2026-04/2026-04-01."),
            ("2026-02-28", "event_month=2026-02/2026-02."),
            ("1969-12-31", "event_month=1969-12/1969-12."),
        ] {
            let slot = Slot::of(day(date), young);
            let path = slot.place();
            assert!(path.as_ref().starts_with(place), "{date}: {path}");
            assert_eq!(Slot::of(slot.first_day().unwrap(), young), slot, "a slot's first day is in it");
        }
        assert!(Slot::All.place().as_ref().starts_with("all."));
    }

    #[test]
    fn first_day_of_a_month_is_its_own() {
        for date in ["2024-02-29", "2026-12-31", "1970-01-01", "1952-07-15"] {
            assert_eq!(month_of(day(date)), day(&format!("{}-01", &date[..7])));
        }
    }
}
