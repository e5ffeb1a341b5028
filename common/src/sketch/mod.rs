//! The sketch of visitors: one HyperLogLog for both layers, in Redis' own bytes.
//!
//! 16,384 registers of 6 bits hold the largest rank seen among the hashes that fall to each (Flajolet et al. 2007); the
//! cardinality is Ertl's improved raw estimator (2017). What Redis holds after the same `PFADD`s is what
//! [`Sketch::to_bytes`] gives: `PFCOUNT` and `PFMERGE` accept it, and sketches of speed and batch merge without loss.
//!
//! The format, as Redis 7.0 documents and writes it: `HYLL`, one byte of encoding (0 dense, 1 sparse), three zero bytes,
//! the cached cardinality as 8 little-endian bytes whose top bit means that it is stale, then the registers. Ours is
//! always written stale, as Redis leaves it after a change: whoever counts, computes.

mod dense;
mod estimate;
mod murmur;
mod sparse;

use std::fmt;

pub use murmur::hash;

/// Registers of a sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Relative standard error of [`Sketch::count`]: 1.04 / √16384.
pub const STANDARD_ERROR: f64 = 0.008_125;

const INDEX_BITS: u32 = 14;
const HEADER: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const STALE: u8 = 0x80;

/// Bytes that are no sketch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// They do not begin as a sketch does.
    #[error("not a sketch: {0}")]
    Header(&'static str),
    /// The registers are not all there, or more than all.
    #[error("a damaged sketch: {encoding} registers cover {covered} of 16384")]
    Registers {
        /// Dense or sparse.
        encoding: &'static str,
        /// How many there are.
        covered: usize,
    },
}

/// A HyperLogLog of 16,384 registers. Equal when all registers are.
#[derive(Clone)]
pub struct Sketch {
    registers: Registers,
}

#[derive(Clone)]
enum Registers {
    Sparse(sparse::Sparse),
    Dense(Box<dense::Dense>),
}

impl Sketch {
    /// An empty sketch.
    #[must_use]
    pub fn new() -> Self {
        Self { registers: Registers::Sparse(sparse::Sparse::new()) }
    }

    /// Adds an element as `PFADD` would; tells whether a register changed.
    pub fn insert(&mut self, element: &[u8]) -> bool {
        self.insert_hash(murmur::hash(element))
    }

    /// Adds an element by its [`hash`].
    pub fn insert_hash(&mut self, hash: u64) -> bool {
        let (index, rank) = register_of(hash);
        self.raise(index, rank)
    }

    fn raise(&mut self, index: usize, rank: u8) -> bool {
        match &mut self.registers {
            Registers::Dense(dense) => dense.raise(index, rank),
            Registers::Sparse(sparse) => match sparse.raise(index, rank) {
                sparse::Raised::Unchanged => false,
                sparse::Raised::Changed => true,
                sparse::Raised::Outgrown => self.promote().raise(index, rank),
            },
        }
    }

    fn promote(&mut self) -> &mut dense::Dense {
        if let Registers::Sparse(sparse) = &self.registers {
            let mut dense = Box::new(dense::Dense::new());
            sparse.for_each(|index, rank| {
                dense.raise(index, rank);
            });
            self.registers = Registers::Dense(dense);
        }
        match &mut self.registers {
            Registers::Dense(dense) => dense,
            Registers::Sparse(_) => unreachable!("it was made dense above"),
        }
    }

    /// Takes in all that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        match &other.registers {
            Registers::Sparse(sparse) => sparse.for_each(|index, rank| {
                self.raise(index, rank);
            }),
            Registers::Dense(theirs) => self.promote().merge(theirs),
        }
    }

    /// Takes in a sketch as stored, without building it first.
    ///
    /// # Errors
    /// [`SketchError`] where the bytes are no sketch; this one may then have taken in a part of it.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        match encoded(bytes)? {
            (SPARSE, opcodes) => sparse::read(opcodes, |index, rank| {
                self.raise(index, rank);
            }),
            (_, packed) => {
                self.promote().merge_packed(packed);
                Ok(())
            }
        }
    }

    /// The estimated number of different elements.
    #[must_use]
    pub fn count(&self) -> u64 {
        let mut histogram = [0u32; 64];
        match &self.registers {
            Registers::Dense(dense) => dense.histogram(&mut histogram),
            Registers::Sparse(sparse) => sparse.histogram(&mut histogram),
        }
        estimate::cardinality(&histogram)
    }

    /// Whether nothing was ever added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.registers {
            Registers::Sparse(sparse) => sparse.is_empty(),
            Registers::Dense(_) => self.registers().all(|rank| rank == 0),
        }
    }

    /// All 16,384 registers.
    pub fn registers(&self) -> impl Iterator<Item = u8> + '_ {
        let mut ranks = vec![0; REGISTERS];
        match &self.registers {
            Registers::Dense(dense) => ranks.copy_from_slice(dense.ranks()),
            Registers::Sparse(sparse) => sparse.for_each(|index, rank| ranks[index] = rank),
        }
        ranks.into_iter()
    }

    /// The bytes Redis would hold.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        let (encoding, body) = match &self.registers {
            Registers::Sparse(sparse) => (SPARSE, sparse.opcodes().to_vec()),
            Registers::Dense(dense) => (DENSE, dense.packed()),
        };
        bytes.extend_from_slice(&[encoding, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, STALE]);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what [`Sketch::to_bytes`] or Redis wrote.
    ///
    /// # Errors
    /// [`SketchError`] for anything else; no bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let registers = match encoded(bytes)? {
            (SPARSE, opcodes) => {
                sparse::read(opcodes, |_, _| {})?;
                Registers::Sparse(sparse::Sparse::from_opcodes(opcodes))
            }
            (_, packed) => {
                let mut dense = Box::new(dense::Dense::new());
                dense.merge_packed(packed);
                Registers::Dense(dense)
            }
        };
        Ok(Self { registers })
    }
}

/// The encoding and what follows the header, checked for length.
fn encoded(bytes: &[u8]) -> Result<(u8, &[u8]), SketchError> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return Err(SketchError::Header("it does not begin with HYLL and a header of 16 bytes"));
    }
    let body = &bytes[HEADER..];
    match bytes[4] {
        DENSE if body.len() == dense::PACKED => Ok((DENSE, body)),
        DENSE => Err(SketchError::Registers { encoding: "dense", covered: body.len() * 8 / 6 }),
        SPARSE => Ok((SPARSE, body)),
        _ => Err(SketchError::Header("its encoding is neither dense nor sparse")),
    }
}

/// Which register a hash falls to, and its rank there: the number of trailing zeros behind the index, plus one.
fn register_of(hash: u64) -> (usize, u8) {
    let index = usize::try_from(hash & (REGISTERS as u64 - 1)).expect("14 bits fit");
    let rest = (hash >> INDEX_BITS) | (1 << (64 - INDEX_BITS));
    (index, u8::try_from(rest.trailing_zeros() + 1).expect("a rank is at most 51"))
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Sketch {
    fn eq(&self, other: &Self) -> bool {
        self.registers().eq(other.registers())
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch(about {})", self.count())
    }
}

#[cfg(test)]
mod tests;
