//! How rows become a Parquet file, and what the table's log says of it.
//!
//! Dictionaries, page index, small pages so that a point lookup reads little, and a Bloom filter on the link. Sketches and
//! visitors have small pages of their own: whoever wants one decodes few others. Row groups are bounded by bytes, so that
//! what is encoded at once is. Statistics for the log are kept of whole numbers, dates and times alone.
//!
//! Rollups are looked up by a link: their row groups are small, so that all columns of some rows lie near one another and
//! are read at once; numbers, days and instants are stored as differences, which need no dictionary to be read first; and the
//! page index, which readers keep in memory, tells bounds of what they are looked up by alone. Their numbers are small as they
//! are encoded, and unpacking a page costs more than reading it: texts and the sketches of hours alone are packed. What links are
//! called hardly repeats, and is asked for one by one: it has no dictionary, of which whoever wants one text would read all,
//! and pages of few rows.
//!
//! Raw clicks are packed (Zstandard). Most of what one takes is in few columns. Those that hardly repeat are stored as
//! differences, without a dictionary that would be given up half-way; those that repeat after thousands of others may have a
//! large dictionary.

use std::io;

use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::basic::{Compression, Encoding, ZstdLevel};
use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::file::statistics::Statistics;
use deltalake::parquet::schema::types::ColumnPath;
use linktide_common::bucket::{Day, Timestamp};
use object_store::{PutPayload, PutPayloadMut};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::BatchError;

const ROWS_A_GROUP: usize = 1 << 18;
const ROLLUP_ROWS_A_GROUP: usize = 1 << 16;
const BYTES_A_GROUP: usize = 64 << 20;
/// Rows that a page holds at most: whoever wants one decodes that many.
const ROWS_A_PAGE: usize = 1000;
/// The same where each row is texts.
const LABELS_A_PAGE: usize = 200;
const SKETCH_BYTES_A_PAGE: usize = 128 << 10;
const DAILY_SKETCH_BYTES_A_PAGE: usize = 32 << 10;
/// Columns whose values hardly repeat, with how each is told from the one before it.
const DIFFERENCES: [(&str, Encoding); 3] = [
    ("clicked_at", Encoding::DELTA_BINARY_PACKED),
    ("offset", Encoding::DELTA_BINARY_PACKED),
    ("click_id", Encoding::DELTA_BYTE_ARRAY),
];
/// Columns that rollups are sorted by and looked up by.
const SORTED: [&str; 4] = ["tenant_id", "link_id", "day_bucket", "hour_bucket"];
/// Columns of rollups that are numbers and not stored as differences: there are few hours in a file, and far apart as they are
/// stored; hashes differ in all their bits.
const ROLLUP_PLAIN: [&str; 2] = ["hour_bucket", "visitor_hashes"];
/// Columns of rollups that are packed: texts, and sketches of hours, which are many and seldom asked for.
const ROLLUP_PACKED: [&str; 4] = ["sketch", "slug", "title", "destination"];
/// Columns of texts, and what goes with them, that are nearly each of its own.
const LABELS: [&str; 4] = ["slug", "title", "destination", "labelled_at"];
/// Columns whose values repeat after thousands of others.
const LARGE_DICTIONARIES: [&str; 3] = ["ip_hash", "visitor", "user_agent"];
const LARGE_DICTIONARY: usize = 4 << 20;
/// Columns that nobody looks up by a range of values.
const WITHOUT_STATISTICS: [&str; 5] = ["click_id", "ip_hash", "visitor", "user_agent", "sketch"];
/// Batches that may wait for the encoder.
const WAITING: usize = 4;

/// A file grows by blocks: one that had to be whole would be copied, and lie there twice, whenever it outgrows its place.
const BYTES_A_BLOCK: usize = 1 << 20;

/// A whole file.
pub(crate) struct Encoded {
    pub(crate) bytes: PutPayload,
    /// As Delta writes them.
    pub(crate) statistics: String,
}

/// A file that is being encoded beside the runtime, while its rows are still coming.
pub(crate) struct Encoder {
    rows: mpsc::Sender<RecordBatch>,
    encoded: JoinHandle<Result<Encoded, BatchError>>,
}

impl Encoder {
    pub(crate) fn start(schema: SchemaRef) -> Self {
        let (rows, waiting) = mpsc::channel(WAITING);
        Self { rows, encoded: tokio::task::spawn_blocking(move || encode(&schema, waiting)) }
    }

    pub(crate) async fn add(&self, rows: RecordBatch) {
        // An encoder that is gone has failed, and `finish` says why.
        let _ = self.rows.send(rows).await;
    }

    pub(crate) async fn finish(self) -> Result<Encoded, BatchError> {
        drop(self.rows);
        self.encoded.await.map_err(|error| BatchError::Unavailable(error.to_string()))?
    }
}

fn encode(schema: &SchemaRef, mut rows: mpsc::Receiver<RecordBatch>) -> Result<Encoded, BatchError> {
    let mut file = Growing(PutPayloadMut::new().with_block_size(BYTES_A_BLOCK));
    let mut writer = ArrowWriter::try_new(&mut file, schema.clone(), Some(properties(schema)?))?;
    while let Some(rows) = rows.blocking_recv() {
        writer.write(&rows)?;
    }
    let statistics = statistics(schema, &writer.close()?).to_string();
    Ok(Encoded { bytes: file.0.freeze(), statistics })
}

struct Growing(PutPayloadMut);

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn properties(schema: &SchemaRef) -> Result<WriterProperties, BatchError> {
    let packed = Compression::ZSTD(ZstdLevel::try_new(3)?);
    let mut properties = WriterProperties::builder()
        .set_compression(packed)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROWS_A_GROUP))
        .set_max_row_group_bytes(Some(BYTES_A_GROUP))
        .set_data_page_row_count_limit(ROWS_A_PAGE)
        .set_write_batch_size(ROWS_A_PAGE)
        .set_created_by("linktide".to_owned());
    let has = |name: &str| schema.column_with_name(name).is_some();
    if has("link_id") {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from("link_id"), true);
    }
    // A raw click has its place in the log, a row of a rollup has none.
    if !has("offset") {
        properties = properties
            .set_max_row_group_row_count(Some(ROLLUP_ROWS_A_GROUP))
            .set_compression(Compression::UNCOMPRESSED)
            .set_statistics_enabled(EnabledStatistics::Chunk);
        for name in SORTED.into_iter().filter(|name| has(name)) {
            properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Page);
        }
        for name in ROLLUP_PACKED.into_iter().filter(|name| has(name)) {
            properties = properties.set_column_compression(ColumnPath::from(name), packed);
        }
        let differ = schema.fields().iter().filter(|field| !ROLLUP_PLAIN.contains(&field.name().as_str()));
        for column in differ.filter_map(numbers) {
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    if has("labelled_at") {
        properties = properties.set_data_page_row_count_limit(LABELS_A_PAGE).set_write_batch_size(LABELS_A_PAGE);
        for name in LABELS {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
    }
    if has("sketch") {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from("sketch"), false)
            .set_column_data_page_size_limit(ColumnPath::from("sketch"), SKETCH_BYTES_A_PAGE);
    }
    if has("visitor_hashes") {
        properties = properties
            .set_column_compression(ColumnPath::from("sketch"), Compression::UNCOMPRESSED)
            .set_column_data_page_size_limit(ColumnPath::from("sketch"), DAILY_SKETCH_BYTES_A_PAGE);
        let members = elements("visitor_hashes");
        properties = properties
            .set_column_dictionary_enabled(members.clone(), false)
            .set_column_data_page_size_limit(members.clone(), DAILY_SKETCH_BYTES_A_PAGE)
            .set_column_statistics_enabled(members, EnabledStatistics::None);
    }
    for (name, encoding) in DIFFERENCES.into_iter().filter(|(name, _)| has(name)) {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), encoding);
    }
    for name in LARGE_DICTIONARIES.into_iter().filter(|name| has(name)) {
        properties = properties.set_column_dictionary_page_size_limit(ColumnPath::from(name), LARGE_DICTIONARY);
    }
    for name in WITHOUT_STATISTICS.into_iter().filter(|name| has(name)) {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// The column of a field of numbers, days, instants, or lists of numbers.
fn numbers(field: &FieldRef) -> Option<ColumnPath> {
    match field.data_type() {
        DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => Some(ColumnPath::from(field.name().as_str())),
        DataType::List(_) => Some(elements(field.name())),
        _ => None,
    }
}

/// The column of what is in lists.
fn elements(list: &str) -> ColumnPath {
    ColumnPath::new([list, "list", "element"].map(str::to_owned).to_vec())
}

fn statistics(schema: &SchemaRef, file: &ParquetMetaData) -> Value {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    for field in schema.fields().iter().filter(|field| has_statistics(field.data_type())) {
        let of_field = file.row_groups().iter().flat_map(|group| group.columns()).filter_map(|column| {
            let named = column.column_path().parts() == [field.name().as_str()];
            column.statistics().filter(|_| named)
        });
        let (mut low, mut high, mut missing) = (None, None, 0);
        for part in of_field {
            let (from, to) = bounds(part);
            low = low.into_iter().chain(from).min();
            high = high.max(to);
            missing += part.null_count_opt().unwrap_or_default();
        }
        let value = |stored: i64| Some((field.name().clone(), shown(field.data_type(), stored)?));
        least.extend(low.and_then(value));
        greatest.extend(high.and_then(value));
        nulls.insert(field.name().clone(), json!(missing));
    }
    let rows = file.file_metadata().num_rows();
    json!({ "numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls })
}

fn has_statistics(kind: &DataType) -> bool {
    matches!(kind, DataType::Int64 | DataType::Date32 | DataType::Timestamp(..))
}

fn bounds(of: &Statistics) -> (Option<i64>, Option<i64>) {
    match of {
        Statistics::Int64(range) => (range.min_opt().copied(), range.max_opt().copied()),
        Statistics::Int32(range) => (range.min_opt().copied().map(i64::from), range.max_opt().copied().map(i64::from)),
        _ => (None, None),
    }
}

/// Delta's log keeps instants by the millisecond, and so do we.
fn shown(kind: &DataType, stored: i64) -> Option<Value> {
    match kind {
        DataType::Timestamp(..) => Timestamp::from_millis(stored.div_euclid(1000)).map(|at| json!(at.to_string())),
        DataType::Date32 => {
            let day = i32::try_from(stored).map(Day).ok()?;
            Some(json!(day.start().to_string()[..10]))
        }
        _ => Some(json!(stored)),
    }
}
