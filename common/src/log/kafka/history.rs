//! Reading ranges of the log back, beside what is being delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::client::{Asker, Complaints, Offsets, PATIENCE, consumer, failed, id_of, number_of, offset_of, place_of};
use super::worker::record;
use super::{KafkaConfig, LogError};
use crate::id::{Offset, PartitionId};
use crate::log::Record;

const LOOK: Duration = Duration::from_millis(100);

/// Reads ranges that mostly follow one another: the next one is being fetched while the last is looked at.
pub(super) struct History {
    consumer: BaseConsumer<Complaints>,
    asker: Arc<Asker>,
    /// Where it stands, if anywhere.
    at: Option<(PartitionId, Offset)>,
}

impl History {
    pub(super) fn new(config: &KafkaConfig, group: &str, asker: Arc<Asker>) -> Result<Self, LogError> {
        let settings = [
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.queue.backoff.ms", "5"),
            // A fetch that waits at the end of one partition holds up the first one of the next.
            ("fetch.wait.max.ms", "10"),
        ];
        Ok(Self { consumer: consumer(config, group, &settings)?, asker, at: None })
    }

    /// Stops fetching.
    pub(super) fn rest(&mut self) -> Result<(), LogError> {
        if self.at.take().is_some() {
            self.consumer.unassign().map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        let topic = self.asker.topic.clone();
        let bounds = self.asker.bounds(&topic, partition)?;
        let (from, to) = (from.max(bounds.low), to.min(bounds.high));
        if from >= to {
            return Ok(Vec::new());
        }
        if self.at.take() != Some((partition, from)) {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(&topic, number_of(partition), place_of(from)).map_err(failed)?;
            self.consumer.assign(&list).map_err(failed)?;
        }
        let mut records = Vec::with_capacity(usize::try_from(to.0 - from.0).unwrap_or(0).min(1 << 16));
        let mut left = Offsets::from([(partition, to)]);
        deliver(&self.consumer, &topic, &mut left, &mut |message| {
            records.push(record(message)?);
            Ok(())
        })?;
        self.at = Some((partition, to));
        Ok(records)
    }
}

/// Hands every message of `[from, to)` to `take`. The ranges may have holes, as compaction leaves them, but not at their end.
pub(super) fn read_all(
    consumer: &BaseConsumer<Complaints>,
    topic: &str,
    from: &Offsets,
    to: &Offsets,
    take: &mut dyn FnMut(&BorrowedMessage<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let begin = |partition: &PartitionId| from.get(partition).copied().unwrap_or_default();
    let mut left: Offsets = to.iter().map(|(id, end)| (*id, *end)).filter(|(id, end)| begin(id) < *end).collect();
    let mut list = TopicPartitionList::new();
    for partition in left.keys() {
        list.add_partition_offset(topic, number_of(*partition), place_of(begin(partition))).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let delivered = deliver(consumer, topic, &mut left, take);
    consumer.unassign().map_err(failed)?;
    delivered
}

/// Hands messages to `take` until each partition of `left` has come to its end.
fn deliver(
    consumer: &BaseConsumer<Complaints>,
    topic: &str,
    left: &mut Offsets,
    take: &mut dyn FnMut(&BorrowedMessage<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let (mut heard, mut troubled) = (Instant::now(), false);
    while !left.is_empty() {
        match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                let (partition, offset) = (id_of(message.partition()), offset_of(message.offset()));
                // What was fetched beyond the end is for the next read, which goes on there or throws it away.
                let Some(end) = left.get(&partition).copied() else { continue };
                (heard, troubled) = (Instant::now(), false);
                if offset < end {
                    take(&message)?;
                }
                if offset.next() >= end {
                    left.remove(&partition);
                }
            }
            // Every broker and partition tells the same outage over and over: once is enough.
            Some(Err(_)) if troubled => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "kafka: reading back has trouble; it goes on by itself");
                troubled = true;
            }
            None if heard.elapsed() > PATIENCE => {
                return Err(LogError::Unavailable(format!(
                    "kafka: {topic} gave nothing for {} s while it was read back",
                    PATIENCE.as_secs()
                )));
            }
            None => {}
        }
    }
    Ok(())
}
