//! The sketch against a real Redis: the same elements must leave the same bytes, and each must read the other's.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fred::prelude::*;
use tempfile::TempDir;

use super::law_tests::{crowded_hashes, hash_marking, sketch_of_hashes, sketch_of_numbers, strange_image};
use super::{SEED, Sketch, hash};

const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A Redis of this test's own, on a free port, gone with the test.
struct Redis {
    client: Client,
    process: Child,
    _folder: TempDir,
}

impl Redis {
    /// Another process may take the port between the choice and the start, so it gets a few choices.
    async fn start() -> Self {
        for _ in 0..5 {
            if let Some(redis) = Self::try_start().await {
                return redis;
            }
        }
        panic!("redis-server ended at start on five ports in a row");
    }

    async fn try_start() -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-server ({error}); `./dev test` installs it"));
        let config = Config { server: ServerConfig::new_centralized("127.0.0.1", port), ..Config::default() };
        let client = Builder::from_config(config).build().unwrap();
        let mut redis = Self { client, process, _folder: folder };
        let ready = tokio::time::timeout(READY_WITHIN, redis.answers()).await;
        ready.expect("redis-server does not answer in time").then_some(redis)
    }

    /// Waits for the first answer; says no if the process ended instead.
    async fn answers(&mut self) -> bool {
        loop {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if self.client.init().await.is_ok() {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn add(&self, key: &str, elements: &[Vec<u8>]) {
        let values: Vec<Value> = elements.iter().map(|element| Value::from(element.as_slice())).collect();
        let _: i64 = self.client.pfadd(key, values).await.unwrap();
    }

    async fn bytes(&self, key: &str) -> Vec<u8> {
        self.client.get::<Bytes, _>(key).await.unwrap().to_vec()
    }

    async fn put(&self, key: &str, sketch: &Sketch) {
        let _: () = self.client.set(key, Bytes::copy_from_slice(sketch.as_bytes()), None, None, false).await.unwrap();
    }

    async fn count(&self, key: &str) -> u64 {
        self.client.pfcount(key).await.unwrap()
    }

    async fn merge(&self, into: &str, from: Vec<&str>) {
        let _: () = self.client.pfmerge(into, from).await.unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The element of eight bytes with this hash: every step of the hash can be taken back.
fn element_with_hash(hash: u64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    // Newton's iteration doubles the correct low bits; an odd number is its own inverse in the lowest three.
    let inverse = (0..5).fold(MULTIPLIER, |x, _| x.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(x))));
    let unshift = |x: u64| x ^ x >> 47;
    let start = SEED ^ MULTIPLIER.wrapping_mul(8);
    let mixed = unshift(unshift(hash).wrapping_mul(inverse)).wrapping_mul(inverse) ^ start;
    unshift(mixed.wrapping_mul(inverse)).wrapping_mul(inverse).to_le_bytes().to_vec()
}

fn elements_with_hashes(hashes: &[u64]) -> Vec<Vec<u8>> {
    let elements: Vec<_> = hashes.iter().map(|&hash| element_with_hash(hash)).collect();
    assert!(hashes.iter().zip(&elements).all(|(&wanted, element)| hash(element) == wanted));
    elements
}

/// Adds one element after the other to both, and compares after each.
async fn assert_same_bytes_at_each_step(redis: &Redis, key: &str, elements: &[Vec<u8>]) -> Sketch {
    let mut sketch = Sketch::new();
    redis.add(key, &[]).await;
    assert_eq!(redis.bytes(key).await, sketch.as_bytes(), "{key} with no element");
    for (number, element) in elements.iter().enumerate() {
        sketch.insert(element);
        redis.add(key, std::slice::from_ref(element)).await;
        assert!(redis.bytes(key).await == sketch.as_bytes(), "{key} after {} elements", number + 1);
    }
    sketch
}

#[tokio::test]
async fn each_of_the_first_elements_leaves_redis_bytes() {
    let redis = Redis::start().await;
    let elements: Vec<_> = (0..700).map(|n: u32| format!("198.51.100.{n}").into_bytes()).collect();
    assert_same_bytes_at_each_step(&redis, "visitors", &elements).await;
}

#[tokio::test]
async fn joined_and_split_opcodes_are_redis_bytes() {
    let redis = Redis::start().await;
    for (seed, (window, ranks)) in [(6, 2), (30, 1), (30, 3), (80, 2), (400, 3), (16_384, 32)].into_iter().enumerate() {
        let elements = elements_with_hashes(&crowded_hashes(seed as u64, window, ranks, 300));
        assert_same_bytes_at_each_step(&redis, &format!("window:{window}:{ranks}"), &elements).await;
    }
}

/// Bytes that Redis accepts but never wrote: equal neighbours unjoined, and images beyond the limit.
#[tokio::test]
async fn strange_images_change_as_in_redis() {
    let redis = Redis::start().await;
    for (seed, (ranks, count)) in [(1, 40), (2, 40), (2, 300), (3, 2_970), (2, 3_200)].into_iter().enumerate() {
        let seed = seed as u64;
        let mut sketch = Sketch::from_bytes(&strange_image(seed, ranks, count)).unwrap();
        redis.put("strange", &sketch).await;
        let elements = elements_with_hashes(&crowded_hashes(seed, count * 2, ranks + 1, 200));
        for (number, element) in elements.iter().enumerate() {
            sketch.insert(element);
            redis.add("strange", std::slice::from_ref(element)).await;
            assert!(redis.bytes("strange").await == sketch.as_bytes(), "{sketch:?} after {} elements", number + 1);
        }
    }
}

#[tokio::test]
async fn sketch_becomes_dense_where_redis_does() {
    let redis = Redis::start().await;
    let elements: Vec<_> = (0..2_000u32).map(|n| n.to_string().into_bytes()).collect();
    let mut sketch = Sketch::new();
    let mut sparse_sizes = Vec::new();
    for (number, element) in elements.iter().enumerate() {
        sketch.insert(element);
        redis.add("size", std::slice::from_ref(element)).await;
        sparse_sizes.extend((sketch.as_bytes().len() <= 3_000).then(|| sketch.as_bytes().len()));
        if number > 1_000 {
            assert!(redis.bytes("size").await == sketch.as_bytes(), "after {} elements", number + 1);
        }
    }
    assert_eq!(sketch.as_bytes().len(), 12_304);
    assert!(sparse_sizes.last().is_some_and(|&size| size >= 2_998), "the limit was met to the byte");

    let by_rank = elements_with_hashes(&[hash_marking(5, 32), hash_marking(5, 33), hash_marking(16_383, 51)]);
    let sketch = assert_same_bytes_at_each_step(&redis, "rank", &by_rank).await;
    assert_eq!(sketch.as_bytes().len(), 12_304);
}

#[tokio::test]
async fn up_to_200_000_elements_count_and_cache_as_in_redis() {
    let redis = Redis::start().await;
    let mut sketch = Sketch::new();
    let elements: Vec<_> = (0..200_000u32).map(|n| format!("visitor-{n}").into_bytes()).collect();
    for (number, batch) in elements.chunks(4_000).enumerate() {
        redis.add("large", batch).await;
        for element in batch {
            sketch.insert(element);
        }
        assert!(redis.bytes("large").await == sketch.as_bytes(), "in batch {number}");
        // PFCOUNT writes the count into the key, and the next PFADD marks it stale: so must ours.
        assert_eq!(redis.count("large").await, sketch.cache_count());
        assert!(redis.bytes("large").await == sketch.as_bytes(), "counted after batch {number}");
    }
    assert!((sketch.count() as f64 / 200_000.0 - 1.0).abs() < 0.025);
}

#[tokio::test]
async fn redis_counts_our_bytes_and_goes_on_with_them() {
    let redis = Redis::start().await;
    for size in [0, 1, 2, 10, 100, 1_000, 1_600, 5_000, 100_000] {
        let mut ours = sketch_of_numbers(0..size);
        redis.put("ours", &ours).await;
        assert_eq!(redis.count("ours").await, ours.count(), "{size} elements");
        redis.add("ours", &[b"one more".to_vec()]).await;
        ours.cache_count();
        ours.insert(b"one more");
        let theirs = Sketch::from_bytes(&redis.bytes("ours").await).unwrap();
        assert!(theirs.as_bytes() == ours.as_bytes(), "{size} elements and one more");
        assert_eq!(theirs, ours);
    }
}

#[tokio::test]
async fn registers_at_any_value_count_as_in_redis() {
    let redis = Redis::start().await;
    for (seed, ranks) in [(1, 2), (2, 10), (3, 51)] {
        for size in [100, 1_000, 16_384, 60_000] {
            let sketch = sketch_of_hashes(&crowded_hashes(seed, 16_384, ranks, size));
            redis.put("odd", &sketch).await;
            assert_eq!(redis.count("odd").await, sketch.count(), "ranks to {ranks}, {size} elements");
        }
    }
}

#[tokio::test]
async fn merging_one_key_leaves_pfmerge_bytes() {
    let redis = Redis::start().await;
    let mut sketches: Vec<Sketch> = [0u64, 1, 30, 600, 1_000, 1_400, 30_000]
        .into_iter()
        .enumerate()
        .map(|(n, size)| sketch_of_numbers(n as u64 * 500..n as u64 * 500 + size))
        .collect();
    sketches.extend(
        [(9, 2), (60, 2), (300, 1), (900, 3)]
            .map(|(window, ranks)| sketch_of_hashes(&crowded_hashes(window, window, ranks, window * 2 / 3))),
    );
    for (a, ours) in sketches.iter().enumerate() {
        for (b, other) in sketches.iter().enumerate() {
            redis.put("into", ours).await;
            redis.put("from", other).await;
            redis.merge("into", vec!["from"]).await;
            let mut merged = ours.clone();
            merged.merge(other);
            assert!(redis.bytes("into").await == merged.as_bytes(), "{a}: {ours:?} with {b}: {other:?}");
        }
    }
}

#[tokio::test]
async fn merging_several_keys_agrees_register_by_register() {
    let redis = Redis::start().await;
    let parts = [sketch_of_numbers(0..900), sketch_of_numbers(700..1_500), sketch_of_numbers(1_400..1_450)];
    for (number, part) in parts.iter().enumerate() {
        redis.put(&format!("part:{number}"), part).await;
    }
    redis.merge("whole", vec!["part:0", "part:1", "part:2"]).await;
    let mut ours = Sketch::new();
    for part in &parts {
        ours.merge(part);
    }
    assert_eq!(Sketch::from_bytes(&redis.bytes("whole").await).unwrap(), ours);
    assert_eq!(redis.count("whole").await, ours.count());
}
