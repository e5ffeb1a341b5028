//! The sketch against its laws, known hashes and hostile bytes. What only a real server can tell is in `redis_tests`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::format::{DENSE_BYTES, HEADER_BYTES, Mark};
use super::sparse::{self, MAX_BYTES};
use super::*;

/// A hash that raises register `index` to `rank`.
pub(super) fn hash_marking(index: u64, rank: u32) -> u64 {
    let rest = if rank > 50 { 0 } else { 1 << (rank - 1) };
    index | rest << 14
}

/// Hashes that fill a window of registers with few values: neighbours are often equal and join.
pub(super) fn crowded_hashes(seed: u64, window: u64, ranks: u64, count: u64) -> Vec<u64> {
    let noise = move |n: u64| murmur::hash64a(&n.to_le_bytes(), seed);
    let rank = move |n: u64| u32::try_from(noise(n) >> 32).unwrap() % u32::try_from(ranks).unwrap() + 1;
    (0..count).map(|n| hash_marking(noise(n) % window, rank(n))).collect()
}

/// A sparse image of `count` VALs of few values and any length, most of which would have been joined as they came.
pub(super) fn strange_image(seed: u64, ranks: u64, count: u64) -> Vec<u8> {
    let opcodes = crowded_hashes(seed, 4, ranks, count).into_iter().map(|hash| {
        let mark = Mark::of_hash(hash);
        let [run, ..] = mark.index.to_le_bytes();
        0x80 | (mark.rank - 1) << 2 | run
    });
    completed(&opcodes.collect::<Vec<u8>>())
}

pub(super) fn sketch_of_hashes(hashes: &[u64]) -> Sketch {
    let mut sketch = Sketch::new();
    for &hash in hashes {
        sketch.insert_hash(hash);
    }
    sketch
}

pub(super) fn sketch_of_numbers(numbers: impl Iterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::new();
    for number in numbers {
        sketch.insert(number.to_string().as_bytes());
    }
    sketch
}

fn is_dense(sketch: &Sketch) -> bool {
    matches!(sketch.image, Image::Dense(_))
}

/// SMHasher's check of a hash: keys of 0 to 255 bytes under falling seeds, and the hash of all those hashes.
#[test]
fn murmur_gives_the_published_verification_value() {
    let key: Vec<u8> = (0..=255).collect();
    let hashes: Vec<u8> = (0..256).flat_map(|n| murmur::hash64a(&key[..n], 256 - n as u64).to_le_bytes()).collect();
    assert_eq!(murmur::hash64a(&hashes, 0) & 0xffff_ffff, 0x1f0d_3804);
}

#[test]
fn new_sketch_is_one_stale_opcode() {
    let sketch = Sketch::default();
    assert_eq!(sketch.as_bytes(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff");
    assert!(sketch.is_empty());
    assert_eq!(sketch.count(), 0);
    assert_eq!(format!("{sketch:?}"), "Sketch(sparse, 18 bytes, about 0)");
}

#[test]
fn insert_says_whether_a_register_changed() {
    let mut sketch = Sketch::new();
    assert!(sketch.insert(b"203.0.113.7"));
    assert!(!sketch.insert(b"203.0.113.7"));
    assert!(!sketch.is_empty());
    assert_eq!(sketch.count(), 1);
}

#[test]
fn cached_count_lasts_until_a_register_changes() {
    let mut sketch = sketch_of_numbers(0..3);
    assert_eq!(sketch.cache_count(), 3);
    assert_eq!(sketch.as_bytes()[8..HEADER_BYTES], 3u64.to_le_bytes());
    sketch.insert(b"1");
    assert_eq!(sketch.as_bytes()[8..HEADER_BYTES], 3u64.to_le_bytes());
    sketch.insert(b"3");
    assert_eq!(sketch.as_bytes()[8..HEADER_BYTES], [3, 0, 0, 0, 0, 0, 0, 0x80]);
    assert_eq!(sketch.count(), 4);
}

#[test]
fn forged_cache_is_not_believed() {
    let mut bytes = sketch_of_numbers(0..3).to_bytes();
    bytes[8..HEADER_BYTES].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert_eq!(Sketch::from_bytes(&bytes).unwrap().count(), 3);
}

#[test]
fn rank_without_an_opcode_makes_the_sketch_dense() {
    let mut sketch = sketch_of_hashes(&[hash_marking(7, 32)]);
    assert!(!is_dense(&sketch));
    sketch.insert_hash(hash_marking(16_383, 51));
    assert!(is_dense(&sketch));
    let raised: Vec<_> = sketch.registers().enumerate().filter(|&(_, value)| value > 0).collect();
    assert_eq!(raised, [(7, 32), (16_383, 51)]);
}

#[test]
fn sparse_image_never_outgrows_its_limit() {
    let mut sketch = Sketch::new();
    for number in 0u64.. {
        sketch.insert(&number.to_le_bytes());
        if is_dense(&sketch) {
            break;
        }
        assert!(sketch.as_bytes().len() <= MAX_BYTES);
    }
    assert_eq!(sketch.as_bytes().len(), DENSE_BYTES);
}

#[test]
fn dense_registers_hold_the_highest_rank_seen() {
    let mut expected = [0u8; 16_384];
    let mut sketch = Sketch::new();
    for number in 0..60_000u64 {
        let mark = Mark::of_hash(hash(&number.to_le_bytes()));
        expected[mark.index] = expected[mark.index].max(mark.rank);
        sketch.insert(&number.to_le_bytes());
    }
    assert!(sketch.registers().eq(expected));
    let histogram = sketch.view().histogram();
    assert!(
        (0..64).all(|value| histogram[value] as usize == expected.iter().filter(|&&v| v as usize == value).count())
    );
}

#[test]
fn counts_stay_within_the_standard_error() {
    for size in [10u64, 100, 1_000, 3_000, 20_000, 80_000] {
        let errors: Vec<f64> = (0..25u64)
            .map(|seed| {
                let mut sketch = Sketch::new();
                for number in 0..size {
                    sketch.insert_hash(murmur::hash64a(&number.to_le_bytes(), seed));
                }
                sketch.count() as f64 / size as f64 - 1.0
            })
            .collect();
        let rms = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
        assert!(rms < 1.5 * STANDARD_ERROR, "{rms} at {size}");
        assert!(errors.iter().all(|error| error.abs() < 5.0 * STANDARD_ERROR), "{errors:?} at {size}");
    }
}

#[test]
fn registers_at_their_limits_can_be_counted() {
    let full: Vec<u64> = (0..16_384).map(|index| hash_marking(index, 51)).collect();
    let mut sketch = sketch_of_hashes(&full);
    assert_eq!(sketch.count(), u64::MAX >> 1);
    sketch.cache_count();
    assert_eq!(Sketch::from_bytes(sketch.as_bytes()).unwrap(), sketch);
}

#[test]
fn errors_name_what_is_wrong() {
    let error = |bytes: &[u8]| Sketch::from_bytes(bytes).unwrap_err().to_string();
    let with = |at: usize, byte: u8| {
        let mut bytes = Sketch::new().to_bytes();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(error(b"HYLL"), "a sketch starts with a header of 16 bytes, but there are only 4");
    assert_eq!(error(&with(3, b'\n')), r"a sketch starts with `HYLL`, not with `HYL\n`");
    assert_eq!(error(&with(4, 2)), "sketch encoding 2 is neither 0 (dense) nor 1 (sparse)");
    assert_eq!(error(&with(6, 1)), "bytes 5 to 7 of a sketch are reserved and must be zero");
    assert_eq!(error(&with(4, 0)), "a dense sketch has 12304 bytes, not 18");
    assert_eq!(error(&with(17, 0xfe)), "the sparse opcodes of the sketch cover 16383 registers, not 16384");
    assert_eq!(error(&Sketch::new().as_bytes()[..17]), "the sparse opcode at byte 16 of the sketch is cut off");
    let mut dense = sketch_of_hashes(&[hash_marking(9, 51)]).to_bytes();
    assert!(Sketch::from_bytes(&dense).is_ok());
    dense[DENSE_BYTES - 1] |= 52 << 2;
    assert_eq!(error(&dense), "register 16383 of the sketch holds 52, above the highest possible 51");
}

#[test]
fn refused_bytes_leave_the_sketch_as_it_was() {
    let mut sketch = sketch_of_numbers(0..10);
    let before = sketch.to_bytes();
    let whole = sketch_of_numbers(0..20).to_bytes();
    assert!(sketch.merge_bytes(&whole[..whole.len() - 1]).is_err());
    assert_eq!(sketch.as_bytes(), before);
}

/// Sketches of every kind: empty, sparse and spread out, sparse with long joins, sparse as nobody writes it, and dense.
fn sketches() -> impl Strategy<Value = Sketch> {
    let numbers = (any::<u32>(), prop_oneof![0..40u64, 500..4_000u64])
        .prop_map(|(start, count)| sketch_of_numbers(u64::from(start)..u64::from(start) + count));
    let crowded = (any::<u64>(), 1..400u64, 1..4u64, 0..600u64)
        .prop_map(|(seed, window, ranks, count)| sketch_of_hashes(&crowded_hashes(seed, window, ranks, count)));
    let strange = (any::<u64>(), 1..3u64, 0..3_500u64)
        .prop_map(|(seed, ranks, count)| Sketch::from_bytes(&strange_image(seed, ranks, count)).unwrap());
    prop_oneof![numbers, crowded, strange]
}

fn merged(a: &Sketch, b: &Sketch) -> Sketch {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merge_takes_the_higher_register(a in sketches(), b in sketches()) {
        let expected: Vec<u8> = a.registers().zip(b.registers()).map(|(a, b)| a.max(b)).collect();
        let merged = merged(&a, &b);
        prop_assert!(merged.registers().eq(expected));
        let mut from_bytes = a.clone();
        from_bytes.merge_bytes(b.as_bytes()).unwrap();
        prop_assert_eq!(from_bytes.as_bytes(), merged.as_bytes());
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent(a in sketches(), b in sketches(), c in sketches()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&a, &Sketch::new()), a);
    }

    /// One walk over the image writes the same opcodes as a search from the start for each register.
    #[test]
    fn sparse_merge_leaves_the_bytes_of_single_inserts(a in sketches(), b in sketches()) {
        if let Image::Sparse(image) = &b.image {
            let mut inserted = a.clone();
            for mark in sparse::Opcodes::of_image(image).marks() {
                inserted.insert_hash(hash_marking(mark.index as u64, u32::from(mark.rank)));
            }
            format::mark_stale(inserted.bytes_mut());
            let merged = merged(&a, &b);
            prop_assert_eq!(merged.as_bytes(), inserted.as_bytes());
        }
    }

    #[test]
    fn bytes_come_back_as_they_were(mut sketch in sketches(), cached in any::<bool>()) {
        if cached {
            sketch.cache_count();
        }
        let read = Sketch::from_bytes(sketch.as_bytes()).unwrap();
        prop_assert_eq!(read.as_bytes(), sketch.as_bytes());
        prop_assert_eq!(read.count(), sketch.count());
        prop_assert_eq!(read, sketch);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        survives(&bytes);
        let opcodes = [&Sketch::new().as_bytes()[..HEADER_BYTES], &bytes].concat();
        survives(&opcodes);
    }

    /// Sparse bytes that Redis would not write itself, but that cover all registers.
    #[test]
    fn strange_but_whole_opcodes_work(bytes in vec(any::<u8>(), 0..400)) {
        survives(&completed(&bytes));
    }

    #[test]
    fn mutated_bytes_never_panic(sketch in sketches(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sketch.to_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn cut_bytes_are_refused(sketch in sketches(), length in any::<prop::sample::Index>()) {
        let bytes = sketch.as_bytes();
        prop_assert!(Sketch::from_bytes(&bytes[..length.index(bytes.len())]).is_err());
    }
}

/// As many of the opcodes as fit, with zeros to the end of the registers.
pub(super) fn completed(opcodes: &[u8]) -> Vec<u8> {
    let mut bytes = Sketch::new().as_bytes()[..HEADER_BYTES].to_vec();
    let mut left = 16_384usize;
    let mut rest = opcodes;
    while let [first, tail @ ..] = rest {
        let (length, width) = match (first & 0xc0, tail) {
            (0, _) => (usize::from(*first) + 1, 1),
            (0x40, [second, ..]) => ((usize::from(first & 0x3f) << 8) + usize::from(*second) + 1, 2),
            (0x40, []) => break,
            _ => (usize::from(first & 3) + 1, 1),
        };
        if length >= left {
            break;
        }
        left -= length;
        bytes.extend_from_slice(&rest[..width]);
        rest = &rest[width..];
    }
    let [low, high, ..] = (left - 1).to_le_bytes();
    bytes.extend([0x40 | high, low]);
    assert!(Sketch::from_bytes(&bytes).is_ok());
    bytes
}

/// Reads `bytes`, and if they are accepted does everything that can be done with a sketch.
fn survives(bytes: &[u8]) {
    let mut grown = sketch_of_numbers(0..50);
    let Ok(mut sketch) = Sketch::from_bytes(bytes) else {
        assert!(grown.merge_bytes(bytes).is_err());
        return;
    };
    assert_eq!(sketch.as_bytes(), bytes);
    assert_eq!(sketch.registers().count(), 16_384);
    grown.merge_bytes(bytes).unwrap();
    for number in 0..200u64 {
        let hash = hash(&number.to_le_bytes());
        sketch.insert_hash(hash);
        assert!(!sketch.insert_hash(hash));
    }
    sketch.merge(&grown);
    assert_eq!(Sketch::from_bytes(sketch.as_bytes()).unwrap(), sketch);
    sketch.cache_count();
}
