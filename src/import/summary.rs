//! What became of an import: taken, refused by reason, late.

use std::collections::BTreeMap;
use std::fmt;

use linktide_common::bucket::Timestamp;

use super::ChunkOutcome;
use super::chunks::{Chunk, Refusal};

/// Refusals that are told one by one.
const TOLD: usize = 5;

pub(crate) struct Summary {
    complete_through: Option<Timestamp>,
    taken: usize,
    already: usize,
    late: usize,
    refused: BTreeMap<String, Refused>,
}

#[derive(Default)]
struct Refused {
    count: usize,
    told: Vec<String>,
}

impl Summary {
    pub(crate) fn new(complete_through: Option<Timestamp>) -> Self {
        Self { complete_through, taken: 0, already: 0, late: 0, refused: BTreeMap::new() }
    }

    pub(crate) fn take(&mut self, source: &str, chunk: Chunk, outcome: ChunkOutcome) {
        if outcome.already {
            self.already += outcome.taken;
        } else {
            self.taken += outcome.taken;
            let late = |at: &&Option<Timestamp>| at.is_some_and(|at| Some(at) < self.complete_through);
            self.late += chunk.times.iter().filter(late).count();
        }
        let there = outcome.refused.into_iter().map(|refused| refused.in_lines(&chunk.lines));
        for Refusal { line, reason, detail } in chunk.refusals.into_iter().chain(there) {
            let refused = self.refused.entry(reason).or_default();
            refused.count += 1;
            if refused.told.len() < TOLD {
                refused.told.push(format!("{source}, line {line}: {detail}"));
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "taken    {}", self.taken)?;
        if self.late > 0 {
            write!(f, "  ({} of them late: their hours were rolled up before; they count all the same)", self.late)?;
        }
        if self.already > 0 {
            write!(f, "\nalready  {}  (imported before, counted once)", self.already)?;
        }
        let refused: usize = self.refused.values().map(|refused| refused.count).sum();
        write!(f, "\nrefused  {refused}")?;
        for (reason, Refused { count, told }) in &self.refused {
            write!(f, "\n  {reason}  {count}")?;
            for line in told {
                write!(f, "\n    {line}")?;
            }
            if *count > told.len() {
                write!(f, "\n    and {} more", count - told.len())?;
            }
        }
        Ok(())
    }
}
