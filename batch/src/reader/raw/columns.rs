//! The columns of exported clicks, and what they are made of.

use std::sync::Arc;

use deltalake::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use deltalake::arrow::compute::cast;
use deltalake::arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use deltalake::datafusion::prelude::{Expr, col};

use crate::error::BatchError;
use crate::tables::columns::{instant_type, schema};

const TEXTS_BEFORE: [&str; 10] =
    ["trigger", "bot_reason", "device", "browser", "os", "continent", "country", "region", "city", "network_owner"];
const TEXTS_BEHIND: [&str; 12] = [
    "language",
    "referrer_class",
    "referrer",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "slug",
    "title",
    "destination",
    "user_agent",
];

/// The columns of an export of clicks, in order.
///
/// Neither an address nor a network is among them, and a hash of who clicked is only there where `visitors` are asked for.
#[must_use]
pub fn columns(visitors: bool) -> SchemaRef {
    let texts = |names: &[&str]| names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>();
    let mut fields = vec![
        Field::new("clicked_at", instant_type(), false),
        Field::new("link_id", DataType::UInt64, false),
        Field::new("click_id", DataType::Utf8, false),
        Field::new("preview", DataType::Boolean, false),
    ];
    fields.extend(texts(&TEXTS_BEFORE));
    fields.push(Field::new("asn", DataType::Int64, true));
    fields.extend(texts(&TEXTS_BEHIND));
    fields.push(Field::new("received_at", instant_type(), false));
    fields.extend(visitors.then(|| Field::new("visitor", DataType::Utf8, true)));
    schema(fields)
}

/// The same, of what is stored.
pub(super) fn selected(visitors: bool) -> Vec<Expr> {
    let stored = |name: &String| if name == "visitor" { col("visitor_hash").alias("visitor") } else { col(name) };
    columns(visitors).fields().iter().map(|field| stored(field.name())).collect()
}

/// Rows as they are exported: ids as the API has them, hashes as text.
pub(super) fn shown(rows: &RecordBatch, visitors: bool) -> Result<RecordBatch, BatchError> {
    let schema = columns(visitors);
    let convert = |(stored, field): (&ArrayRef, &Arc<Field>)| -> Result<ArrayRef, BatchError> {
        Ok(match (&**field.name(), stored.data_type()) {
            ("link_id", DataType::Int64) => unsigned(stored.as_primitive::<Int64Type>()),
            ("click_id", DataType::Binary) => uuids(stored.as_binary()),
            ("visitor", DataType::Binary) => hashes(stored.as_binary()),
            (_, is) if is == field.data_type() => Arc::clone(stored),
            _ => cast(stored, field.data_type())?,
        })
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(convert).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn unsigned(stored: &Int64Array) -> ArrayRef {
    Arc::new(stored.iter().map(|id| id.map(i64::cast_unsigned)).collect::<UInt64Array>())
}

fn uuids(stored: &BinaryArray) -> ArrayRef {
    let text = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).map(|id| id.to_string()).ok();
    Arc::new(stored.iter().map(|bytes| bytes.and_then(text)).collect::<StringArray>())
}

fn hashes(stored: &BinaryArray) -> ArrayRef {
    use std::fmt::Write as _;
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing into a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    Arc::new(stored.iter().map(|bytes| bytes.map(hex)).collect::<StringArray>())
}
