//! What a reader's thread owns: the membership, and the consumer that delivers from where partitions were sought to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Timestamp as Stamp, TopicPartitionList};

use super::client::{Asker, Complaints, consumer, failed, id_of, number_of, offset_of, place_of};
use super::group::{Change, Membership};
use super::writer::TICK;
use super::{KafkaConfig, LogError};
use crate::bucket::Timestamp;
use crate::id::{Offset, PartitionId};
use crate::log::{Event, Positions, Record};

/// The group is served this often while nothing comes.
const SERVE: Duration = Duration::from_millis(50);

/// What waits to be delivered is bounded: prefetched records take no more than about three times this, in KiB.
const PREFETCH: &[(&str, &str)] = &[
    ("queued.max.messages.kbytes", "24576"),
    ("queued.min.messages", "50000"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.message.max.bytes", "524288"),
    // By default a full queue is looked at again after a second, which an eager reader has emptied long before.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.error.backoff.ms", "200"),
];

pub(super) struct Worker {
    membership: Membership,
    records: BaseConsumer<Complaints>,
    asker: Arc<Asker>,
    /// What is being read, and the next offset to deliver of it.
    reading: BTreeMap<PartitionId, Offset>,
    /// Whether some partition was out of range, and which one is not known yet.
    stalled: bool,
    /// An error that came behind records.
    next_error: Option<LogError>,
}

impl Worker {
    pub(super) fn new(config: &KafkaConfig, group: &str, asker: Arc<Asker>) -> Result<Self, LogError> {
        Ok(Self {
            membership: Membership::join(config, group)?,
            records: consumer(config, group, PREFETCH)?,
            asker,
            reading: BTreeMap::new(),
            stalled: false,
            next_error: None,
        })
    }

    pub(super) fn commit(&self, positions: &Positions) -> Result<(), LogError> {
        self.membership.commit(positions)
    }

    pub(super) fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        let until = Instant::now() + wait;
        loop {
            match self.membership.next_change()? {
                Some(Change::Assigned(partitions)) => return Ok(Event::Assigned(partitions)),
                Some(Change::Revoked(partitions)) => {
                    for partition in &partitions {
                        self.leave(*partition)?;
                    }
                    return Ok(Event::Revoked(partitions));
                }
                None => {}
            }
            if let Some(error) = self.next_error.take() {
                return Err(error);
            }
            if self.stalled {
                self.find_stalled()?;
            }
            let left = until.saturating_duration_since(Instant::now());
            let records = self.fetch(max, left.min(SERVE));
            if !records.is_empty() || (left.is_zero() && self.next_error.is_none()) {
                return Ok(Event::Records(records));
            }
        }
    }

    /// What has come, up to the first error: records that came before one are delivered before it is told.
    fn fetch(&mut self, max: usize, wait: Duration) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < max {
            let wait = if records.is_empty() { wait } else { Duration::ZERO };
            match self.records.poll(wait) {
                None => break,
                Some(Ok(message)) => match record(&message) {
                    Ok(record) => {
                        if let Some(next) = self.reading.get_mut(&record.partition) {
                            *next = record.offset.next();
                            records.push(record);
                        }
                    }
                    Err(error) => {
                        self.next_error = Some(error);
                        break;
                    }
                },
                Some(Err(error)) if is_out_of_range(&error) => {
                    self.stalled = true;
                    break;
                }
                Some(Err(error)) => tracing::warn!(%error, "kafka: reading has trouble; it goes on by itself"),
            }
            if records.is_empty() {
                break;
            }
        }
        records
    }

    /// A position that is out of range is the caller's to mend; librdkafka says that there is one, and not which.
    fn find_stalled(&mut self) -> Result<(), LogError> {
        for (partition, next) in self.reading.clone() {
            let bounds = self.asker.bounds(&self.asker.topic, partition)?;
            if let Err(error) = bounds.admit(partition, next) {
                // Told once: the caller seeks it, or does without it.
                self.leave(partition)?;
                return Err(error);
            }
        }
        // All are within bounds: whichever it was, it goes on from where it stands.
        for (partition, next) in self.reading.clone() {
            self.records.incremental_unassign(&self.list(partition, next)?).map_err(failed)?;
            self.records.incremental_assign(&self.list(partition, next)?).map_err(failed)?;
        }
        self.stalled = false;
        Ok(())
    }

    pub(super) fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.asker.bounds(&self.asker.topic, partition)?.admit(partition, to)?;
        self.leave(partition)?;
        self.records.incremental_assign(&self.list(partition, to)?).map_err(failed)?;
        self.reading.insert(partition, to);
        Ok(())
    }

    /// Delivers nothing of a partition any more.
    fn leave(&mut self, partition: PartitionId) -> Result<(), LogError> {
        if self.reading.remove(&partition).is_some() {
            self.records.incremental_unassign(&self.list(partition, Offset(0))?).map_err(failed)?;
        }
        Ok(())
    }

    fn list(&self, partition: PartitionId, at: Offset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.asker.topic, number_of(partition), place_of(at)).map_err(failed)?;
        Ok(list)
    }
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation))
}

/// A record as the port knows it. Its payload is copied, once: what was fetched with it is free as soon as all of it has been.
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
