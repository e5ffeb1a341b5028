//! The view port: where folds go and readers look.
//!
//! A view has [`SHARDS`] parts, each with positions of its own. Promises every adapter keeps, checked by one conformance
//! suite:
//!
//! 1. A flush applies all of a shard's part of a fold and advances the shard's positions, or changes nothing of the shard.
//!    It applies only where the shard's positions of the fold's partitions are those the fold began with: a replay or a
//!    zombie is told so. Some shards may have applied when a flush fails.
//! 2. What one read returns belongs together: cells, positions and `held_from` of one moment, positions no later than cells.
//! 3. Cells below `held_from` may be gone; from it on, an absent cell means that nothing was received.
//! 4. Totals are whole. Values of large dimensions stop being added where a cell has too many, whole breakdowns where a
//!    tenant has too many cells; the read says so, and the missing ones are what total and listed values differ by.
//! 5. A late click of a deleted hour is batch's: a flush leaves out what was received below `held_from`.

#[cfg(test)]
pub(crate) mod conformance;
mod gathered;
mod memory;
pub mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::id::{Epoch, LinkId, PartitionId, Subject, TenantId};
use linktide_common::intake::{Gap, Lag};
use linktide_common::label::Label;
use linktide_common::log::{Position, Positions};
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::sketch::Sketch;
use linktide_common::visitors::VisitorSet;

pub use crate::fold::{Fold, Pace, Relations, Standing};
pub use crate::shard::{SHARDS, Shard};
pub use memory::MemoryView;
pub use redis::{RedisConfig, RedisView};

/// How much a view takes of what one link or one tenant may make endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fields of a cell from which on no value of a large dimension is added.
    pub cell_fields: usize,
    /// Cells of one tenant's links in one shard from which on links get no breakdown and no visitors.
    pub tenant_cells: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cell_fields: 10_000, tenant_cells: 20_000 }
    }
}

/// A view that cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It cannot be reached; worth a retry.
    #[error("the speed view is unavailable: {0}")]
    Unavailable(String),
    /// It must not be used as it is.
    #[error("the speed view cannot be used: {0}")]
    Unusable(String),
}

/// What became of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All of it is in the view.
    Applied,
    /// The view stands elsewhere: nothing changed.
    Mismatch,
}

/// What a question needs of a subject.
#[derive(Debug, Clone)]
pub struct Want {
    /// Event time asked about.
    pub range: Range,
    /// Dimensions to break down by.
    pub dimensions: Vec<Dimension>,
    /// Whether visitors are counted.
    pub visitors: bool,
    /// Whether repeats are counted; those of a tenant lie with its links, in every shard.
    pub repeats: bool,
}

/// Clicks by value of a dimension.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ByValue {
    /// Each value once, with its clicks by quarter of event time, in order.
    pub values: Vec<(Text, Vec<(Quarter, Counts)>)>,
    /// Whether values were left out because there were too many of them.
    pub guarded: bool,
}

/// A partition in one life of the log.
pub type Place = (Epoch, PartitionId);

/// The state of the view, or of the shards that were read, at the moment of a read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// Nothing received from this hour on is missing below the positions; none while the view has not begun.
    pub from: Option<Hour>,
    /// How far each partition was folded.
    pub positions: BTreeMap<Place, Position>,
    /// When its shards were begun, added up: another number where one of them was emptied and begun anew. Zero where a view
    /// does not say.
    pub beginnings: u64,
    /// Offsets that were lost before they could be read.
    pub gaps: Vec<Gap>,
    /// How far the workers lie behind the log, as they told last.
    pub lags: BTreeMap<Place, Lag>,
}

impl Held {
    /// The state of both together: no further than either of them.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.from = self.from.zip(other.from).map(|(one, other)| one.max(other));
        self.positions.retain(|place, _| other.positions.contains_key(place));
        for (place, position) in &mut self.positions {
            let other = other.positions[place];
            position.offset = position.offset.min(other.offset);
            position.received_at = position.received_at.min(other.received_at);
        }
        self.beginnings = self.beginnings.wrapping_add(other.beginnings);
        self.gaps.extend(&other.gaps);
        self.gaps.sort_unstable_by_key(|gap| (gap.partition, gap.from, gap.to));
        self.gaps.dedup();
        self
    }
}

/// What was received of a subject from some hour on, within a range of event time.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The state it was read at.
    pub held: Held,
    /// Counts by quarter of event time, each quarter once, in order.
    pub totals: Vec<(Quarter, Counts)>,
    /// Counts by dimension, value and quarter of event time, previews aside. A dimension may come twice, and its values add
    /// up. What they lack of the total has other values.
    pub values: Vec<(Dimension, Arc<ByValue>)>,
    /// Visitors by event hour, for the hours that the range touches.
    pub visitors: Vec<(Hour, Arc<Sketch>)>,
    /// Visitors by event day, for the days that the range touches and on which there were people: each day once, in order.
    /// Too many where there are, and where the view does not know them one by one.
    pub days: Vec<(Day, Arc<VisitorSet>)>,
    /// Event time of the first click of all that was received, whatever the range.
    pub first: Option<Timestamp>,
    /// Event time of the last.
    pub last: Option<Timestamp>,
    /// The link's label.
    pub label: Option<Label>,
    /// Whether there are clicks whose breakdown and visitors were left out, because their tenant had too many links.
    pub guarded: bool,
}

impl Slice {
    /// Whether values or visitors were left out because there were too many of them.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.guarded || self.values.iter().any(|(_, values)| values.guarded)
    }
}

/// Clicks by link.
#[derive(Debug, Clone, Default)]
pub struct LinksSlice {
    /// The state it was read at.
    pub held: Held,
    /// Each link that has any in the range, without repeats: [`View::read`] tells those of a link.
    pub links: Vec<(LinkId, Counts)>,
    /// Labels of those links, where they were asked for.
    pub labels: Vec<(LinkId, Label)>,
}

/// What was received of every link in some hours, to be compared with what others counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// The state of the whole view, no later than the counts.
    pub held: Held,
    /// Clicks and previews.
    pub links: BTreeMap<(TenantId, LinkId), u64>,
}

/// Where folds go and readers look.
#[async_trait]
pub trait View: Send + Sync {
    /// The state of the whole view.
    async fn held(&self) -> Result<Held, ViewError>;

    /// How far each shard has come in one life of the log.
    async fn standing(&self, epoch: Epoch) -> Result<Standing, ViewError>;

    /// Begins partitions in the shards that have no position of them. Nothing received before `from` will be in it.
    async fn begin(&self, epoch: Epoch, positions: &Positions, from: Hour) -> Result<(), ViewError>;

    /// Applies a fold and advances the positions, shard by shard.
    async fn flush(&self, fold: Fold) -> Result<Flushed, ViewError>;

    /// Says how far a worker lies behind the log.
    async fn tell(&self, epoch: Epoch, lags: &BTreeMap<PartitionId, Lag>) -> Result<(), ViewError>;

    /// What was received of `subject` from the hour `from` on.
    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError>;

    /// What was received of each link of a tenant from the hour `from` on, by event time within `range`, perhaps with its
    /// labels: each of them costs as much as the counts.
    async fn links(&self, tenant: TenantId, from: Hour, range: Range, labels: bool) -> Result<LinksSlice, ViewError>;

    /// All clicks and previews of each link that were received in these hours, whatever their event time. Each shard's
    /// part is of one moment.
    async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError>;

    /// Deletes what was received before the publication's watermark, and says so by [`Held::from`].
    async fn forget_behind(&self, publication: &Publication) -> Result<(), ViewError>;

    /// Deletes what was received of an erased subject before the hour of its erasure. Of one link's clicks, what the whole
    /// tenant has of them stays until the watermark has passed.
    async fn erase(&self, tombstone: &Tombstone) -> Result<(), ViewError>;

    /// Empties the view: whoever works on it begins again at the newest publication.
    async fn clear(&self) -> Result<(), ViewError>;
}
