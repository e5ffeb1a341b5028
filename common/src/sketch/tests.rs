use proptest::prelude::*;

use super::format::{HEADER_BYTES as HEADER, INDEX_BITS};
use super::*;
use crate::peers::Redis;

fn sketch_of(elements: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::new();
    for element in elements {
        sketch.insert(element.to_string().as_bytes());
    }
    sketch
}

#[test]
fn count_is_within_the_stated_error() {
    for exact in [0u32, 1, 10, 1000, 50_000, 400_000] {
        let estimate = sketch_of((0..exact).map(u64::from)).count();
        let error = (estimate as f64 - f64::from(exact)).abs() / f64::from(exact.max(1));
        assert!(error < 4.0 * STANDARD_ERROR, "{exact} counted as {estimate}");
    }
}

#[test]
fn bytes_are_redis_own_at_every_size() {
    let mut redis = Redis::start();
    let mut ours = Sketch::new();
    let mut sizes: Vec<u64> = (0..400).collect();
    sizes.extend((400..4000).step_by(37));
    sizes.extend([10_000, 50_000, 200_000]);
    let (mut added, mut forms) = (0, [0, 0]);
    redis.call(&[b"PFADD", b"theirs"]);
    for size in sizes {
        let batch: Vec<String> = (added..size).map(|element| element.to_string()).collect();
        for elements in batch.chunks(5000) {
            let mut command: Vec<&[u8]> = vec![b"PFADD", b"theirs"];
            command.extend(elements.iter().map(|element| element.as_bytes()));
            redis.call(&command);
            elements.iter().for_each(|element| {
                ours.insert(element.as_bytes());
            });
        }
        added = size;
        let theirs = redis.bytes(&[b"GET", b"theirs"]);
        let bytes = ours.to_bytes();
        forms[usize::from(bytes[4])] += 1;
        // The cached cardinality is Redis' own affair: it is fresh where nothing changed since a count.
        assert_eq!(bytes[..8], theirs[..8], "header at {size}");
        assert_eq!(bytes[HEADER..], theirs[HEADER..], "registers at {size}");
        assert_eq!(Sketch::from_bytes(&theirs).unwrap(), ours);
        redis.call(&[b"SET", b"ours", &bytes]);
        assert_eq!(redis.integer(&[b"PFCOUNT", b"ours"]), i64::try_from(ours.count()).unwrap(), "count at {size}");
    }
    assert!(forms[0] > 10 && forms[1] > 100, "both forms were compared: {forms:?}");
}

#[test]
fn redis_merges_ours_as_we_merge_theirs() {
    let mut redis = Redis::start();
    for (left, right) in [(0..50, 30..90), (0..50, 0..30_000), (0..20_000, 10_000..60_000)] {
        let (mut left, right) = (sketch_of(left), sketch_of(right));
        redis.call(&[b"SET", b"left", &left.to_bytes()]);
        redis.call(&[b"SET", b"right", &right.to_bytes()]);
        redis.call(&[b"DEL", b"both"]);
        redis.call(&[b"PFMERGE", b"both", b"left", b"right"]);
        left.merge(&right);
        assert_eq!(Sketch::from_bytes(&redis.bytes(&[b"GET", b"both"])).unwrap(), left);
    }
}

#[test]
fn rank_above_32_leaves_the_sparse_form() {
    let mut sketch = Sketch::new();
    assert!(sketch.insert_hash(1 << (INDEX_BITS + 35)));
    assert_eq!(sketch.to_bytes()[4], 0);
    assert_eq!(sketch.registers().next(), Some(36));
}

#[test]
fn damaged_bytes_are_refused() {
    let bytes = sketch_of(0..20).to_bytes();
    assert!(matches!(Sketch::from_bytes(b"HYLX"), Err(SketchError::Header { .. })));
    for end in HEADER..bytes.len() {
        assert!(matches!(
            Sketch::from_bytes(&bytes[..end]),
            Err(SketchError::Truncated { .. } | SketchError::Coverage { .. })
        ));
    }
    let mut long = bytes.clone();
    long.push(0);
    assert!(Sketch::from_bytes(&long).is_err());
}

fn elements() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![prop::collection::vec(0..5000u64, 0..60), prop::collection::vec(any::<u64>(), 1500..3000)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merge_is_the_sketch_of_the_union(left in elements(), right in elements()) {
        let union = sketch_of(left.iter().chain(&right).copied());
        let (left, right) = (sketch_of(left), sketch_of(right));
        let (mut one, mut other) = (left.clone(), right.clone());
        one.merge(&right);
        other.merge_bytes(&left.to_bytes()).unwrap();
        prop_assert_eq!(&one, &union);
        prop_assert_eq!(&other, &union);
        other.merge(&union);
        prop_assert_eq!(&other, &union);
    }

    #[test]
    fn bytes_come_back_and_hostile_ones_never_panic(elements in elements(), at in 0usize..3000, byte in any::<u8>()) {
        let mut bytes = sketch_of(elements).to_bytes();
        prop_assert_eq!(Sketch::from_bytes(&bytes).unwrap().to_bytes(), bytes.clone());
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(mut sketch) = Sketch::from_bytes(&bytes) {
            sketch.insert(b"more");
            let _ = sketch.count();
        }
    }
}
