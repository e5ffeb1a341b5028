//! The bytes of a file that some rows of some columns lie in, and what is decoded from them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use deltalake::arrow::array::RecordBatch;
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::reader::{ChunkReader, Length};
use linktide_common::headroom::give_way;

use super::footer::Footer;
use super::{Names, unpack};
use crate::error::BatchError;

/// Rows decoded at once.
const BATCH: usize = 2048;
/// What lies between two ranges is read along rather than asked for twice.
const GAP: u64 = 128 << 10;

/// Rows of some columns of a file, and where they lie.
pub(super) struct Plan {
    ids: Names,
    columns: Names,
    /// The row groups that the rows lie in, each with its first row and which of its own rows those are.
    groups: Vec<(usize, usize, Range<usize>)>,
    /// Which rows of those groups together.
    rows: Range<usize>,
}

impl Plan {
    /// That of some of the ids, and of other columns.
    pub(super) fn of(footer: &Footer, rows: &Range<usize>, ids: Names, columns: Names) -> Self {
        let groups = footer.groups(rows);
        let first = groups.first().map_or(0, |(_, first, _)| *first);
        Self { ids, columns, groups, rows: rows.start - first..rows.end - first }
    }

    fn reads(&self, column: &str) -> bool {
        self.ids.contains(&column) || self.columns.contains(&column)
    }

    /// The pages of its columns that hold the rows, and the dictionaries they rest on.
    pub(super) fn ranges(&self, footer: &Footer) -> Vec<Range<u64>> {
        let metadata = footer.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let wanted = |leaf: &usize| self.reads(schema.get_column_root(*leaf).name());
        let leaves: Vec<usize> = (0..schema.num_columns()).filter(wanted).collect();
        let mut ranges = Vec::new();
        for (number, _, within) in &self.groups {
            let group = metadata.row_group(*number);
            for leaf in &leaves {
                let (start, _) = group.column(*leaf).byte_range();
                let pages = metadata.offset_index().map_or(&[][..], |index| &index[*number][*leaf].page_locations);
                if let Some(first) = pages.first().filter(|first| place(first.offset) != start) {
                    ranges.push(start..place(first.offset));
                }
                let row = |at: usize| pages.get(at).map_or(usize::MAX, |page| index(page.first_row_index));
                let first = pages.partition_point(|page| index(page.first_row_index) <= within.start);
                for at in (first.saturating_sub(1)..pages.len()).take_while(|at| row(*at) < within.end) {
                    let (from, len) = (place(pages[at].offset), pages[at].compressed_page_size.unsigned_abs());
                    ranges.push(from..from + u64::from(len));
                }
            }
        }
        joined(ranges)
    }

    /// The rows, from a file or from parts of it.
    pub(super) fn decode(
        self,
        footer: &Footer,
        file: impl ChunkReader + 'static,
    ) -> Result<Vec<RecordBatch>, BatchError> {
        let metadata = footer.metadata.metadata();
        let groups: Vec<usize> = self.groups.iter().map(|(number, ..)| *number).collect();
        let total = groups.iter().map(|group| index(metadata.row_group(*group).num_rows())).sum();
        let fields = footer.metadata.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| self.reads(field.name())).map(|(at, _)| at);
        let projection = ProjectionMask::roots(metadata.file_metadata().schema_descr(), wanted);
        let selection = RowSelection::from_consecutive_ranges(std::iter::once(self.rows.clone()), total);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Pages { file, packed: Arc::clone(&footer.packed) },
            footer.metadata.clone(),
        )
        .with_row_groups(groups)
        .with_projection(projection)
        // A mask would ask for pages that nobody wants.
        .with_row_selection_policy(RowSelectionPolicy::Selectors)
        .with_row_selection(selection)
        .with_batch_size(self.rows.len().clamp(1, BATCH))
        .build()?;
        Ok(reader.inspect(|_| give_way()).collect::<Result<_, _>>()?)
    }
}

fn place(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}

fn index(row: i64) -> usize {
    usize::try_from(row).unwrap_or_default()
}

/// Fewer ranges that hold the same and what lies between near ones.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + GAP => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Parts of a file, each with its place, in order.
pub(super) struct Parts(Arc<[(u64, Bytes)]>);

impl Parts {
    /// The bytes of some ranges, which are in order.
    pub(super) fn of(ranges: &[Range<u64>], bytes: Vec<Bytes>) -> Self {
        Self(ranges.iter().map(|range| range.start).zip(bytes).collect())
    }

    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let at = self.0.partition_point(|(from, _)| *from <= start).saturating_sub(1);
        let part = self.0.get(at).and_then(|(from, bytes)| {
            let skipped = usize::try_from(start.checked_sub(*from)?).ok()?;
            (skipped < bytes.len()).then(|| bytes.slice(skipped..))
        });
        part.ok_or_else(|| ParquetError::EOF(format!("nothing was read at {start}")))
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.0.last().map_or(0, |(from, bytes)| from + bytes.len() as u64)
    }
}

impl ChunkReader for Parts {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are wanted, {} are there", bytes.len())));
        }
        Ok(bytes.slice(..length))
    }
}

/// A file whose pages may have to be unpacked.
struct Pages<F> {
    file: F,
    packed: unpack::Packed,
}

impl<F: Length> Length for Pages<F> {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl<F: ChunkReader> ChunkReader for Pages<F> {
    type T = F::T;

    fn get_read(&self, start: u64) -> Result<F::T, ParquetError> {
        self.file.get_read(start)
    }

    /// With the places of pages known, this is asked for a page each time.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.file.get_bytes(start, length)?;
        if unpack::is_packed(&self.packed, start) { unpack::page(&bytes) } else { Ok(bytes) }
    }
}

/// A file of this machine, read wherever a page is. (The package's own reader moves a cursor that threads share.)
pub(super) struct Placed {
    file: Arc<File>,
    len: u64,
}

impl Placed {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), len })
    }
}

impl Length for Placed {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Placed {
    type T = From;

    fn get_read(&self, start: u64) -> Result<From, ParquetError> {
        Ok(From { file: Arc::clone(&self.file), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A file from some place on.
pub(super) struct From {
    file: Arc<File>,
    at: u64,
}

impl io::Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_become_one() {
        assert_eq!(
            joined(vec![GAP * 3..GAP * 3 + 5, 10..20, 20 + GAP..30 + GAP]),
            [10..30 + GAP, GAP * 3..GAP * 3 + 5]
        );
        assert_eq!(joined(Vec::new()), Vec::<Range<u64>>::new());
    }
}
