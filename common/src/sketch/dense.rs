//! The dense encoding: 16,384 registers of six bits, packed from the least significant bit on.
//!
//! Four registers fill three bytes, so a single one is read and written in its group of four. Whole sketches are worked
//! on eight registers at a time: a **lane**, the low 48 bits of a word; a **block** of four lanes fills three words.

use super::SketchError;
use super::estimate::Histogram;
use super::format::{MAX_RANK, Mark, REGISTERS};

pub(super) const BYTES: usize = REGISTERS * 6 / 8;

/// The packed registers.
pub(super) type Registers = [u8; BYTES];

const GROUP: usize = 4;
const GROUP_BYTES: usize = 3;
const LANE: usize = 8;
const LANE_BITS: u64 = (1 << 48) - 1;
const BLOCK_LANES: usize = 4;
const BLOCK_BYTES: usize = 24;

/// The top bit of each register of a lane.
const TOP: u64 = 0o4040_4040_4040_4040;
/// Every other register of a lane, each with six free bits above it.
const SPREAD: u64 = 0o0077_0077_0077_0077;
/// The lowest bit above each spread register.
const CARRY: u64 = 0o0100_0100_0100_0100;
/// What takes a spread register above `MAX_RANK` into its carry bit.
const HEADROOM: u64 = 0o0001_0001_0001_0001 * (63 - MAX_RANK as u64);

/// Raises one register; says whether it changed.
pub(super) fn raise(registers: &mut Registers, mark: Mark) -> bool {
    let group = &mut registers.as_chunks_mut::<GROUP_BYTES>().0[mark.index / GROUP];
    let shift = mark.index % GROUP * 6;
    let word = u32::from_le_bytes([group[0], group[1], group[2], 0]);
    let rank = u32::from(mark.rank);
    if word >> shift & 63 >= rank {
        return false;
    }
    let raised = word & !(63 << shift) | rank << shift;
    group.copy_from_slice(&raised.to_le_bytes()[..GROUP_BYTES]);
    true
}

/// Raises every register of `into` to the one of `from`.
pub(super) fn merge(into: &mut Registers, from: &Registers) {
    let (into, _) = into.as_chunks_mut::<BLOCK_BYTES>();
    for (ours, theirs) in into.iter_mut().zip(blocks(from)) {
        let mine = unpack(ours);
        *ours = pack(std::array::from_fn(|lane| lane_max(mine[lane], theirs[lane])));
    }
}

/// The maximum, register by register, of two lanes.
fn lane_max(a: u64, b: u64) -> u64 {
    // The lower five bits are compared by a subtraction; the top bit keeps it from borrowing of the register above.
    let differ = a ^ b;
    let low_not_less = (a | TOP) - (b & !TOP);
    let not_less = (a & differ | low_not_less & !differ) & TOP;
    // From its top bit the answer spreads over the register.
    let keep = (not_less - (not_less >> 5)) | not_less;
    b ^ differ & keep
}

fn blocks(registers: &Registers) -> impl Iterator<Item = [u64; BLOCK_LANES]> {
    registers.as_chunks::<BLOCK_BYTES>().0.iter().map(unpack)
}

fn unpack(bytes: &[u8; BLOCK_BYTES]) -> [u64; BLOCK_LANES] {
    let (words, _) = bytes.as_chunks::<8>();
    let [a, b, c] = std::array::from_fn(|at| u64::from_le_bytes(words[at]));
    [a & LANE_BITS, (a >> 48 | b << 16) & LANE_BITS, (b >> 32 | c << 32) & LANE_BITS, c >> 16]
}

fn pack([a, b, c, d]: [u64; BLOCK_LANES]) -> [u8; BLOCK_BYTES] {
    let mut bytes = [0; BLOCK_BYTES];
    let words = [a | b << 48, b >> 16 | c << 32, c >> 32 | d << 16];
    for (at, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *at = word.to_le_bytes();
    }
    bytes
}

/// The values of all registers, in order.
pub(super) fn values(registers: &Registers) -> impl Iterator<Item = u8> {
    blocks(registers).flatten().flat_map(lane_values)
}

fn lane_values(lane: u64) -> [u8; LANE] {
    std::array::from_fn(|slot| (lane >> (6 * slot) & 63) as u8)
}

/// How many registers hold each value.
pub(super) fn histogram(registers: &Registers) -> Histogram {
    // One histogram for each slot of a lane: neighbours are often equal, and adding to the cell just written waits.
    let mut slots = [[0u32; 64]; LANE];
    for block in blocks(registers) {
        for lane in block {
            for (slot, value) in slots.iter_mut().zip(lane_values(lane)) {
                slot[usize::from(value)] += 1;
            }
        }
    }
    std::array::from_fn(|value| slots.iter().map(|slot| slot[value]).sum())
}

/// Refuses registers that no element can have set.
pub(super) fn check(registers: &Registers) -> Result<(), SketchError> {
    let mut over = 0;
    for block in blocks(registers) {
        for lane in block {
            over |= ((lane & SPREAD) + HEADROOM) | ((lane >> 6 & SPREAD) + HEADROOM);
        }
    }
    if over & CARRY == 0 {
        return Ok(());
    }
    let first = values(registers).enumerate().find(|&(_, value)| value > MAX_RANK);
    first.map_or(Ok(()), |(index, value)| Err(SketchError::Register { index, value }))
}
