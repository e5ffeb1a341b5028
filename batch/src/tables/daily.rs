//! `link_stats_daily`: tenant, link and event day, for long ranges.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::bucket::{Day, Timestamp};
use linktide_common::count::Counts;
use linktide_common::sketch::Sketch;

use super::columns::{
    Columns, Owner, date, days, from_micros, instant_type, instants, number, optional, schema, stored, text,
};
use super::hourly::{count_columns, counts_at, sketch_at, sketches};
use super::rollup::{Rollup, Rows};
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) const COUNTS: [&str; 3] = ["total_clicks", "bot_clicks", "previews"];

pub(crate) struct Daily;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DayTotals {
    pub(crate) counts: Counts,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) sketch: Sketch,
}

fn fields() -> Vec<Field> {
    vec![
        number("tenant_id"),
        optional("link_id", DataType::Int64),
        date("day_bucket"),
        number("total_clicks"),
        number("bot_clicks"),
        number("previews"),
        optional("first_click", instant_type()),
        optional("last_click", instant_type()),
        number("unique_ips"),
        optional("sketch", DataType::Binary),
    ]
}

impl Rollup for Daily {
    type Key = (Owner, Day);
    type Row = DayTotals;

    fn definition() -> Definition {
        let mut fields = fields();
        fields.push(text("event_month"));
        Definition {
            name: "link_stats_daily",
            schema: schema(fields),
            partitioned_by: Some("event_month"),
            statistics: "tenant_id,link_id,day_bucket,total_clicks",
        }
    }

    fn day(key: &Self::Key) -> Option<Day> {
        Some(key.1)
    }

    fn add(row: &mut DayTotals, other: DayTotals) {
        row.counts += other.counts;
        row.first = [row.first, other.first].into_iter().flatten().min();
        row.last = row.last.max(other.last);
        row.sketch.merge(&other.sketch);
    }

    fn encode(rows: &Rows<Self>) -> Result<RecordBatch, BatchError> {
        let numbers = |value: &dyn Fn(&DayTotals) -> u64| {
            Arc::new(Int64Array::from_iter_values(rows.values().map(|row| stored(value(row))))) as ArrayRef
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.keys().map(|(owner, _)| owner.tenant))),
            Arc::new(rows.keys().map(|(owner, _)| owner.link).collect::<Int64Array>()),
            Arc::new(days(rows.keys().map(|(_, day)| *day))),
            numbers(&|row| row.counts.humans + row.counts.bots),
            numbers(&|row| row.counts.bots),
            numbers(&|row| row.counts.previews),
            Arc::new(instants(rows.values().map(|row| row.first))),
            Arc::new(instants(rows.values().map(|row| row.last))),
            numbers(&|row| row.sketch.count()),
            Arc::new(sketches(rows.values().map(|row| &row.sketch))),
        ];
        Ok(RecordBatch::try_new(schema(fields()), columns)?)
    }

    fn decode(rows: &RecordBatch) -> Result<Vec<(Self::Key, DayTotals)>, BatchError> {
        let columns = Columns::new(rows);
        let (owners, days, stored) = (columns.owners()?, columns.dates("day_bucket")?, columns.binaries("sketch")?);
        let counts = count_columns(&columns, COUNTS)?;
        let (first, last) = (columns.instants("first_click")?, columns.instants("last_click")?);
        (0..rows.num_rows())
            .map(|row| {
                let at = |column: &deltalake::arrow::array::TimestampMicrosecondArray| {
                    column.is_valid(row).then(|| column.value(row)).and_then(from_micros)
                };
                let totals = DayTotals {
                    counts: counts_at(&counts, row),
                    first: at(first),
                    last: at(last),
                    sketch: sketch_at(stored, row)?,
                };
                Ok(((owners.at(row), Day(days.value(row))), totals))
            })
            .collect()
    }
}
