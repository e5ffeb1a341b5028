//! The view in memory: for a Linktide that runs alone. It begins empty at every start and refills from the log.

use std::collections::BTreeMap;

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
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::{Flushed, Fold, Held, LinksSlice, Slice, View, ViewError, Want};
use crate::cell::{Cell, Series};
use crate::fold::keep_later;

/// Cells by received hour.
type Cells = BTreeMap<Hour, Cell>;

/// The view in memory.
#[derive(Default)]
pub struct MemoryView {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    held: Held,
    tenants: FxHashMap<TenantId, Tenant>,
}

#[derive(Default)]
struct Tenant {
    whole: Cells,
    links: FxHashMap<LinkId, Cells>,
    labels: FxHashMap<LinkId, Label>,
}

impl MemoryView {
    /// An empty view.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl View for MemoryView {
    async fn held(&self) -> Result<Held, ViewError> {
        Ok(self.state.read().held.clone())
    }

    async fn begin(&self, positions: &Positions, from: Hour, gaps: &[Gap]) -> Result<(), ViewError> {
        let mut state = self.state.write();
        for (partition, position) in positions {
            state.held.positions.entry(*partition).or_insert(*position);
        }
        state.held.from = state.held.from.max(Some(from));
        state.held.gaps.extend(gaps);
        Ok(())
    }

    async fn flush(&self, fold: Fold) -> Result<Flushed, ViewError> {
        let mut state = self.state.write();
        let stands = |(partition, from): (&_, &_)| state.held.positions.get(partition) == Some(from);
        if !fold.from.iter().all(stands) {
            return Ok(Flushed::Mismatch);
        }
        state.held.positions.extend(fold.to);
        for ((subject, received), cell) in fold.cells {
            let tenant = state.tenants.entry(subject.tenant()).or_default();
            let cells = match subject {
                Subject::Tenant(_) => &mut tenant.whole,
                Subject::Link(_, link) => tenant.links.entry(link).or_default(),
            };
            cells.entry(received).or_default().merge(cell);
        }
        for ((tenant, link), label) in fold.labels {
            keep_later(&mut state.tenants.entry(tenant).or_default().labels, link, label);
        }
        Ok(Flushed::Applied)
    }

    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        let state = self.state.read();
        let mut slice = Slice { held: state.held.clone(), ..Slice::default() };
        let Some(tenant) = state.tenants.get(&subject.tenant()) else { return Ok(slice) };
        let cells = match subject {
            Subject::Tenant(_) => Some(&tenant.whole),
            Subject::Link(_, link) => tenant.links.get(&link),
        };
        slice.label = subject.link().and_then(|link| tenant.labels.get(&link).cloned());
        let mut gathered = Gathered::default();
        for (_, cell) in cells.into_iter().flat_map(|cells| cells.range(from..)) {
            gathered.add(cell, want);
        }
        Ok(gathered.into_slice(slice))
    }

    async fn links(&self, tenant: TenantId, from: Hour, range: Range) -> Result<LinksSlice, ViewError> {
        let state = self.state.read();
        let mut slice = LinksSlice { held: state.held.clone(), ..LinksSlice::default() };
        let Some(tenant) = state.tenants.get(&tenant) else { return Ok(slice) };
        for (link, cells) in &tenant.links {
            let received = cells.range(from..).flat_map(|(_, cell)| cell.totals.iter());
            let counts = received
                .filter(|(quarter, _)| range.contains(*quarter))
                .fold(Counts::default(), |sum, (_, counts)| sum + *counts);
            if !counts.is_zero() {
                slice.links.push((*link, counts));
                slice.labels.extend(tenant.labels.get(link).map(|label| (*link, label.clone())));
            }
        }
        Ok(slice)
    }

    async fn forget_below(&self, watermark: Hour) -> Result<(), ViewError> {
        let mut state = self.state.write();
        state.held.from = state.held.from.max(Some(watermark));
        for tenant in state.tenants.values_mut() {
            tenant.whole = tenant.whole.split_off(&watermark);
            tenant.links.retain(|_, cells| {
                *cells = cells.split_off(&watermark);
                !cells.is_empty()
            });
            let Tenant { links, labels, .. } = tenant;
            labels.retain(|link, _| links.contains_key(link));
        }
        state.tenants.retain(|_, tenant| !tenant.whole.is_empty());
        Ok(())
    }
}

/// The sum of cells of several received hours.
#[derive(Default)]
struct Gathered {
    totals: Series<Quarter, Counts>,
    values: FxHashMap<(Dimension, Text), Counts>,
    visitors: Series<Hour, Sketch>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Gathered {
    fn add(&mut self, cell: &Cell, want: &Want) {
        for (quarter, counts) in cell.totals.iter().filter(|(quarter, _)| want.range.contains(*quarter)) {
            *self.totals.at(*quarter) += *counts;
        }
        self.first = [self.first, cell.first].into_iter().flatten().min();
        self.last = self.last.max(cell.last);
        if want.visitors {
            let hours = want.range.hours_touched();
            for (hour, sketch) in cell.visitors.iter().filter(|(hour, _)| hours.contains(hour)) {
                self.visitors.at(*hour).merge(sketch);
            }
        }
        for dimension in &want.dimensions {
            let Some(values) = cell.values.get(*dimension as usize) else { continue };
            for (value, series) in values {
                let mut sum = Counts::default();
                for (_, counts) in series.iter().filter(|(quarter, _)| want.range.contains(*quarter)) {
                    sum += Counts { humans: counts.humans, bots: counts.bots, previews: 0 };
                }
                if !sum.is_zero() {
                    *self.values.entry((*dimension, Text::clone(value))).or_default() += sum;
                }
            }
        }
    }

    fn into_slice(self, slice: Slice) -> Slice {
        Slice {
            totals: self.totals.iter().copied().collect(),
            values: self.values.into_iter().map(|((dimension, value), counts)| (dimension, value, counts)).collect(),
            visitors: self.visitors.iter().cloned().collect(),
            first: self.first,
            last: self.last,
            ..slice
        }
    }
}
