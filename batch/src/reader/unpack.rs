//! Pages of a file, unpacked before the Parquet reader sees them.
//!
//! That reader makes itself a context to pack and one to unpack for each column of each piece it reads, of some hundred
//! kilobytes each: for a page of a thousand rows they cost more than the page. Here one context of a thread unpacks all
//! pages, and their headers say afterwards that they are not packed. Nothing else of a page changes.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::parquet::basic::Compression;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use zstd::bulk::Decompressor;

thread_local! {
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A field of a page's header that is a whole number and follows the one before it.
const NEXT_NUMBER: u8 = 0x15;

/// Where in a file pages lie that are packed, in order.
pub(super) type Packed = Arc<[Range<u64>]>;

/// Row groups as they are when their pages are unpacked, and where pages lie that have to be.
pub(super) fn unpacked(groups: Vec<RowGroupMetaData>) -> Result<(Vec<RowGroupMetaData>, Packed), ParquetError> {
    let mut packed = Vec::new();
    let mut column = |column: &ColumnChunkMetaData| {
        if !matches!(column.compression(), Compression::ZSTD(_)) {
            return Ok(column.clone());
        }
        let (start, len) = column.byte_range();
        packed.push(start..start + len);
        column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()
    };
    let group = |group: RowGroupMetaData| {
        let columns = group.columns().iter().map(&mut column).collect::<Result<_, _>>()?;
        group.into_builder().set_column_metadata(columns).build()
    };
    let groups = groups.into_iter().map(group).collect::<Result<_, _>>()?;
    packed.sort_unstable_by_key(|range| range.start);
    Ok((groups, packed.into()))
}

/// Whether a page that begins there has to be unpacked.
pub(super) fn is_packed(packed: &Packed, start: u64) -> bool {
    let behind = packed.partition_point(|range| range.start <= start);
    packed[..behind].last().is_some_and(|range| range.contains(&start))
}

/// A page, with its header, as if it had never been packed.
pub(super) fn page(packed: &[u8]) -> Result<Bytes, ParquetError> {
    let damaged = || ParquetError::General("a page's header cannot be read".to_owned());
    let mut at = 0;
    // What kind of page it is, how large it is, how large it is packed.
    let _kind = number(packed, &mut at).ok_or_else(damaged)?;
    let size = number(packed, &mut at).and_then(|size| usize::try_from(size).ok()).ok_or_else(damaged)?;
    let before = at;
    let len = number(packed, &mut at).and_then(|len| usize::try_from(len).ok()).ok_or_else(damaged)?;
    let header = packed.len().checked_sub(len).filter(|header| *header >= at).ok_or_else(damaged)?;
    let mut whole = Vec::with_capacity(header + 8 + size);
    whole.extend_from_slice(&packed[..before]);
    whole.push(NEXT_NUMBER);
    put(&mut whole, size);
    whole.extend_from_slice(&packed[at..header]);
    if size > 0 {
        let data = CONTEXT.with_borrow_mut(|context| {
            let context = match context {
                Some(context) => context,
                None => context.insert(Decompressor::new()?),
            };
            context.decompress(&packed[header..], size)
        })?;
        if data.len() != size {
            return Err(ParquetError::General(format!("a page of {size} bytes has {}", data.len())));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// The whole number of the next field.
fn number(header: &[u8], at: &mut usize) -> Option<i64> {
    if *header.get(*at)? != NEXT_NUMBER {
        return None;
    }
    *at += 1;
    let (mut read, mut shift) = (0u64, 0);
    loop {
        let byte = *header.get(*at)?;
        *at += 1;
        read |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((read >> 1).cast_signed() ^ -(read & 1).cast_signed());
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put(header: &mut Vec<u8>, number: usize) {
    let mut left = number << 1;
    while left >= 0x80 {
        header.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    header.push(left as u8);
}
