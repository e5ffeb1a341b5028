//! `click_event`: one row a click, as enriched, with its place in the log. Partitioned by the UTC day it was received.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::click::Kind;
use linktide_common::enrich::{EnrichedClick, Text};
use linktide_common::id::{Epoch, Offset, PartitionId};

use super::columns::{date, instant, instants, number, optional, schema, signed, stored, text};
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) const NAME: &str = "click_event";

/// A click with its place in the log.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) epoch: Epoch,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
    pub(crate) click: Box<EnrichedClick>,
}

pub(crate) fn definition() -> Definition {
    let mut fields = file_fields();
    fields.insert(0, date("received_date"));
    Definition {
        name: NAME,
        schema: schema(fields),
        partitioned_by: Some("received_date"),
        statistics: "tenant_id,link_id,clicked_at,received_at,epoch,partition,offset",
    }
}

/// Texts that a click may lack, by column; those that are dimensions have the dimension's name.
type TextColumn = (&'static str, fn(&EnrichedClick) -> Option<&Text>);

const TEXTS: &[TextColumn] = &[
    ("continent", |click| click.geo.continent.as_ref()),
    ("country", |click| click.geo.country.as_ref()),
    ("region", |click| click.geo.region.as_ref()),
    ("city", |click| click.geo.city.as_ref()),
    ("network_owner", |click| click.geo.network_owner.as_ref()),
    ("geo_pending", |click| click.geo.pending.as_ref()),
    ("browser", |click| click.agent.browser.as_ref()),
    ("os", |click| click.agent.os.as_ref()),
    ("referrer", |click| click.referrer.host.as_ref()),
    ("utm_source", |click| click.utm.source.as_ref()),
    ("utm_medium", |click| click.utm.medium.as_ref()),
    ("utm_campaign", |click| click.utm.campaign.as_ref()),
    ("utm_term", |click| click.utm.term.as_ref()),
    ("utm_content", |click| click.utm.content.as_ref()),
    ("language", |click| click.language.as_ref()),
    ("bot_reason", |click| click.bot.as_ref().or(click.suspected.as_ref())),
    ("user_agent", |click| click.user_agent.as_ref()),
    ("destination", |click| click.destination.as_ref()),
    ("slug", |click| click.slug.as_ref()),
    ("title", |click| click.title.as_ref()),
];

fn file_fields() -> Vec<Field> {
    let mut fields = vec![
        number("tenant_id"),
        number("link_id"),
        instant("clicked_at"),
        instant("received_at"),
        number("epoch"),
        number("partition"),
        number("offset"),
        Field::new("click_id", DataType::Binary, false),
        Field::new("preview", DataType::Boolean, false),
        text("trigger"),
        text("device"),
        text("referrer_class"),
        text("rules_version"),
        optional("ip_hash", DataType::Binary),
        optional("visitor", DataType::Binary),
        optional("asn", DataType::Int64),
    ];
    fields.extend(TEXTS.iter().map(|(name, _)| optional(name, DataType::Utf8)));
    fields
}

/// Rows as a file has them: the day they were received is the name of its folder.
pub(crate) fn encode(rows: &[&Row], rules_version: &str) -> Result<RecordBatch, BatchError> {
    let clicks = || rows.iter().map(|row| row.click.as_ref());
    let numbers = |values: &mut dyn Iterator<Item = i64>| Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
    let texts =
        |value: fn(&EnrichedClick) -> &str| Arc::new(StringArray::from_iter_values(clicks().map(value))) as ArrayRef;
    // A visitor that is the address is stored once.
    let visitor = |click: &EnrichedClick| click.visitor.filter(|_| click.visitor != click.ip_hash);
    let mut columns: Vec<ArrayRef> = vec![
        numbers(&mut clicks().map(|click| signed(click.tenant_id.0))),
        numbers(&mut clicks().map(|click| signed(click.link_id.0))),
        Arc::new(instants(clicks().map(|click| Some(click.clicked_at)))),
        Arc::new(instants(clicks().map(|click| Some(click.received_at)))),
        numbers(&mut rows.iter().map(|row| i64::from(row.epoch.0))),
        numbers(&mut rows.iter().map(|row| i64::from(row.partition.0))),
        numbers(&mut rows.iter().map(|row| stored(row.offset.0))),
        Arc::new(BinaryArray::from_iter_values(clicks().map(|click| click.click_id.0.as_bytes()))),
        Arc::new(clicks().map(|click| Some(click.kind == Kind::Preview)).collect::<BooleanArray>()),
        texts(|click| click.trigger.name()),
        texts(|click| click.agent.device.name()),
        texts(|click| click.referrer.class.name()),
        Arc::new(StringArray::from_iter_values(clicks().map(|_| rules_version))),
        Arc::new(clicks().map(|click| click.ip_hash.map(|hash| hash.0)).collect::<BinaryArray>()),
        Arc::new(clicks().map(|click| visitor(click).map(|hash| hash.0)).collect::<BinaryArray>()),
        Arc::new(clicks().map(|click| click.geo.asn.map(i64::from)).collect::<Int64Array>()),
    ];
    for (_, value) in TEXTS {
        columns.push(Arc::new(clicks().map(|click| value(click).map(AsRef::as_ref)).collect::<StringArray>()));
    }
    Ok(RecordBatch::try_new(schema(file_fields()), columns)?)
}
