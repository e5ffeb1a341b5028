//! When the tables are rolled up inside `standalone`, and how a process learns of what others published.

use std::sync::Arc;
use std::time::Duration;

use linktide_batch::{BatchError, Flusher, Lake, Nightly, Outcome};
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::id::Offset;
use linktide_common::log::embedded::EmbeddedLog;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_secs(1);

/// Rolls up every so many hours of received time.
pub(crate) struct Schedule {
    pub(crate) every: Duration,
    pub(crate) clock: Clock,
    pub(crate) lake: Lake,
    pub(crate) flusher: Flusher,
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) copy_window: u64,
}

impl Schedule {
    /// Works until `stop`. A run that fails is told and tried again.
    pub(crate) async fn run(self, nightly: &Nightly, stop: CancellationToken) -> anyhow::Result<&'static str> {
        while wait(LOOK, &stop).await {
            let through = last_due(&self.clock, self.every);
            let published = self.lake.publications().watch().borrow().as_ref().map(|published| published.watermark);
            if published.is_none_or(|published| through <= published) {
                continue;
            }
            let archived = tokio::select! {
                () = stop.cancelled() => break,
                archived = self.flusher.archived_through(through.start()) => archived,
            };
            if !archived {
                continue;
            }
            let outcome = nightly.run(Some(through)).await;
            tell(&outcome);
            if matches!(outcome, Ok(Outcome::Published { .. })) {
                self.trim().await;
            }
        }
        Ok("schedule")
    }

    /// Deletes from the log what every layer is past, copies included.
    async fn trim(&self) {
        let published = self.lake.publications().watch().borrow().clone();
        for (partition, position) in published.map(|published| published.cut_of(self.log.epoch())).unwrap_or_default() {
            let below = Offset(position.offset.0.saturating_sub(self.copy_window));
            if let Err(error) = self.log.trim(partition, below).await {
                tracing::warn!(%error, "old records stay in the log for now");
            }
        }
    }
}

/// The last hour at which a run every so often was due: whole hours, at least one.
fn last_due(clock: &Clock, every: Duration) -> Hour {
    let hours = i32::try_from(every.as_secs() / 3600).unwrap_or(i32::MAX).max(1);
    Hour(Hour::of(clock.now()).0.div_euclid(hours) * hours)
}

/// Rolls up every so often what other processes archive, until told to stop. A run that fails is told and tried again; why
/// the last one did is `failed`.
pub(crate) async fn roll_up_every(
    nightly: &Nightly,
    lake: &Lake,
    every: Duration,
    failed: &watch::Sender<Option<String>>,
    stop: &CancellationToken,
) {
    let clock = Clock::system();
    while wait(LOOK, stop).await {
        let through = last_due(&clock, every);
        let run = async {
            match lake.publications().latest().await {
                Ok(Some(published)) if published.watermark < through => nightly.run(Some(through)).await,
                Ok(_) => Ok(Outcome::Nothing { why: "none is due".to_owned() }),
                // The run fails as well, and is counted as one that did.
                Err(_) => nightly.run(Some(through)).await,
            }
        };
        let outcome = run.await;
        tell(&outcome);
        failed.send_replace(outcome.err().map(|error| format!("the last run failed: {error}")));
    }
}

fn tell(outcome: &Result<Outcome, BatchError>) {
    match outcome {
        Ok(Outcome::Published { to, clicks, .. }) => tracing::info!(through = %to.start(), clicks, "rolled up"),
        Ok(Outcome::Nothing { why }) => tracing::debug!(why, "nothing to roll up"),
        Err(error) => tracing::error!(%error, "rolling up failed; it will be tried again"),
    }
}

/// Looks for publications of other processes, such as `linktide nightly`.
pub(crate) async fn follow(lake: Lake, every: Duration, stop: CancellationToken) -> anyhow::Result<&'static str> {
    while wait(every, &stop).await {
        if let Err(error) = lake.publications().latest().await {
            tracing::warn!(%error, "publications cannot be read");
        }
    }
    Ok("publications")
}

/// Waits a moment; false when it is time to stop.
async fn wait(moment: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(moment, stop.cancelled()).await.is_err()
}
