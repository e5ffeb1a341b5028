//! What is known of a Parquet file without its rows: where its pages are, and whose rows each of them holds.
//!
//! Rows are in the order of their owners, and the page index says from whom to whom each page of ids goes: bisection
//! finds the few pages that can hold anybody's rows. A file whose pages are not in that order is refused here, rows within
//! a page that are not are refused when they are read: its answers would be wrong.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::parquet::DecodeResult;
use deltalake::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use deltalake::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData,
};
use deltalake::parquet::file::page_index::column_index::{ColumnIndexMetaData, PrimitiveColumnIndex};
use deltalake::parquet::file::page_index::offset_index::OffsetIndexMetaData;

use super::unpack;
use crate::error::BatchError;
use crate::tables::columns::Owner;

/// Whose rows are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// One owner's.
    Owner(Owner),
    /// All of a tenant's links and its own.
    Tenant(i64),
}

/// A file's footer, with whose rows are where.
pub(super) struct Footer {
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) owners: Owned,
    /// Where its pages lie that are unpacked before they are read.
    pub(super) packed: unpack::Packed,
    /// Where the file lies on this machine, if it does.
    pub(super) local: Option<PathBuf>,
}

/// Whose rows are in which pages.
pub(super) struct Owned {
    pages: Vec<Page>,
    rows: usize,
}

/// Rows of consecutive owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    first_row: usize,
    /// Nobody before these has rows in it, and nobody behind those.
    owners: (Owner, Owner),
}

/// What the page index says of a page of ids.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    first_row: usize,
    tenants: (i64, i64),
    /// None where no row has a link.
    links: Option<(i64, i64)>,
    has_tenants_own: bool,
}

impl Footer {
    /// Parses the footer of a file from its last bytes; where they do not reach, tells from where on they would.
    pub(super) fn parse(len: u64, last: Bytes) -> Result<Result<Self, u64>, BatchError> {
        let mut decoder = ParquetMetaDataPushDecoder::try_new(len)?.with_page_index_policy(PageIndexPolicy::Required);
        let from = len.saturating_sub(last.len() as u64);
        decoder.push_range(from..len, last)?;
        match decoder.try_decode()? {
            DecodeResult::Data(metadata) => Ok(Ok(Self::of(metadata)?)),
            DecodeResult::NeedsData(needed) => {
                Ok(Err(needed.iter().map(|range| range.start).min().unwrap_or_default().min(from)))
            }
            DecodeResult::Finished => Err(damaged("its footer ends early")),
        }
    }

    fn of(metadata: ParquetMetaData) -> Result<Self, BatchError> {
        let rows = usize::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        let owners = Owned { pages: in_order(&bounds(&metadata)?)?, rows };
        // What is left of the index is needed to find pages; what else it says of values is only large.
        let mut stripped = metadata.into_builder();
        let offsets = stripped.take_offset_index().map(|groups| groups.into_iter().map(lean).collect());
        let (groups, packed) = unpack::unpacked(stripped.take_row_groups())?;
        let stripped = stripped.set_row_groups(groups).set_column_index(None).set_offset_index(offsets).build();
        let metadata = ArrowReaderMetadata::try_new(Arc::new(stripped), ArrowReaderOptions::new())?;
        Ok(Self { metadata, owners, packed, local: None })
    }

    /// How much memory it takes.
    pub(super) fn size(&self) -> usize {
        self.metadata.metadata().memory_size()
            + self.owners.pages.len() * size_of::<Page>()
            + size_of_val(&*self.packed)
    }

    /// The row groups that rows lie in, each with its first row and with which of its own rows those are.
    pub(super) fn groups(&self, rows: &Range<usize>) -> Vec<(usize, usize, Range<usize>)> {
        let (mut found, mut first) = (Vec::new(), 0);
        for (number, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let count = rows_of(group);
            let within = rows.start.clamp(first, first + count) - first..rows.end.clamp(first, first + count) - first;
            if !within.is_empty() {
                found.push((number, first, within));
            }
            first += count;
        }
        found
    }
}

/// Rows among which those that were looked for lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidates {
    pub(super) rows: Range<usize>,
    /// Whether all of them are the tenant's that was looked for.
    pub(super) are_of_tenant: bool,
}

impl Owned {
    /// Rows among which all that are `whose` lie together: those of whole pages.
    pub(super) fn candidates(&self, whose: Whose) -> Candidates {
        let (least, greatest) = match whose {
            Whose::Owner(owner) => (owner, owner),
            Whose::Tenant(tenant) => (Owner { tenant, link: None }, Owner { tenant, link: Some(i64::MAX) }),
        };
        let first = self.pages.partition_point(|page| page.owners.1 < least);
        let behind = self.pages.partition_point(|page| page.owners.0 <= greatest);
        let row = |page: usize| self.pages.get(page).map_or(self.rows, |page| page.first_row);
        let rows = if first < behind { row(first)..row(behind) } else { 0..0 };
        let of_tenant = |page: &Page| (page.owners.0.tenant, page.owners.1.tenant) == (least.tenant, least.tenant);
        let are_of_tenant = self.pages.get(first..behind).is_none_or(|pages| pages.iter().all(of_tenant));
        Candidates { rows, are_of_tenant }
    }
}

fn rows_of(group: &RowGroupMetaData) -> usize {
    usize::try_from(group.num_rows()).unwrap_or_default()
}

fn lean(group: Vec<OffsetIndexMetaData>) -> Vec<OffsetIndexMetaData> {
    let lean = |mut column: OffsetIndexMetaData| {
        column.unencoded_byte_array_data_bytes = None;
        column.page_locations.shrink_to_fit();
        column
    };
    group.into_iter().map(lean).collect()
}

fn damaged(reason: impl Into<String>) -> BatchError {
    BatchError::Corrupt { what: "a Parquet file".to_owned(), reason: reason.into() }
}

/// What the page index says of each page of links, with the tenants of its rows.
fn bounds(metadata: &ParquetMetaData) -> Result<Vec<Bounds>, BatchError> {
    let (Some(values), Some(places)) = (metadata.column_index(), metadata.offset_index()) else {
        return Err(damaged("it has no page index"));
    };
    let schema = metadata.file_metadata().schema_descr();
    let place = |name: &str| (0..schema.num_columns()).find(|at| schema.column(*at).path().parts() == [name]);
    let (Some(tenant), Some(link)) = (place("tenant_id"), place("link_id")) else {
        return Err(damaged("it has no columns tenant_id and link_id"));
    };
    let (mut found, mut first) = (Vec::new(), 0);
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let (tenants, links) = (numbers(&values[number][tenant])?, numbers(&values[number][link])?);
        let (of_tenants, of_links) = (&places[number][tenant].page_locations, &places[number][link].page_locations);
        let start = |locations: &[deltalake::parquet::file::page_index::offset_index::PageLocation], page: usize| {
            locations.get(page).map_or(group.num_rows(), |location| location.first_row_index)
        };
        for page in 0..of_links.len() {
            let (from, to) = (start(of_links, page), start(of_links, page + 1));
            // Pages of two columns need not begin at the same rows.
            let first_with = of_tenants.partition_point(|location| location.first_row_index <= from).saturating_sub(1);
            let behind = of_tenants.partition_point(|location| location.first_row_index < to);
            let bound = |page: usize, value: fn(&PrimitiveColumnIndex<i64>, usize) -> Option<&i64>| {
                value(tenants, page).copied().ok_or_else(|| damaged("a page of tenant_id has no bounds"))
            };
            let links_of = |value: fn(&PrimitiveColumnIndex<i64>, usize) -> Option<&i64>| value(links, page).copied();
            found.push(Bounds {
                first_row: first + usize::try_from(from).unwrap_or_default(),
                tenants: (
                    bound(first_with, PrimitiveColumnIndex::min_value)?,
                    bound(behind.saturating_sub(1), PrimitiveColumnIndex::max_value)?,
                ),
                links: links_of(PrimitiveColumnIndex::min_value).zip(links_of(PrimitiveColumnIndex::max_value)),
                // Where the index does not count them, there may be some.
                has_tenants_own: links.null_count(page) != Some(0),
            });
        }
        first += rows_of(group);
    }
    Ok(found)
}

fn numbers(index: &ColumnIndexMetaData) -> Result<&PrimitiveColumnIndex<i64>, BatchError> {
    match index {
        ColumnIndexMetaData::INT64(index) => Ok(index),
        _ => Err(damaged("its page index does not tell tenants and links")),
    }
}

/// From whom to whom each page goes: as the index says where a page is of one tenant, else no wider than its neighbours let
/// it be.
fn in_order(bounds: &[Bounds]) -> Result<Vec<Page>, BatchError> {
    let exact = |page: &Bounds| page.tenants.0 == page.tenants.1;
    let mut pages: Vec<Page> = Vec::with_capacity(bounds.len());
    for page in bounds {
        let ((from, to), one) = (page.tenants, exact(page));
        let least = page.links.filter(|_| one && !page.has_tenants_own).map(|links| links.0);
        let greatest = if one { page.links.map(|links| links.1) } else { Some(i64::MAX) };
        pages.push(Page {
            first_row: page.first_row,
            owners: (Owner { tenant: from, link: least }, Owner { tenant: to, link: greatest }),
        });
    }
    for at in 1..pages.len() {
        let (before, next) = (bounds[at - 1], bounds[at]);
        let (last, first) = (pages[at - 1].owners.1, pages[at].owners.0);
        if before.tenants.1 > next.tenants.0 || (exact(&before) && exact(&next) && last > first) {
            let row = next.first_row;
            return Err(damaged(format!("its pages from row {row} on are not in the order of tenants and links")));
        }
        if exact(&before) && !exact(&next) {
            pages[at].owners.0 = first.max(last);
        }
        if !exact(&before) && exact(&next) && last.tenant == first.tenant {
            pages[at - 1].owners.1 = first;
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages_of(owners: &[Owner], len: usize) -> Result<Owned, BatchError> {
        let bounds: Vec<Bounds> = owners
            .chunks(len)
            .enumerate()
            .map(|(page, rows)| {
                let (tenants, links) = (rows.iter().map(|row| row.tenant), rows.iter().filter_map(|row| row.link));
                Bounds {
                    first_row: page * len,
                    tenants: (tenants.clone().min().unwrap(), tenants.max().unwrap()),
                    links: links.clone().min().zip(links.max()),
                    has_tenants_own: rows.iter().any(|row| row.link.is_none()),
                }
            })
            .collect();
        Ok(Owned { pages: in_order(&bounds)?, rows: owners.len() })
    }

    proptest! {
        /// Whatever the owners and the length of pages: all rows of anybody are among the candidates, with the rest of their
        /// pages, and at most a page on either side that two tenants share.
        #[test]
        fn candidates_hold_all_rows_of_an_owner_and_few_others(
            mut owners in prop::collection::vec((-2i64..3, prop::option::of(-3i64..6)), 1..200), len in 1usize..20,
        ) {
            owners.sort_unstable();
            let owners: Vec<Owner> = owners.into_iter().map(|(tenant, link)| Owner { tenant, link }).collect();
            let file = pages_of(&owners, len).unwrap();
            let all = (-3..4).flat_map(|tenant| {
                (-4..7).map(Some).chain([None]).map(move |link| Whose::Owner(Owner { tenant, link })).chain([Whose::Tenant(tenant)])
            });
            for whose in all {
                let of = |row: &Owner| match whose {
                    Whose::Owner(owner) => *row == owner,
                    Whose::Tenant(tenant) => row.tenant == tenant,
                };
                let first = owners.iter().position(of);
                let Candidates { rows: found, are_of_tenant } = file.candidates(whose);
                let tenant = match whose {
                    Whose::Owner(owner) => owner.tenant,
                    Whose::Tenant(tenant) => tenant,
                };
                prop_assert!(!are_of_tenant || owners[found.clone()].iter().all(|row| row.tenant == tenant));
                let Some(first) = first else {
                    prop_assert!(found.len() <= 4 * len, "{whose:?}: {found:?}");
                    continue;
                };
                let behind = owners.len() - owners.iter().rev().position(of).unwrap();
                prop_assert!(found.start <= first && behind <= found.end, "{whose:?}: {found:?} lacks {first}..{behind}");
                prop_assert!(found.len() < behind - first + 4 * len, "{whose:?}: {found:?} for {first}..{behind}");
            }
        }

        #[test]
        fn pages_that_are_swapped_are_refused(links in prop::collection::btree_set(0i64..1000, 4..60), at in 0usize..10) {
            let mut owners: Vec<Owner> = links.into_iter().map(|link| Owner { tenant: 7, link: Some(link) }).collect();
            let at = at % (owners.len() / 2 - 1) * 2;
            owners[at..at + 4].rotate_left(2);
            let error = pages_of(&owners, 2).err().map(|error| error.to_string()).unwrap_or_default();
            prop_assert!(error.contains("not in the order of tenants and links"), "{error}");
        }
    }
}
