//! What both readers of the log do with a record before it is theirs: received time, copies, parsing, enrichment.
//!
//! One module for speed and archive, so that they cannot disagree about a click:
//!
//! 1. `received_at` is the running maximum of append times, carried on from the position a partition was started at.
//! 2. A record without a payload is a tick: it advances the position and nothing else.
//! 3. What does not parse, or must not be counted, is a reject with its reason.
//! 4. A click whose id stands within the preceding `K` offsets is a copy.
//! 5. Everything else is enriched.
//!
//! A partition whose append time runs more than an hour ahead of this reader's clock is stopped: one bad broker clock must
//! not drag received time into the future. So is one whose position lies beyond its end: its log is another one. A stopped
//! partition keeps its position, so that nothing is told complete beyond it and its lag grows; a metric and a line of the
//! log tell it, and the others go on. It is tried again whenever it is started.

mod history;
mod lag;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::Timestamp;
use crate::click::{Click, Reject};
use crate::clock::Clock;
use crate::copies::CopyWindow;
use crate::enrich::{EnrichedClick, Enricher, Stamp};
use crate::id::{Epoch, Offset, PartitionId};
use crate::log::{Event, LogError, LogReader, Position, Positions, Record, Rejected};
use crate::{metrics, tick};
pub use lag::Lag;

const MOST_AHEAD_MS: i64 = 3_600_000;

/// Why a reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl IntakeError {
    /// Whether beginning again, where the counts stand, may mend it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Log(LogError::Unavailable(_) | LogError::BelowLow { .. }))
    }
}

/// Offsets that are no longer there to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Which partition.
    pub partition: PartitionId,
    /// The first lost offset.
    pub from: Offset,
    /// The first offset behind them.
    pub to: Offset,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A click to count.
    Click(Box<EnrichedClick>),
    /// A click that was counted before.
    Copy,
    /// No click, or none to count.
    Reject(Reject),
}

/// A record that is not a tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// Received time at it.
    pub received_at: Timestamp,
    /// What became of it.
    pub what: What,
}

/// What came in.
#[derive(Debug, Default)]
pub struct Batch {
    /// Partitions to [`Intake::start`].
    pub assigned: Vec<PartitionId>,
    /// Partitions that are no longer this reader's. One that is in both is to be started anew: the log has deleted what
    /// was to be read next, which [`Intake::start`] tells as a gap.
    pub revoked: Vec<PartitionId>,
    /// Records, in offset order within each partition.
    pub items: Vec<Item>,
}

/// A reader of the log and what it knows of each of its partitions.
pub struct Intake {
    layer: &'static str,
    reader: Box<dyn LogReader>,
    enricher: Arc<Enricher>,
    clock: Clock,
    reach: u64,
    /// Whether the last read found nothing in any partition.
    quiet: bool,
    /// Whether it was told that ticks are refused: it would be told every second.
    ticks_refused: AtomicBool,
    partitions: BTreeMap<PartitionId, Partition>,
    lag_told_at: Instant,
}

struct Partition {
    position: Position,
    copies: CopyWindow,
    /// Why nothing of it is taken any more.
    stopped: Option<&'static str>,
    /// Whether the last read was full and brought some of it: it is not at its end then, and nobody needs to ask.
    busy: bool,
}

const TELL_LAG_EVERY: Duration = Duration::from_secs(1);

const CLOCK_AHEAD: &str = "clock_ahead";
const ABOVE_HIGH: &str = "above_high";

impl Intake {
    /// Reads for `layer`, recognising copies `reach` offsets back.
    #[must_use]
    pub fn new(
        layer: &'static str,
        reader: Box<dyn LogReader>,
        enricher: Arc<Enricher>,
        clock: Clock,
        reach: u64,
    ) -> Self {
        Self {
            layer,
            reader,
            enricher,
            clock,
            reach,
            quiet: false,
            ticks_refused: AtomicBool::new(false),
            partitions: BTreeMap::new(),
            lag_told_at: Instant::now(),
        }
    }

    /// Which life of the log this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.reader.epoch()
    }

    /// The rules clicks are enriched with.
    #[must_use]
    pub fn rules_version(&self) -> String {
        self.enricher.rules_version()
    }

    /// The next position of every started partition, idle ones too.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.partitions.iter().map(|(partition, state)| (*partition, state.position)).collect()
    }

    /// Begins a partition at `position`, after reading the offsets before it for copies. What the log no longer has is
    /// told as a gap, and reading goes on behind it. Where the position belongs to another log, the partition is stopped.
    ///
    /// # Errors
    /// Where the log cannot be reached.
    pub async fn start(&mut self, partition: PartitionId, position: Position) -> Result<Option<Gap>, IntakeError> {
        self.stop(partition);
        let low = self.reader.bounds(partition).await?.low;
        let gap = (position.offset < low).then_some(Gap { partition, from: position.offset, to: low });
        let position = Position { offset: position.offset.max(low), ..position };
        let stopped = match self.reader.seek(partition, position.offset).await {
            Ok(()) => None,
            Err(error @ LogError::AboveHigh { .. }) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let copies = match &stopped {
            None => history::copies(self.reader.as_ref(), partition, low, position.offset, self.reach).await?,
            Some(_) => CopyWindow::new(0),
        };
        self.partitions.insert(partition, Partition { position, copies, stopped: None, busy: false });
        if let Some(error) = stopped {
            self.halt(partition, ABOVE_HIGH, &error.to_string());
        }
        Ok(gap)
    }

    /// Forgets a partition: it is another's, or will be started anew.
    pub fn stop(&mut self, partition: PartitionId) {
        if let Some(reason) = self.partitions.remove(&partition).and_then(|state| state.stopped) {
            // A gauge that stays would tell of a partition that is another's.
            let _ = metrics::PARTITIONS_STOPPED.remove_label_values(&[self.layer, &partition.to_string(), reason]);
        }
    }

    /// Takes nothing of a partition any more, and says so.
    fn halt(&mut self, partition: PartitionId, reason: &'static str, why: &str) {
        if let Some(state) = self.partitions.get_mut(&partition).filter(|state| state.stopped.is_none()) {
            state.stopped = Some(reason);
            self.tell_stopped(partition, reason, why);
        }
    }

    fn tell_stopped(&self, partition: PartitionId, reason: &str, why: &str) {
        tracing::error!(layer = self.layer, %partition, reason, why, "a partition is stopped; the others go on");
        metrics::PARTITIONS_STOPPED.with_label_values(&[self.layer, &partition.to_string(), reason]).set(1);
    }

    /// The next records, at most about `max`, or none after `wait`. Appends ticks where they are due.
    ///
    /// May be dropped at any await: positions advance only in the very step that delivers the records, so what a dropped
    /// call would have delivered stays to be read.
    ///
    /// # Errors
    /// [`IntakeError`]; what was delivered before stays delivered.
    pub async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, IntakeError> {
        self.tick(self.quiet).await?;
        let event = match self.reader.poll(max, wait).await {
            Err(LogError::BelowLow { partition, .. }) if self.partitions.contains_key(&partition) => {
                self.stop(partition);
                return Ok(Batch { revoked: vec![partition], assigned: vec![partition], ..Batch::default() });
            }
            Err(error @ LogError::AboveHigh { partition, .. }) => {
                self.halt(partition, ABOVE_HIGH, &error.to_string());
                return Ok(Batch::default());
            }
            event => event?,
        };
        match event {
            Event::Assigned(assigned) => Ok(Batch { assigned, ..Batch::default() }),
            Event::Revoked(revoked) => {
                revoked.iter().for_each(|partition| self.stop(*partition));
                Ok(Batch { revoked, ..Batch::default() })
            }
            Event::Records(records) => {
                self.quiet = records.is_empty();
                let full = records.len() >= max;
                Ok(Batch { items: self.take_in(records, full), ..Batch::default() })
            }
        }
    }

    /// Keeps rejects beside the log.
    ///
    /// # Errors
    /// Where the log cannot be reached.
    pub async fn keep_rejects(&self, rejected: &[Rejected]) -> Result<(), IntakeError> {
        Ok(self.reader.reject(rejected).await?)
    }

    /// Tells the metrics about every second how far each started partition lies behind, and whoever asks; none in between.
    /// A layer whose store is away asks as well: what it has read last gets older.
    pub async fn tell_lag(&mut self) -> Option<BTreeMap<PartitionId, Lag>> {
        if self.lag_told_at.elapsed() < TELL_LAG_EVERY {
            return None;
        }
        self.lag_told_at = Instant::now();
        self.lag().await.inspect_err(|error| tracing::debug!(%error, "the lag was not told")).ok()
    }

    /// How far each started partition lies behind the log's end now, told to the metrics too.
    ///
    /// # Errors
    /// Where the log cannot be reached.
    pub async fn lag(&self) -> Result<BTreeMap<PartitionId, Lag>, IntakeError> {
        let mut lags = BTreeMap::new();
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        let ends = self.reader.ends(&partitions).await?;
        for (partition, state) in &self.partitions {
            let Some(end) = ends.get(partition) else { continue };
            let lag = Lag::between(state.position, *end, self.clock.now(), state.stopped.is_some());
            lag.measure(self.layer, *partition);
            lags.insert(*partition, lag);
        }
        Ok(lags)
    }

    /// Tells the log how far this group has come, for autoscalers.
    ///
    /// # Errors
    /// Where the log cannot be reached; nothing depends on it.
    pub async fn commit(&mut self, positions: &Positions) -> Result<(), IntakeError> {
        Ok(self.reader.commit(positions).await?)
    }

    fn take_in(&mut self, records: Vec<Record>, full: bool) -> Vec<Item> {
        let now = self.clock.now();
        let epoch = self.reader.epoch();
        let mut items = Vec::with_capacity(records.len());
        let mut ahead = Vec::new();
        for state in self.partitions.values_mut() {
            state.busy = false;
        }
        for record in records {
            let Some(state) = self.partitions.get_mut(&record.partition) else { continue };
            if record.offset < state.position.offset || state.stopped.is_some() {
                continue;
            }
            if record.appended_at.millis_since(now) > MOST_AHEAD_MS {
                state.stopped = Some(CLOCK_AHEAD);
                ahead.push((record.partition, record.appended_at));
                continue;
            }
            state.busy = full;
            let received_at = state.position.received_at.max(record.appended_at);
            state.position = Position { offset: record.offset.next(), received_at };
            let Some(payload) = record.payload else { continue };
            let stamp = Stamp { epoch, partition: record.partition, offset: record.offset, received_at };
            let what = decide(&payload, stamp, &mut state.copies, &self.enricher);
            items.push(Item { partition: record.partition, offset: record.offset, received_at, what });
        }
        for (partition, appended_at) in ahead {
            let why =
                format!("the log's clock says {appended_at}, this machine's {now}; set the wrong one and start again");
            self.tell_stopped(partition, CLOCK_AHEAD, &why);
        }
        self.measure(&items);
        items
    }

    fn measure(&self, items: &[Item]) {
        let mut clicks = 0;
        for item in items {
            let reason = match &item.what {
                What::Click(_) => {
                    clicks += 1;
                    continue;
                }
                What::Copy => "copy",
                What::Reject(reject) => reject.reason.name(),
            };
            metrics::RECORDS_LEFT_OUT.with_label_values(&[self.layer, reason]).inc();
        }
        metrics::CLICKS_READ.with_label_values(&[self.layer]).inc_by(clicks);
    }

    async fn tick(&self, all_quiet: bool) -> Result<(), IntakeError> {
        let now = self.clock.now();
        let due = |state: &Partition| {
            let idle = tick::Idle { received_at: state.position.received_at, now, all_quiet };
            !state.busy && state.stopped.is_none() && tick::due(idle)
        };
        let idle: Vec<_> = self.partitions.iter().filter(|(_, state)| due(state)).map(|(id, _)| *id).collect();
        if idle.is_empty() {
            return Ok(());
        }
        let ends = self.reader.ends(&idle).await?;
        for partition in idle {
            if ends.get(&partition) != self.partitions.get(&partition).map(|state| &state.position.offset) {
                continue;
            }
            match self.reader.tick(partition).await {
                Ok(()) => metrics::TICKS.with_label_values(&[self.layer]).inc(),
                Err(error @ LogError::Unusable(_)) => {
                    if !self.ticks_refused.swap(true, Ordering::Relaxed) {
                        tracing::warn!(layer = self.layer, %partition, %error, "ticks cannot be appended: idle partitions hold back what is complete");
                    }
                }
                // A tick only says that nothing happened: on a full disk, silence says the same, later.
                Err(error) => tracing::debug!(%partition, %error, "a tick was not appended"),
            }
        }
        Ok(())
    }
}

fn decide(payload: &[u8], stamp: Stamp, copies: &mut CopyWindow, enricher: &Enricher) -> What {
    let click = match Click::parse(payload) {
        Ok(click) => click,
        Err(reject) => return What::Reject(reject),
    };
    if click.click_id.is_some_and(|id| copies.see(id, stamp.offset)) {
        return What::Copy;
    }
    match enricher.enrich(click, stamp) {
        Ok(click) => What::Click(Box::new(click)),
        Err(reject) => What::Reject(reject),
    }
}

#[cfg(test)]
mod tests;
