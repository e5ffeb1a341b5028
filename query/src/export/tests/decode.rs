//! Files of every format as rows, by readers that know nothing of how they were written.

use std::collections::BTreeMap;

use arrow::array::{Array as _, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::world::Row;

/// The rows of a file; panics where it is not whole.
pub(super) fn rows(format: &str, file: &Bytes) -> Vec<Row> {
    match format {
        "csv" => csv(std::str::from_utf8(file).unwrap()),
        "ndjson" => file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(ndjson).collect(),
        "parquet" => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().build().unwrap();
            reader.flat_map(|batch| arrow(&batch.unwrap())).collect()
        }
        "arrow" => {
            let reader = StreamReader::try_new(std::io::Cursor::new(file), None).unwrap();
            reader.flat_map(|batch| arrow(&batch.unwrap())).collect()
        }
        _ => panic!("{format}"),
    }
}

fn ndjson(line: &[u8]) -> Row {
    let object: BTreeMap<String, Value> = serde_json::from_slice(line).unwrap();
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
}

/// RFC 4180, by the letter. An empty field is none.
fn csv(text: &str) -> Vec<Row> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.push(letters.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            letter => field.push(letter),
        }
    }
    assert!(!quoted && field.is_empty() && record.is_empty(), "the file ends within a record");
    let mut records = records.into_iter();
    let header = records.next().expect("a header");
    let row = |record: Vec<String>| {
        assert_eq!(record.len(), header.len());
        header.iter().cloned().zip(record).filter(|(_, value)| !value.is_empty()).collect()
    };
    records.map(row).collect()
}

fn arrow(batch: &RecordBatch) -> Vec<Row> {
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ"));
    let schema = batch.schema();
    let mut rows = vec![Row::new(); batch.num_rows()];
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let values = ArrayFormatter::try_new(column, &options).unwrap();
        for (number, row) in rows.iter_mut().enumerate().filter(|(number, _)| column.is_valid(*number)) {
            row.insert(field.name().clone(), values.value(number).to_string());
        }
    }
    rows
}
