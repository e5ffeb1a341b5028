//! Shards: the fixed parts a view is made of, each with positions of its own.
//!
//! A subject's shard is a function of its ids alone, so that any reader computes it, and a view may be spread over as
//! many servers as there are shards.

use linktide_common::id::Subject;

/// How many there are. It never changes: stored keys carry the number.
pub const SHARDS: usize = 256;
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// A part of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// Every shard, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// Where a subject's counts are: the 64-bit FNV-1a hash (Fowler, Noll and Vo) of the tenant's id and, for a link, the
    /// link's, each as 8 bytes, the highest first, with its 8 bytes folded into one by exclusive or.
    #[must_use]
    pub fn of(subject: Subject) -> Self {
        let hash = fnv1a(BASIS, &subject.tenant().0.to_be_bytes());
        let hash = subject.link().map_or(hash, |link| fnv1a(hash, &link.0.to_be_bytes()));
        Self(hash.to_le_bytes().into_iter().fold(0, |folded, byte| folded ^ byte))
    }

    /// Its place among all.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use linktide_common::id::{LinkId, TenantId};

    use super::*;

    #[test]
    fn hash_is_fnv1a() {
        // Test vectors of the authors.
        assert_eq!(fnv1a(BASIS, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a(BASIS, b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn links_spread_evenly_whatever_their_ids_look_like() {
        for step in [1, 256, 1 << 22, 0x9e37_79b9_7f4a_7c15] {
            let mut held = [0; SHARDS];
            for number in 0..SHARDS as u64 * 100 {
                held[Shard::of(Subject::Link(TenantId(1), LinkId(number.wrapping_mul(step)))).index()] += 1;
            }
            assert!(held.iter().all(|links| (40..=250).contains(links)), "{step}: {held:?}");
        }
    }
}
