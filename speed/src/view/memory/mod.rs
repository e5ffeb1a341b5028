//! The view in memory: for a Linktide that runs alone. It begins empty at every start and refills from the log.

mod cell;
mod rates;

use std::collections::BTreeMap;

use async_trait::async_trait;
use linktide_common::bucket::{Hour, Quarter, Range};
use linktide_common::count::Counts;
use linktide_common::id::{Epoch, LinkId, PartitionId, Subject, TenantId};
use linktide_common::intake::Lag;
use linktide_common::label::Label;
use linktide_common::log::{Position, Positions};
use linktide_common::publication::{Publication, Tombstone};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::gathered::Gathered;
use super::{Counted, Flushed, Fold, Held, Limits, LinksSlice, Place, Slice, Standing, View, ViewError, Want};
use crate::fold::FoldCell;
use crate::series::Series;
use crate::shard::{SHARDS, Shard};
use cell::Cell;
use rates::Rates;

/// Cells by received hour.
type Cells = BTreeMap<Hour, Cell>;

/// The view in memory.
#[derive(Default)]
pub struct MemoryView {
    limits: Limits,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// What is true of the whole view; the positions stand in the shards.
    held: Held,
    /// By the shard's place.
    positions: Vec<BTreeMap<Place, Position>>,
    tenants: FxHashMap<TenantId, Tenant>,
    /// By the shard's place.
    rates: Vec<Rates>,
}

#[derive(Default)]
struct Tenant {
    whole: Cells,
    links: FxHashMap<LinkId, Cells>,
    labels: FxHashMap<LinkId, Label>,
    /// Repeats of all its links, by received hour.
    repeats: BTreeMap<Hour, Series<Quarter, u64>>,
    /// Cells of its links with a breakdown, by shard.
    cells: FxHashMap<Shard, usize>,
}

impl MemoryView {
    /// An empty view.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty view that takes no more than `limits`.
    #[must_use]
    pub fn with(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

impl Tenant {
    /// Deletes what was received of a link before an hour; tells whether there was any.
    fn forget_link(&mut self, id: TenantId, link: LinkId, before: Hour) -> bool {
        let Some(kept) = self.links.get_mut(&link) else { return false };
        let newer = kept.split_off(&before);
        let gone = std::mem::replace(kept, newer);
        let breakdowns = gone.values().filter(|cell| cell.has_breakdown()).count();
        if let Some(active) = self.cells.get_mut(&Shard::of(Subject::Link(id, link))) {
            *active = active.saturating_sub(breakdowns);
        }
        if kept.is_empty() {
            self.links.remove(&link);
        }
        !gone.is_empty()
    }
}

impl State {
    /// The state as the reader of one shard sees it.
    fn held_in(&self, shard: Shard) -> Held {
        let positions = self.positions.get(shard.index()).cloned().unwrap_or_default();
        Held { positions, ..self.held.clone() }
    }

    fn held(&self) -> Held {
        let shards = Shard::all().map(|shard| self.held_in(shard));
        shards.reduce(|held, shard| held.and(&shard)).unwrap_or_default()
    }

    fn add(&mut self, subject: Subject, received: Hour, cell: FoldCell, fold: &Fold, limits: Limits) {
        let tenant = self.tenants.entry(subject.tenant()).or_default();
        let Tenant { whole, links, labels, repeats, cells } = tenant;
        let shard = Shard::of(subject);
        let kept = match subject {
            Subject::Tenant(_) => whole.entry(received).or_insert_with(|| Cell::new(true)),
            Subject::Link(_, link) => links.entry(link).or_default().entry(received).or_insert_with(|| {
                let active = cells.entry(shard).or_default();
                let room = *active < limits.tenant_cells;
                *active += usize::from(room);
                Cell::new(room)
            }),
        };
        kept.merge(&cell, &fold.dictionary, limits.cell_fields);
        if let Some(window) = fold.relations.windows.of(subject.tenant()).filter(|_| !cell.visits.is_empty()) {
            for (quarter, count) in kept.repeat(&cell, received, window).iter() {
                *repeats.entry(received).or_default().at(*quarter) += count;
            }
        }
        if let Some(pace) = fold.relations.pace.filter(|_| kept.has_breakdown()) {
            let (rates, now) = (&mut self.rates[shard.index()], fold.received_minute());
            for minute in cell.address_minutes() {
                let clicks = rates.add((subject, received), &minute, pace, now);
                kept.suspect(minute.quarter, clicks, limits.cell_fields);
            }
        }
        if let (Some(link), Some(label)) = (subject.link(), cell.label)
            && labels.get(&link).is_none_or(|known| label.is_later_than(known))
        {
            labels.insert(link, label);
        }
    }
}

#[async_trait]
impl View for MemoryView {
    async fn held(&self) -> Result<Held, ViewError> {
        Ok(self.state.read().held())
    }

    async fn standing(&self, epoch: Epoch) -> Result<Standing, ViewError> {
        let of_epoch = |shard: &BTreeMap<Place, Position>| {
            let there = shard.iter().filter(|((known, _), _)| *known == epoch);
            there.map(|((_, partition), position)| (*partition, *position)).collect()
        };
        let mut standing: Standing = self.state.read().positions.iter().map(of_epoch).collect();
        standing.resize_with(SHARDS, Positions::new);
        Ok(standing)
    }

    async fn begin(&self, epoch: Epoch, positions: &Positions, from: Hour) -> Result<(), ViewError> {
        let mut state = self.state.write();
        state.positions.resize_with(SHARDS, BTreeMap::new);
        state.rates.resize_with(SHARDS, Rates::default);
        for shard in &mut state.positions {
            for (partition, position) in positions {
                shard.entry((epoch, *partition)).or_insert(*position);
            }
        }
        state.held.from = state.held.from.max(Some(from));
        Ok(())
    }

    async fn flush(&self, mut fold: Fold) -> Result<Flushed, ViewError> {
        let mut state = self.state.write();
        let mut flushed = Flushed::Applied;
        let shards = std::mem::take(&mut fold.shards);
        for (place, mut shard) in shards.into_iter().enumerate() {
            let known = state.positions.get(place);
            let stands = |(partition, from): (&PartitionId, &Position)| {
                known.and_then(|known| known.get(&(fold.epoch, *partition))) == Some(from)
            };
            if !shard.from.iter().all(stands) {
                flushed = Flushed::Mismatch;
                continue;
            }
            let to = shard.to(&fold.to).into_iter().map(|(partition, to)| ((fold.epoch, partition), to));
            if let Some(positions) = state.positions.get_mut(place) {
                positions.extend(to);
            }
            let from = state.held.from;
            for ((subject, received), cell) in shard.cells.drain() {
                if Some(received) >= from {
                    state.add(subject, received, cell, &fold, self.limits);
                }
            }
        }
        if flushed == Flushed::Applied {
            state.held.gaps.extend(&fold.gaps);
        }
        Ok(flushed)
    }

    async fn tell(&self, epoch: Epoch, lags: &BTreeMap<PartitionId, Lag>) -> Result<(), ViewError> {
        let lags = lags.iter().map(|(partition, lag)| ((epoch, *partition), *lag));
        self.state.write().held.lags.extend(lags);
        Ok(())
    }

    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        let state = self.state.read();
        let mut slice = Slice { held: state.held_in(Shard::of(subject)), ..Slice::default() };
        let Some(tenant) = state.tenants.get(&subject.tenant()) else { return Ok(slice) };
        let cells = match subject {
            Subject::Tenant(_) => Some(&tenant.whole),
            Subject::Link(_, link) => tenant.links.get(&link),
        };
        slice.label = subject.link().and_then(|link| tenant.labels.get(&link).cloned());
        let mut gathered = Gathered::new(want);
        let hours = want.visitors.then(|| want.range.hours_touched());
        for (_, cell) in cells.into_iter().flat_map(|cells| cells.range(from..)) {
            cell.gather(&mut gathered, hours.as_ref());
        }
        let repeats = tenant.repeats.range(from..).filter(|_| want.repeats && subject.link().is_none());
        for (quarter, count) in repeats.flat_map(|(_, repeats)| repeats.iter()) {
            gathered.total(*quarter, Counts { repeats: *count, ..Counts::default() }, false);
        }
        Ok(gathered.into_slice(slice))
    }

    async fn links(&self, tenant: TenantId, from: Hour, range: Range, labels: bool) -> Result<LinksSlice, ViewError> {
        let state = self.state.read();
        let mut slice = LinksSlice { held: state.held(), ..LinksSlice::default() };
        let Some(tenant) = state.tenants.get(&tenant) else { return Ok(slice) };
        for (link, cells) in &tenant.links {
            let received = cells.range(from..).flat_map(|(_, cell)| cell.totals.iter());
            let counts = received
                .filter(|(quarter, _)| range.contains(*quarter))
                .fold(Counts::default(), |sum, (_, counts)| sum + *counts);
            let counts = Counts { repeats: 0, ..counts };
            if !counts.is_zero() {
                slice.links.push((*link, counts));
                let label = tenant.labels.get(link).filter(|_| labels);
                slice.labels.extend(label.map(|label| (*link, label.clone())));
            }
        }
        Ok(slice)
    }

    async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        let state = self.state.read();
        let mut counted = Counted { held: state.held(), ..Counted::default() };
        for (id, tenant) in &state.tenants {
            for (link, cells) in &tenant.links {
                let cells = cells.range(received.clone()).flat_map(|(_, cell)| cell.totals.iter());
                let count: u64 = cells.map(|(_, counts)| counts.humans + counts.bots + counts.previews).sum();
                counted.links.extend((count > 0).then_some(((*id, *link), count)));
            }
        }
        Ok(counted)
    }

    async fn forget_behind(&self, publication: &Publication) -> Result<(), ViewError> {
        let watermark = publication.watermark;
        let mut state = self.state.write();
        state.held.from = state.held.from.max(Some(watermark));
        state.held.gaps.retain(|gap| !publication.is_behind(gap));
        for (id, tenant) in &mut state.tenants {
            tenant.whole = tenant.whole.split_off(&watermark);
            tenant.repeats = tenant.repeats.split_off(&watermark);
            let links: Vec<LinkId> = tenant.links.keys().copied().collect();
            for link in links {
                tenant.forget_link(*id, link, watermark);
            }
            let Tenant { links, labels, .. } = tenant;
            labels.retain(|link, _| links.contains_key(link));
        }
        state.tenants.retain(|_, tenant| !tenant.whole.is_empty());
        Ok(())
    }

    async fn erase(&self, tombstone: &Tombstone) -> Result<(), ViewError> {
        let (id, before) = (tombstone.tenant_id, tombstone.received_before);
        let mut state = self.state.write();
        let Some(tenant) = state.tenants.get_mut(&id) else { return Ok(()) };
        let links = match tombstone.link_id {
            Some(link) => vec![link],
            None => {
                tenant.whole = tenant.whole.split_off(&before);
                tenant.repeats = tenant.repeats.split_off(&before);
                tenant.links.keys().copied().collect()
            }
        };
        for link in links {
            if tenant.forget_link(id, link, before) {
                tenant.labels.remove(&link);
            }
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), ViewError> {
        *self.state.write() = State::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::conformance;

    #[tokio::test]
    async fn it_does_what_every_view_must() {
        conformance::check(&MemoryView::with(conformance::LIMITS)).await;
    }
}
