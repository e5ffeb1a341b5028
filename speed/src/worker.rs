//! The worker: log → fold → view, each click once.
//!
//! 1. At assignment a partition starts at the least of the shards' positions; where a shard has none, that shard begins at
//!    the cut of the newest publication. A partition that the publication does not name waits until one does.
//! 2. Records are folded into each shard that stands before them. A record that is no click advances the position only.
//! 3. A flush hands the fold to the view with the positions it began and ended at. While one is under way the next fold is
//!    filled: under load flushes follow one another, and each takes what gathered during the last.
//! 4. Whatever goes wrong, a mismatch, an error, an unknown outcome, a rebalance: both folds are thrown away, the positions
//!    are read again, and each partition is started there. There is no other recovery; shards that had applied a lost
//!    flush skip its clicks by the second rule.
//! 5. What a tombstone of the newest publication covers is not folded. When a new one is found, folds are thrown away as
//!    above, and then what the view holds of its subject is deleted: whichever worker comes last leaves nothing.
//! 6. When a publication has moved the watermark and the longest query's deadline has passed, cells behind it are deleted.

use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use linktide_common::enrich::EnrichedClick;
use linktide_common::id::PartitionId;
use linktide_common::intake::{Batch, Intake, IntakeError, What};
use linktide_common::log::Positions;
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::repeat::Windows;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fold::{Fold, Pace, Relations, Standing};
use crate::metrics;
use crate::shard::SHARDS;
use crate::view::{Flushed, View, ViewError};

/// The shortest and the longest time between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How the worker paces itself.
#[derive(Debug, Clone)]
pub struct SpeedConfig {
    /// The shortest time between the beginnings of two flushes.
    pub flush_interval: Duration,
    /// Clicks a fold holds at most: bounds its memory.
    pub fold_clicks: usize,
    /// Records read at once.
    pub poll_records: usize,
    /// How long cells behind the watermark stay for queries that began before it moved.
    pub keep_behind: Duration,
    /// When a click is a repeat of the one before it.
    pub repeats: Windows,
    /// Clicks of one address in one minute above which they are suspected.
    pub rate: Option<u32>,
}

impl Default for SpeedConfig {
    fn default() -> Self {
        Self {
            flush_interval: Duration::from_millis(200),
            fold_clicks: 200_000,
            poll_records: 10_000,
            keep_behind: Duration::from_secs(30),
            repeats: Windows::new(Some(Duration::from_secs(30)), []),
            rate: Some(300),
        }
    }
}

/// Why the worker ended.
#[derive(Debug, thiserror::Error)]
pub enum SpeedError {
    /// The log cannot be read on.
    #[error("the speed layer stops: {0}")]
    Intake(#[from] IntakeError),
    /// The view must not be used as it is.
    #[error("the speed layer stops: {0}")]
    View(#[from] ViewError),
}

/// Folds clicks into a view until told to stop.
pub struct SpeedWorker {
    intake: Intake,
    view: Arc<dyn View>,
    publications: watch::Receiver<Option<Arc<Publication>>>,
    config: SpeedConfig,
    relations: Arc<Relations>,
    fold: Fold,
    flushing: Option<Flushing>,
    flushed_at: Instant,
    assigned: Vec<PartitionId>,
    /// Assigned, but named by no publication yet.
    waiting: Vec<PartitionId>,
    /// Erasures that the watermark has not passed.
    tombstones: Vec<Tombstone>,
    /// Those of them that the view has not heard of.
    erasing: Vec<Tombstone>,
    /// Publications whose past may be deleted, and from when on.
    passed: Vec<(Instant, Arc<Publication>)>,
    forgetting: Option<JoinHandle<()>>,
}

/// A flush under way.
struct Flushing {
    outcome: JoinHandle<Result<Flushed, ViewError>>,
    to: Positions,
}

impl SpeedWorker {
    /// A worker over its own reader of the log.
    #[must_use]
    pub fn new(
        intake: Intake,
        view: Arc<dyn View>,
        publications: watch::Receiver<Option<Arc<Publication>>>,
        config: SpeedConfig,
    ) -> Self {
        metrics::begin();
        let relations = Relations { windows: config.repeats.clone(), pace: config.rate.map(Pace::above) };
        let relations = Arc::new(relations);
        let fold = Fold::with_relations(intake.epoch(), Standing::new(), Positions::new(), Arc::clone(&relations));
        Self {
            intake,
            view,
            publications,
            relations,
            config,
            fold,
            flushing: None,
            flushed_at: Instant::now(),
            assigned: Vec::new(),
            waiting: Vec::new(),
            tombstones: Vec::new(),
            erasing: Vec::new(),
            passed: Vec::new(),
            forgetting: None,
        }
    }

    /// Works until `stop`, then flushes what is folded.
    ///
    /// # Errors
    /// [`SpeedError`] where the log cannot be read on. A view or a log that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SpeedError> {
        while !stop.is_cancelled() {
            let wait = self.config.flush_interval.saturating_sub(self.flushed_at.elapsed());
            tokio::select! {
                () = stop.cancelled() => break,
                stepped = self.step(wait) => stepped?,
            }
        }
        if let Some(flushing) = self.flushing.take()
            && !matches!(outcome(flushing.outcome).await, Ok(Flushed::Applied))
        {
            return Ok(());
        }
        // What is not flushed now is folded again by whoever goes on.
        if let Err(error) = self.view.flush(self.fold).await {
            tracing::warn!(%error, "the last clicks were not flushed; the next worker folds them again");
        }
        Ok(())
    }

    /// Takes whatever comes first, the end of a flush or records, and begins a flush if it is time.
    pub(crate) async fn step(&mut self, wait: Duration) -> Result<(), SpeedError> {
        self.look_at_publications().await?;
        let room = self.fold.clicks() < self.config.fold_clicks;
        let wait = wait.max(Duration::from_millis(1));
        tokio::select! {
            biased;
            flushed = ended(&mut self.flushing) => self.flushed(flushed).await?,
            batch = self.intake.next(self.config.poll_records, wait), if room => self.take(batch).await?,
        }
        self.tell().await;
        let due = self.flushed_at.elapsed() >= self.config.flush_interval;
        if self.flushing.is_none() && (due || self.fold.clicks() >= self.config.fold_clicks) {
            self.begin_flush();
        }
        Ok(())
    }

    async fn take(&mut self, batch: Result<Batch, IntakeError>) -> Result<(), SpeedError> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the log cannot be read on from here; beginning again where the view stands");
                return self.recover().await;
            }
            Err(error) => return Err(error.into()),
        };
        if !batch.assigned.is_empty() || !batch.revoked.is_empty() {
            self.assigned.retain(|partition| !batch.revoked.contains(partition) && !batch.assigned.contains(partition));
            self.assigned.extend(batch.assigned);
            return self.recover().await;
        }
        for item in batch.items {
            if let What::Click(click) = item.what
                && !self.is_erased(&click)
            {
                self.fold.add(item.partition, item.offset, &click);
            }
        }
        self.fold.to = self.intake.positions();
        Ok(())
    }

    fn begin_flush(&mut self) {
        self.flushed_at = Instant::now();
        if self.fold.is_empty() {
            return;
        }
        let next = self.fold.next();
        let fold = std::mem::replace(&mut self.fold, next);
        let (view, to) = (Arc::clone(&self.view), fold.to.clone());
        metrics::FLUSHED_CLICKS.inc_by(fold.clicks() as u64);
        self.flushing = Some(Flushing { outcome: tokio::spawn(async move { view.flush(fold).await }), to });
    }

    async fn flushed(&mut self, flushed: Result<Flushed, ViewError>) -> Result<(), SpeedError> {
        let flushing = self.flushing.take();
        match flushed {
            Ok(Flushed::Applied) => {
                metrics::FLUSHES.inc();
                let to = flushing.map(|flushing| flushing.to).unwrap_or_default();
                fail_point!("speed::flush::before_commit", |_| std::process::abort());
                if let Err(error) = self.intake.commit(&to).await {
                    tracing::debug!(%error, "the position was not told to the log");
                }
                fail_point!("speed::flush::behind_commit", |_| std::process::abort());
                Ok(())
            }
            Ok(Flushed::Mismatch) => {
                tracing::warn!("the view stands elsewhere; folding again from where it stands");
                self.recover().await
            }
            Err(error @ ViewError::Unusable(_)) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a flush failed; folding again from where the view stands");
                self.recover().await
            }
        }
    }

    /// The one recovery path.
    async fn recover(&mut self) -> Result<(), SpeedError> {
        metrics::RECOVERIES.inc();
        // What an unfinished flush still does, it does before the positions are read, or it finds that they have moved.
        if let Some(flushing) = self.flushing.take() {
            flushing.outcome.abort();
        }
        let mut pause = PAUSE.0;
        loop {
            match self.start_again().await {
                Ok(()) => return Ok(()),
                Err(SpeedError::View(error @ ViewError::Unavailable(_))) => {
                    tracing::warn!(%error, "the view is away; trying again");
                }
                Err(SpeedError::Intake(error)) if error.is_transient() => {
                    tracing::warn!(%error, "the log is away; trying again");
                }
                Err(error) => return Err(error),
            }
            // The view cannot be told; the metrics are.
            let _ = self.intake.tell_lag().await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn start_again(&mut self) -> Result<(), SpeedError> {
        let epoch = self.intake.epoch();
        let mut standing = self.view.standing(epoch).await?;
        standing.resize_with(SHARDS, Positions::new);
        let publication = self.publications.borrow_and_update().clone();
        if let Some(publication) = &publication {
            self.heed_tombstones(publication);
        }
        let cut = publication.as_ref().map(|publication| publication.cut_of(epoch)).unwrap_or_default();
        let mut begun = Positions::new();
        self.waiting.clear();
        for partition in &self.assigned {
            self.intake.stop(*partition);
            if standing.iter().all(|shard| shard.contains_key(partition)) {
                continue;
            }
            match cut.get(partition) {
                Some(position) => drop(begun.insert(*partition, *position)),
                None => self.waiting.push(*partition),
            }
        }
        if let Some(publication) = publication.filter(|_| !begun.is_empty()) {
            self.view.begin(epoch, &begun, publication.watermark).await?;
            for (partition, position) in begun {
                for shard in &mut standing {
                    shard.entry(partition).or_insert(position);
                }
            }
        }
        let started: Vec<_> =
            self.assigned.iter().filter(|partition| !self.waiting.contains(partition)).copied().collect();
        standing.iter_mut().for_each(|shard| shard.retain(|partition, _| started.contains(partition)));
        let mut gaps = Vec::new();
        for partition in started {
            let places = standing.iter().filter_map(|shard| shard.get(&partition));
            let Some(least) = places.min_by_key(|position| position.offset) else { continue };
            if let Some(gap) = self.intake.start(partition, *least).await? {
                tracing::error!(?gap, "clicks are gone from the log before they were counted");
                metrics::LOST_RECORDS.inc_by(gap.to.0.saturating_sub(gap.from.0));
                gaps.push(gap);
            }
        }
        self.fold = Fold::with_relations(epoch, standing, self.intake.positions(), Arc::clone(&self.relations));
        gaps.into_iter().for_each(|gap| self.fold.lost(gap));
        Ok(())
    }

    /// Says about every second how far this worker lies behind the log.
    async fn tell(&mut self) {
        if let Some(lags) = self.intake.tell_lag().await {
            let (view, epoch) = (Arc::clone(&self.view), self.intake.epoch());
            // Nothing waits for it, and the next second tells it again.
            tokio::spawn(async move { view.tell(epoch, &lags).await });
        }
    }

    fn is_erased(&self, click: &EnrichedClick) -> bool {
        self.tombstones.iter().any(|tombstone| tombstone.covers(click.tenant_id, click.link_id, click.received_at))
    }

    /// Takes the tombstones of a publication that its watermark has not passed; tells whether there are new ones.
    fn heed_tombstones(&mut self, publication: &Publication) -> bool {
        let known = std::mem::take(&mut self.tombstones);
        let ahead = publication.tombstones.iter().filter(|tombstone| tombstone.received_before > publication.watermark);
        self.tombstones = ahead.copied().collect();
        let new: Vec<_> = self.tombstones.iter().filter(|tombstone| !known.contains(tombstone)).copied().collect();
        self.erasing.extend(&new);
        !new.is_empty()
    }

    /// Lets the view delete what is erased. A view that is away is asked again.
    async fn erase(&mut self) {
        while let Some(tombstone) = self.erasing.last() {
            if let Err(error) = self.view.erase(tombstone).await {
                tracing::warn!(%error, "the view still holds what was erased; trying again");
                return;
            }
            self.erasing.pop();
        }
    }

    /// Starts partitions that were waiting for a publication, and deletes what lies behind an old one.
    async fn look_at_publications(&mut self) -> Result<(), SpeedError> {
        if self.publications.has_changed().unwrap_or(false) {
            let publication = self.publications.borrow_and_update().clone();
            let mut begin_again = !self.waiting.is_empty();
            if let Some(publication) = publication {
                begin_again |= self.heed_tombstones(&publication);
                self.passed.push((Instant::now() + self.config.keep_behind, publication));
            }
            if begin_again {
                self.recover().await?;
            }
        }
        self.erase().await;
        if self.forgetting.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let now = Instant::now();
        let due = self.passed.iter().filter(|(from, _)| *from <= now).max_by_key(|(_, passed)| passed.number);
        if let Some(publication) = due.map(|(_, publication)| Arc::clone(publication)) {
            self.passed.retain(|(from, _)| *from > now);
            let view = Arc::clone(&self.view);
            self.forgetting = Some(tokio::spawn(async move {
                if let Err(error) = view.forget_behind(&publication).await {
                    tracing::warn!(%error, "cells behind the watermark were not all deleted; the next publication goes on");
                }
            }));
        }
        Ok(())
    }
}

/// The outcome of the flush under way; waits for ever where there is none.
async fn ended(flushing: &mut Option<Flushing>) -> Result<Flushed, ViewError> {
    match flushing {
        Some(flushing) => outcome(&mut flushing.outcome).await,
        None => std::future::pending().await,
    }
}

async fn outcome(
    flush: impl Future<Output = Result<Result<Flushed, ViewError>, tokio::task::JoinError>>,
) -> Result<Flushed, ViewError> {
    flush.await.unwrap_or_else(|error| Err(ViewError::Unavailable(error.to_string())))
}

#[cfg(test)]
mod tests;
