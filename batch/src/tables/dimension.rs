//! `link_stats_dimension`: tenant, link, dimension, event day and value, with sparse counts by quarter for exact local days.
//!
//! The counts by quarter are three lists of one length: which quarter of the UTC day (0 to 95), all clicks in it, and
//! those of bots.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, AsArray as _, Int16Builder, Int64Array, Int64Builder, ListArray, ListBuilder, RecordBatch, StringArray,
};
use deltalake::arrow::datatypes::{DataType, Field, Int16Type, Int64Type};
use linktide_common::bucket::Day;
use linktide_common::count::Counts;
use linktide_common::enrich::Text;

use super::columns::{Columns, Owner, counted, date, days, number, optional, schema, stored, text};
use super::rollup::{Rollup, Rows};
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) struct Dimensions;

/// Counts of one value by quarter of the day; previews are in none.
pub(crate) type ByQuarter = BTreeMap<i16, Counts>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DimensionKey {
    pub(crate) owner: Owner,
    pub(crate) dimension: Text,
    pub(crate) day: Day,
    pub(crate) value: Text,
}

fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", item, false))), false)
}

fn fields() -> Vec<Field> {
    vec![
        number("tenant_id"),
        optional("link_id", DataType::Int64),
        text("dimension"),
        date("day_bucket"),
        text("value"),
        number("click_count"),
        number("bot_count"),
        list("quarters", DataType::Int16),
        list("quarter_clicks", DataType::Int64),
        list("quarter_bots", DataType::Int64),
    ]
}

impl Rollup for Dimensions {
    type Key = DimensionKey;
    type Row = ByQuarter;

    fn definition() -> Definition {
        let mut fields = fields();
        fields.push(text("event_month"));
        Definition {
            name: "link_stats_dimension",
            schema: schema(fields),
            partitioned_by: Some("event_month"),
            statistics: "tenant_id,link_id,click_count",
        }
    }

    fn day(key: &DimensionKey) -> Option<Day> {
        Some(key.day)
    }

    fn add(row: &mut ByQuarter, other: ByQuarter) {
        for (quarter, counts) in other {
            *row.entry(quarter).or_default() += counts;
        }
    }

    fn encode(rows: &Rows<Self>) -> Result<RecordBatch, BatchError> {
        let sums = |value: fn(&Counts) -> u64| {
            let sum = |row: &ByQuarter| stored(row.values().map(value).sum());
            Arc::new(Int64Array::from_iter_values(rows.values().map(sum))) as ArrayRef
        };
        let lists = |value: fn(&Counts) -> u64| {
            let mut lists =
                ListBuilder::new(Int64Builder::new()).with_field(Field::new("element", DataType::Int64, false));
            for row in rows.values() {
                lists.append_value(row.values().map(|counts| Some(stored(value(counts)))));
            }
            Arc::new(lists.finish()) as ArrayRef
        };
        let mut quarters =
            ListBuilder::new(Int16Builder::new()).with_field(Field::new("element", DataType::Int16, false));
        for row in rows.values() {
            quarters.append_value(row.keys().map(|quarter| Some(*quarter)));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.keys().map(|key| key.owner.tenant))),
            Arc::new(rows.keys().map(|key| key.owner.link).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(rows.keys().map(|key| &key.dimension))),
            Arc::new(days(rows.keys().map(|key| key.day))),
            Arc::new(StringArray::from_iter_values(rows.keys().map(|key| &key.value))),
            sums(|counts| counts.humans + counts.bots),
            sums(|counts| counts.bots),
            Arc::new(quarters.finish()),
            lists(|counts| counts.humans + counts.bots),
            lists(|counts| counts.bots),
        ];
        Ok(RecordBatch::try_new(schema(fields()), columns)?)
    }

    fn decode(rows: &RecordBatch) -> Result<Vec<(DimensionKey, ByQuarter)>, BatchError> {
        let columns = Columns::new(rows);
        let (owners, days) = (columns.owners()?, columns.dates("day_bucket")?);
        let (dimensions, values, lists) =
            (columns.texts("dimension")?, columns.texts("value")?, QuarterLists::of(&columns)?);
        (0..rows.num_rows())
            .map(|row| {
                let key = DimensionKey {
                    owner: owners.at(row),
                    dimension: dimensions.value(row).into(),
                    day: Day(days.value(row)),
                    value: values.value(row).into(),
                };
                Ok((key, lists.at(row).collect()))
            })
            .collect()
    }
}

/// The three lists of counts by quarter.
pub(crate) struct QuarterLists<'a> {
    quarters: &'a ListArray,
    clicks: &'a ListArray,
    bots: &'a ListArray,
}

impl<'a> QuarterLists<'a> {
    pub(crate) fn of(columns: &Columns<'a>) -> Result<Self, BatchError> {
        Ok(Self {
            quarters: columns.lists("quarters")?,
            clicks: columns.lists("quarter_clicks")?,
            bots: columns.lists("quarter_bots")?,
        })
    }

    /// Each quarter of the day with its counts.
    pub(crate) fn at(&self, row: usize) -> impl Iterator<Item = (i16, Counts)> + use<> {
        let quarters = self.quarters.value(row).as_primitive::<Int16Type>().clone();
        let clicks = self.clicks.value(row).as_primitive::<Int64Type>().clone();
        let bots = self.bots.value(row).as_primitive::<Int64Type>().clone();
        (0..quarters.values().len()).map(move |at| {
            let bots = counted(bots.value(at));
            let humans = counted(clicks.value(at)).saturating_sub(bots);
            (quarters.value(at), Counts { humans, bots, previews: 0 })
        })
    }
}
