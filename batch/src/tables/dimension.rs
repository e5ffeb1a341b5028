//! `link_stats_dimension`: tenant, link, dimension, event day and value, with sparse counts by quarter for exact local days.
//!
//! The counts by quarter are three lists of one length: which quarter of the UTC day (0 to 95), all clicks in it, and
//! those of bots.

use deltalake::arrow::array::{AsArray as _, ListArray};
use deltalake::arrow::datatypes::{DataType, Field, Int16Type, Int64Type};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;

use super::columns::{Columns, counted, date, list, number, optional, schema, text};
use super::rollup::Rollup;
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) struct Dimensions;

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
    const KEY: &'static [&'static str] = &["tenant_id", "link_id", "dimension", "day_bucket", "value"];
    const DAY: Option<&'static str> = Some("day_bucket");
    const HAS_TENANTS: bool = true;

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

    /// Each click once in each dimension; previews are in none.
    fn clicks() -> String {
        let names: Vec<_> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
        format!(
            "SELECT tenant_id, link_id, dimension, day AS day_bucket, value, in_day AS quarter, click AS clicks, bot AS bots
             FROM (SELECT tenant_id, link_id, day, in_day, click, bot, unnest(make_array('{}')) AS dimension,
                          unnest(make_array({})) AS value
                   FROM everyone WHERE click = 1)",
            names.join("', '"),
            names.join(", ")
        )
    }

    fn kept() -> String {
        "SELECT tenant_id, link_id, dimension, day_bucket, value, unnest(quarters) AS quarter,
                unnest(quarter_clicks) AS clicks, unnest(quarter_bots) AS bots
         FROM kept"
            .to_owned()
    }

    fn sums() -> String {
        "sum(clicks) AS click_count, sum(bots) AS bot_count, by_quarter(quarter, clicks, bots) AS counts".to_owned()
    }

    fn columns() -> String {
        "tenant_id, link_id, dimension, day_bucket, value, click_count, bot_count,
         counts['quarters'] AS quarters, counts['clicks'] AS quarter_clicks, counts['bots'] AS quarter_bots"
            .to_owned()
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
            (quarters.value(at), Counts { humans, bots, previews: 0, repeats: 0 })
        })
    }
}
