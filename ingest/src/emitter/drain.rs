//! The thread behind an emitter: encodes what waits, and appends it until the log has it or it is too old. It stands back
//! behind those that answer redirects.
//!
//! 1. Every so often, or when a whole batch waits, it takes what waits and appends it beside the batches on their way
//!    already. Nobody wakes it, so a redirect pays for no wake-up. Kafka's client sends a request for each partition, so
//!    looking more often would cost the brokers many small ones.
//! 2. A batch that failed is appended again after a pause that doubles, before any new one.
//! 3. A click that is too old is dropped while it waits, not while it is on its way: nobody knows of it then.
//! 4. Told to finish, it goes on until all is emitted or the budget is used up, and closes the books. So it does where it
//!    ends in any other way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linktide_common::background;
use linktide_common::bucket::Timestamp;
use linktide_common::click::limits;
use linktide_common::clock::Clock;
use linktide_common::log::{Append, LogError, LogWriter};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::buffer::{Buffer, DropReason, Waiting};
use super::{EmitterConfig, new_id};
use crate::metrics;

const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Trouble is told in the log lines this often.
const TELL: Duration = Duration::from_secs(10);

/// What the thread is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Run,
    /// Empty the buffer within so much time, and end.
    Finish(Duration),
}

/// A click as the log gets it.
struct Encoded {
    since: Timestamp,
    bytes: usize,
    record: Append,
}

type Batch = Vec<Encoded>;

pub(super) struct Drain {
    buffer: Arc<Buffer>,
    log: Arc<dyn LogWriter>,
    clock: Clock,
    config: EmitterConfig,
    /// The click that was looked at and not taken.
    head: Option<Waiting>,
    failed: VecDeque<Batch>,
    flying: JoinSet<(Batch, Result<(), LogError>)>,
    pause: Duration,
    /// Nothing is appended before.
    not_before: Option<Instant>,
    /// When less than a batch is taken again.
    look_at: Option<Instant>,
    /// When the log lines last told that the log takes nothing; none while it does.
    trouble: Option<Instant>,
    /// When they last told of dropped clicks, and how many there were.
    told: (Option<Instant>, u64),
    shown: (i64, i64),
}

impl Drain {
    pub(super) fn new(buffer: Arc<Buffer>, log: Arc<dyn LogWriter>, clock: Clock, config: EmitterConfig) -> Self {
        Self {
            buffer,
            log,
            clock,
            config,
            head: None,
            failed: VecDeque::new(),
            flying: JoinSet::new(),
            pause: PAUSE,
            not_before: None,
            look_at: None,
            trouble: None,
            told: (None, 0),
            shown: (0, 0),
        }
    }

    /// Starts the thread; `end` tells when it is over, and has let go of the log.
    pub(super) fn start(self, orders: watch::Receiver<Order>, end: watch::Sender<bool>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name("emitter".to_owned()).spawn(move || {
            // Dropped behind all else, however the thread ends.
            let _over = Over(end);
            if let Err(error) = background::stand_back() {
                tracing::debug!(%error, "the emitter's thread competes with the redirects");
            }
            runtime.block_on(self.run(orders));
            // What the log may still do for an append that nobody waits for keeps no one.
            runtime.shutdown_background();
        })?;
        Ok(())
    }

    async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut deadline = None;
        loop {
            self.expire();
            self.launch(deadline.is_some());
            self.show();
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return tracing::warn!(
                    clicks = self.buffer.holds().0,
                    "the log did not take all clicks before shutdown"
                );
            }
            if deadline.is_some() && self.buffer.holds().0 == 0 {
                return;
            }
            tokio::select! {
                Some(landed) = self.flying.join_next() => self.land(landed),
                () = tokio::time::sleep(self.config.linger) => {}
                ordered = orders.changed(), if deadline.is_none() => {
                    let budget = match *orders.borrow_and_update() {
                        Order::Finish(budget) => budget,
                        // The emitter is gone, and took its word with it.
                        Order::Run if ordered.is_err() => Duration::ZERO,
                        Order::Run => continue,
                    };
                    deadline = Some(Instant::now() + budget);
                }
            }
        }
    }

    /// Appends what waits, as many batches at once as may be; at the end, without waiting for them to fill.
    fn launch(&mut self, ending: bool) {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return;
        }
        self.not_before = None;
        let look = ending || self.look_at.is_none_or(|at| now >= at);
        if look {
            self.look_at = Some(now + self.config.linger);
        }
        while self.flying.len() < self.config.batches.max(1) {
            let batch = match self.failed.pop_front() {
                Some(batch) => batch,
                None if look || self.buffer.waiting() >= self.config.batch_clicks => self.encode(),
                None => break,
            };
            if batch.is_empty() {
                break;
            }
            let log = Arc::clone(&self.log);
            self.flying.spawn(async move {
                let outcome = log.append(batch.iter().map(|click| click.record.clone()).collect()).await;
                (batch, outcome)
            });
        }
    }

    /// What waits, up to a batch.
    fn encode(&mut self) -> Batch {
        let mut batch = Batch::new();
        while batch.len() < self.config.batch_clicks.max(1) {
            let Some(Waiting { make, since, bytes }) = self.head.take().or_else(|| self.buffer.next()) else {
                break;
            };
            let mut click = make();
            click.clicked_at.get_or_insert(since);
            let key = *click.click_id.get_or_insert_with(|| new_id(since));
            let mut json = Vec::with_capacity(bytes);
            click.to_json(&mut json);
            if json.len() > limits::RECORD {
                self.buffer.lost(DropReason::TooLarge, 1, bytes);
                continue;
            }
            batch.push(Encoded { since, bytes, record: Append { key, payload: Bytes::from(json) } });
        }
        batch
    }

    fn land(&mut self, landed: Result<(Batch, Result<(), LogError>), tokio::task::JoinError>) {
        let (batch, outcome) = match landed {
            Ok(landed) => landed,
            // The log panicked, and the batch went with it. The books are closed with these clicks among the lost.
            Err(error) => return tracing::error!(%error, "an append ended in a panic"),
        };
        match outcome {
            Ok(()) => {
                self.buffer.emitted(batch.len(), batch.iter().map(|click| click.bytes).sum());
                self.pause = PAUSE;
                self.not_before = None;
                if self.trouble.take().is_some() {
                    tracing::info!(held = self.buffer.holds().0, "the log takes clicks again");
                }
            }
            Err(error) => {
                if self.trouble.is_none_or(|told| told.elapsed() >= TELL) {
                    tracing::warn!(%error, held = self.buffer.holds().0, "the log takes no clicks; trying again");
                    self.trouble = Some(Instant::now());
                }
                self.failed.push_back(batch);
                if self.not_before.is_none() {
                    self.not_before = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Drops what waits for too long.
    fn expire(&mut self) {
        let oldest = i64::try_from(self.config.expiry.as_millis()).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let expired = |since: Timestamp| now.millis_since(since) > oldest;
        for batch in &mut self.failed {
            batch.retain(|click| {
                let expired = expired(click.since);
                if expired {
                    self.buffer.lost(DropReason::Expired, 1, click.bytes);
                }
                !expired
            });
        }
        self.failed.retain(|batch| !batch.is_empty());
        while let Some(waiting) = self.head.take().or_else(|| self.buffer.next()) {
            if !expired(waiting.since) {
                self.head = Some(waiting);
                break;
            }
            self.buffer.lost(DropReason::Expired, 1, waiting.bytes);
        }
    }

    /// Tells the gauges what is held, and the log lines what was dropped.
    fn show(&mut self) {
        let (clicks, bytes) = self.buffer.holds();
        let now = (i64::try_from(clicks).unwrap_or(i64::MAX), i64::try_from(bytes).unwrap_or(i64::MAX));
        // Several emitters share the gauges: each adds its own change.
        metrics::BUFFERED.add(now.0 - self.shown.0);
        metrics::BUFFERED_BYTES.add(now.1 - self.shown.1);
        self.shown = now;
        let dropped = self.buffer.tally().dropped();
        if dropped > self.told.1 && self.told.0.is_none_or(|told| told.elapsed() >= TELL) {
            tracing::warn!(clicks = dropped - self.told.1, held = clicks, "clicks were dropped and are lost");
            self.told = (Some(Instant::now()), dropped);
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.buffer.close_books();
        self.show();
    }
}

/// Tells that the thread is over when it is dropped.
struct Over(watch::Sender<bool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
