//! Which partition a click goes to: as Java's default partitioner decides it, so that every producer agrees.

use crate::id::{ClickId, PartitionId};

/// The partition of a click among `partitions`: murmur2 of its id's text, made positive, modulo the number.
#[must_use]
pub fn partition_of(click: ClickId, partitions: u32) -> PartitionId {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let key = click.0.hyphenated().encode_lower(&mut text);
    PartitionId((murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions)
}

/// MurmurHash2 (Austin Appleby, public domain) in 32 bits, with the seed of Kafka's clients.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let len = u32::try_from(bytes.len()).expect("a key is short");
    let mut h = 0x9747_b28c ^ len;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks of 4")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_one_of_kafkas_clients() {
        // Values of org.apache.kafka.common.utils.Utils.murmur2, as Kafka's own tests state them.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
