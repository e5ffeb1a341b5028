//! `rate_bot`: which clicks are a bot's because one address clicked too often in a minute.
//!
//! One row an address, a minute of event time and an hour of receipt, for each link it clicked on. The verdict is on the
//! address in that minute and hour, whatever its links; that it is kept by link lets one link be erased without another
//! word on the others.

use deltalake::arrow::datatypes::{DataType, Field};

use super::columns::{instant, number, schema, text};
use super::rollup::Rollup;
use crate::table::Definition;

pub(crate) struct RateBots;

impl Rollup for RateBots {
    const KEY: &'static [&'static str] = &["tenant_id", "link_id", "minute", "received_hour", "ip_hash"];
    const DAY: Option<&'static str> = Some("minute");
    const HAS_TENANTS: bool = false;

    fn definition() -> Definition {
        let fields = vec![
            number("tenant_id"),
            number("link_id"),
            instant("minute"),
            instant("received_hour"),
            Field::new("ip_hash", DataType::Binary, false),
            number("clicks"),
            text("event_month"),
        ];
        Definition {
            name: "rate_bot",
            schema: schema(fields),
            partitioned_by: Some("event_month"),
            statistics: "tenant_id,link_id,minute,received_hour,clicks",
        }
    }

    fn clicks() -> String {
        "SELECT tenant_id, link_id, minute, received_hour, ip_hash, 1 AS clicks FROM rated".to_owned()
    }

    fn kept() -> String {
        "SELECT tenant_id, link_id, minute, received_hour, ip_hash, clicks FROM kept".to_owned()
    }

    fn sums() -> String {
        "sum(clicks) AS clicks".to_owned()
    }

    fn columns() -> String {
        "tenant_id, link_id, minute, received_hour, ip_hash, clicks".to_owned()
    }
}
