//! `link_stats_hourly`: tenant, link and event hour, with counts by quarter and the hour's sketch of visitors.

use deltalake::arrow::array::{Int64Array, RecordBatch};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::bucket::{Hour, Quarter};
use linktide_common::count::Counts;

use super::columns::{Columns, counted, from_micros, instant, number, optional, schema};
use super::rollup::Rollup;
use crate::error::BatchError;
use crate::table::Definition;

/// Column names of the counts of each quarter of the hour.
pub(crate) const QUARTERS: [[&str; 4]; 4] = [
    ["clicks_00", "bots_00", "previews_00", "repeats_00"],
    ["clicks_15", "bots_15", "previews_15", "repeats_15"],
    ["clicks_30", "bots_30", "previews_30", "repeats_30"],
    ["clicks_45", "bots_45", "previews_45", "repeats_45"],
];
/// Those, and of which hour they are.
pub(crate) const BY_QUARTER: [&str; 17] = {
    let mut names = ["hour_bucket"; 17];
    let mut at = 0;
    while at < 16 {
        names[1 + at] = QUARTERS[at / 4][at % 4];
        at += 1;
    }
    names
};
/// What a click is in each of these columns. Whether it is a repeat says `repeated`.
const KINDS: [&str; 4] = ["click", "bot", "preview", "0"];

const REPEATS: usize = 3;

pub(crate) struct Hourly;

fn fields() -> Vec<Field> {
    let mut fields = vec![
        number("tenant_id"),
        optional("link_id", DataType::Int64),
        instant("hour_bucket"),
        number("total_clicks"),
        number("bot_clicks"),
        number("previews"),
        number("repeats"),
        number("unique_ips"),
    ];
    fields.extend(QUARTERS.iter().flatten().map(|name| number(name)));
    fields.push(optional("sketch", DataType::Binary));
    fields
}

impl Rollup for Hourly {
    const KEY: &'static [&'static str] = &["tenant_id", "link_id", "hour_bucket"];
    const DAY: Option<&'static str> = Some("hour_bucket");
    const HAS_TENANTS: bool = true;

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

    fn clicks() -> String {
        let counts = each(|quarter, kind, name| {
            format!("CASE WHEN in_hour = {quarter} THEN {} ELSE 0 END AS {name}", KINDS[kind])
        });
        let repeats = each(|quarter, kind, name| {
            let count = if kind == REPEATS { "repeats" } else { "0" };
            format!("CASE WHEN in_hour = {quarter} THEN {count} ELSE 0 END AS {name}")
        });
        format!(
            "SELECT tenant_id, link_id, hour AS hour_bucket, {counts}, visitor, CAST(NULL AS BYTEA) AS sketch FROM everyone
             UNION ALL SELECT tenant_id, link_id, hour AS hour_bucket, {repeats}, CAST(NULL AS BYTEA) AS visitor,
                              CAST(NULL AS BYTEA) AS sketch FROM repeated"
        )
    }

    fn kept() -> String {
        let counts = each(|_, _, name| name.to_owned());
        format!("SELECT tenant_id, link_id, hour_bucket, {counts}, CAST(NULL AS BYTEA) AS visitor, sketch FROM kept")
    }

    fn sums() -> String {
        let sums = each(|_, _, name| format!("sum({name}) AS {name}"));
        format!("{sums}, visitors(visitor, sketch) AS sketch")
    }

    fn columns() -> String {
        let total = |kind: usize| QUARTERS.map(|names| names[kind]).join(" + ");
        format!(
            "tenant_id, link_id, hour_bucket, {} AS total_clicks, {} AS bot_clicks, {} AS previews, {} AS repeats,
             visitors_count(sketch) AS unique_ips, {}, sketch",
            total(0),
            total(1),
            total(2),
            total(REPEATS),
            each(|_, _, name| name.to_owned())
        )
    }
}

/// One expression for each count of each quarter.
fn each(expression: impl Fn(usize, usize, &str) -> String) -> String {
    let all = QUARTERS.iter().enumerate().flat_map(|(quarter, names)| {
        let expression = &expression;
        names.iter().enumerate().map(move |(kind, name)| expression(quarter, kind, name))
    });
    all.collect::<Vec<_>>().join(", ")
}

pub(crate) type CountColumns<'a> = [&'a Int64Array; 4];

/// Hands over the counts of each quarter, with the row that they are in, without empty ones.
pub(crate) fn each_quarter(rows: &RecordBatch, mut take: impl FnMut(usize, Quarter, Counts)) -> Result<(), BatchError> {
    let columns = Columns::new(rows);
    let hours = columns.instants("hour_bucket")?;
    let quarter = |names: [&str; 4]| count_columns(&columns, names);
    let [a, b, c, d] = QUARTERS;
    let quarters = [quarter(a)?, quarter(b)?, quarter(c)?, quarter(d)?];
    for row in 0..rows.num_rows() {
        let mut quarter = hour_at(hours.value(row))?.first_quarter();
        for columns in &quarters {
            let counts = counts_at(columns, row);
            if !counts.is_zero() {
                take(row, quarter, counts);
            }
            quarter = quarter.next();
        }
    }
    Ok(())
}

/// Columns of all clicks, of those by bots, of previews, and of repeats.
pub(crate) fn count_columns<'a>(
    columns: &Columns<'a>,
    [clicks, bots, previews, repeats]: [&str; 4],
) -> Result<CountColumns<'a>, BatchError> {
    Ok([columns.numbers(clicks)?, columns.numbers(bots)?, columns.numbers(previews)?, columns.numbers(repeats)?])
}

pub(crate) fn counts_at([clicks, bots, previews, repeats]: &CountColumns<'_>, row: usize) -> Counts {
    let bots = counted(bots.value(row));
    let humans = counted(clicks.value(row)).saturating_sub(bots);
    Counts { humans, bots, previews: counted(previews.value(row)), repeats: counted(repeats.value(row)) }
}

pub(crate) fn hour_at(us: i64) -> Result<Hour, BatchError> {
    from_micros(us).map(Hour::of).ok_or_else(|| BatchError::Corrupt {
        what: "table link_stats_hourly".to_owned(),
        reason: format!("{us} µs since 1970 is no hour"),
    })
}
