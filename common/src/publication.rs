//! What batch tells everyone: one immutable, numbered object `pub/<n>`, written create-only.
//!
//! Publications are numbered from 0 without a gap; the newest is the one with the highest number. Speed deletes behind
//! its watermark and refills from its cut, query reads the tables at its versions and speed's cells from its watermark
//! on: because all of it stands in one object, no reader can see half of a change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bucket::{Hour, Timestamp};
use crate::id::{Epoch, PartitionId};
use crate::log::{Position, Positions};

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its number: the name of the object.
    pub number: u64,
    /// `W`: clicks received before it are batch's, all others speed's.
    pub watermark: Hour,
    /// For each epoch and partition where the clicks received from `W` on begin.
    pub cut: Vec<CutEntry>,
    /// The version of each table that belongs to it, by the table's name.
    pub tables: BTreeMap<String, u64>,
    /// The rules the newest rollup was made with.
    pub rules_version: String,
    /// When it was written, by the writer's clock.
    pub published_at: Timestamp,
}

/// A partition's part of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutEntry {
    /// Which life of the log.
    pub epoch: Epoch,
    /// Which partition.
    pub partition: PartitionId,
    /// The first position whose clicks were received at or after `W`.
    #[serde(flatten)]
    pub position: Position,
}

impl Publication {
    /// The cut within one life of the log.
    #[must_use]
    pub fn cut_of(&self, epoch: Epoch) -> Positions {
        self.cut.iter().filter(|entry| entry.epoch == epoch).map(|entry| (entry.partition, entry.position)).collect()
    }
}
