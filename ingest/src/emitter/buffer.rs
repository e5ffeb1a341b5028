//! What an emitter holds: a bounded queue, and the books of what became of each click.
//!
//! `held` counts the clicks that were taken and are neither emitted nor dropped yet. Its highest bit says that no more are
//! taken: being one word with the count, it leaves no click between the two, taken by an emitter that is closed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, limits};

use crate::metrics;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// Why a click was not taken, or not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The buffer holds as many clicks or bytes as it may.
    QueueFull,
    /// It waited longer than it may.
    Expired,
    /// Its texts are longer than a record may be.
    TooLarge,
    /// The emitter was shut down.
    Shutdown,
}

impl DropReason {
    /// All of them, in the order of their counters.
    pub(crate) const ALL: [Self; 4] = [Self::QueueFull, Self::Expired, Self::TooLarge, Self::Shutdown];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What has become of an emitter's clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// The log has them.
    pub emitted: u64,
    /// Dropped because the buffer was full.
    pub queue_full: u64,
    /// Dropped because they waited too long.
    pub expired: u64,
    /// Dropped because they are too large.
    pub too_large: u64,
    /// Dropped because the emitter was shut down.
    pub shutdown: u64,
    /// Clicks that are held now.
    pub held: usize,
    /// Bytes that are held now.
    pub held_bytes: usize,
}

impl Tally {
    /// Clicks that are lost for good, whatever the reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue_full + self.expired + self.too_large + self.shutdown
    }
}

/// A click in the queue: a few words, so that a push touches little memory. What else it takes is in one place.
pub(super) struct Waiting {
    /// Makes the click, on the thread that encodes it.
    pub(super) make: Box<dyn FnOnce() -> Click + Send>,
    pub(super) since: Timestamp,
    pub(super) bytes: usize,
}

impl Waiting {
    pub(super) fn new(click: Click, since: Timestamp) -> Result<Self, DropReason> {
        let texts =
            [&click.user_agent, &click.referrer, &click.language, &click.destination, &click.slug, &click.title];
        let texts: usize = texts.into_iter().chain([&click.edge_signals]).flatten().map(String::len).sum();
        let signals = click.signals.as_deref().map_or(0, |signals| size_of_val(signals) + signals.texts());
        Self::later(texts + signals, move || click, since)
    }

    /// A click whose texts have so many bytes.
    pub(super) fn later(
        texts: usize,
        make: impl FnOnce() -> Click + Send + 'static,
        since: Timestamp,
    ) -> Result<Self, DropReason> {
        if texts > limits::RECORD {
            return Err(DropReason::TooLarge);
        }
        Ok(Self { bytes: size_of::<Self>() + size_of_val(&make) + texts, make: Box::new(make), since })
    }
}

pub(super) struct Buffer {
    queue: ArrayQueue<Waiting>,
    held: AtomicUsize,
    bytes: AtomicUsize,
    most_clicks: usize,
    most_bytes: usize,
    emitted: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Buffer {
    pub(super) fn new(most_clicks: usize, most_bytes: usize) -> Self {
        let most_clicks = most_clicks.clamp(1, CLOSED - 1);
        Self {
            queue: ArrayQueue::new(most_clicks),
            held: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_clicks,
            most_bytes,
            emitted: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    /// Holds a click from now on, or says why not. Nothing in here waits for another thread.
    pub(super) fn take(&self, waiting: Waiting) -> Result<(), DropReason> {
        if self.is_closed() {
            return Err(DropReason::Shutdown);
        }
        let bytes = waiting.bytes;
        if self.bytes.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes) > self.most_bytes {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(DropReason::QueueFull);
        }
        let room = |held: usize| (held < self.most_clicks).then_some(held + 1);
        if let Err(held) = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(if held & CLOSED == 0 { DropReason::QueueFull } else { DropReason::Shutdown });
        }
        if self.queue.push(waiting).is_err() {
            self.release(1, bytes);
            return Err(DropReason::QueueFull);
        }
        Ok(())
    }

    /// The click that has waited longest. It stays held.
    pub(super) fn next(&self) -> Option<Waiting> {
        self.queue.pop()
    }

    /// Clicks in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// No more clicks are taken from now on.
    pub(super) fn close(&self) {
        self.held.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.held.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Clicks and bytes that are held. A click that is being refused may be among the bytes for a moment; with no clicks
    /// there are no bytes.
    pub(super) fn holds(&self) -> (usize, usize) {
        let clicks = self.held.load(Ordering::Acquire) & !CLOSED;
        (clicks, if clicks == 0 { 0 } else { self.bytes.load(Ordering::Acquire) })
    }

    /// The log has clicks that were held.
    pub(super) fn emitted(&self, clicks: usize, bytes: usize) {
        self.emitted.fetch_add(clicks as u64, Ordering::AcqRel);
        metrics::EMITTED.inc_by(clicks as u64);
        self.release(clicks, bytes);
    }

    /// Clicks that were held are lost.
    pub(super) fn lost(&self, reason: DropReason, clicks: usize, bytes: usize) {
        if clicks > 0 {
            self.dropped(reason, clicks as u64);
            self.release(clicks, bytes);
        }
    }

    /// Counts clicks as lost that are not held.
    pub(super) fn dropped(&self, reason: DropReason, clicks: u64) {
        self.dropped[reason as usize].fetch_add(clicks, Ordering::AcqRel);
        metrics::DROPPED[reason as usize].inc_by(clicks);
    }

    /// Closes the books: whatever is still held is lost.
    pub(super) fn close_books(&self) {
        self.close();
        let (clicks, bytes) = self.holds();
        while self.queue.pop().is_some() {}
        self.lost(DropReason::Shutdown, clicks, bytes);
    }

    pub(super) fn tally(&self) -> Tally {
        let [queue_full, expired, too_large, shutdown] =
            self.dropped.each_ref().map(|count| count.load(Ordering::Acquire));
        let (held, held_bytes) = self.holds();
        let emitted = self.emitted.load(Ordering::Acquire);
        Tally { emitted, queue_full, expired, too_large, shutdown, held, held_bytes }
    }

    fn release(&self, clicks: usize, bytes: usize) {
        self.held.fetch_sub(clicks, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
