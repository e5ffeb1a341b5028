//! `link_stats_dimension`: tenant, link, dimension, event day and value, with sparse counts by quarter for exact local days.
//!
//! The counts by quarter are three lists of one length: which quarter of the UTC day (0 to 95), all clicks in it, and
//! those of bots.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use deltalake::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int64Array, ListArray, RecordBatch, StringArray, UInt64Array,
};
use deltalake::arrow::compute::take;
use deltalake::arrow::datatypes::{DataType, Field, Fields, Int8Type, Int16Type, Int64Type};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;

use super::columns::{Columns, counted, date, list, number, optional, schema, text};
use super::rollup::Rollup;
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) struct Dimensions;

/// What a text that is not there is in a query.
const NO_TEXT: &str = "arrow_cast(NULL, 'Utf8')";
/// Rows that are made of groups at once.
const AT_ONCE: usize = 8192;

/// Dimensions in the order of their names.
pub(crate) fn in_order() -> &'static [Dimension] {
    static IN_ORDER: LazyLock<Vec<Dimension>> = LazyLock::new(|| {
        let mut all = Dimension::ALL.to_vec();
        all.sort_unstable_by_key(|dimension| dimension.name());
        all
    });
    &IN_ORDER
}

fn names() -> String {
    in_order().iter().map(|dimension| dimension.name()).collect::<Vec<_>>().join(", ")
}

/// What is gathered of a link's day: a list of entries, in the order of dimensions' names and of values.
pub(crate) fn entries_type() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Struct(entry_fields()), false)))
}

/// A value of a dimension, which is told by its place in [`in_order`], and its counts by quarter.
pub(crate) fn entry_fields() -> Fields {
    vec![
        Field::new("dimension", DataType::Int8, false),
        text("value"),
        list("counts", DataType::Struct(counts_fields())),
    ]
    .into()
}

/// Counts of a quarter of the day.
pub(crate) fn counts_fields() -> Fields {
    vec![Field::new("quarter", DataType::Int16, false), number("clicks"), number("bots")].into()
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
    const KEY: &'static [&'static str] = &["tenant_id", "link_id", "day_bucket"];
    const DAY: Option<&'static str> = Some("day_bucket");
    const HAS_TENANTS: bool = true;
    /// A value has no more quarters than clicks, and no more than a day has; four of them take what the row takes.
    const WEIGHT: &'static str = "(least(click_count, 96) + 3) / 4";

    fn definition() -> Definition {
        let mut fields = fields();
        fields.push(text("event_month"));
        Definition {
            name: "link_stats_dimension",
            schema: schema(fields),
            partitioned_by: Some("event_month"),
            statistics: "tenant_id,link_id,day_bucket,click_count",
        }
    }

    /// Each click once, with its value in each dimension; previews have none.
    fn clicks() -> String {
        format!(
            "SELECT tenant_id, link_id, day AS day_bucket, in_day AS quarter, click AS clicks, bot AS bots,
                    {NO_TEXT} AS dimension, {NO_TEXT} AS value, {} FROM everyone WHERE click = 1",
            names()
        )
    }

    fn kept() -> String {
        let values: Vec<_> = in_order().iter().map(|dimension| format!("{NO_TEXT} AS {}", dimension.name())).collect();
        format!(
            "SELECT tenant_id, link_id, day_bucket, unnest(quarters) AS quarter, unnest(quarter_clicks) AS clicks,
                    unnest(quarter_bots) AS bots, dimension, value, {} FROM kept",
            values.join(", ")
        )
    }

    fn sums() -> String {
        format!("by_value(quarter, clicks, bots, dimension, value, {}) AS entries", names())
    }

    fn columns() -> String {
        "tenant_id, link_id, day_bucket, entries".to_owned()
    }

    fn rows(groups: RecordBatch) -> Result<Vec<RecordBatch>, BatchError> {
        let columns = Columns::new(&groups);
        let lists = columns.lists("entries")?;
        let groups_of = |rows: Range<usize>| -> Result<RecordBatch, BatchError> { rows_of(&groups, lists, rows) };
        let (first, last) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
        let all = first.cast_unsigned() as usize..last.cast_unsigned() as usize;
        all.clone().step_by(AT_ONCE).map(|from| groups_of(from..(from + AT_ONCE).min(all.end))).collect()
    }
}

/// The table's rows that some entries of groups are.
fn rows_of(groups: &RecordBatch, lists: &ListArray, entries: Range<usize>) -> Result<RecordBatch, BatchError> {
    let ends = lists.value_offsets();
    let mut group = ends.partition_point(|end| end.cast_unsigned() as usize <= entries.start) - 1;
    let of = entries.clone().map(|entry| {
        while ends[group + 1].cast_unsigned() as usize <= entry {
            group += 1;
        }
        group as u64
    });
    let of = UInt64Array::from_iter_values(of);
    let entries = lists.values().slice(entries.start, entries.len());
    let entries = entries.as_struct();
    let names = entries.column(0).as_primitive::<Int8Type>().values();
    let names = names.iter().map(|at| in_order()[at.cast_unsigned() as usize].name());
    let counts = entries.column(2).as_list::<i32>();
    let (ends, by_quarter) = (counts.offsets(), counts.values().as_struct());
    let sums = |column: usize| -> ArrayRef {
        let values = by_quarter.column(column).as_primitive::<Int64Type>().values();
        let sum =
            |ends: &[i32]| values[ends[0].cast_unsigned() as usize..ends[1].cast_unsigned() as usize].iter().sum();
        Arc::new(Int64Array::from_iter_values(ends.windows(2).map(sum)))
    };
    let list = |column: usize, item: DataType| -> Result<ArrayRef, BatchError> {
        let item = Arc::new(Field::new("element", item, false));
        Ok(Arc::new(ListArray::try_new(item, ends.clone(), Arc::clone(by_quarter.column(column)), None)?))
    };
    let take = |column: usize| take(groups.column(column), &of, None);
    Ok(RecordBatch::try_from_iter([
        ("slot", take(0)?),
        ("tenant_id", take(1)?),
        ("link_id", take(2)?),
        ("dimension", Arc::new(StringArray::from_iter_values(names)) as ArrayRef),
        ("day_bucket", take(3)?),
        ("value", Arc::clone(entries.column(1))),
        ("click_count", sums(1)),
        ("bot_count", sums(2)),
        ("quarters", list(0, DataType::Int16)?),
        ("quarter_clicks", list(1, DataType::Int64)?),
        ("quarter_bots", list(2, DataType::Int64)?),
    ])?)
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
            (quarters.value(at), Counts { humans, bots, previews: 0, repeats: 0 })
        })
    }
}
