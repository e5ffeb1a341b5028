//! The emitter: takes a click from a redirect and never makes it wait.
//!
//! [`Emitter::emit`] stamps the click with the present, puts it into a bounded lock-free queue, and returns. One task
//! encodes what waits and appends it in batches, again and again while the log is away. A click that finds the buffer
//! full, has waited too long, is too large, or is left at shutdown is dropped, and
//! `linktide_clicks_dropped_total{reason}` counts it once. An append whose outcome is unknown is tried again: a click
//! that arrived twice is recognised as a copy by its id.
//!
//! The buffer in seconds is its size by the rate: the default of 200,000 clicks bridges 20 seconds without a log at
//! 10,000 clicks a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, limits};
use linktide_common::clock::Clock;
use linktide_common::id::ClickId;
use linktide_common::log::{Append, LogWriter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::{NoContext, Uuid};

use crate::metrics;

/// What a click takes in memory beside its texts.
const CLICK_BYTES: usize = size_of::<Click>();

/// How much an emitter holds, and for how long.
#[derive(Debug, Clone)]
pub struct EmitterConfig {
    /// Clicks that may wait.
    pub buffer_clicks: usize,
    /// Bytes that may wait.
    pub buffer_bytes: usize,
    /// How long a click may wait before it is dropped.
    pub expiry: Duration,
    /// Clicks appended at once.
    pub batch_clicks: usize,
}

impl Default for EmitterConfig {
    fn default() -> Self {
        Self { buffer_clicks: 200_000, buffer_bytes: 256 << 20, expiry: Duration::from_secs(120), batch_clicks: 5_000 }
    }
}

/// Takes clicks without waiting. Share it behind an `Arc`.
pub struct Emitter {
    buffer: Arc<Buffer>,
    clock: Clock,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Buffer {
    queue: ArrayQueue<Waiting>,
    bytes: AtomicUsize,
    most_bytes: usize,
    filled: Notify,
    closing: AtomicBool,
}

struct Waiting {
    click: Click,
    since: Timestamp,
    bytes: usize,
}

impl Emitter {
    /// An emitter into `log`, with a task of its own on the current runtime.
    #[must_use]
    pub fn new(log: Arc<dyn LogWriter>, clock: Clock, config: EmitterConfig) -> Self {
        let buffer = Arc::new(Buffer {
            queue: ArrayQueue::new(config.buffer_clicks.max(1)),
            bytes: AtomicUsize::new(0),
            most_bytes: config.buffer_bytes,
            filled: Notify::new(),
            closing: AtomicBool::new(false),
        });
        let drain = Drain { buffer: Arc::clone(&buffer), log, clock: clock.clone(), config, left: Vec::new() };
        Self { buffer, clock, task: Mutex::new(Some(tokio::spawn(drain.run()))) }
    }

    /// Takes a click, or drops and counts it. Costs a clock reading and a push; it never waits.
    pub fn emit(&self, mut click: Click) {
        let now = self.clock.now();
        click.clicked_at.get_or_insert(now);
        let bytes = size_of_click(&click);
        if self.buffer.closing.load(Ordering::Acquire) {
            return dropped("shutdown", 1);
        }
        let held = self.buffer.bytes.fetch_add(bytes, Ordering::AcqRel);
        let full = held + bytes > self.buffer.most_bytes;
        if full || self.buffer.queue.push(Waiting { click, since: now, bytes }).is_err() {
            self.buffer.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return dropped("queue_full", 1);
        }
        metrics::BUFFERED.inc();
        self.buffer.filled.notify_one();
    }

    /// Takes no more clicks, gives those that wait `budget` to reach the log, and drops the rest.
    pub async fn shutdown(&self, budget: Duration) {
        self.buffer.closing.store(true, Ordering::Release);
        self.buffer.filled.notify_one();
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && tokio::time::timeout(budget, &mut task).await.is_err()
        {
            tracing::warn!("the log did not take all clicks before shutdown");
            task.abort();
            // Ended on purpose: what it held is counted as it goes.
            let _ = task.await;
        }
        let mut left = 0;
        while let Some(waiting) = self.buffer.queue.pop() {
            self.buffer.bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
            left += 1;
        }
        metrics::BUFFERED.sub(i64::try_from(left).unwrap_or(i64::MAX));
        dropped("shutdown", left);
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

fn dropped(reason: &str, clicks: u64) {
    if clicks > 0 {
        metrics::DROPPED.with_label_values(&[reason]).inc_by(clicks);
    }
}

fn size_of_click(click: &Click) -> usize {
    let texts = [&click.user_agent, &click.referrer, &click.language, &click.destination, &click.slug, &click.title];
    CLICK_BYTES + texts.into_iter().flatten().map(String::len).sum::<usize>()
}

/// The task behind an emitter.
struct Drain {
    buffer: Arc<Buffer>,
    log: Arc<dyn LogWriter>,
    clock: Clock,
    config: EmitterConfig,
    /// Encoded clicks that the log has not acknowledged, with the time they came.
    left: Vec<(Timestamp, Append)>,
}

impl Drop for Drain {
    /// What is dropped with the task is counted as dropped.
    fn drop(&mut self) {
        metrics::BUFFERED.sub(i64::try_from(self.left.len()).unwrap_or(i64::MAX));
        dropped("shutdown", self.left.len() as u64);
    }
}

impl Drain {
    async fn run(mut self) {
        let mut pause = Duration::from_millis(10);
        loop {
            self.take();
            if self.left.is_empty() {
                if self.buffer.closing.load(Ordering::Acquire) && self.buffer.queue.is_empty() {
                    return;
                }
                self.buffer.filled.notified().await;
                continue;
            }
            let records = self.left.iter().map(|(_, record)| record.clone()).collect();
            match self.log.append(records).await {
                Ok(()) => {
                    self.done(self.left.len());
                    metrics::EMITTED.inc_by(self.left.len() as u64);
                    self.left.clear();
                    pause = Duration::from_millis(10);
                }
                Err(error) => {
                    tracing::warn!(%error, waiting = self.left.len(), "the log took no clicks; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                    self.expire();
                }
            }
        }
    }

    /// Encodes what waits, up to a batch.
    fn take(&mut self) {
        while self.left.len() < self.config.batch_clicks {
            let Some(Waiting { mut click, since, bytes }) = self.buffer.queue.pop() else { break };
            self.buffer.bytes.fetch_sub(bytes, Ordering::AcqRel);
            let key = *click.click_id.get_or_insert_with(|| new_id(since));
            let mut json = Vec::with_capacity(bytes);
            click.to_json(&mut json);
            if json.len() > limits::RECORD {
                self.done(1);
                dropped("too_large", 1);
                continue;
            }
            self.left.push((since, Append { key, payload: Bytes::from(json) }));
        }
        self.expire();
    }

    fn expire(&mut self) {
        let oldest = i64::try_from(self.config.expiry.as_millis()).unwrap_or(i64::MAX);
        let (now, before) = (self.clock.now(), self.left.len());
        self.left.retain(|(since, _)| now.millis_since(*since) <= oldest);
        let expired = before - self.left.len();
        self.done(expired);
        dropped("expired", expired as u64);
    }

    fn done(&self, clicks: usize) {
        metrics::BUFFERED.sub(i64::try_from(clicks).unwrap_or(i64::MAX));
    }
}

/// A new id whose order is the order of time.
pub(crate) fn new_id(at: Timestamp) -> ClickId {
    let ms = u64::try_from(at.as_millis()).unwrap_or_default();
    ClickId(Uuid::new_v7(uuid::Timestamp::from_unix(
        NoContext,
        ms / 1000,
        u32::try_from(ms % 1000).unwrap_or_default() * 1_000_000,
    )))
}

#[cfg(test)]
mod tests;
