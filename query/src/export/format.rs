//! The formats of an export: rows in, bytes out as soon as there are any.
//!
//! Nothing is held but what a format must hold: a row group of Parquet. The bytes before [`Encoder::finish`] are never a whole
//! file of Parquet or Arrow; a CSV or NDJSON that is cut off can look like one, so that whoever sends it must break off.
//!
//! Whoever writes gives way to requests of others after some rows, and after each page of Parquet.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use linktide_common::headroom::give_way;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowWriterOptions, InMemoryPageStore, PageKey, PageStore, PageStoreArgs, PageStoreFactory,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Rows of a row group of Parquet, and about the bytes of one.
const ROWS_A_GROUP: usize = 1 << 16;
const BYTES_A_GROUP: usize = 16 << 20;
/// Bytes of a page of Parquet, or of a dictionary, before it is packed: that takes a millisecond.
const BYTES_A_PAGE: usize = 256 << 10;
/// Rows that are encoded at once: they take a millisecond.
const ROWS_AT_ONCE: usize = 256;
/// Instants as the API writes them.
const INSTANT: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

/// What the rows are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 4180, with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    Parquet,
    /// A stream of Arrow's IPC.
    Arrow,
}

impl Format {
    pub(crate) const NAMES: &'static [&'static str] = &["csv", "ndjson", "parquet", "arrow"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "csv" => Ok(Self::Csv),
            "ndjson" => Ok(Self::Ndjson),
            "parquet" => Ok(Self::Parquet),
            "arrow" => Ok(Self::Arrow),
            _ => Err(()),
        }
    }
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

/// Rows on their way into one file.
pub(crate) enum Encoder {
    /// Whether the header is still to come.
    Csv(Option<SchemaRef>),
    Ndjson,
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    pub(crate) fn start(format: Format, schema: &SchemaRef) -> Result<Self, EncodeError> {
        Ok(match format {
            Format::Csv => Self::Csv(Some(schema.clone())),
            Format::Ndjson => Self::Ndjson,
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
                    .set_max_row_group_row_count(Some(ROWS_A_GROUP))
                    .set_max_row_group_bytes(Some(BYTES_A_GROUP))
                    .set_data_page_size_limit(BYTES_A_PAGE)
                    .set_dictionary_page_size_limit(BYTES_A_PAGE)
                    .set_created_by("linktide".to_owned())
                    .build();
                let options =
                    ArrowWriterOptions::new().with_properties(properties).with_page_store_factory(Arc::new(GivingWay));
                Self::Parquet(Box::new(ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)?))
            }
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// Takes rows; what is ready of the file.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<Bytes, EncodeError> {
        Ok(match self {
            Self::Csv(header) => csv(rows, header.take().is_some())?,
            Self::Ndjson => ndjson(rows)?,
            Self::Parquet(writer) => {
                for rows in in_turns(rows) {
                    writer.write(&rows)?;
                }
                // What is in the writer's own buffer is handed on with the next rows.
                std::mem::take(writer.inner_mut()).into()
            }
            Self::Arrow(writer) => {
                writer.write(rows)?;
                std::mem::take(writer.get_mut()).into()
            }
        })
    }

    /// The rest of the file, which is whole then.
    pub(crate) fn finish(self) -> Result<Bytes, EncodeError> {
        Ok(match self {
            Self::Csv(Some(schema)) => csv(&RecordBatch::new_empty(schema), true)?,
            Self::Csv(None) | Self::Ndjson => Bytes::new(),
            Self::Parquet(writer) => writer.into_inner()?.into(),
            Self::Arrow(writer) => writer.into_inner()?.into(),
        })
    }
}

/// The rows, some at once: between them, requests of others go first.
fn in_turns(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows()).step_by(ROWS_AT_ONCE).map(|start| {
        give_way();
        rows.slice(start, ROWS_AT_ONCE.min(rows.num_rows() - start))
    })
}

/// Pages of a column in memory; requests of others go first before the next one is packed.
#[derive(Debug)]
struct GivingWay;

impl PageStoreFactory for GivingWay {
    fn create(&self, _column: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        Ok(Box::new(Pages(InMemoryPageStore::default())))
    }
}

struct Pages(InMemoryPageStore);

impl PageStore for Pages {
    fn put(&mut self, page: Bytes) -> Result<PageKey, ParquetError> {
        give_way();
        self.0.put(page)
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes, ParquetError> {
        self.0.take(key)
    }

    fn memory_size(&self) -> usize {
        self.0.memory_size()
    }
}

fn csv(rows: &RecordBatch, header: bool) -> Result<Bytes, EncodeError> {
    let format = CsvBuilder::new().with_header(header).with_timestamp_tz_format(INSTANT.to_owned());
    let mut writer = format.build(Vec::new());
    if rows.num_rows() == 0 {
        writer.write(rows)?;
    }
    for rows in in_turns(rows) {
        writer.write(&rows)?;
    }
    Ok(writer.into_inner().into())
}

fn ndjson(rows: &RecordBatch) -> Result<Bytes, EncodeError> {
    let format = JsonBuilder::new().with_explicit_nulls(true).with_timestamp_tz_format(INSTANT.to_owned());
    let mut writer = format.build::<_, LineDelimited>(Vec::new());
    for rows in in_turns(rows) {
        writer.write(&without_large_numbers(&rows)?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner().into())
}

/// Ids are texts in JSON: a 64-bit number does not survive JavaScript's. (Counts are signed, and stay numbers.)
fn without_large_numbers(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if *column.data_type() == DataType::UInt64 {
            fields.push(Field::new(field.name(), DataType::Utf8, field.is_nullable()));
            columns.push(cast(column, &DataType::Utf8)?);
        } else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
