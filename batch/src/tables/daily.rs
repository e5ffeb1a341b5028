//! `link_stats_daily`: tenant, link and event day, for long ranges.
//!
//! Visitors stand twice in it: as a sketch, and one by one while they are few (`visitor_hashes`, null where they are more).

use deltalake::arrow::datatypes::{DataType, Field};

use super::columns::{date, hashes_type, instant_type, number, optional, schema, text};
use super::rollup::Rollup;
use crate::table::Definition;

/// Column names of the counts, here and of whole hours.
pub(crate) const COUNTS: [&str; 4] = ["total_clicks", "bot_clicks", "previews", "repeats"];

pub(crate) struct Daily;

fn fields() -> Vec<Field> {
    vec![
        number("tenant_id"),
        optional("link_id", DataType::Int64),
        date("day_bucket"),
        number("total_clicks"),
        number("bot_clicks"),
        number("previews"),
        number("repeats"),
        optional("first_click", instant_type()),
        optional("last_click", instant_type()),
        number("unique_ips"),
        optional("sketch", DataType::Binary),
        optional("visitor_hashes", hashes_type()),
    ]
}

impl Rollup for Daily {
    const KEY: &'static [&'static str] = &["tenant_id", "link_id", "day_bucket"];
    const DAY: Option<&'static str> = Some("day_bucket");
    const HAS_TENANTS: bool = true;

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

    fn clicks() -> String {
        "SELECT tenant_id, link_id, day AS day_bucket, click AS total_clicks, bot AS bot_clicks, preview AS previews, 0 AS repeats,
                CASE WHEN click = 1 THEN clicked_at END AS first_click,
                CASE WHEN click = 1 THEN clicked_at END AS last_click, visitor, CAST(NULL AS BYTEA) AS sketch,
                visitor_hashes(visitor) AS visitor_hashes
         FROM everyone
         UNION ALL SELECT tenant_id, link_id, day AS day_bucket, 0 AS total_clicks, 0 AS bot_clicks, 0 AS previews, repeats,
                          NULL AS first_click, NULL AS last_click, CAST(NULL AS BYTEA) AS visitor,
                          CAST(NULL AS BYTEA) AS sketch, visitor_hashes(CAST(NULL AS BYTEA)) AS visitor_hashes
         FROM repeated"
            .to_owned()
    }

    fn kept() -> String {
        "SELECT tenant_id, link_id, day_bucket, total_clicks, bot_clicks, previews, repeats, first_click, last_click,
                CAST(NULL AS BYTEA) AS visitor, sketch, visitor_hashes
         FROM kept"
            .to_owned()
    }

    fn sums() -> String {
        "sum(total_clicks) AS total_clicks, sum(bot_clicks) AS bot_clicks, sum(previews) AS previews, sum(repeats) AS repeats,
         min(first_click) AS first_click, max(last_click) AS last_click, visitors(visitor, sketch) AS sketch,
         visitors_union(visitor_hashes) AS visitor_hashes"
            .to_owned()
    }

    fn columns() -> String {
        "tenant_id, link_id, day_bucket, total_clicks, bot_clicks, previews, repeats, first_click, last_click,
         visitors_count(sketch) AS unique_ips, sketch, visitor_hashes"
            .to_owned()
    }
}
