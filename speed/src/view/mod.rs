//! The view port: where folds go and readers look.
//!
//! Promises every adapter keeps, checked by one conformance suite:
//!
//! 1. A flush applies all of a fold and advances the positions, or changes nothing. It applies only where the view's
//!    positions of the fold's partitions are those the fold began with: a replay or a zombie is told so.
//! 2. What one read returns belongs together: cells, positions and `held_from` of one moment, positions no later than cells.
//! 3. Cells below `held_from` may be gone; from it on, an absent cell means that nothing was received.

#[cfg(test)]
pub(crate) mod conformance;
mod memory;

use async_trait::async_trait;
use linktide_common::bucket::{Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::intake::Gap;
use linktide_common::label::Label;
use linktide_common::log::Positions;
use linktide_common::sketch::Sketch;

pub use crate::fold::Fold;
pub use memory::MemoryView;

/// A view that cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// It cannot be reached; worth a retry.
    #[error("the speed view is unavailable: {0}")]
    Unavailable(String),
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
}

/// The state of the view at the moment of a read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// Nothing received from this hour on is missing below the positions; none while the view has not begun.
    pub from: Option<Hour>,
    /// How far each partition was folded.
    pub positions: Positions,
    /// Offsets that were lost before they could be read.
    pub gaps: Vec<Gap>,
}

/// What was received of a subject from some hour on, within a range of event time.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The state it was read at.
    pub held: Held,
    /// Counts by quarter of event time, each quarter once, in order.
    pub totals: Vec<(Quarter, Counts)>,
    /// Counts by dimension and value, previews aside.
    pub values: Vec<(Dimension, Text, Counts)>,
    /// Visitors by event hour, for the hours that the range touches.
    pub visitors: Vec<(Hour, Sketch)>,
    /// Event time of the first click of all that was received, whatever the range.
    pub first: Option<Timestamp>,
    /// Event time of the last.
    pub last: Option<Timestamp>,
    /// The link's label.
    pub label: Option<Label>,
}

/// Clicks by link.
#[derive(Debug, Clone, Default)]
pub struct LinksSlice {
    /// The state it was read at.
    pub held: Held,
    /// Each link that has any in the range.
    pub links: Vec<(LinkId, Counts)>,
    /// Labels of those links.
    pub labels: Vec<(LinkId, Label)>,
}

/// Where folds go and readers look.
#[async_trait]
pub trait View: Send + Sync {
    /// The state of the view.
    async fn held(&self) -> Result<Held, ViewError>;

    /// Begins partitions that the view has no position of. Nothing received before `from` will be in it.
    async fn begin(&self, positions: &Positions, from: Hour, gaps: &[Gap]) -> Result<(), ViewError>;

    /// Applies a fold and advances the positions, or changes nothing.
    async fn flush(&self, fold: Fold) -> Result<Flushed, ViewError>;

    /// What was received of `subject` from the hour `from` on.
    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError>;

    /// What was received of each link of a tenant from the hour `from` on, by event time within `range`.
    async fn links(&self, tenant: TenantId, from: Hour, range: Range) -> Result<LinksSlice, ViewError>;

    /// Deletes cells received before `watermark`, and says so by `held_from`.
    async fn forget_below(&self, watermark: Hour) -> Result<(), ViewError>;
}
