//! The view in Redis: for a Linktide of many processes. It may be emptied at any time, and refills from the log.
//!
//! Every shard's keys carry its hash tag, so that the layout is Redis Cluster's too. A flush is one script a shard, which
//! compares the shard's positions, advances them and counts, or changes nothing (`flush.lua`). What the keys hold, and
//! how, stands in `keys.rs`. The command set is that of Redis 7.0.

mod connection;
mod keys;
mod lists;
mod pack;
mod read;
mod settled;
mod subject;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

use async_trait::async_trait;
use fail::fail_point;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use linktide_common::bucket::{Hour, Range};
use linktide_common::id::{Epoch, PartitionId, Subject, TenantId};
use linktide_common::intake::Lag;
use linktide_common::log::Positions;
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::visitors::MOST;
use redis::{FromRedisValue, Pipeline, Script, ScriptInvocation};
use tokio::sync::Semaphore;

use super::{Counted, Flushed, Fold, Held, Limits, LinksSlice, Slice, Standing, View, ViewError, Want};
use crate::fold::{FOLLOWED_MINUTES, MOST_ADDRESSES, ShardFold};
use crate::metrics;
use crate::shard::Shard;
use connection::Server;
use lists::KeptLists;
use settled::Kept;

/// Scripts on their way at once: more only wait in the server, and die of old age there.
const IN_FLIGHT: usize = 16;
/// Shards whose lists of links are on their way at once, for all who ask for them: the server has one while another is looked
/// at, and whoever asks for little finds little before it.
const LISTS_IN_FLIGHT: usize = 2;
/// Subjects that one script deletes: a few milliseconds of the server's time.
const DELETED_AT_ONCE: usize = 200;

/// Where Redis is, and how much of it is used.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`, `redis://host,host` for whichever is the master, `redis-cluster://host,host`.
    pub url: String,
    /// Its user; none for the default one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// How much the view takes.
    pub limits: Limits,
    /// Bytes of memory for what readers keep of hours that are over.
    pub kept: usize,
}

impl RedisConfig {
    /// The address without what it may hold of user and password.
    fn shown(&self) -> String {
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => self.url.clone(),
        }
    }
}

/// The view in Redis.
pub struct RedisView {
    server: Server,
    lists_at_once: Semaphore,
    limits: Limits,
    scripts: Arc<Scripts>,
    /// By shard, the hour behind the newest received one as it was last seen.
    newest: Arc<[AtomicI32]>,
    kept: Arc<Kept>,
    kept_lists: Arc<KeptLists>,
}

struct Scripts {
    begin: Script,
    flush: Script,
    forget: Script,
    erase: Script,
}

impl RedisView {
    /// A view that connects when it is asked something.
    ///
    /// # Errors
    /// [`ViewError::Unusable`] where the address is none.
    pub fn new(config: &RedisConfig) -> Result<Self, ViewError> {
        let scripts = Scripts {
            begin: Script::new(include_str!("begin.lua")),
            flush: Script::new(include_str!("flush.lua")),
            forget: Script::new(concat!(include_str!("delete.lua"), include_str!("forget.lua"))),
            erase: Script::new(concat!(include_str!("delete.lua"), include_str!("erase.lua"))),
        };
        Ok(Self {
            server: Server::new(config)?,
            lists_at_once: Semaphore::new(LISTS_IN_FLIGHT),
            limits: config.limits,
            scripts: Arc::new(scripts),
            newest: Shard::all().map(|_| AtomicI32::new(i32::MIN)).collect(),
            kept: Arc::new(Kept::new(config.kept / 2)),
            kept_lists: Arc::new(KeptLists::new(config.kept / 2)),
        })
    }

    /// The same with a connection of its own, for work that may wait: what is on its way through it stands before nobody who
    /// asks through the first one.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            server: self.server.apart(),
            lists_at_once: Semaphore::new(LISTS_IN_FLIGHT),
            limits: self.limits,
            scripts: Arc::clone(&self.scripts),
            newest: Arc::clone(&self.newest),
            kept: Arc::clone(&self.kept),
            kept_lists: Arc::clone(&self.kept_lists),
        }
    }

    /// Connects now.
    ///
    /// # Errors
    /// [`ViewError::Unavailable`] where nobody answers, which is worth a retry; [`ViewError::Unusable`] where the server
    /// refuses us, or evicts keys.
    pub async fn connect(&self) -> Result<(), ViewError> {
        self.server.connection().await.map(|_| ())
    }

    async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T, ViewError> {
        let mut connection = self.server.connection().await?;
        match questions.query_async(&mut connection).await {
            Ok(answers) => Ok(answers),
            Err(error) => Err(self.server.failed(&error).await),
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, ViewError> {
        let mut connection = self.server.connection().await?;
        match script.invoke_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.server.failed(&error).await),
        }
    }

    fn flush_script(&self, shard: Shard, fold: &Fold, part: &ShardFold) -> ScriptInvocation<'_> {
        let mut script = self.scripts.flush.prepare_invoke();
        script.key(keys::positions(shard)).arg(pack::pack(fold, part));
        script.arg(self.limits.cell_fields).arg(self.limits.tenant_cells).arg(MOST);
        script.arg(fold.relations.pace.map_or(0, |pace| pace.most_samples)).arg(fold.received_minute());
        script.arg(FOLLOWED_MINUTES).arg(MOST_ADDRESSES).arg(keys::suspected_rate());
        script
    }

    async fn flush_shard(&self, shard: Shard, script: ScriptInvocation<'_>) -> Result<Flushed, ViewError> {
        fail_point!("speed::flush::before_shard", |_| std::process::abort());
        let answer: Vec<redis::Value> = self.run(&script).await?;
        fail_point!("speed::flush::behind_shard", |_| std::process::abort());
        let mut answer = answer.into_iter();
        let outcome: String = answer.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default();
        if outcome != "applied" {
            return Ok(Flushed::Mismatch);
        }
        let errors: u64 = answer.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default();
        if errors > 0 {
            let first: String = answer.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default();
            metrics::VIEW_ERRORS.inc_by(errors);
            tracing::error!(
                shard = shard.index(),
                errors,
                first,
                "redis refused counts behind the position; rebuild the view"
            );
        }
        Ok(Flushed::Applied)
    }

    /// Deletes what a shard received before `below`, in scripts that are each short.
    async fn forget_in(&self, shard: Shard, below: &str, gaps: &[String]) -> Result<(), ViewError> {
        let mut script = self.scripts.forget.prepare_invoke();
        script.key(keys::positions(shard)).arg(below).arg(DELETED_AT_ONCE).arg(gaps);
        while self.run::<u64>(&script).await? > 0 {
            fail_point!("speed::forget::within_shard", |_| std::process::abort());
        }
        fail_point!("speed::forget::behind_shard", |_| std::process::abort());
        Ok(())
    }
}

#[async_trait]
impl View for RedisView {
    async fn held(&self) -> Result<Held, ViewError> {
        let states = self.states().await?.into_iter();
        let held = states.reduce(|held, shard| held.and(&shard)).unwrap_or_default();
        Ok(Held { lags: self.lags().await?, ..held })
    }

    async fn standing(&self, epoch: Epoch) -> Result<Standing, ViewError> {
        let of_epoch = |held: Held| {
            let there = held.positions.into_iter().filter(|((known, _), _)| *known == epoch);
            there.map(|((_, partition), position)| (partition, position)).collect()
        };
        Ok(self.states().await?.into_iter().map(of_epoch).collect())
    }

    async fn begin(&self, epoch: Epoch, positions: &Positions, from: Hour) -> Result<(), ViewError> {
        let places: Vec<String> = positions
            .iter()
            .flat_map(|(partition, position)| [keys::place(epoch, *partition), keys::position(*position)])
            .collect();
        let begin = |shard| {
            let places = &places;
            async move {
                let mut script = self.scripts.begin.prepare_invoke();
                script.key(keys::positions(shard)).arg(from.0).arg(places);
                fail_point!("speed::begin::before_shard", |_| std::process::abort());
                self.run::<String>(&script).await.map(|_| ())
            }
        };
        stream::iter(Shard::all().map(begin)).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    async fn flush(&self, fold: Fold) -> Result<Flushed, ViewError> {
        // Packed when its turn comes: only those on their way take memory.
        let flush = |(shard, part): (Shard, &ShardFold)| {
            let script = self.flush_script(shard, &fold, part);
            async move { self.flush_shard(shard, script).await }
        };
        let flushes = stream::iter(Shard::all().zip(&fold.shards)).map(flush).buffer_unordered(IN_FLIGHT);
        // One that stands elsewhere stops no other: all that can be applied is applied.
        let mismatches = flushes.try_filter(|flushed| std::future::ready(*flushed == Flushed::Mismatch));
        let mismatches: Vec<Flushed> = mismatches.try_collect().await?;
        Ok(if mismatches.is_empty() { Flushed::Applied } else { Flushed::Mismatch })
    }

    async fn tell(&self, epoch: Epoch, lags: &BTreeMap<PartitionId, Lag>) -> Result<(), ViewError> {
        let mut questions = redis::pipe();
        for (partition, lag) in lags {
            let json = serde_json::to_string(lag).expect("a lag is plain values");
            questions.hset(keys::LAGS, keys::place(epoch, *partition), json).ignore();
        }
        if lags.is_empty() { Ok(()) } else { self.ask(&questions).await }
    }

    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        self.slice(subject, from, want).await
    }

    async fn links(&self, tenant: TenantId, from: Hour, range: Range, labels: bool) -> Result<LinksSlice, ViewError> {
        self.links_slice(tenant, from, range, labels).await
    }

    async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        self.counted_in(received).await
    }

    async fn forget_behind(&self, publication: &Publication) -> Result<(), ViewError> {
        let states = self.states().await?;
        let below = publication.watermark.0.to_string();
        for (shard, held) in Shard::all().zip(states) {
            let behind = held.gaps.iter().filter(|gap| publication.is_behind(gap));
            let epochs: Vec<Epoch> = held.positions.keys().map(|(epoch, _)| *epoch).collect();
            let gaps: Vec<String> =
                behind.flat_map(|gap| epochs.iter().map(|epoch| keys::gap(*epoch, gap).0)).collect();
            self.forget_in(shard, &below, &gaps).await?;
        }
        Ok(())
    }

    async fn erase(&self, tombstone: &Tombstone) -> Result<(), ViewError> {
        let subject = tombstone.subject();
        let shards: Vec<Shard> = match subject {
            Subject::Tenant(_) => Shard::all().collect(),
            Subject::Link(..) => vec![Shard::of(subject)],
        };
        let link = tombstone.link_id.map(|link| link.to_string()).unwrap_or_default();
        for shard in shards {
            let mut script = self.scripts.erase.prepare_invoke();
            script.key(keys::positions(shard)).arg(tombstone.tenant_id.to_string()).arg(&link);
            script.arg(tombstone.received_before.0).arg(DELETED_AT_ONCE);
            while self.run::<u64>(&script).await? > 0 {
                fail_point!("speed::erase::within_shard", |_| std::process::abort());
            }
        }
        self.kept.clear();
        self.kept_lists.clear();
        Ok(())
    }

    async fn clear(&self) -> Result<(), ViewError> {
        for shard in Shard::all() {
            self.forget_in(shard, "all", &[]).await?;
        }
        self.kept.clear();
        self.kept_lists.clear();
        let mut question = redis::pipe();
        question.del(keys::LAGS).ignore();
        self.ask(&question).await
    }
}

#[cfg(test)]
mod tests;
