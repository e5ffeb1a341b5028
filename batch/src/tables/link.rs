//! `link`: what people call a link, by the latest click that said it.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::bucket::Day;
use linktide_common::enrich::Text;
use linktide_common::id::ClickId;
use linktide_common::label::Label;
use uuid::Uuid;

use super::columns::{Columns, Owner, from_micros, instant, instants, number, optional, schema};
use super::rollup::{Rollup, Rows};
use crate::error::BatchError;
use crate::table::Definition;

pub(crate) struct Links;

fn fields() -> Vec<Field> {
    vec![
        number("tenant_id"),
        number("link_id"),
        optional("slug", DataType::Utf8),
        optional("title", DataType::Utf8),
        optional("destination", DataType::Utf8),
        instant("labelled_at"),
        Field::new("click_id", DataType::Binary, false),
    ]
}

impl Rollup for Links {
    type Key = Owner;
    type Row = Label;

    fn definition() -> Definition {
        Definition { name: "link", schema: schema(fields()), partitioned_by: None, statistics: "tenant_id,link_id" }
    }

    fn day(_key: &Owner) -> Option<Day> {
        None
    }

    fn add(row: &mut Label, other: Label) {
        if other.is_later_than(row) {
            *row = other;
        }
    }

    fn encode(rows: &Rows<Self>) -> Result<RecordBatch, BatchError> {
        let texts = |value: fn(&Label) -> Option<&Text>| {
            Arc::new(rows.values().map(|label| value(label).map(AsRef::as_ref)).collect::<StringArray>()) as ArrayRef
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.keys().map(|owner| owner.tenant))),
            Arc::new(Int64Array::from_iter_values(rows.keys().map(|owner| owner.link.unwrap_or_default()))),
            texts(|label| label.slug.as_ref()),
            texts(|label| label.title.as_ref()),
            texts(|label| label.destination.as_ref()),
            Arc::new(instants(rows.values().map(|label| Some(label.clicked_at)))),
            Arc::new(BinaryArray::from_iter_values(rows.values().map(|label| label.click_id.0.as_bytes()))),
        ];
        Ok(RecordBatch::try_new(schema(fields()), columns)?)
    }

    fn decode(rows: &RecordBatch) -> Result<Vec<(Owner, Label)>, BatchError> {
        let columns = Columns::new(rows);
        let (owners, times, ids) = (columns.owners()?, columns.instants("labelled_at")?, columns.binaries("click_id")?);
        let (slugs, titles, destinations) =
            (columns.texts("slug")?, columns.texts("title")?, columns.texts("destination")?);
        let damaged =
            || BatchError::Corrupt { what: "table link".to_owned(), reason: "a stamp cannot be read".to_owned() };
        (0..rows.num_rows())
            .map(|row| {
                let text = |column: &StringArray| column.is_valid(row).then(|| Text::from(column.value(row)));
                let label = Label {
                    slug: text(slugs),
                    title: text(titles),
                    destination: text(destinations),
                    clicked_at: from_micros(times.value(row)).ok_or_else(damaged)?,
                    click_id: ClickId(Uuid::from_slice(ids.value(row)).map_err(|_| damaged())?),
                };
                Ok((owners.at(row), label))
            })
            .collect()
    }
}
