//! `link`: what people call a link, by the latest click that said it.

use deltalake::arrow::array::{Array as _, RecordBatch, StringArray};
use deltalake::arrow::datatypes::{DataType, Field};
use linktide_common::enrich::Text;
use linktide_common::id::ClickId;
use linktide_common::label::Label;
use uuid::Uuid;

use super::columns::{Columns, from_micros, instant, number, optional, schema};
use super::rollup::Rollup;
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
    const KEY: &'static [&'static str] = &["tenant_id", "link_id"];
    const DAY: Option<&'static str> = None;
    const HAS_TENANTS: bool = false;

    fn definition() -> Definition {
        Definition { name: "link", schema: schema(fields()), partitioned_by: None, statistics: "tenant_id,link_id" }
    }

    fn clicks() -> String {
        "SELECT tenant_id, link_id, slug, title, destination, clicked_at AS labelled_at, click_id
         FROM clicks WHERE labelled"
            .to_owned()
    }

    fn kept() -> String {
        "SELECT tenant_id, link_id, slug, title, destination, labelled_at, click_id FROM kept".to_owned()
    }

    /// The order is that of [`Label::is_later_than`].
    fn sums() -> String {
        let latest = |column| format!("first_value({column} ORDER BY labelled_at DESC, click_id DESC) AS {column}");
        ["slug", "title", "destination", "labelled_at", "click_id"].map(latest).join(", ")
    }

    fn columns() -> String {
        "tenant_id, link_id, slug, title, destination, labelled_at, click_id".to_owned()
    }
}

impl Links {
    /// The labels in rows.
    pub(crate) fn labels(rows: &RecordBatch) -> Result<Vec<Label>, BatchError> {
        let columns = Columns::new(rows);
        let (times, ids) = (columns.instants("labelled_at")?, columns.binaries("click_id")?);
        let (slugs, titles, destinations) =
            (columns.texts("slug")?, columns.texts("title")?, columns.texts("destination")?);
        let damaged =
            || BatchError::Corrupt { what: "table link".to_owned(), reason: "a stamp cannot be read".to_owned() };
        (0..rows.num_rows())
            .map(|row| {
                let text = |column: &StringArray| column.is_valid(row).then(|| Text::from(column.value(row)));
                Ok(Label {
                    slug: text(slugs),
                    title: text(titles),
                    destination: text(destinations),
                    clicked_at: from_micros(times.value(row)).ok_or_else(damaged)?,
                    click_id: ClickId(Uuid::from_slice(ids.value(row)).map_err(|_| damaged())?),
                })
            })
            .collect()
    }
}
