//! The visitors of a cell between two flushes: few as they are, many as a sketch.

use linktide_common::enrich::SaltedHash;
use linktide_common::sketch::Sketch;
use linktide_common::visitors::{MOST, VisitorSet, short};

/// Hashes kept before the doubles among them are looked for.
const KEPT: usize = 2048;
/// With more different ones than that, a sketch merged whole costs a server less than its elements.
const MANY: usize = KEPT / 2;
const _: () = assert!(MANY > MOST, "whoever has only a sketch has more visitors than a set holds");

/// Visitors that are people.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Visitors {
    /// Each of them, some perhaps twice.
    Few(Vec<SaltedHash>),
    /// Only their sketch.
    Many(Box<Sketch>),
}

impl Default for Visitors {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Visitors {
    pub(crate) fn insert(&mut self, visitor: SaltedHash) {
        match self {
            Self::Few(hashes) => {
                hashes.push(visitor);
                if hashes.len() == KEPT {
                    hashes.sort_unstable();
                    hashes.dedup();
                    if hashes.len() > MANY {
                        *self = Self::Many(Box::new(self.sketch()));
                    }
                }
            }
            Self::Many(sketch) => drop(sketch.insert(&visitor.0)),
        }
    }

    /// Adds each of them to a set.
    pub(crate) fn add_to(&self, set: &mut VisitorSet) {
        match self {
            Self::Few(hashes) => hashes.iter().for_each(|hash| set.insert(short(&hash.0))),
            // More than a set holds.
            Self::Many(_) => *set = VisitorSet::MANY,
        }
    }

    /// Them as a sketch.
    pub(crate) fn sketch(&self) -> Sketch {
        match self {
            Self::Few(hashes) => {
                let mut sketch = Sketch::new();
                for hash in hashes {
                    sketch.insert(&hash.0);
                }
                sketch
            }
            Self::Many(sketch) => (**sketch).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> SaltedHash {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        SaltedHash(bytes)
    }

    #[test]
    fn sketch_is_the_same_for_few_and_for_many() {
        for (different, many) in [(1, false), (900, false), (5_000, true)] {
            let (mut visitors, mut plain) = (Visitors::default(), Sketch::new());
            for number in (0..different).cycle().take(20_000) {
                visitors.insert(hash(number));
                plain.insert(&hash(number).0);
            }
            assert_eq!(matches!(visitors, Visitors::Many(_)), many);
            assert_eq!(visitors.sketch(), plain);
        }
    }
}
