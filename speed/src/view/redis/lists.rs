//! What readers ask of all links of a tenant: its lists of the received hours that are not kept yet, in one transaction a
//! shard with the positions.

use std::collections::BTreeSet;
use std::ops;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use linktide_common::bucket::{Hour, Range};
use linktide_common::count::Counts;
use linktide_common::headroom::give_way;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use redis::{Value, pipe};
use rustc_hash::FxHashMap;

use super::keys::{self, Who};
use super::read::{Fields, count_of, hours, parse, shard_state, totals, whole_number};
use super::settled::{Over, read_on};
use super::{IN_FLIGHT, RedisView};
use crate::shard::{SHARDS, Shard};
use crate::view::{Held, LinksSlice, ViewError};

/// Keys asked for at once.
const KEYS: usize = 1_000;
/// Tenants whose links are expected to be asked for.
const TENANTS: usize = 16;
/// What a list takes in memory beside its entries, about.
const LIST: usize = 512;

/// Clicks on a link in an hour of event time.
struct Entry {
    link: LinkId,
    count: u64,
    hour: Hour,
    who: Who,
}

/// What was received in each hour, the hours in order.
type Lists = Vec<(Hour, Vec<Entry>)>;

/// A tenant's lists in a shard, of received hours that are over.
struct SettledLists {
    hours: ops::Range<Hour>,
    lists: Lists,
    /// The state they were read at.
    held: Held,
}

impl Over for SettledLists {
    fn hours(&self) -> &ops::Range<Hour> {
        &self.hours
    }

    fn held(&self) -> &Held {
        &self.held
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<(Shard, TenantId), Arc<SettledLists>> for BySize {
    fn weight(&self, _key: &(Shard, TenantId), settled: &Arc<SettledLists>) -> u64 {
        let entries: usize = settled.lists.iter().map(|(_, list)| list.capacity()).sum();
        (LIST + entries * size_of::<Entry>()) as u64
    }
}

/// Settled lists of the tenants that ask for all their links.
pub(super) struct KeptLists(Cache<(Shard, TenantId), Arc<SettledLists>, BySize>);

impl KeptLists {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(TENANTS * SHARDS, bytes as u64, BySize))
    }

    fn find(&self, shard: Shard, tenant: TenantId, from: Hour) -> Option<Arc<SettledLists>> {
        let known = self.0.get(&(shard, tenant))?;
        (known.hours.start == from).then_some(known)
    }

    /// Lets go of all of them.
    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

impl RedisView {
    pub(super) async fn links_slice(
        &self,
        tenant: TenantId,
        from: Hour,
        range: Range,
        labels: bool,
    ) -> Result<LinksSlice, ViewError> {
        let parts = Shard::all().map(|shard| self.links_in(shard, tenant, from, range, labels));
        let parts: Vec<LinksSlice> = stream::iter(parts).buffer_unordered(IN_FLIGHT).try_collect().await?;
        let whole = parts.into_iter().reduce(|mut whole, part| {
            give_way();
            whole.held = whole.held.and(&part.held);
            whole.links.extend(part.links);
            whole.labels.extend(part.labels);
            whole
        });
        Ok(whole.unwrap_or_default())
    }

    async fn links_in(
        &self,
        shard: Shard,
        tenant: TenantId,
        from: Hour,
        range: Range,
        labels: bool,
    ) -> Result<LinksSlice, ViewError> {
        let _place = self.lists_at_once.acquire().await.expect("it is never closed");
        let (held, settled, recent) = self.lists(shard, tenant, from).await?;
        let mut links: FxHashMap<LinkId, Counts> = FxHashMap::default();
        let mut cut = BTreeSet::new();
        give_way();
        for (received, list) in settled.lists.iter().chain(&recent) {
            for entry in list {
                let whole = Range::new(entry.hour.first_quarter(), entry.hour.next().first_quarter());
                match range.intersect(whole) {
                    covered if covered == whole => {
                        *count_of(links.entry(entry.link).or_default(), entry.who) += entry.count;
                    }
                    covered if covered.is_empty() => {}
                    // Cut within an hour: the quarters stand in the link's totals.
                    covered => drop(cut.insert((*received, entry.link, covered.start, covered.end))),
                }
            }
        }
        let cut: Vec<_> = cut.into_iter().collect();
        for part in cut.chunks(KEYS) {
            let mut questions = pipe();
            for (received, link, ..) in part {
                questions.hgetall(keys::totals(Subject::Link(tenant, *link), *received));
            }
            for ((received, link, start, end), fields) in part.iter().zip(self.ask::<Vec<Fields>>(&questions).await?) {
                let covered = Range::new(*start, *end);
                let counted = totals(*received, &fields)
                    .filter(|(quarter, who, _)| covered.contains(*quarter) && *who != Who::Repeats);
                for (_, who, count) in counted {
                    *count_of(links.entry(*link).or_default(), who) += count;
                }
            }
        }
        links.retain(|_, counts| !counts.is_zero());
        let labels = if labels { self.labels(tenant, links.keys().copied()).await? } else { Vec::new() };
        Ok(LinksSlice { held, links: links.into_iter().collect(), labels })
    }

    /// A tenant's lists in a shard from an hour on, those that are over apart, and the state they were read at.
    async fn lists(
        &self,
        shard: Shard,
        tenant: TenantId,
        from: Hour,
    ) -> Result<(Held, Arc<SettledLists>, Lists), ViewError> {
        let (newest, known) = (&self.newest[shard.index()], self.kept_lists.find(shard, tenant, from));
        let mut read = read_on(newest, from, known, |hours, _| self.read_lists(shard, tenant, hours)).await?;
        if let Some(settled) = read.known {
            return Ok((read.held, settled, read.read));
        }
        let hours = read.hours.start..read.over();
        let recent = read.read.split_off(read.read.partition_point(|(received, _)| *received < hours.end));
        let settled = Arc::new(SettledLists { hours, lists: read.read, held: read.held.clone() });
        self.kept_lists.0.insert((shard, tenant), Arc::clone(&settled));
        Ok((read.held, settled, recent))
    }

    /// The lists of some hours and the shard's state, all of one moment.
    async fn read_lists(
        &self,
        shard: Shard,
        tenant: TenantId,
        received: ops::Range<Hour>,
    ) -> Result<(Held, Lists), ViewError> {
        let hours = hours(received.start, Some(received.end));
        let mut questions = pipe();
        questions.atomic().hgetall(keys::positions(shard));
        for hour in hours.clone() {
            questions.zrange_withscores(keys::top(shard, tenant, hour), 0, -1);
        }
        let mut answers = self.ask::<Vec<Value>>(&questions).await?.into_iter();
        let held = shard_state(&parse(answers.next().unwrap_or(Value::Nil))?);
        let mut lists = Vec::with_capacity(answers.len());
        give_way();
        for (received, answer) in hours.zip(answers) {
            let members: Vec<(String, f64)> = parse(answer)?;
            let entries = members.into_iter().filter_map(|(member, score)| {
                let (hour, link, who) = keys::parse_member(&member)?;
                Some(Entry { link, count: whole_number(score), hour, who })
            });
            lists.push((received, entries.collect()));
        }
        Ok((held, lists))
    }

    async fn labels(
        &self,
        tenant: TenantId,
        links: impl Iterator<Item = LinkId>,
    ) -> Result<Vec<(LinkId, Label)>, ViewError> {
        let links: Vec<LinkId> = links.collect();
        let mut labels = Vec::new();
        for part in links.chunks(KEYS) {
            let mut questions = pipe();
            for link in part {
                questions.get(keys::label(Subject::Link(tenant, *link)));
            }
            let texts: Vec<Option<String>> = self.ask(&questions).await?;
            let found = part.iter().zip(texts).filter_map(|(link, text)| Some((*link, keys::parse_label(&text?)?)));
            labels.extend(found);
        }
        Ok(labels)
    }
}
