//! The one thread that writes: a batch for all who wait.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::EmbeddedConfig;
use super::store::{Entry, Store};
use crate::bucket::Timestamp;
use crate::clock::Clock;
use crate::id::{Offset, PartitionId};
use crate::log::{LogError, Marked};

/// Records after which a batch is written though more wait.
const BATCH: usize = 50_000;

pub(super) type Records = Vec<(PartitionId, Option<Bytes>)>;

/// An append that waits for its answer.
pub(super) struct Request {
    pub(super) mark: Option<String>,
    pub(super) records: Records,
    pub(super) reply: oneshot::Sender<Result<Marked, LogError>>,
}

pub(super) struct Writer {
    store: Arc<Store>,
    clock: Clock,
    sync: bool,
    reserve: u64,
    last: Vec<Timestamp>,
    announce: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<Store>,
        clock: Clock,
        config: &EmbeddedConfig,
        announce: watch::Sender<u64>,
    ) -> Result<Self, LogError> {
        let last = (0..store.partitions())
            .map(|partition| Ok(store.last_appended(PartitionId(partition))?.unwrap_or(Timestamp::MIN)))
            .collect::<Result<_, LogError>>()?;
        Ok(Self { store, clock, sync: config.sync, reserve: config.reserve, last, announce })
    }

    /// Writes until no one can ask any more.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut requests = vec![first];
            let mut gathered = requests[0].records.len();
            while gathered < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                gathered += next.records.len();
                requests.push(next);
            }
            self.write(requests);
        }
    }

    fn write(&mut self, requests: Vec<Request>) {
        let (mut entries, mut marks, mut answers) = (Vec::new(), HashSet::new(), Vec::new());
        let mut next: Vec<_> =
            (0..self.store.partitions()).map(|partition| self.store.bounds(PartitionId(partition)).high).collect();
        for request in requests {
            let answer = match self.stands(request.mark.as_deref(), &marks) {
                Ok(true) => Ok(Marked::Already),
                Ok(false) => {
                    self.place(request.records, &mut next, &mut entries);
                    marks.extend(request.mark);
                    Ok(Marked::Appended)
                }
                Err(error) => Err(error),
            };
            answers.push((request.reply, answer));
        }
        let marks: Vec<String> = marks.into_iter().collect();
        let outcome = if entries.is_empty() && marks.is_empty() { Ok(()) } else { self.store_all(&entries, &marks) };
        if outcome.is_ok() {
            self.announce.send_modify(|batches| *batches += 1);
        }
        for (reply, answer) in answers {
            let answer = match (&outcome, answer) {
                (Err(error), Ok(Marked::Appended)) => Err(again(error)),
                (_, answer) => answer,
            };
            // Whoever no longer waits for the answer does not need it.
            let _ = reply.send(answer);
        }
    }

    fn stands(&self, mark: Option<&str>, new: &HashSet<String>) -> Result<bool, LogError> {
        mark.map_or(Ok(false), |mark| Ok(new.contains(mark) || self.store.has_mark(mark)?))
    }

    fn store_all(&mut self, entries: &[Entry], marks: &[String]) -> Result<(), LogError> {
        let free = self.store.free();
        if free < self.reserve {
            return Err(LogError::Full(format!(
                "{} MiB are free, and {} MiB are kept in reserve; free the disk and it goes on by itself",
                free >> 20,
                self.reserve >> 20,
            )));
        }
        self.store.write(entries, marks, self.sync)?;
        for entry in entries {
            self.last[entry.partition.0 as usize] = entry.appended_at;
        }
        Ok(())
    }

    fn place(&self, records: Records, next: &mut [Offset], entries: &mut Vec<Entry>) {
        let now = self.clock.now();
        for (partition, payload) in records {
            let at = partition.0 as usize;
            let offset = next[at];
            next[at] = offset.next();
            entries.push(Entry { partition, offset, appended_at: now.max(self.last[at]), payload });
        }
    }
}

/// The same failure for each of those whom it met.
fn again(error: &LogError) -> LogError {
    match error {
        LogError::Full(text) => LogError::Full(text.clone()),
        LogError::Unusable(text) => LogError::Unusable(text.clone()),
        other => LogError::Unavailable(other.to_string()),
    }
}
