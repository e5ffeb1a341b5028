//! Rates: buckets of tokens that fill with time, whose they are within bounded memory, and what a caller is told of them.
//!
//! A bucket counts thousandths of tokens: so many tokens a second are so many thousandths a millisecond, and nothing is
//! rounded.
//!
//! What callers are told are the fields of draft-ietf-httpapi-ratelimit-headers-10 (27 September 2025), section 3 and 4:
//! structured fields, a list of named policies (`q` quota, `qu` its unit, `w` window in seconds, `pk` whose it is) and of
//! what is left of each (`r` left, `t` seconds until the quota is whole again). Of a bucket the quota is its burst, and the
//! window is the time in which it fills.

use std::collections::hash_map::Entry;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::bucket::Timestamp;

/// So much a second, with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in a second; at least 1.
    pub per_second: u64,
    /// Tokens that are kept at most: what may come at once.
    pub burst: u64,
}

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Whole tokens.
    pub tokens: u64,
    /// Milliseconds until it is full.
    pub full_in_ms: u64,
}

/// A bucket of tokens.
#[derive(Debug)]
pub struct Bucket {
    thousandths: u64,
    filled: Timestamp,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn full(rate: Rate, now: Timestamp) -> Self {
        Self { thousandths: rate.burst.saturating_mul(1000), filled: now }
    }

    /// Whether it holds so many tokens now.
    ///
    /// # Errors
    /// The milliseconds until it does.
    pub fn has(&mut self, rate: Rate, now: Timestamp, tokens: u64) -> Result<(), u64> {
        self.fill(rate, now);
        match tokens.saturating_mul(1000).saturating_sub(self.thousandths) {
            0 => Ok(()),
            lacking => Err(lacking.div_ceil(rate.per_second.max(1))),
        }
    }

    /// Takes tokens out.
    pub fn take(&mut self, tokens: u64) {
        self.thousandths = self.thousandths.saturating_sub(tokens.saturating_mul(1000));
    }

    /// What it holds now.
    pub fn left(&mut self, rate: Rate, now: Timestamp) -> Left {
        self.fill(rate, now);
        let lacking = rate.burst.saturating_mul(1000) - self.thousandths;
        Left { tokens: self.thousandths / 1000, full_in_ms: lacking.div_ceil(rate.per_second.max(1)) }
    }

    /// A clock that runs back fills nothing, and takes nothing away.
    fn fill(&mut self, rate: Rate, now: Timestamp) {
        let passed = u64::try_from(now.millis_since(self.filled)).unwrap_or_default();
        let more = self.thousandths.saturating_add(passed.saturating_mul(rate.per_second));
        self.thousandths = more.min(rate.burst.saturating_mul(1000));
        self.filled = self.filled.max(now);
    }
}

/// No more often than this it is looked for who need not be remembered.
const SWEEP_MS: i64 = 1000;

/// What is remembered of each of many, as long as there is room. Those of whom there is nothing to remember are
/// forgotten, because a new one is like them, and those for whom there is no room share one value: a flood of made-up ones
/// wins nothing.
#[derive(Debug)]
pub struct Remembered<K, V> {
    most: usize,
    of: FxHashMap<K, V>,
    others: V,
    swept: Timestamp,
}

impl<K: Eq + Hash, V> Remembered<K, V> {
    /// Room for so many; the rest are `others`.
    #[must_use]
    pub fn new(most: usize, others: V) -> Self {
        Self { most, of: FxHashMap::default(), others, swept: Timestamp::MIN }
    }

    /// What is remembered of `key`, beginning with `new`; `forgettable` says of whom there is nothing to remember.
    pub fn of(
        &mut self,
        key: K,
        now: Timestamp,
        new: impl FnOnce() -> V,
        forgettable: impl Fn(&mut V) -> bool,
    ) -> &mut V {
        if !self.of.contains_key(&key) {
            if self.of.len() >= self.most && now.millis_since(self.swept) >= SWEEP_MS {
                self.swept = now;
                self.of.retain(|_, value| !forgettable(value));
            }
            if self.of.len() >= self.most {
                return &mut self.others;
            }
        }
        match self.of.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(new()),
        }
    }

    /// What is remembered of `key`, where there is anything.
    pub fn known(&mut self, key: &K) -> Option<&mut V> {
        self.of.get_mut(key)
    }

    /// What those share for whom there is no room.
    pub fn others(&mut self) -> &mut V {
        &mut self.others
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

/// A policy as a caller is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy<'a> {
    /// What it is called.
    pub name: &'static str,
    /// What it counts: `content-bytes` or `concurrent-requests`; requests where nothing is said.
    pub unit: Option<&'static str>,
    /// What may come at once.
    pub quota: u64,
    /// Seconds in which that fills again.
    pub window: Option<u64>,
    /// Whose it is.
    pub whose: &'a str,
    /// What is left of it.
    pub left: u64,
    /// Seconds until nothing of it is used.
    pub full_in: Option<u64>,
}

impl<'a> Policy<'a> {
    /// The policy of a bucket.
    #[must_use]
    pub fn of(name: &'static str, rate: Rate, left: Left, whose: &'a str) -> Self {
        let window = rate.burst.div_ceil(rate.per_second.max(1)).max(1);
        let full_in = left.full_in_ms.div_ceil(1000);
        Self {
            name,
            unit: None,
            quota: rate.burst,
            window: Some(window),
            whose,
            left: left.tokens,
            full_in: Some(full_in),
        }
    }

    /// The same in another unit.
    #[must_use]
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }
}

/// The values of `RateLimit-Policy` and `RateLimit`.
#[must_use]
pub fn fields(policies: &[Policy<'_>]) -> [String; 2] {
    let list = |item: &dyn Fn(&Policy<'_>) -> String| policies.iter().map(item).collect::<Vec<_>>().join(", ");
    let parameter = |name: &str, value: Option<u64>| value.map_or_else(String::new, |value| format!(";{name}={value}"));
    let whose = |policy: &Policy<'_>| base64(policy.whose.as_bytes());
    [
        list(&|policy| {
            let unit = policy.unit.map_or_else(String::new, |unit| format!(";qu=\"{unit}\""));
            let window = parameter("w", policy.window);
            format!("\"{}\";q={}{unit}{window};pk=:{}:", policy.name, policy.quota, whose(policy))
        }),
        list(&|policy| {
            format!("\"{}\";r={}{};pk=:{}:", policy.name, policy.left, parameter("t", policy.full_in), whose(policy))
        }),
    ]
}

/// Base 64 of RFC 4648, section 4, as byte sequences of structured fields are written.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if shown { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lists_of_named_policies() {
        let rate = |per_second, burst| Rate { per_second, burst };
        let left = |tokens, full_in_ms| Left { tokens, full_in_ms };
        let [policy, told] = fields(&[
            Policy::of("clicks", rate(10_000, 100_000), left(99_990, 1), "42"),
            Policy::of("bytes", rate(8 << 20, 64 << 20), left(7, 7_999), "42").in_unit("content-bytes"),
        ]);
        assert_eq!(policy, r#""clicks";q=100000;w=10;pk=:NDI=:, "bytes";q=67108864;qu="content-bytes";w=8;pk=:NDI=:"#);
        assert_eq!(told, r#""clicks";r=99990;t=1;pk=:NDI=:, "bytes";r=7;t=8;pk=:NDI=:"#);
    }

    #[test]
    fn base_64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("?>~", "Pz5+")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn those_without_room_share_one_and_those_with_nothing_to_remember_make_room() {
        let mut remembered: Remembered<u8, u32> = Remembered::new(2, 0);
        let at = |ms| Timestamp::from_millis(ms).unwrap();
        let add = |remembered: &mut Remembered<u8, u32>, key, ms| {
            *remembered.of(key, at(ms), || 0, |count| *count == 1) += 1;
        };
        for key in [1, 1, 2, 3, 4] {
            add(&mut remembered, key, 5_000);
        }
        assert_eq!(
            (remembered.len(), *remembered.others(), remembered.known(&1).copied()),
            (2, 1, Some(2)),
            "2 gave way"
        );
        add(&mut remembered, 5, 5_999);
        assert_eq!(*remembered.others(), 2, "it is not looked for more often");
        add(&mut remembered, 6, 6_000);
        assert_eq!((remembered.known(&6).copied(), remembered.known(&3).copied()), (Some(1), None));
    }
}
