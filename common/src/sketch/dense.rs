//! The dense encoding: 16,384 registers of six bits, packed from the least significant bit on.
//!
//! Four registers fill three bytes and eight fill six, so single registers are read and written in groups of four,
//! and whole sketches eight registers at a time in one word.

use super::SketchError;
use super::estimate::Histogram;
use super::format::{MAX_RANK, Mark, REGISTERS};

pub(super) const BYTES: usize = REGISTERS * 6 / 8;

/// The packed registers.
pub(super) type Registers = [u8; BYTES];

const GROUP: usize = 4;
const GROUP_BYTES: usize = 3;
/// Eight registers, as the low 48 bits of a word.
const LANE: usize = 8;
const LANE_BYTES: usize = 6;

/// Every other register of a lane, each with six free bits above it.
const SPREAD: u64 = 0x03f_03f_03f_03f;
/// The bit above each spread register.
const CARRY: u64 = 0x040_040_040_040;
/// What takes a spread register above `MAX_RANK` into its carry bit.
const HEADROOM: u64 = 0x001_001_001_001 * (63 - MAX_RANK as u64);

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
    let (into, _) = into.as_chunks_mut::<LANE_BYTES>();
    let (from, _) = from.as_chunks::<LANE_BYTES>();
    for (ours, theirs) in into.iter_mut().zip(from) {
        let (a, b) = (lane(ours), lane(theirs));
        let even = spread_max(a & SPREAD, b & SPREAD);
        let odd = spread_max(a >> 6 & SPREAD, b >> 6 & SPREAD);
        ours.copy_from_slice(&(even | odd << 6).to_le_bytes()[..LANE_BYTES]);
    }
}

/// The maximum, register by register, of two words of spread registers.
fn spread_max(a: u64, b: u64) -> u64 {
    // Where a ≥ b nothing is borrowed from the carry bit; it then becomes six ones over the register.
    let not_less = ((a | CARRY) - b) & CARRY;
    let keep = not_less - (not_less >> 6);
    b ^ (a ^ b) & keep
}

fn lane(bytes: &[u8; LANE_BYTES]) -> u64 {
    let [a, b, c, d, e, f] = *bytes;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The values of all registers, in order.
pub(super) fn values(registers: &Registers) -> impl Iterator<Item = u8> {
    registers.as_chunks::<LANE_BYTES>().0.iter().flat_map(|bytes| lane_values(lane(bytes)))
}

fn lane_values(lane: u64) -> [u8; LANE] {
    std::array::from_fn(|slot| (lane >> (6 * slot) & 63) as u8)
}

/// How many registers hold each value.
pub(super) fn histogram(registers: &Registers) -> Histogram {
    // One histogram for each slot of a lane: neighbours are often equal, and adding to the cell just written waits.
    let mut slots = [[0u32; 64]; LANE];
    for bytes in registers.as_chunks::<LANE_BYTES>().0 {
        for (slot, value) in slots.iter_mut().zip(lane_values(lane(bytes))) {
            slot[usize::from(value)] += 1;
        }
    }
    std::array::from_fn(|value| slots.iter().map(|slot| slot[value]).sum())
}

/// Refuses registers that no element can have set.
pub(super) fn check(registers: &Registers) -> Result<(), SketchError> {
    let mut over = 0;
    for bytes in registers.as_chunks::<LANE_BYTES>().0 {
        let lane = lane(bytes);
        over |= ((lane & SPREAD) + HEADROOM) | ((lane >> 6 & SPREAD) + HEADROOM);
    }
    if over & CARRY == 0 {
        return Ok(());
    }
    let first = values(registers).enumerate().find(|&(_, value)| value > MAX_RANK);
    first.map_or(Ok(()), |(index, value)| Err(SketchError::Register { index, value }))
}
