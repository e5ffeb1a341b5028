//! The bytes of a sketch: Redis' string value for a HyperLogLog, and the one place that decides whether bytes are one.
//!
//! | bytes | what |
//! |---|---|
//! | 0–3 | `HYLL` |
//! | 4 | encoding: 0 dense, 1 sparse |
//! | 5–7 | zero |
//! | 8–15 | cached cardinality, little-endian; the top bit says it is stale |
//! | 16– | the registers: [`dense`](super::dense), 12,288 bytes, or [`sparse`](super::sparse) opcodes |
//!
//! [`View::parse`] is the door: behind it the opcodes cover every register once and no register holds what a hash
//! cannot produce, so nothing that reads a view checks again.

use super::estimate::Histogram;
use super::{SketchError, dense, sparse};

/// Registers of a sketch: 2^14.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// The low bits of a hash that choose the register.
pub(super) const INDEX_BITS: u32 = 14;
/// The highest value of a register: all other bits of the hash are zero.
pub(super) const MAX_RANK: u8 = 51;
/// The highest count that leaves the cache's stale bit alone.
pub(super) const MAX_COUNT: u64 = u64::MAX >> 1;

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;

const MAGIC: [u8; 4] = *b"HYLL";
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// A header whose cached count is stale, as `PFADD` leaves it on a new key.
const FRESH_HEADER: [u8; HEADER_BYTES] = [b'H', b'Y', b'L', b'L', SPARSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, STALE];

/// What one element does to a sketch: it raises a register to at least a rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) index: usize,
    pub(super) rank: u8,
}

impl Mark {
    pub(super) fn of_hash(hash: u64) -> Self {
        let [low, high, ..] = hash.to_le_bytes();
        let index = usize::from(u16::from_le_bytes([low, high])) % REGISTERS;
        // The bit above the remaining 50 ends the run of zeros.
        let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
        #[expect(clippy::cast_possible_truncation, reason = "the bit set above bounds it to MAX_RANK")]
        let rank = rest.trailing_zeros() as u8 + 1;
        Self { index, rank }
    }
}

/// The bytes of a sketch of nothing.
pub(super) fn empty_sparse() -> Vec<u8> {
    [&FRESH_HEADER[..], &sparse::ALL_ZERO].concat()
}

/// The bytes of a dense sketch with the header of `other` and all registers zero.
pub(super) fn empty_dense(other: &[u8]) -> Box<[u8; DENSE_BYTES]> {
    let mut image = Box::new([0; DENSE_BYTES]);
    image[..HEADER_BYTES].copy_from_slice(&other[..HEADER_BYTES]);
    image[ENCODING_AT] = DENSE;
    image
}

/// Says in the header that registers changed since the count was cached. The old count stays below the bit.
pub(super) fn mark_stale(image: &mut [u8]) {
    image[STALE_AT] |= STALE;
}

/// Writes `count` into the header, where `PFCOUNT` finds it.
pub(super) fn write_cache(image: &mut [u8], count: u64) {
    image[CACHE_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// The registers of a dense image.
pub(super) fn dense_registers(image: &[u8; DENSE_BYTES]) -> &dense::Registers {
    image.last_chunk().expect("a dense image is a header and its registers")
}

/// The registers of a dense image, to raise.
pub(super) fn dense_registers_mut(image: &mut [u8; DENSE_BYTES]) -> &mut dense::Registers {
    image.last_chunk_mut().expect("a dense image is a header and its registers")
}

/// The registers of a sketch, wherever its bytes are.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    Sparse(sparse::Opcodes<'a>),
    Dense(&'a dense::Registers),
}

impl<'a> View<'a> {
    /// Reads `bytes` that may hold anything.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, SketchError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(SketchError::Header { length: bytes.len() });
        };
        if header[..ENCODING_AT] != MAGIC {
            return Err(SketchError::Magic { found: header[..ENCODING_AT].escape_ascii().to_string() });
        }
        if header[ENCODING_AT + 1..CACHE_AT] != [0; 3] {
            return Err(SketchError::Reserved);
        }
        match header[ENCODING_AT] {
            DENSE => {
                let registers = body.try_into().map_err(|_| SketchError::DenseLength { length: bytes.len() })?;
                dense::check(registers)?;
                Ok(Self::Dense(registers))
            }
            SPARSE => sparse::check(body).map(Self::Sparse),
            found => Err(SketchError::Encoding { found }),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::Sparse(opcodes) => opcodes.runs().all(|run| run.value == 0),
            Self::Dense(registers) => registers.iter().all(|&byte| byte == 0),
        }
    }

    pub(super) fn histogram(self) -> Histogram {
        match self {
            Self::Sparse(opcodes) => sparse::histogram(opcodes),
            Self::Dense(registers) => dense::histogram(registers),
        }
    }
}
