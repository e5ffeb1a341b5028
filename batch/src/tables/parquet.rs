//! How rows become a Parquet file, and what the table's log says of it.
//!
//! Zstandard, dictionaries, page index, pages of a thousand rows so that a point lookup reads little, and a Bloom filter
//! on the link. Statistics for the log are kept of whole numbers, dates and times alone.

use deltalake::arrow::array::{Array as _, AsArray as _, RecordBatch};
use deltalake::arrow::compute::{max, min};
use deltalake::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use linktide_common::bucket::Timestamp;
use serde_json::{Map, Value, json};

use crate::error::BatchError;

const ROWS_A_GROUP: usize = 1 << 18;
const ROWS_A_PAGE: usize = 1000;

/// The file's bytes and its statistics as Delta writes them.
pub(crate) fn encode(rows: &RecordBatch) -> Result<(Vec<u8>, String), BatchError> {
    let level = ZstdLevel::try_new(3)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROWS_A_GROUP))
        .set_data_page_row_count_limit(ROWS_A_PAGE)
        .set_write_batch_size(ROWS_A_PAGE)
        .set_created_by("linktide".to_owned());
    if rows.schema().column_with_name("link_id").is_some() {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from("link_id"), true);
    }
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties.build()))?;
    writer.write(rows)?;
    writer.close()?;
    Ok((bytes, statistics(rows).to_string()))
}

fn statistics(rows: &RecordBatch) -> Value {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let (low, high) = match field.data_type() {
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>();
                (min(values).map(Value::from), max(values).map(Value::from))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let values = column.as_primitive::<TimestampMicrosecondType>();
                (min(values).and_then(instant), max(values).and_then(instant))
            }
            _ => continue,
        };
        least.extend(low.map(|value| (field.name().clone(), value)));
        greatest.extend(high.map(|value| (field.name().clone(), value)));
        nulls.insert(field.name().clone(), json!(column.null_count()));
    }
    json!({ "numRecords": rows.num_rows(), "minValues": least, "maxValues": greatest, "nullCount": nulls })
}

/// Delta's log keeps instants by the millisecond.
fn instant(us: i64) -> Option<Value> {
    Timestamp::from_millis(us.div_euclid(1000)).map(|at| Value::from(at.to_string()))
}
