//! The worker: log → fold → view, each click once.
//!
//! 1. At assignment a partition starts where the view stands; where the view has no position, at the cut of the newest
//!    publication. A partition that the publication does not name waits until one does.
//! 2. Records are folded. A record that is no click advances the position only.
//! 3. A flush hands the fold to the view with the positions it began and ended at.
//! 4. Whatever goes wrong, a mismatch, an error, an unknown outcome: the fold is thrown away, the positions are read
//!    again, and each partition is started there. There is no other recovery.
//! 5. When a publication has moved the watermark and the longest query's deadline has passed, cells behind it are deleted.

use std::sync::Arc;
use std::time::Duration;

use linktide_common::bucket::Hour;
use linktide_common::id::PartitionId;
use linktide_common::intake::{Intake, IntakeError, What};
use linktide_common::log::Positions;
use linktide_common::publication::Publication;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fold::Fold;
use crate::metrics;
use crate::view::{Flushed, View, ViewError};

/// How the worker paces itself.
#[derive(Debug, Clone)]
pub struct SpeedConfig {
    /// The shortest time between two flushes.
    pub flush_interval: Duration,
    /// Clicks after which a fold is flushed, whatever the time: bounds its memory.
    pub fold_clicks: usize,
    /// Records read at once.
    pub poll_records: usize,
    /// How long cells behind the watermark stay for queries that began before it moved.
    pub keep_behind: Duration,
}

impl Default for SpeedConfig {
    fn default() -> Self {
        Self {
            flush_interval: Duration::from_millis(200),
            fold_clicks: 50_000,
            poll_records: 10_000,
            keep_behind: Duration::from_secs(30),
        }
    }
}

/// Why the worker ended.
#[derive(Debug, thiserror::Error)]
pub enum SpeedError {
    /// The log cannot be read on.
    #[error("the speed layer stops: {0}")]
    Intake(#[from] IntakeError),
}

/// Folds clicks into a view until told to stop.
pub struct SpeedWorker {
    intake: Intake,
    view: Arc<dyn View>,
    publications: watch::Receiver<Option<Arc<Publication>>>,
    config: SpeedConfig,
    fold: Fold,
    flushed_at: Instant,
    assigned: Vec<PartitionId>,
    /// Assigned, but named by no publication yet.
    waiting: Vec<PartitionId>,
    /// Watermarks that cells may be deleted below, and from when on.
    passed: Vec<(Instant, Hour)>,
    watermark: Option<Hour>,
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
        Self {
            intake,
            view,
            publications,
            config,
            fold: Fold::default(),
            flushed_at: Instant::now(),
            assigned: Vec::new(),
            waiting: Vec::new(),
            passed: Vec::new(),
            watermark: None,
        }
    }

    /// Works until `stop`, then flushes what is folded.
    ///
    /// # Errors
    /// [`SpeedError`] where the log cannot be read on. A view that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SpeedError> {
        while !stop.is_cancelled() {
            let wait = self.config.flush_interval.saturating_sub(self.flushed_at.elapsed());
            tokio::select! {
                () = stop.cancelled() => break,
                stepped = self.step(wait) => stepped?,
            }
        }
        self.flush().await
    }

    /// Reads once, folds it, and flushes if it is time.
    pub(crate) async fn step(&mut self, wait: Duration) -> Result<(), SpeedError> {
        self.look_at_publications().await?;
        let batch = self.intake.next(self.config.poll_records, wait.max(Duration::from_millis(1))).await?;
        if !batch.assigned.is_empty() || !batch.revoked.is_empty() {
            self.assigned.retain(|partition| !batch.revoked.contains(partition));
            self.assigned.extend(batch.assigned);
            return self.recover().await;
        }
        for item in batch.items {
            if let What::Click(click) = item.what {
                self.fold.add(&click);
            }
        }
        self.fold.to = self.intake.positions();
        let due = self.flushed_at.elapsed() >= self.config.flush_interval;
        if due || self.fold.clicks >= self.config.fold_clicks {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SpeedError> {
        self.flushed_at = Instant::now();
        if self.fold.is_empty() {
            return Ok(());
        }
        let next = Fold::new(self.fold.to.clone());
        let fold = std::mem::replace(&mut self.fold, next);
        let to = fold.to.clone();
        match self.view.flush(fold).await {
            Ok(Flushed::Applied) => {
                metrics::FLUSHES.inc();
                if let Err(error) = self.intake.commit(&to).await {
                    tracing::debug!(%error, "the position was not told to the log");
                }
                Ok(())
            }
            Ok(Flushed::Mismatch) => {
                tracing::warn!("the view stands elsewhere; folding again from where it stands");
                self.recover().await
            }
            Err(error) => {
                tracing::warn!(%error, "a flush failed; folding again from where the view stands");
                self.recover().await
            }
        }
    }

    /// The one recovery path.
    async fn recover(&mut self) -> Result<(), SpeedError> {
        metrics::RECOVERIES.inc();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.start_again().await? {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "the view is away; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn start_again(&mut self) -> Result<Result<(), ViewError>, SpeedError> {
        let held = match self.view.held().await {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        let publication = self.publications.borrow_and_update().clone();
        let cut = publication.as_ref().map(|publication| publication.cut_of(self.intake.epoch())).unwrap_or_default();
        let (mut started, mut begun, mut gaps) = (Positions::new(), Positions::new(), Vec::new());
        self.waiting.clear();
        for partition in self.assigned.clone() {
            self.intake.stop(partition);
            let Some(position) = held.positions.get(&partition).or_else(|| cut.get(&partition)) else {
                self.waiting.push(partition);
                continue;
            };
            if let Some(gap) = self.intake.start(partition, *position).await? {
                tracing::error!(?gap, "clicks are gone from the log before they were counted");
                gaps.push(gap);
            }
            started.insert(partition, *position);
            if !held.positions.contains_key(&partition) {
                begun.insert(partition, *position);
            }
        }
        if let Some(publication) = publication
            && !begun.is_empty()
            && let Err(error) = self.view.begin(&begun, publication.watermark, &gaps).await
        {
            return Ok(Err(error));
        }
        self.fold = Fold::new(started);
        Ok(Ok(()))
    }

    /// Starts partitions that were waiting for a publication, and deletes what lies behind an old one.
    async fn look_at_publications(&mut self) -> Result<(), SpeedError> {
        if self.publications.has_changed().unwrap_or(false) {
            let publication = self.publications.borrow_and_update().clone();
            let watermark = publication.map(|publication| publication.watermark);
            if let Some(watermark) = watermark.filter(|watermark| Some(*watermark) > self.watermark) {
                self.watermark = Some(watermark);
                self.passed.push((Instant::now() + self.config.keep_behind, watermark));
            }
            if !self.waiting.is_empty() {
                self.flush().await?;
                self.recover().await?;
            }
        }
        let now = Instant::now();
        let due = self.passed.iter().filter(|(from, _)| *from <= now).map(|(_, watermark)| *watermark).max();
        if let Some(watermark) = due {
            self.passed.retain(|(from, _)| *from > now);
            if let Err(error) = self.view.forget_below(watermark).await {
                tracing::warn!(%error, "cells behind the watermark were not deleted; the next publication will");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
