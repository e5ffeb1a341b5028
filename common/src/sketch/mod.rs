//! The sketch: how many distinct visitors there were, in a few bytes that can be merged.
//!
//! A HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007) of 2^14 registers in Redis' own byte format, so that what
//! batch wrote and what Redis holds merge without loss. It promises:
//!
//! 1. After the same elements in the same order, [`Sketch::as_bytes`] is what `GET` returns for a Redis 7 key that
//!    took them by `PFADD`: sparse, dense, at the point where one becomes the other, and the cached count.
//! 2. [`Sketch::count`] is what `PFCOUNT` answers for those registers.
//! 3. Bytes from elsewhere are checked whole before anything is made of them; they never cause a panic.
//!
//! The cached count belongs to the bytes, not to the registers: `PFADD` and `PFMERGE` mark it stale, `PFCOUNT` renews
//! it. [`Sketch::cache_count`] renews it here. It is written, never believed: [`Sketch::count`] reads the registers.

mod dense;
mod estimate;
mod format;
mod murmur;
mod sparse;

#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod redis_tests;

use std::fmt;

pub use format::REGISTERS;
use format::{DENSE_BYTES, Mark, View};
use sparse::{Cursor, Raised};

/// The relative standard error of a count: 1.04 / √16384, or 0.81 %.
pub const STANDARD_ERROR: f64 = 1.04 / 128.0;

/// Redis' seed for the elements of a HyperLogLog.
const SEED: u64 = 0xadc8_3b19;

/// The hash that places an element: MurmurHash64A with Redis' seed.
#[must_use]
pub fn hash(element: &[u8]) -> u64 {
    murmur::hash64a(element, SEED)
}

/// Why bytes are not a sketch. All of them mean corrupt data or something else under that name; a retry cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// Too short for a header.
    #[error("a sketch starts with a header of 16 bytes, but there are only {length}")]
    Header {
        /// Bytes in all.
        length: usize,
    },
    /// The first four bytes are others.
    #[error("a sketch starts with `HYLL`, not with `{found}`")]
    Magic {
        /// The first four bytes, escaped.
        found: String,
    },
    /// The three bytes after the encoding are not zero.
    #[error("bytes 5 to 7 of a sketch are reserved and must be zero")]
    Reserved,
    /// Neither dense nor sparse.
    #[error("sketch encoding {found} is neither 0 (dense) nor 1 (sparse)")]
    Encoding {
        /// The byte that says it.
        found: u8,
    },
    /// A dense sketch of another length.
    #[error("a dense sketch has 12304 bytes, not {length}")]
    DenseLength {
        /// Bytes in all.
        length: usize,
    },
    /// A dense register above what 64 bits of hash can give.
    #[error("register {index} of the sketch holds {value}, above the highest possible 51")]
    Register {
        /// The first such register.
        index: usize,
        /// Its value.
        value: u8,
    },
    /// A sparse opcode whose second byte is missing.
    #[error("the sparse opcode at byte {offset} of the sketch is cut off")]
    Truncated {
        /// Where it starts.
        offset: usize,
    },
    /// Sparse opcodes over too few or too many registers.
    #[error("the sparse opcodes of the sketch cover {covered} registers, not 16384")]
    Coverage {
        /// Registers covered.
        covered: usize,
    },
}

/// A HyperLogLog in Redis' byte format. Two are equal when their registers are, however they are encoded.
#[derive(Clone)]
pub struct Sketch {
    image: Image,
}

/// The bytes as Redis holds them. Both kinds are valid at all times, so a view of them needs no check.
#[derive(Clone)]
enum Image {
    Sparse(Vec<u8>),
    Dense(Box<[u8; DENSE_BYTES]>),
}

impl Sketch {
    /// A sketch of nothing: the bytes after `PFADD key` without an element.
    #[must_use]
    pub fn new() -> Self {
        Self { image: Image::Sparse(format::empty_sparse()) }
    }

    /// Reads a sketch that Redis or [`Sketch::as_bytes`] wrote, and keeps its bytes as they are.
    ///
    /// # Errors
    /// Names what is wrong, if `bytes` are not a whole and possible sketch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        let image = match View::parse(bytes)? {
            View::Sparse(_) => Image::Sparse(bytes.to_vec()),
            View::Dense(registers) => {
                let mut image = format::empty_dense(bytes);
                *format::dense_registers_mut(&mut image) = *registers;
                Image::Dense(image)
            }
        };
        Ok(Self { image })
    }

    /// The bytes that Redis would hold.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.image {
            Image::Sparse(image) => image,
            Image::Dense(image) => &image[..],
        }
    }

    /// A copy of [`Sketch::as_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    /// Counts `element`, like `PFADD`. Says whether any register changed.
    pub fn insert(&mut self, element: &[u8]) -> bool {
        self.insert_hash(hash(element))
    }

    /// Counts an element by its [`hash`]. Says whether any register changed.
    pub fn insert_hash(&mut self, hash: u64) -> bool {
        let mark = Mark::of_hash(hash);
        let changed = match &mut self.image {
            Image::Dense(image) => dense::raise(format::dense_registers_mut(image), mark),
            Image::Sparse(image) => match sparse::raise(image, Cursor::START, mark) {
                Raised::Unchanged(_) => false,
                Raised::Changed(_) => true,
                Raised::Outgrown => dense::raise(self.densify(), mark),
            },
        };
        if changed {
            format::mark_stale(self.bytes_mut());
        }
        changed
    }

    /// Counts everything that `other` counted, like `PFMERGE` into this key.
    pub fn merge(&mut self, other: &Self) {
        self.merge_view(other.view());
    }

    /// Counts everything that a serialised sketch counted, without a copy of it.
    ///
    /// # Errors
    /// Names what is wrong with `bytes`; this sketch is then as it was.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Result<(), SketchError> {
        self.merge_view(View::parse(bytes)?);
        Ok(())
    }

    /// The estimated number of distinct elements, within [`STANDARD_ERROR`].
    #[must_use]
    pub fn count(&self) -> u64 {
        estimate::cardinality(&self.view().histogram())
    }

    /// Counts and writes the count into the bytes, like `PFCOUNT`: Redis then answers from there without reading the
    /// registers, until one changes.
    pub fn cache_count(&mut self) -> u64 {
        let count = self.count();
        format::write_cache(self.bytes_mut(), count);
        count
    }

    /// Whether nothing was ever counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    /// The values of the 16,384 registers, in order.
    pub fn registers(&self) -> impl Iterator<Item = u8> + '_ {
        let (opcodes, registers) = match self.view() {
            View::Sparse(opcodes) => (Some(opcodes), None),
            View::Dense(registers) => (None, Some(registers)),
        };
        opcodes.into_iter().flat_map(sparse::Opcodes::values).chain(registers.into_iter().flat_map(dense::values))
    }

    fn merge_view(&mut self, other: View<'_>) {
        match other {
            View::Sparse(opcodes) => self.merge_marks(opcodes.marks()),
            View::Dense(registers) => dense::merge(self.densify(), registers),
        }
        format::mark_stale(self.bytes_mut());
    }

    /// Raises registers in ascending order, so that one walk over a sparse image finds them all.
    fn merge_marks(&mut self, marks: impl Iterator<Item = Mark>) {
        let mut cursor = Cursor::START;
        for mark in marks {
            match &mut self.image {
                Image::Dense(image) => {
                    dense::raise(format::dense_registers_mut(image), mark);
                }
                Image::Sparse(image) => match sparse::raise(image, cursor, mark) {
                    Raised::Unchanged(resume) | Raised::Changed(resume) => cursor = resume,
                    Raised::Outgrown => {
                        dense::raise(self.densify(), mark);
                    }
                },
            }
        }
    }

    /// The registers, made dense if they were not. The header stays, as when Redis promotes a key.
    fn densify(&mut self) -> &mut dense::Registers {
        if let Image::Sparse(image) = &self.image {
            let mut promoted = format::empty_dense(image);
            let registers = format::dense_registers_mut(&mut promoted);
            for mark in sparse::Opcodes::of_image(image).marks() {
                dense::raise(registers, mark);
            }
            self.image = Image::Dense(promoted);
        }
        let Image::Dense(image) = &mut self.image else { unreachable!("a sparse image was just replaced") };
        format::dense_registers_mut(image)
    }

    fn view(&self) -> View<'_> {
        match &self.image {
            Image::Sparse(image) => View::Sparse(sparse::Opcodes::of_image(image)),
            Image::Dense(image) => View::Dense(format::dense_registers(image)),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.image {
            Image::Sparse(image) => image,
            Image::Dense(image) => &mut image[..],
        }
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Sketch {
    fn eq(&self, other: &Self) -> bool {
        match (self.view(), other.view()) {
            (View::Dense(ours), View::Dense(theirs)) => ours == theirs,
            (View::Sparse(ours), View::Sparse(theirs)) if ours.bytes() == theirs.bytes() => true,
            _ => self.registers().eq(other.registers()),
        }
    }
}

impl Eq for Sketch {}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoding = match self.image {
            Image::Sparse(_) => "sparse",
            Image::Dense(_) => "dense",
        };
        write!(f, "Sketch({encoding}, {} bytes, about {})", self.as_bytes().len(), self.count())
    }
}
