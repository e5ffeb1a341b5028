//! `link_stats_hourly`: tenant, link and event hour, with counts by quarter and the hour's sketch of visitors.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, BinaryArray, Int64Array, RecordBatch};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::bucket::{Day, Hour};
use linktide_common::count::Counts;
use linktide_common::sketch::Sketch;

use super::columns::{Columns, Owner, counted, from_micros, instant, instants, number, optional, schema, stored};
use super::rollup::{Rollup, Rows};
use crate::error::BatchError;
use crate::table::Definition;

/// Column names of the counts of each quarter of the hour.
pub(crate) const QUARTERS: [[&str; 3]; 4] = [
    ["clicks_00", "bots_00", "previews_00"],
    ["clicks_15", "bots_15", "previews_15"],
    ["clicks_30", "bots_30", "previews_30"],
    ["clicks_45", "bots_45", "previews_45"],
];

pub(crate) struct Hourly;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HourRow {
    pub(crate) quarters: [Counts; 4],
    pub(crate) sketch: Sketch,
}

impl HourRow {
    pub(crate) fn total(&self) -> Counts {
        self.quarters.iter().fold(Counts::default(), |sum, counts| sum + *counts)
    }
}

fn fields() -> Vec<Field> {
    let mut fields = vec![
        number("tenant_id"),
        optional("link_id", DataType::Int64),
        instant("hour_bucket"),
        number("total_clicks"),
        number("bot_clicks"),
        number("previews"),
        number("unique_ips"),
    ];
    fields.extend(QUARTERS.iter().flatten().map(|name| number(name)));
    fields.push(optional("sketch", DataType::Binary));
    fields
}

impl Rollup for Hourly {
    type Key = (Owner, Hour);
    type Row = HourRow;

    fn definition() -> Definition {
        let mut fields = fields();
        fields.push(super::columns::text("event_month"));
        Definition {
            name: "link_stats_hourly",
            schema: schema(fields),
            partitioned_by: Some("event_month"),
            statistics: "tenant_id,link_id,hour_bucket,total_clicks",
        }
    }

    fn day(key: &Self::Key) -> Option<Day> {
        Some(key.1.day())
    }

    fn add(row: &mut HourRow, other: HourRow) {
        for (mine, theirs) in row.quarters.iter_mut().zip(other.quarters) {
            *mine += theirs;
        }
        row.sketch.merge(&other.sketch);
    }

    fn encode(rows: &Rows<Self>) -> Result<RecordBatch, BatchError> {
        let numbers = |value: &dyn Fn(&HourRow) -> u64| {
            Arc::new(Int64Array::from_iter_values(rows.values().map(|row| stored(value(row))))) as ArrayRef
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.keys().map(|(owner, _)| owner.tenant))),
            Arc::new(rows.keys().map(|(owner, _)| owner.link).collect::<Int64Array>()),
            Arc::new(instants(rows.keys().map(|(_, hour)| Some(hour.start())))),
            numbers(&|row| row.total().humans + row.total().bots),
            numbers(&|row| row.total().bots),
            numbers(&|row| row.total().previews),
            numbers(&|row| row.sketch.count()),
        ];
        for quarter in 0..QUARTERS.len() {
            columns.push(numbers(&|row| row.quarters[quarter].humans + row.quarters[quarter].bots));
            columns.push(numbers(&|row| row.quarters[quarter].bots));
            columns.push(numbers(&|row| row.quarters[quarter].previews));
        }
        columns.push(Arc::new(sketches(rows.values().map(|row| &row.sketch))));
        Ok(RecordBatch::try_new(schema(fields()), columns)?)
    }

    fn decode(rows: &RecordBatch) -> Result<Vec<(Self::Key, HourRow)>, BatchError> {
        let columns = Columns::new(rows);
        let (owners, hours, sketches) =
            (columns.owners()?, columns.instants("hour_bucket")?, columns.binaries("sketch")?);
        let quarters = quarter_columns(&columns)?;
        (0..rows.num_rows())
            .map(|row| {
                let hour = hour_at(hours.value(row))?;
                let counts = quarters.each_ref().map(|quarter| counts_at(quarter, row));
                Ok(((owners.at(row), hour), HourRow { quarters: counts, sketch: sketch_at(sketches, row)? }))
            })
            .collect()
    }
}

pub(crate) type CountColumns<'a> = [&'a Int64Array; 3];

pub(crate) fn quarter_columns<'a>(columns: &Columns<'a>) -> Result<[CountColumns<'a>; 4], BatchError> {
    let quarter = |names: [&str; 3]| count_columns(columns, names);
    let [a, b, c, d] = QUARTERS;
    Ok([quarter(a)?, quarter(b)?, quarter(c)?, quarter(d)?])
}

/// Columns of all clicks, of those by bots, and of previews.
pub(crate) fn count_columns<'a>(
    columns: &Columns<'a>,
    [clicks, bots, previews]: [&str; 3],
) -> Result<CountColumns<'a>, BatchError> {
    Ok([columns.numbers(clicks)?, columns.numbers(bots)?, columns.numbers(previews)?])
}

pub(crate) fn counts_at([clicks, bots, previews]: &CountColumns<'_>, row: usize) -> Counts {
    let bots = counted(bots.value(row));
    Counts { humans: counted(clicks.value(row)).saturating_sub(bots), bots, previews: counted(previews.value(row)) }
}

pub(crate) fn hour_at(us: i64) -> Result<Hour, BatchError> {
    from_micros(us).map(Hour::of).ok_or_else(|| BatchError::Corrupt {
        what: "table link_stats_hourly".to_owned(),
        reason: format!("{us} µs since 1970 is no hour"),
    })
}

/// An empty sketch is stored as nothing.
pub(crate) fn sketches<'a>(sketches: impl Iterator<Item = &'a Sketch>) -> BinaryArray {
    sketches.map(|sketch| (!sketch.is_empty()).then(|| sketch.to_bytes())).collect()
}

pub(crate) fn sketch_at(sketches: &BinaryArray, row: usize) -> Result<Sketch, BatchError> {
    if sketches.is_null(row) {
        return Ok(Sketch::new());
    }
    Sketch::from_bytes(sketches.value(row))
        .map_err(|error| BatchError::Corrupt { what: "a stored sketch".to_owned(), reason: error.to_string() })
}
