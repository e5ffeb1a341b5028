//! MurmurHash64A, the 64-bit hash of Austin Appleby's MurmurHash2 family for little-endian 64-bit machines.
//!
//! Redis places the elements of a HyperLogLog by it, so sketches made elsewhere only merge with Redis' own if the
//! hash is the same to the bit. It is fast and well mixed, and no defence against chosen input: whoever may pick
//! elements freely can aim at any register.

const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
const SHIFT: u32 = 47;

/// The hash of `key` under `seed`.
pub(super) fn hash64a(key: &[u8], seed: u64) -> u64 {
    // Only the hash's initial value depends on the length, which wraps like everything else here.
    let mut hash = seed ^ (key.len() as u64).wrapping_mul(MULTIPLIER);
    let (blocks, tail) = key.as_chunks::<8>();
    for block in blocks {
        let mut mixed = u64::from_le_bytes(*block).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = (hash ^ mixed.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}
