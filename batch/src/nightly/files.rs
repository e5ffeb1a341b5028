//! Rows that come from a query, on their way into files.
//!
//! Nothing but the file that is being encoded is held in memory beyond the budget of the queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use deltalake::arrow::compute::cast;
use deltalake::arrow::datatypes::{Date32Type, SchemaRef};
use deltalake::kernel::Add;
use linktide_common::bucket::{Day, Timestamp};
use object_store::path::Path;

use crate::error::BatchError;
use crate::table::Table;
use crate::tables::parquet::Encoder;
use crate::tables::slot::Slot;

/// Rows of a file of raw clicks, about: some forty megabytes, held in memory until they are written.
const RAW_ROWS_A_FILE: usize = 1_000_000;

/// Rows on their way into one file a slot; those of a slot come in the order of its file.
pub(super) struct Files<'a> {
    table: &'a Table,
    young: Day,
    now: Timestamp,
    schema: SchemaRef,
    open: BTreeMap<Slot, Encoder>,
}

impl<'a> Files<'a> {
    pub(super) fn of(table: &'a Table, young: Day, now: Timestamp) -> Self {
        Self { table, young, now, schema: table.definition.file_schema(), open: BTreeMap::new() }
    }

    /// Writes rows whose first column is the first day of their slot.
    pub(super) async fn take(&mut self, rows: &RecordBatch) -> Result<(), BatchError> {
        let starts = rows.column(0).as_primitive::<Date32Type>();
        let start = |row: usize| starts.is_valid(row).then(|| Day(starts.value(row)));
        let mut from = 0;
        while from < rows.num_rows() {
            let first = start(from);
            let to = (from + 1..rows.num_rows()).find(|row| start(*row) != first).unwrap_or(rows.num_rows());
            let slot = first.map_or(Slot::All, |first| Slot::of(first, self.young));
            let schema = &self.schema;
            let encoder = self.open.entry(slot).or_insert_with(|| Encoder::start(Arc::clone(schema)));
            encoder.add(conform(&rows.slice(from, to - from), schema)?).await;
            from = to;
        }
        Ok(())
    }

    /// The files, once they are whole.
    pub(super) async fn finish(self) -> Result<Vec<Add>, BatchError> {
        let mut added = Vec::with_capacity(self.open.len());
        for (slot, encoder) in self.open {
            let file = encoder.finish().await?;
            added.push(self.table.put(&slot.place(), slot.month().as_deref(), file, self.now).await?);
        }
        Ok(added)
    }
}

/// The columns of a file, found by their names in the answer of a query.
pub(super) fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, BatchError> {
    let column = |field: &Arc<deltalake::arrow::datatypes::Field>| -> Result<ArrayRef, BatchError> {
        let found = rows.column_by_name(field.name()).ok_or_else(|| BatchError::Corrupt {
            what: "a query".to_owned(),
            reason: format!("it has no column {}", field.name()),
        })?;
        Ok(cast(found, field.data_type())?)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Raw clicks of one day of receipt on their way into few files, in order.
pub(super) struct RawFiles<'a> {
    table: &'a Table,
    date: &'a str,
    name: &'a str,
    now: Timestamp,
    schema: SchemaRef,
    open: Option<(Encoder, usize)>,
    added: Vec<Add>,
}

impl<'a> RawFiles<'a> {
    /// Files whose names begin with `name`.
    pub(super) fn of(table: &'a Table, date: &'a str, name: &'a str, now: Timestamp) -> Self {
        Self { table, date, name, now, schema: table.definition.file_schema(), open: None, added: Vec::new() }
    }

    pub(super) async fn take(&mut self, rows: &RecordBatch) -> Result<(), BatchError> {
        let schema = &self.schema;
        let (encoder, written) = self.open.get_or_insert_with(|| (Encoder::start(Arc::clone(schema)), 0));
        encoder.add(conform(rows, schema)?).await;
        *written += rows.num_rows();
        if *written >= RAW_ROWS_A_FILE { self.close().await } else { Ok(()) }
    }

    async fn close(&mut self) -> Result<(), BatchError> {
        if let Some((encoder, 1..)) = self.open.take() {
            let place = format!("received_date={}/{}.{}.parquet", self.date, self.name, uuid::Uuid::new_v4());
            let file = encoder.finish().await?;
            self.added.push(self.table.put(&Path::from(place), Some(self.date), file, self.now).await?);
        }
        Ok(())
    }

    /// The files, once they are whole.
    pub(super) async fn finish(mut self) -> Result<Vec<Add>, BatchError> {
        self.close().await?;
        Ok(self.added)
    }
}
