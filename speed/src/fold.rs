//! The fold: clicks gathered between two flushes, with the positions they cover. A pure function of the clicks.

use linktide_common::bucket::Hour;
use linktide_common::enrich::EnrichedClick;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::log::Positions;
use rustc_hash::FxHashMap;

use crate::cell::Cell;

/// Clicks between two sets of positions, as cells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fold {
    /// Where the view must stand for the fold to apply.
    pub(crate) from: Positions,
    /// Where it stands afterwards.
    pub(crate) to: Positions,
    pub(crate) cells: FxHashMap<(Subject, Hour), Cell>,
    pub(crate) labels: FxHashMap<(TenantId, LinkId), Label>,
    /// Clicks folded in.
    pub(crate) clicks: usize,
}

impl Fold {
    /// An empty fold that begins at `from`.
    #[must_use]
    pub fn new(from: Positions) -> Self {
        Self { to: from.clone(), from, ..Self::default() }
    }

    /// Counts a click for its link and for its tenant.
    pub fn add(&mut self, click: &EnrichedClick) {
        let received = Hour::of(click.received_at);
        for subject in [Subject::Tenant(click.tenant_id), Subject::Link(click.tenant_id, click.link_id)] {
            self.cells.entry((subject, received)).or_default().add(click);
        }
        if let Some(label) = Label::of(click) {
            keep_later(&mut self.labels, (click.tenant_id, click.link_id), label);
        }
        self.clicks += 1;
    }

    /// Whether applying it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clicks == 0 && self.from == self.to
    }
}

/// Keeps the later of two labels of a link.
pub(crate) fn keep_later<K: std::hash::Hash + Eq>(labels: &mut FxHashMap<K, Label>, key: K, label: Label) {
    match labels.entry(key) {
        std::collections::hash_map::Entry::Occupied(mut known) => {
            if label.is_later_than(known.get()) {
                known.insert(label);
            }
        }
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(label);
        }
    }
}
