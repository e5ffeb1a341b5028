//! Sparse registers: runs of equal registers as Redis writes them.
//!
//! `00xxxxxx` is a run of 1 to 64 zeros, `01xxxxxx yyyyyyyy` one of 1 to 16,384, `1vvvvvxx` 1 to 4 registers of rank 1 to
//! 32. Changing a register splits its run in place and then joins equal neighbours within a few opcodes, exactly as far
//! as Redis does: the bytes depend on it.

use super::{HEADER, REGISTERS, SketchError};

/// Redis' default `hll-sparse-max-bytes`, the header included.
const MOST_BYTES: usize = 3000;
const MOST_RANK: u8 = 32;
const MOST_VAL_RUN: usize = 4;
const MOST_ZERO_RUN: usize = 64;
/// How many opcodes around a change are looked at for joining.
const JOINED_WITHIN: usize = 5;

#[derive(Clone)]
pub(super) struct Sparse {
    opcodes: Vec<u8>,
}

/// What a raise came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Raised {
    Unchanged,
    Changed,
    /// The sparse form cannot hold it: nothing was changed.
    Outgrown,
}

/// A run of equal registers.
#[derive(Clone, Copy)]
struct Run {
    rank: u8,
    len: usize,
    /// Bytes of its opcode.
    size: usize,
}

impl Run {
    fn read(opcodes: &[u8]) -> Option<Self> {
        let first = *opcodes.first()?;
        Some(match first >> 6 {
            0 => Self { rank: 0, len: usize::from(first & 63) + 1, size: 1 },
            1 => {
                let low = usize::from(*opcodes.get(1)?);
                Self { rank: 0, len: (usize::from(first & 63) << 8 | low) + 1, size: 2 }
            }
            _ => Self { rank: ((first >> 2) & 31) + 1, len: usize::from(first & 3) + 1, size: 1 },
        })
    }

    fn write(rank: u8, len: usize, out: &mut Vec<u8>) {
        let byte = |value: usize| u8::try_from(value).expect("a run's parts fit their bits");
        match (rank, len) {
            (_, 0) => {}
            (0, 1..=MOST_ZERO_RUN) => out.push(byte(len - 1)),
            (0, _) => out.extend([0x40 | byte((len - 1) >> 8), byte((len - 1) & 255)]),
            _ => out.push(0x80 | (rank - 1) << 2 | byte(len - 1)),
        }
    }
}

impl Sparse {
    pub(super) fn new() -> Self {
        let mut opcodes = Vec::new();
        Run::write(0, REGISTERS, &mut opcodes);
        Self { opcodes }
    }

    /// From opcodes that [`read`] has accepted.
    pub(super) fn from_opcodes(opcodes: &[u8]) -> Self {
        Self { opcodes: opcodes.to_vec() }
    }

    pub(super) fn opcodes(&self) -> &[u8] {
        &self.opcodes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs().all(|run| run.rank == 0)
    }

    fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut rest = self.opcodes.as_slice();
        std::iter::from_fn(move || {
            let run = Run::read(rest)?;
            rest = &rest[run.size..];
            Some(run)
        })
    }

    pub(super) fn for_each(&self, mut each: impl FnMut(usize, u8)) {
        read(&self.opcodes, &mut each).expect("own opcodes cover all registers");
    }

    pub(super) fn histogram(&self, histogram: &mut [u32; 64]) {
        for run in self.runs() {
            histogram[usize::from(run.rank)] += u32::try_from(run.len).expect("a run is at most 16384 long");
        }
    }

    pub(super) fn raise(&mut self, index: usize, rank: u8) -> Raised {
        if rank > MOST_RANK {
            return Raised::Outgrown;
        }
        let (mut at, mut before, mut first) = (0, None, 0);
        let run = loop {
            let run = Run::read(&self.opcodes[at..]).expect("own opcodes cover all registers");
            if index < first + run.len {
                break run;
            }
            (before, first, at) = (Some(at), first + run.len, at + run.size);
        };
        if run.rank >= rank {
            return Raised::Unchanged;
        }
        let mut split = Vec::with_capacity(5);
        Run::write(run.rank, index - first, &mut split);
        Run::write(rank, 1, &mut split);
        Run::write(run.rank, first + run.len - index - 1, &mut split);
        let grown = HEADER + self.opcodes.len() + split.len() - run.size;
        if split.len() > run.size && grown > MOST_BYTES {
            return Raised::Outgrown;
        }
        self.opcodes.splice(at..at + run.size, split);
        self.join(before.unwrap_or(0));
        Raised::Changed
    }

    /// Joins neighbouring runs of one rank, from `at` on.
    fn join(&mut self, mut at: usize) {
        for _ in 0..JOINED_WITHIN {
            let Some(run) = self.opcodes.get(at..).and_then(Run::read) else { return };
            let next = self.opcodes.get(at + run.size..).and_then(Run::read);
            match next {
                Some(next) if run.rank > 0 && next.rank == run.rank && run.len + next.len <= MOST_VAL_RUN => {
                    let mut joined = Vec::with_capacity(1);
                    Run::write(run.rank, run.len + next.len, &mut joined);
                    self.opcodes.splice(at..at + 2, joined);
                }
                _ => at += run.size,
            }
        }
    }
}

/// Reads opcodes, giving each register that is not zero.
///
/// # Errors
/// [`SketchError::Registers`] where they do not cover exactly all registers.
pub(super) fn read(opcodes: &[u8], mut each: impl FnMut(usize, u8)) -> Result<(), SketchError> {
    let (mut rest, mut covered) = (opcodes, 0);
    while !rest.is_empty() {
        let run = Run::read(rest).filter(|run| covered + run.len <= REGISTERS);
        let Some(run) = run else {
            return Err(SketchError::Registers { encoding: "sparse", covered });
        };
        if run.rank > 0 {
            (covered..covered + run.len).for_each(|index| each(index, run.rank));
        }
        covered += run.len;
        rest = &rest[run.size..];
    }
    if covered == REGISTERS { Ok(()) } else { Err(SketchError::Registers { encoding: "sparse", covered }) }
}
