//! One Parquet file of a rollup, held in memory: point lookups by its page index, without planning a query.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::RecordBatch;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use deltalake::parquet::file::metadata::PageIndexPolicy;
use deltalake::parquet::file::page_index::column_index::ColumnIndexMetaData;
use deltalake::parquet::file::statistics::Statistics;

use crate::error::BatchError;
use crate::tables::columns::Owner;

/// Rows decoded at once.
const BATCH: usize = 8192;

/// Whose rows are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// One owner's.
    Owner(Owner),
    /// All of a tenant's links and its own.
    Tenant(i64),
}

impl Whose {
    pub(super) fn tenant(self) -> i64 {
        match self {
            Self::Owner(owner) => owner.tenant,
            Self::Tenant(tenant) => tenant,
        }
    }

    pub(super) fn takes(self, owner: Owner) -> bool {
        match self {
            Self::Owner(wanted) => wanted == owner,
            Self::Tenant(tenant) => owner.tenant == tenant,
        }
    }
}

/// A file with its parsed footer and page index.
pub(super) struct Loaded {
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
}

impl Loaded {
    pub(super) fn new(bytes: Bytes) -> Result<Self, BatchError> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&bytes, options)?;
        Ok(Self { bytes, metadata })
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The named columns of the pages that can hold rows of `whose`. Rows of others may be among them.
    pub(super) fn read(&self, whose: Whose, columns: &[&str]) -> Result<Vec<RecordBatch>, BatchError> {
        let Some(selection) = self.select(whose) else { return Ok(Vec::new()) };
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let roots = self.metadata.schema().fields().iter().enumerate();
        let wanted = roots.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(at, _)| at);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
            .with_projection(ProjectionMask::roots(schema, wanted))
            .with_row_selection(selection)
            .with_batch_size(BATCH)
            .build()?;
        Ok(reader.collect::<Result<_, _>>()?)
    }

    /// The rows whose pages can hold any of `whose`; none where no page can.
    fn select(&self, whose: Whose) -> Option<RowSelection> {
        let metadata = Arc::clone(self.metadata.metadata());
        let (mut ranges, mut start) = (Vec::new(), 0);
        for group in 0..metadata.num_row_groups() {
            let about = metadata.row_group(group);
            let rows = usize::try_from(about.num_rows()).unwrap_or_default();
            let tenants = about.columns().iter().find(|column| column.column_path().string() == "tenant_id");
            let holds = tenants
                .and_then(|column| column.statistics())
                .is_none_or(|statistics| may_equal(statistics, whose.tenant()));
            if holds {
                ranges.extend(self.pages(group, rows, whose).map(|page| start + page.start..start + page.end));
            }
            start += rows;
        }
        (!ranges.is_empty()).then(|| RowSelection::from_consecutive_ranges(ranges.into_iter(), start))
    }

    /// The pages of a row group that can hold rows of `whose`, by the least and greatest link of each.
    fn pages(&self, group: usize, rows: usize, whose: Whose) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let metadata = self.metadata.metadata();
        let link =
            metadata.row_group(group).columns().iter().position(|column| column.column_path().string() == "link_id");
        let index = link
            .and_then(|link| Some((&metadata.column_index()?[group][link], &metadata.offset_index()?[group][link])));
        let pages: Vec<std::ops::Range<usize>> = match (index, whose) {
            (Some((index, offsets)), Whose::Owner(owner)) => {
                let locations = offsets.page_locations();
                let first = |page: usize| {
                    locations.get(page).and_then(|at| usize::try_from(at.first_row_index).ok()).unwrap_or(rows)
                };
                let holding = (0..locations.len()).filter(|page| page_may_hold(index, *page, owner.link));
                holding.map(|page| first(page)..first(page + 1)).collect()
            }
            _ => std::iter::once(0..rows).collect(),
        };
        pages.into_iter()
    }
}

fn may_equal(statistics: &Statistics, value: i64) -> bool {
    match statistics {
        Statistics::Int64(range) => {
            range.min_opt().is_none_or(|least| *least <= value)
                && range.max_opt().is_none_or(|greatest| *greatest >= value)
        }
        _ => true,
    }
}

fn page_may_hold(index: &ColumnIndexMetaData, page: usize, link: Option<i64>) -> bool {
    match (index, link) {
        (index, None) => index.null_count(page).is_none_or(|nulls| nulls > 0),
        (ColumnIndexMetaData::INT64(range), Some(link)) => {
            range.min_value(page).is_some_and(|least| *least <= link)
                && range.max_value(page).is_some_and(|greatest| *greatest >= link)
        }
        _ => true,
    }
}
