//! The fold: clicks gathered between two flushes, by shard. A pure function of the clicks and of where the shards stood.

mod cell;
mod dictionary;
mod rate;
mod visitors;

use std::sync::Arc;

use linktide_common::bucket::Hour;
use linktide_common::click::Kind;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::{EnrichedClick, Text};
use linktide_common::id::{Epoch, Offset, PartitionId, Subject};
use linktide_common::intake::Gap;
use linktide_common::log::{Position, Positions};
use linktide_common::repeat::Windows;
use rustc_hash::FxHashMap;

use crate::shard::{SHARDS, Shard};

pub(crate) use cell::{FoldCell, quarter_of};
pub(crate) use dictionary::Dictionary;
use rate::MINUTE_MS;
pub use rate::Pace;
pub(crate) use rate::{AddressMinute, FOLLOWED_MINUTES, MOST_ADDRESSES};
pub(crate) use visitors::Visitors;

/// How far each shard has come, by the shard's place.
pub type Standing = Vec<Positions>;

/// What clicks are to each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// When a click is a repeat.
    pub windows: Windows,
    /// From what pace on an address is suspected.
    pub pace: Option<Pace>,
}

/// Clicks between two sets of positions, as cells.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Which life of the log the positions belong to.
    pub(crate) epoch: Epoch,
    /// Where the view stands afterwards; a shard that stood further already stays there.
    pub(crate) to: Positions,
    /// By the shard's place.
    pub(crate) shards: Vec<ShardFold>,
    pub(crate) dictionary: Dictionary,
    pub(crate) relations: Arc<Relations>,
    /// Offsets that were gone from the log, told together with the positions behind them.
    pub(crate) gaps: Vec<Gap>,
    clicks: usize,
}

/// A shard's part of a fold.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardFold {
    /// Where the shard must stand for the fold to apply.
    pub(crate) from: Positions,
    /// By subject and received hour.
    pub(crate) cells: FxHashMap<(Subject, Hour), FoldCell>,
}

impl ShardFold {
    /// Where the shard stands afterwards.
    pub(crate) fn to(&self, to: &Positions) -> Positions {
        let further = |(partition, from): (&PartitionId, &Position)| {
            let to = to.get(partition).filter(|to| to.offset > from.offset).unwrap_or(from);
            (*partition, *to)
        };
        self.from.iter().map(further).collect()
    }
}

impl Fold {
    /// An empty fold that begins where each shard stands, and reads on from `read`. In it every click stands alone.
    #[must_use]
    pub fn new(epoch: Epoch, standing: Standing, read: Positions) -> Self {
        Self::with_relations(epoch, standing, read, Arc::default())
    }

    /// The same, in which clicks are to each other what `relations` says.
    #[must_use]
    pub fn with_relations(epoch: Epoch, standing: Standing, read: Positions, relations: Arc<Relations>) -> Self {
        let mut shards: Vec<_> = standing.into_iter().map(|from| ShardFold { from, ..ShardFold::default() }).collect();
        shards.resize_with(SHARDS, ShardFold::default);
        Self { epoch, to: read, shards, dictionary: Dictionary::default(), relations, gaps: Vec::new(), clicks: 0 }
    }

    /// An empty fold that begins where this one ends.
    #[must_use]
    pub fn next(&self) -> Self {
        let standing = self.shards.iter().map(|shard| shard.to(&self.to)).collect();
        Self::with_relations(self.epoch, standing, self.to.clone(), Arc::clone(&self.relations))
    }

    /// Counts the click at an offset for its link and for its tenant, each where its shard has not counted it before.
    pub fn add(&mut self, partition: PartitionId, offset: Offset, click: &EnrichedClick) {
        let received = Hour::of(click.received_at);
        let mut known = [0; Dimension::ALL.len()];
        let values = if click.kind == Kind::Preview { &[] } else { self.dictionary.values_of(click, &mut known) };
        for subject in [Subject::Link(click.tenant_id, click.link_id), Subject::Tenant(click.tenant_id)] {
            let shard = &mut self.shards[Shard::of(subject).index()];
            if shard.from.get(&partition).is_none_or(|from| offset < from.offset) {
                continue;
            }
            let cell = shard.cells.entry((subject, received)).or_default();
            cell.add(click, values);
            if let Some(pace) = self.relations.pace {
                cell.see(click, pace);
            }
            if subject.link().is_some() {
                cell.name(click);
                if self.relations.windows.of(click.tenant_id).is_some() {
                    cell.visit(click, received);
                }
            }
        }
        self.clicks += 1;
    }

    /// Tells, with the positions behind them, offsets that were gone from the log.
    pub fn lost(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// The minute of received time, counted from 1970, in which it ends.
    pub(crate) fn received_minute(&self) -> i64 {
        let received = self.to.values().map(|position| position.received_at.as_millis());
        received.max().unwrap_or_default().div_euclid(MINUTE_MS)
    }

    /// Clicks folded in.
    #[must_use]
    pub fn clicks(&self) -> usize {
        self.clicks
    }

    /// Whether applying it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let stands = |shard: &ShardFold| shard.to(&self.to) == shard.from;
        self.clicks == 0 && self.gaps.is_empty() && self.shards.iter().all(stands)
    }
}

/// A dimension's value, where it has one: what is not stored is [`NONE`].
pub(crate) fn value(dimension: Dimension, click: &EnrichedClick) -> Option<&str> {
    Some(dimension.value(click)).filter(|value| *value != NONE)
}

/// A value with its dimension.
pub(crate) type Value = (Dimension, Text);
