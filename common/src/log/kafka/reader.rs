//! The reading side: one thread that serves the group and delivers, and questions beside it.
//!
//! A call that is dropped loses nothing: the thread's answer stays with the reader, and the next call takes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::client::{Offsets, blocking};
use super::history::History;
use super::worker::Worker;
use super::{KafkaLog, LogError};
use crate::id::{Epoch, Offset, PartitionId};
use crate::log::{Bounds, Event, LogReader, Positions, Record, Rejected};

/// A member of a consumer group.
pub struct KafkaReader {
    log: Arc<KafkaLog>,
    commands: mpsc::Sender<Command>,
    history: Arc<Mutex<History>>,
    /// Whether the past was read since the last poll.
    looked_back: AtomicBool,
    /// The answer to a poll whose caller went away.
    asked: Option<oneshot::Receiver<Polled>>,
    /// What such a poll delivered.
    ready: Option<Polled>,
}

type Polled = Result<Event, LogError>;

enum Command {
    Poll { max: usize, wait: Duration, reply: oneshot::Sender<Polled> },
    Seek { partition: PartitionId, to: Offset, reply: oneshot::Sender<Result<(), LogError>> },
    Commit { positions: Positions, reply: oneshot::Sender<Result<(), LogError>> },
}

impl KafkaReader {
    pub(super) fn new(log: Arc<KafkaLog>, group: &str) -> Result<Self, LogError> {
        let worker = Worker::new(&log.config, group, Arc::clone(&log.asker))?;
        let history = Arc::new(Mutex::new(History::new(&log.config, group, Arc::clone(&log.asker))?));
        let (commands, asked) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || run(worker, &asked))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        let mut threads = log.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        drop(threads);
        Ok(Self { log, commands, history, looked_back: AtomicBool::new(false), asked: None, ready: None })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Command,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Takes the answer to a poll whose caller went away.
    async fn settle(&mut self) {
        if let Some(answer) = &mut self.asked {
            let polled = answer.await.unwrap_or_else(|_| Err(gone()));
            self.asked = None;
            self.ready = Some(polled);
        }
    }
}

fn gone() -> LogError {
    LogError::Unavailable("the reader's thread ended".to_owned())
}

/// Ends when the reader is dropped; the group is left as the consumers are.
fn run(mut worker: Worker, asked: &mpsc::Receiver<Command>) {
    while let Ok(command) = asked.recv() {
        match command {
            Command::Poll { max, wait, reply } => drop(reply.send(worker.poll(max, wait))),
            // Whoever no longer waits for one of these answers does not need it.
            Command::Seek { partition, to, reply } => drop(reply.send(worker.seek(partition, to))),
            Command::Commit { positions, reply } => drop(reply.send(worker.commit(&positions))),
        }
    }
}

#[async_trait]
impl LogReader for KafkaReader {
    fn epoch(&self) -> Epoch {
        self.log.config.epoch
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        // Whoever polls is done with the past: nothing more of it is fetched ahead.
        if self.looked_back.swap(false, Ordering::AcqRel) {
            let history = Arc::clone(&self.history);
            blocking(move || history.lock().rest()).await?;
        }
        if self.asked.is_none() && self.ready.is_none() {
            let (reply, answer) = oneshot::channel();
            self.commands.send(Command::Poll { max, wait, reply }).map_err(|_| gone())?;
            self.asked = Some(answer);
        }
        self.settle().await;
        self.ready.take().unwrap_or_else(|| Ok(Event::Records(Vec::new())))
    }

    async fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.settle().await;
        if let Some(Ok(Event::Records(records))) = &mut self.ready {
            records.retain(|record| record.partition != partition);
        }
        self.ask(|reply| Command::Seek { partition, to, reply }).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        self.looked_back.store(true, Ordering::Release);
        let history = Arc::clone(&self.history);
        blocking(move || history.lock().read(partition, from, to)).await
    }

    async fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError> {
        let asker = Arc::clone(&self.log.asker);
        blocking(move || asker.bounds(&asker.topic, partition)).await
    }

    async fn ends(&self, partitions: &[PartitionId]) -> Result<Offsets, LogError> {
        let (asker, partitions) = (Arc::clone(&self.log.asker), partitions.to_vec());
        blocking(move || asker.ends(&partitions)).await
    }

    async fn tick(&self, partition: PartitionId) -> Result<(), LogError> {
        self.log.producer.tick(&self.log.config.topic, partition).await
    }

    async fn reject(&self, rejected: &[Rejected]) -> Result<(), LogError> {
        let config = &self.log.config;
        self.log.producer.reject(&config.rejected_topic(), config.epoch, rejected).await
    }

    async fn commit(&mut self, positions: &Positions) -> Result<(), LogError> {
        let positions = positions.clone();
        self.ask(|reply| Command::Commit { positions, reply }).await
    }
}
