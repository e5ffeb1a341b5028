//! The reading side: one thread that owns the consumers and does what it is asked, one thing after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset as Place, Timestamp as Stamp, TopicPartitionList};
use tokio::sync::oneshot;

use super::group::{Change, Membership};
use super::writer::TICK;
use super::{KafkaLog, LogError, PATIENCE, consumer, failed, id_of, number_of};
use crate::bucket::Timestamp;
use crate::id::{Epoch, Offset, PartitionId};
use crate::log::{Bounds, Event, LogReader, Positions, Record, Rejected};

/// The group is served this often while nothing comes.
const SERVE: Duration = Duration::from_millis(50);

/// A member of a consumer group.
pub struct KafkaReader {
    log: Arc<KafkaLog>,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Poll { max: usize, wait: Duration, reply: oneshot::Sender<Result<Event, LogError>> },
    Seek { partition: PartitionId, to: Offset, reply: oneshot::Sender<Result<(), LogError>> },
    Read { partition: PartitionId, from: Offset, to: Offset, reply: oneshot::Sender<Result<Vec<Record>, LogError>> },
    Bounds { partition: PartitionId, reply: oneshot::Sender<Result<Bounds, LogError>> },
    Commit { positions: Positions, reply: oneshot::Sender<Result<(), LogError>> },
}

impl KafkaReader {
    pub(super) fn new(log: Arc<KafkaLog>, group: &str) -> Result<Self, LogError> {
        let config = &log.config;
        let worker = Worker {
            membership: Membership::join(config, group)?,
            records: consumer(config)?,
            history: consumer(config)?,
            history_at: None,
            topic: config.topic.clone(),
            reading: BTreeSet::new(),
            undelivered: Vec::new(),
        };
        let (commands, asked) = mpsc::channel();
        std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || worker.run(&asked))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self { log, commands })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Command,
    ) -> Result<T, LogError> {
        let gone = || LogError::Unavailable("the reader's thread ended".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl LogReader for KafkaReader {
    fn epoch(&self) -> Epoch {
        self.log.config.epoch
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        self.ask(|reply| Command::Poll { max, wait, reply }).await
    }

    async fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.ask(|reply| Command::Seek { partition, to, reply }).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        self.ask(|reply| Command::Read { partition, from, to, reply }).await
    }

    async fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError> {
        self.ask(|reply| Command::Bounds { partition, reply }).await
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

/// What the thread owns.
struct Worker {
    membership: Membership,
    /// Delivers records from where partitions were sought to.
    records: BaseConsumer,
    /// Reads ranges without moving `records`.
    history: BaseConsumer,
    /// Where `history` stands, if anywhere.
    history_at: Option<(PartitionId, Offset)>,
    topic: String,
    reading: BTreeSet<PartitionId>,
    /// Records whose asker went away before they came.
    undelivered: Vec<Record>,
}

impl Worker {
    fn run(mut self, asked: &mpsc::Receiver<Command>) {
        // Ends when the reader is dropped; the group is left as the consumers are.
        while let Ok(command) = asked.recv() {
            match command {
                Command::Poll { max, wait, reply } => {
                    let event = self.poll(max, wait);
                    if let Err(Ok(Event::Records(records))) = reply.send(event) {
                        self.undelivered = records;
                    }
                }
                // Whoever no longer waits for one of these answers does not need it.
                Command::Seek { partition, to, reply } => drop(reply.send(self.seek(partition, to))),
                Command::Read { partition, from, to, reply } => drop(reply.send(self.read(partition, from, to))),
                Command::Bounds { partition, reply } => drop(reply.send(self.bounds(partition))),
                Command::Commit { positions, reply } => drop(reply.send(self.membership.commit(&positions))),
            }
        }
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        let until = Instant::now() + wait;
        loop {
            match self.membership.next_change() {
                Some(Change::Assigned(partitions)) => return Ok(Event::Assigned(partitions)),
                Some(Change::Revoked(partitions)) => {
                    for partition in &partitions {
                        self.leave(*partition)?;
                    }
                    return Ok(Event::Revoked(partitions));
                }
                None => {}
            }
            if !self.undelivered.is_empty() {
                return Ok(Event::Records(std::mem::take(&mut self.undelivered)));
            }
            let left = until.saturating_duration_since(Instant::now());
            let records = self.fetch(max, left.min(SERVE))?;
            if !records.is_empty() || left.is_zero() {
                return Ok(Event::Records(records));
            }
        }
    }

    fn fetch(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        while records.len() < max {
            let wait = if records.is_empty() { wait } else { Duration::ZERO };
            match self.records.poll(wait) {
                None => break,
                Some(Ok(message)) => records.push(record(&message)?),
                Some(Err(error)) => self.judge(error)?,
            }
        }
        Ok(records)
    }

    /// A position that is out of range is the caller's to mend; librdkafka mends everything else itself.
    fn judge(&self, error: rdkafka::error::KafkaError) -> Result<(), LogError> {
        if !matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        ) {
            tracing::warn!(%error, "kafka: reading has trouble; it goes on by itself");
            return Ok(());
        }
        let positions = self.records.position().map_err(failed)?;
        let assigned = self.records.assignment().map_err(failed)?;
        for partition in &self.reading {
            let at = |list: &TopicPartitionList| {
                let found = list.find_partition(&self.topic, number_of(*partition))?;
                found.offset().to_raw().and_then(|offset| u64::try_from(offset).ok())
            };
            let Some(wanted) = at(&positions).or_else(|| at(&assigned)).map(Offset) else { continue };
            self.bounds(*partition)?.admit(*partition, wanted)?;
        }
        Err(LogError::Unavailable(format!("kafka: {error}")))
    }

    fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.bounds(partition)?.admit(partition, to)?;
        self.leave(partition)?;
        // Whoever seeks is done with the past.
        self.history.unassign().map_err(failed)?;
        self.history_at = None;
        self.records.incremental_assign(&self.list(partition, to)?).map_err(failed)?;
        self.reading.insert(partition);
        Ok(())
    }

    /// Delivers nothing of a partition any more.
    fn leave(&mut self, partition: PartitionId) -> Result<(), LogError> {
        self.undelivered.retain(|record| record.partition != partition);
        if self.reading.remove(&partition) {
            self.records.incremental_unassign(&self.list(partition, Offset(0))?).map_err(failed)?;
        }
        Ok(())
    }

    fn read(&mut self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        let bounds = self.bounds(partition)?;
        let (from, to) = (from.max(bounds.low), to.min(bounds.high));
        let mut records = Vec::new();
        if from >= to {
            return Ok(records);
        }
        if self.history_at != Some((partition, from)) {
            self.history.assign(&self.list(partition, from)?).map_err(failed)?;
        }
        self.history_at = None;
        let until = Instant::now() + PATIENCE;
        let mut next = from;
        while next < to {
            if Instant::now() >= until {
                return Err(LogError::Unavailable(format!(
                    "kafka: partition {partition} gave nothing at offset {next} for {} s",
                    PATIENCE.as_secs()
                )));
            }
            match self.history.poll(SERVE) {
                None => {}
                Some(Ok(message)) => {
                    let record = record(&message)?;
                    next = record.offset.next();
                    records.push(record);
                }
                Some(Err(error)) => tracing::warn!(%error, "kafka: reading back has trouble; it goes on by itself"),
            }
        }
        self.history_at = Some((partition, next));
        Ok(records)
    }

    fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError> {
        let (low, high) =
            self.history.fetch_watermarks(&self.topic, number_of(partition), PATIENCE).map_err(failed)?;
        Ok(Bounds { low: offset_of(low), high: offset_of(high) })
    }

    fn list(&self, partition: PartitionId, at: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let offset = Place::Offset(i64::try_from(at.0).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.topic, number_of(partition), offset).map_err(failed)?;
        Ok(list)
    }
}

pub(super) fn offset_of(raw: i64) -> Offset {
    Offset(u64::try_from(raw).unwrap_or_default())
}

pub(super) fn record(message: &BorrowedMessage<'_>) -> Result<Record, LogError> {
    let Stamp::LogAppendTime(ms) = message.timestamp() else {
        return Err(LogError::Unusable(format!(
            "kafka: topic {} carries its producers' times; set message.timestamp.type=LogAppendTime",
            message.topic()
        )));
    };
    let appended_at = Timestamp::from_millis(ms)
        .ok_or_else(|| LogError::Unusable(format!("kafka: {ms} is no append time that can be")))?;
    let is_tick = || message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == TICK));
    let payload = match message.payload() {
        None if is_tick() => None,
        // A foreign record without a value is no tick: it is a reject like everything else that is no click.
        payload => Some(Bytes::copy_from_slice(payload.unwrap_or_default())),
    };
    Ok(Record { partition: id_of(message.partition()), offset: offset_of(message.offset()), appended_at, payload })
}

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<PartitionId, Offset>;
