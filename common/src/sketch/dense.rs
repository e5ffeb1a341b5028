//! Dense registers: a byte each in memory, where merging is a vector instruction; 6 bits each, lowest first, as bytes.

use super::REGISTERS;

/// Bytes of all registers at 6 bits each.
pub(super) const PACKED: usize = REGISTERS * 6 / 8;

#[derive(Clone)]
pub(super) struct Dense {
    ranks: [u8; REGISTERS],
}

impl Dense {
    pub(super) fn new() -> Self {
        Self { ranks: [0; REGISTERS] }
    }

    pub(super) fn ranks(&self) -> &[u8; REGISTERS] {
        &self.ranks
    }

    pub(super) fn raise(&mut self, index: usize, rank: u8) -> bool {
        let changed = self.ranks[index] < rank;
        self.ranks[index] = self.ranks[index].max(rank);
        changed
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.ranks.iter_mut().zip(&other.ranks) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// Merges registers as they are stored; `packed` has [`PACKED`] bytes.
    pub(super) fn merge_packed(&mut self, packed: &[u8]) {
        for (four, bytes) in self.ranks.chunks_exact_mut(4).zip(packed.chunks_exact(3)) {
            let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
            for (at, rank) in four.iter_mut().enumerate() {
                *rank = (*rank).max(((bits >> (6 * at)) & 63) as u8);
            }
        }
    }

    pub(super) fn packed(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(PACKED);
        for four in self.ranks.chunks_exact(4) {
            let bits = four.iter().rev().fold(0u32, |bits, rank| (bits << 6) | u32::from(*rank));
            packed.extend_from_slice(&bits.to_le_bytes()[..3]);
        }
        packed
    }

    pub(super) fn histogram(&self, histogram: &mut [u32; 64]) {
        for rank in &self.ranks {
            histogram[usize::from(*rank & 63)] += 1;
        }
    }
}
