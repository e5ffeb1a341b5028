//! The emitter: takes a click from a redirect and never makes it wait.
//!
//! [`Emitter::emit`] stamps the click with the present, puts it into a bounded lock-free queue, and returns: it wakes no
//! one and encodes nothing. A thread of the emitter's own looks at the queue ten times a second, encodes what waits
//! and appends it in batches, several of them at once, again and again while the log is away. What was taken counts as
//! held until the log has acknowledged it, and the bounds are on what is held.
//!
//! A click that finds the buffer full, has waited too long, is too large, or is left at shutdown is dropped, and counted
//! once, by reason. An append whose outcome is unknown is tried again: a click that arrived twice is recognised as a copy
//! by its id. So clicks offered = emitted + dropped + held, always.

mod buffer;
mod config;
mod drain;

use std::sync::Arc;
use std::time::Duration;

use linktide_common::bucket::Timestamp;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::id::ClickId;
use linktide_common::log::LogWriter;
use tokio::sync::watch;
use uuid::{NoContext, Uuid};

use crate::metrics;

use buffer::{Buffer, Waiting};
pub use buffer::{DropReason, Tally};
pub use config::EmitterConfig;
use drain::{Drain, Order};

/// Takes clicks without waiting. Share it behind an `Arc`.
pub struct Emitter {
    buffer: Arc<Buffer>,
    clock: Clock,
    orders: watch::Sender<Order>,
    ended: watch::Receiver<bool>,
}

impl Emitter {
    /// An emitter into `log`, with a thread of its own.
    ///
    /// # Panics
    /// Where the system gives no thread.
    #[must_use]
    pub fn new(log: Arc<dyn LogWriter>, clock: Clock, config: EmitterConfig) -> Self {
        metrics::begin();
        tracing::info!(
            clicks = config.buffer_clicks,
            bytes = config.buffer_bytes,
            "the emitter's buffer bridges {:.1} s without a log at {} clicks a second",
            config.bridges().as_secs_f64(),
            config.rate
        );
        let buffer = Arc::new(Buffer::new(config.buffer_clicks, config.buffer_bytes));
        let (orders, ordered) = watch::channel(Order::Run);
        let (end, ended) = watch::channel(false);
        Drain::new(Arc::clone(&buffer), log, clock.clone(), config)
            .start(ordered, end)
            .expect("the system gives a thread");
        Self { buffer, clock, orders, ended }
    }

    /// Takes a click, or drops and counts it; says whether it was taken. It never waits.
    ///
    /// A redirect has nothing to do with the answer.
    pub fn emit(&self, click: Click) -> bool {
        self.taken(self.offer(click))
    }

    /// The same of a click that the emitter's thread makes: the least that a redirect can be asked for. `texts` is how many
    /// bytes of text it will have.
    pub fn emit_later(&self, texts: usize, make: impl FnOnce() -> Click + Send + 'static) -> bool {
        self.taken(Waiting::later(texts, make, self.clock.now()).and_then(|waiting| self.buffer.take(waiting)))
    }

    fn taken(&self, outcome: Result<(), DropReason>) -> bool {
        outcome.inspect_err(|reason| self.buffer.dropped(*reason, 1)).is_ok()
    }

    /// Takes a click, or says why not, and counts nothing: for callers who tell the sender, and the sender comes again.
    /// It never waits.
    ///
    /// # Errors
    /// [`DropReason::QueueFull`], [`DropReason::TooLarge`] or [`DropReason::Shutdown`].
    pub fn offer(&self, click: Click) -> Result<(), DropReason> {
        self.buffer.take(Waiting::new(click, self.clock.now())?)
    }

    /// What has become of this emitter's clicks so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.buffer.tally()
    }

    /// Takes no more clicks, gives those it holds `budget` to reach the log, drops the rest, and lets go of the log.
    pub async fn shutdown(&self, budget: Duration) {
        self.buffer.close();
        // Where the thread has ended there is no one to tell, and nothing to wait for.
        let _ = self.orders.send(Order::Finish(budget));
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        self.buffer.close();
        let _ = self.orders.send_if_modified(|order| {
            let running = matches!(order, Order::Run);
            if running {
                *order = Order::Finish(Duration::ZERO);
            }
            running
        });
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
