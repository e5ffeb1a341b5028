//! The ledger of imports: which marks stand, in a compacted topic.
//!
//! Records and their mark cannot be written in one step without transactions, and transactions would put control records
//! between the offsets of clicks and hold readers back while one is open. Instead:
//!
//! 1. `begun` is written for the mark, with the end of every partition of the log at that moment. The first one counts.
//! 2. The records are appended.
//! 3. `done` is written for the mark.
//!
//! Whoever finds a mark begun and not done, however much later, looks which of its records stand behind those ends and
//! appends the others. Two who do so at once append copies close to one another, which readers drop.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset as Place, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::reader::{Offsets, offset_of, record};
use super::writer::Producer;
use super::{KafkaConfig, LogError, PATIENCE, blocking, consumer, failed, number_of, partitions};
use crate::click::Click;
use crate::id::{ClickId, Offset, PartitionId};
use crate::log::Append;

/// What the ledger says of a mark.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Begun(BTreeMap<PartitionId, Offset>),
    Done,
}

pub(super) struct Ledger {
    config: KafkaConfig,
    state: std::sync::Arc<Mutex<State>>,
}

struct State {
    consumer: BaseConsumer,
    /// The next offset of the ledger to read.
    next: Offset,
    marks: BTreeMap<String, Entry>,
}

impl Ledger {
    pub(super) fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let state = State { consumer: consumer(&config)?, next: Offset(0), marks: BTreeMap::new() };
        Ok(Self { config, state: std::sync::Arc::new(Mutex::new(state)) })
    }

    /// Those of `records` that are still to be appended under `mark`; none where the mark is done.
    pub(super) async fn begin(
        &self,
        producer: &Producer,
        mark: &str,
        records: Vec<Append>,
    ) -> Result<Option<Vec<Append>>, LogError> {
        let topic = self.config.imports_topic();
        let mut begun_now = false;
        let from = loop {
            match self.entry(mark).await? {
                Some(Entry::Done) => return Ok(None),
                Some(Entry::Begun(ends)) => break ends,
                None => {
                    let entry = Entry::Begun(self.ends().await?);
                    producer.put(&topic, mark, &to_json(&entry)).await?;
                    begun_now = true;
                }
            }
        };
        if begun_now {
            return Ok(Some(records));
        }
        let config = self.config.clone();
        let wanted: HashSet<ClickId> = records.iter().map(|record| record.key).collect();
        let there = blocking(move || standing(&config, &from, &wanted)).await?;
        Ok(Some(records.into_iter().filter(|record| !there.contains(&record.key)).collect()))
    }

    /// The records of `mark` are in the log.
    pub(super) async fn end(&self, producer: &Producer, mark: &str) -> Result<(), LogError> {
        producer.put(&self.config.imports_topic(), mark, &to_json(&Entry::Done)).await
    }

    /// What the ledger says now, read to its end.
    async fn entry(&self, mark: &str) -> Result<Option<Entry>, LogError> {
        let (state, topic, mark) = (std::sync::Arc::clone(&self.state), self.config.imports_topic(), mark.to_owned());
        blocking(move || {
            let mut state = state.lock();
            state.catch_up(&topic)?;
            Ok(state.marks.get(&mark).cloned())
        })
        .await
    }

    async fn ends(&self) -> Result<Offsets, LogError> {
        let config = self.config.clone();
        blocking(move || {
            let consumer = consumer(&config)?;
            ends(&consumer, &config.topic)
        })
        .await
    }
}

fn to_json(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry is plain values")
}

fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Offsets, LogError> {
    let end = |partition| {
        let (_, high) = consumer.fetch_watermarks(topic, number_of(partition), PATIENCE).map_err(failed)?;
        Ok((partition, offset_of(high)))
    };
    partitions(consumer, topic)?.into_iter().map(end).collect()
}

impl State {
    fn catch_up(&mut self, topic: &str) -> Result<(), LogError> {
        let (low, high) = self.consumer.fetch_watermarks(topic, 0, PATIENCE).map_err(failed)?;
        let end = offset_of(high);
        if self.next >= end {
            return Ok(());
        }
        let from = self.next.max(offset_of(low));
        read(&self.consumer, topic, &Offsets::from([(PartitionId(0), from)]), &Offsets::from([(PartitionId(0), end)]), |message| {
            let (Some(key), Some(value)) = (message.key(), message.payload()) else { return Ok(()) };
            let entry = serde_json::from_slice(value)
                .map_err(|error| LogError::Unusable(format!("kafka: {topic} holds what is no mark: {error}")))?;
            let mark = String::from_utf8_lossy(key).into_owned();
            // The first beginning counts: what it appended lies behind its ends.
            match entry {
                Entry::Done => drop(self.marks.insert(mark, Entry::Done)),
                begun @ Entry::Begun(_) => drop(self.marks.entry(mark).or_insert(begun)),
            }
            Ok(())
        })?;
        self.next = end;
        Ok(())
    }
}

/// Which of the clicks `wanted` stand behind `from`.
fn standing(
    config: &KafkaConfig,
    from: &Offsets,
    wanted: &HashSet<ClickId>,
) -> Result<HashSet<ClickId>, LogError> {
    let consumer = consumer(config)?;
    let to = ends(&consumer, &config.topic)?;
    let mut begin = Offsets::new();
    for partition in to.keys() {
        let (low, _) = consumer.fetch_watermarks(&config.topic, number_of(*partition), PATIENCE).map_err(failed)?;
        let (low, start) = (offset_of(low), from.get(partition).copied().unwrap_or(Offset(0)));
        if start < low {
            return Err(LogError::Unusable(format!(
                "kafka: an import began at offset {start} of partition {partition}, and the log now starts at {low}: which of its clicks were taken cannot be told any more; import what is missing as a file of its own"
            )));
        }
        begin.insert(*partition, start);
    }
    let mut there = HashSet::new();
    read(&consumer, &config.topic, &begin, &to, |message| {
        let payload = record(message)?.payload.unwrap_or_default();
        let id = Click::parse(&payload).ok().and_then(|click| click.click_id);
        there.extend(id.filter(|id| wanted.contains(id)));
        Ok(())
    })?;
    Ok(there)
}

/// Hands every message of `[from, to)` to `take`. The ranges may have holes, as compaction leaves them.
fn read(
    consumer: &BaseConsumer,
    topic: &str,
    from: &Offsets,
    to: &Offsets,
    mut take: impl FnMut(&rdkafka::message::BorrowedMessage<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        let place = Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, number_of(*partition), place).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let mut heard = Instant::now();
    loop {
        let positions = consumer.position().map_err(failed)?;
        let behind = |(partition, end): (&PartitionId, &Offset)| {
            let at = positions.find_partition(topic, number_of(*partition)).and_then(|found| found.offset().to_raw());
            let at = at.filter(|at| *at >= 0).map(offset_of).or(from.get(partition).copied()).unwrap_or_default();
            at < *end
        };
        if !to.iter().any(behind) {
            return consumer.unassign().map_err(failed);
        }
        match consumer.poll(std::time::Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                take(&message)?;
            }
            Some(Err(error)) => tracing::warn!(%error, "kafka: reading back has trouble; it goes on by itself"),
            None if heard.elapsed() > PATIENCE => {
                return Err(LogError::Unavailable(format!("kafka: {topic} gave nothing for {} s", PATIENCE.as_secs())));
            }
            None => {}
        }
    }
}
