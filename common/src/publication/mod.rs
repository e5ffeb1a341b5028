//! What batch tells everyone: one immutable, numbered object `pub/<n>`, written create-only.
//!
//! Publications are numbered from 0 without a gap; the newest is the one with the highest number. Speed deletes behind
//! its watermark and refills from its cut, query reads the tables at its versions and speed's cells from its watermark
//! on: because all of it stands in one object, no reader can see half of a change.

mod store;
mod tombstone;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bucket::{Day, Hour, Timestamp};
use crate::id::{Epoch, LinkId, Offset, PartitionId, Subject, TenantId};
use crate::intake::Gap;
use crate::log::{Position, Positions};

pub use store::{Announced, PublicationError, PublicationStore};
pub use tombstone::Tombstone;

/// Raised when an older Linktide could no longer follow what a publication says.
pub const FORMAT: u32 = 2;

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// [`FORMAT`] of the Linktide that wrote it.
    pub format: u32,
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
    /// The number of the last plan that is done; plans with a higher one are open. None where format 1 wrote it, or where
    /// nothing was ever planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_done: Option<u64>,
    /// The newest day of receipt whose raw clicks were deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_through: Option<Day>,
    /// What was erased, and must not come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<Tombstone>,
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
    /// The first one of all: everything from now on is speed's, nothing is batch's.
    #[must_use]
    pub fn first(epoch: Epoch, partitions: &[PartitionId], rules_version: String, now: Timestamp) -> Self {
        let nothing = Self {
            format: FORMAT,
            number: 0,
            watermark: Hour::of(now),
            cut: Vec::new(),
            tables: BTreeMap::new(),
            rules_version,
            published_at: now,
            plan_done: None,
            deleted_through: None,
            tombstones: Vec::new(),
        };
        Self { number: 0, ..nothing.extended(epoch, partitions, now) }
    }

    /// The next one, which names partitions that this one does not: the same watermark and tables, the cut at offset 0
    /// of each with a received time no lower than the watermark.
    #[must_use]
    pub fn extended(&self, epoch: Epoch, partitions: &[PartitionId], now: Timestamp) -> Self {
        let position = Position { offset: Offset(0), received_at: self.watermark.start() };
        let entry = |partition: &PartitionId| CutEntry { epoch, partition: *partition, position };
        let mut next = Self { format: FORMAT, number: self.number + 1, published_at: now, ..self.clone() };
        next.cut.extend(partitions.iter().map(entry));
        next
    }

    /// Those of `partitions` that it does not name: nobody may read them yet.
    #[must_use]
    pub fn unnamed(&self, epoch: Epoch, partitions: &[PartitionId]) -> Vec<PartitionId> {
        let named = self.cut_of(epoch);
        partitions.iter().filter(|partition| !named.contains_key(partition)).copied().collect()
    }

    /// Whether what a gap lacks lies behind the cut in every life of the log: no longer speed's to answer for.
    #[must_use]
    pub fn is_behind(&self, gap: &Gap) -> bool {
        let mut entries = self.cut.iter().filter(|entry| entry.partition == gap.partition).peekable();
        entries.peek().is_some() && entries.all(|entry| gap.to <= entry.position.offset)
    }

    /// The cut within one life of the log.
    #[must_use]
    pub fn cut_of(&self, epoch: Epoch) -> Positions {
        self.cut.iter().filter(|entry| entry.epoch == epoch).map(|entry| (entry.partition, entry.position)).collect()
    }

    /// The last event day that raw clicks do not hold as a whole any more. A click's event time is less than a day ahead
    /// of its receipt, and any time behind it, so that is the day behind the newest one deleted.
    #[must_use]
    pub fn sealed_through(&self) -> Option<Day> {
        self.deleted_through.map(Day::next)
    }

    /// Whether a click was erased.
    #[must_use]
    pub fn is_erased(&self, tenant: TenantId, link: LinkId, received_at: Timestamp) -> bool {
        self.tombstones.iter().any(|tombstone| tombstone.covers(tenant, link, received_at))
    }

    /// The hour from which on a subject's clicks are speed's to answer for: the watermark, or the end of its erasure
    /// where that is later.
    #[must_use]
    pub fn held_from(&self, subject: Subject) -> Hour {
        let erased = self.tombstones.iter().filter(|tombstone| tombstone.is_of(subject));
        erased.map(|tombstone| tombstone.received_before).fold(self.watermark, Hour::max)
    }
}
