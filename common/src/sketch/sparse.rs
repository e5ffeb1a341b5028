//! The sparse encoding: opcodes that cover the 16,384 registers from left to right, for sketches of few elements.
//!
//! | opcode | bytes | registers |
//! |---|---|---|
//! | ZERO | `00xxxxxx` | x + 1 (1 to 64) at zero |
//! | XZERO | `01xxxxxx yyyyyyyy` | xy + 1 (1 to 16,384) at zero |
//! | VAL | `1vvvvvxx` | x + 1 (1 to 4) at v + 1 (1 to 32) |
//!
//! Many sequences of opcodes say the same registers. [`raise`] splits and joins exactly as Redis does, so the bytes
//! depend on the order of the elements in the same way:
//!
//! 1. The opcode over the register is replaced by at most three: what is left of it, the register alone, the rest.
//! 2. If that would grow the image beyond [`MAX_BYTES`], or the rank has no VAL, the sketch becomes dense instead.
//! 3. From the opcode before the replaced one on, five looks join a VAL with an equal one behind it.

use super::SketchError;
use super::estimate::Histogram;
use super::format::{HEADER_BYTES, Mark, REGISTERS};

/// The longest image, header included, that still grows as sparse: Redis' default `hll-sparse-max-bytes`.
pub(super) const MAX_BYTES: usize = 3000;
/// One XZERO over all registers.
pub(super) const ALL_ZERO: [u8; 2] = [XZERO | 0x3f, 0xff];

const XZERO: u8 = 0x40;
const VAL: u8 = 0x80;
const KIND: u8 = 0xc0;
const MAX_ZERO: usize = 64;
const MAX_VAL: usize = 4;
const MAX_VAL_RANK: u8 = 32;
/// Opcodes that are skipped in one step when they are all one byte long.
const STRIDE: usize = 16;
/// How many looks Redis takes to join neighbours after a change.
const JOIN_LOOKS: usize = 5;

/// What one opcode says: `length` registers of `value`, in `width` bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) length: usize,
    width: usize,
}

impl Run {
    /// The opcode at the start of `bytes`, or nothing if they end before it does.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        Some(match first & KIND {
            0 => Self { value: 0, length: usize::from(first) + 1, width: 1 },
            XZERO => {
                let length = usize::from(first & !KIND) << 8 | usize::from(*rest.first()?);
                Self { value: 0, length: length + 1, width: 2 }
            }
            _ => Self { value: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1, width: 1 },
        })
    }
}

/// Opcodes known to cover all registers and nothing beyond.
#[derive(Clone, Copy)]
pub(super) struct Opcodes<'a>(&'a [u8]);

impl<'a> Opcodes<'a> {
    /// The opcodes of a sparse image.
    pub(super) fn of_image(image: &'a [u8]) -> Self {
        Self(&image[HEADER_BYTES..])
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn runs(self) -> impl Iterator<Item = Run> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let run = Run::decode(rest)?;
            rest = &rest[run.width..];
            Some(run)
        })
    }

    /// The values of all registers, in order.
    pub(super) fn values(self) -> impl Iterator<Item = u8> + use<'a> {
        self.runs().flat_map(|run| std::iter::repeat_n(run.value, run.length))
    }

    /// The registers above zero, in order.
    pub(super) fn marks(self) -> impl Iterator<Item = Mark> + use<'a> {
        let mut next = 0;
        self.runs().flat_map(move |run| {
            let first = next;
            next += run.length;
            let end = if run.value == 0 { first } else { next };
            (first..end).map(move |index| Mark { index, rank: run.value })
        })
    }
}

/// Accepts `bytes` that are whole opcodes over exactly all registers.
pub(super) fn check(bytes: &[u8]) -> Result<Opcodes<'_>, SketchError> {
    let mut at = 0;
    let mut covered = 0;
    while at < bytes.len() {
        let run = Run::decode(&bytes[at..]).ok_or(SketchError::Truncated { offset: HEADER_BYTES + at })?;
        at += run.width;
        covered += run.length;
    }
    if covered == REGISTERS { Ok(Opcodes(bytes)) } else { Err(SketchError::Coverage { covered }) }
}

/// How many registers hold each value.
pub(super) fn histogram(opcodes: Opcodes<'_>) -> Histogram {
    let mut histogram = [0; 64];
    for run in opcodes.runs() {
        #[expect(clippy::cast_possible_truncation, reason = "a run is no longer than all registers")]
        let length = run.length as u32;
        histogram[usize::from(run.value)] += length;
    }
    histogram
}

/// A place between two opcodes: where the next one starts, in bytes of the image and in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    at: usize,
    first: usize,
}

impl Cursor {
    /// Before the first opcode.
    pub(super) const START: Self = Self { at: HEADER_BYTES, first: 0 };

    fn past(self, run: Run) -> Self {
        Self { at: self.at + run.width, first: self.first + run.length }
    }

    /// Before a ZERO or a VAL that this place is right behind.
    fn back_over(self, opcode: u8) -> Self {
        Self { at: self.at - 1, first: self.first - usize::from(narrow_run_length(opcode)) }
    }
}

/// What became of a mark.
pub(super) enum Raised {
    /// The register was as high already. Marks of higher registers may be searched from the cursor on.
    Unchanged(Cursor),
    /// The register is raised. Marks of higher registers may be searched from the cursor on.
    Changed(Cursor),
    /// The image is as it was: this mark belongs into a dense one.
    Outgrown,
}

/// Raises one register of a sparse image, searching it from `start`, a cursor this sketch gave for a lower register.
pub(super) fn raise(image: &mut Vec<u8>, start: Cursor, mark: Mark) -> Raised {
    let found = Found::search(image, start, mark.index);
    if found.run.value >= mark.rank {
        return Raised::Unchanged(found.resume);
    }
    if mark.rank > MAX_VAL_RANK {
        return Raised::Outgrown;
    }
    let left = mark.index - found.here.first;
    let mut split = Split::default();
    split.push(found.run.value, left);
    split.push(mark.rank, 1);
    split.push(found.run.value, found.run.length - left - 1);
    let grown = image.len() - found.run.width + split.length;
    if split.length > found.run.width && grown > MAX_BYTES {
        return Raised::Outgrown;
    }
    replace(image, found.here.at, found.run.width, split.opcodes());
    join_equal(image, found.before.at);
    Raised::Changed(found.resume)
}

/// The opcode over a register, and the two places before it that a change needs.
struct Found {
    run: Run,
    here: Cursor,
    /// The opcode before, or this one if it is the first: joining starts there.
    before: Cursor,
    /// One opcode further back, if the search came by it: a search for a higher register may start there. Joining
    /// begins at `before`, and where that is this place too, it takes in only registers below the raised one. So the
    /// higher register is never in the opcode here, and the search passes the one before it.
    resume: Cursor,
}

impl Found {
    fn search(image: &[u8], start: Cursor, index: usize) -> Self {
        let (mut resume, mut before, mut here) = (start, start, start);
        loop {
            for _ in 0..STRIDE {
                let run = Run::decode(&image[here.at..]).expect("opcodes cover every register");
                let next = here.past(run);
                if index < next.first {
                    return Self { run, here, before, resume };
                }
                (resume, before, here) = (before, here, next);
            }
            while let Some(stride) = image[here.at..].first_chunk::<STRIDE>()
                && let Some(length) = narrow_length(stride)
                && here.first + length <= index
            {
                here = Cursor { at: here.at + STRIDE, first: here.first + length };
                before = here.back_over(stride[STRIDE - 1]);
                resume = before.back_over(stride[STRIDE - 2]);
            }
        }
    }
}

/// The registers that opcodes of one byte cover together, or nothing if one of them is longer.
fn narrow_length(opcodes: &[u8; STRIDE]) -> Option<usize> {
    let wide = opcodes.iter().fold(false, |wide, &opcode| wide | (opcode & KIND == XZERO));
    let length = opcodes.iter().map(|&opcode| u16::from(narrow_run_length(opcode))).sum::<u16>();
    (!wide).then_some(usize::from(length))
}

/// The registers under a ZERO or a VAL.
fn narrow_run_length(opcode: u8) -> u8 {
    let mask = if opcode & VAL == 0 { 0x3f } else { 0x03 };
    (opcode & mask) + 1
}

/// The opcodes that take the place of one.
#[derive(Default)]
struct Split {
    bytes: [u8; 5],
    length: usize,
}

impl Split {
    fn push(&mut self, value: u8, run: usize) {
        if run == 0 {
            return;
        }
        let [low, high, ..] = (run - 1).to_le_bytes();
        if value > 0 {
            self.push_byte(VAL | (value - 1) << 2 | low);
        } else if run <= MAX_ZERO {
            self.push_byte(low);
        } else {
            self.push_byte(XZERO | high);
            self.push_byte(low);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn opcodes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Puts `opcodes` in the place of `width` bytes.
fn replace(image: &mut Vec<u8>, at: usize, width: usize, opcodes: &[u8]) {
    let tail = at + width..image.len();
    let moved = at + opcodes.len();
    if moved > tail.start {
        image.resize(tail.end + opcodes.len() - width, 0);
    }
    image.copy_within(tail.clone(), moved);
    image.truncate(moved + tail.len());
    image[at..moved].copy_from_slice(opcodes);
}

/// Joins equal neighbouring VALs near a change, as far as one VAL can hold both.
fn join_equal(image: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_LOOKS {
        let Some(run) = image.get(at..).and_then(Run::decode) else { return };
        let next = image.get(at + run.width..).and_then(Run::decode);
        match next {
            Some(next) if run.value > 0 && run.value == next.value && run.length + next.length <= MAX_VAL => {
                // The joined opcode is looked at again: it may fit the one behind it.
                image[at + 1] += image[at] & 3;
                image[at + 1] += 1;
                image.remove(at);
            }
            _ => at += run.width,
        }
    }
}
