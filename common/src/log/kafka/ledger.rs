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
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::{Asker, Complaints, Offsets, blocking, consumer};
use super::history::read_all;
use super::writer::Producer;
use super::{KafkaConfig, LogError};
use crate::id::{ClickId, Offset, PartitionId};
use crate::log::Append;

/// The ledger has one partition: what was written first is one thing for all.
const ONLY: PartitionId = PartitionId(0);

/// What the ledger says of a mark.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Begun(Offsets),
    Done,
}

pub(super) struct Ledger {
    config: KafkaConfig,
    asker: Arc<Asker>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Made when it is first needed: most processes import nothing.
    consumer: Option<BaseConsumer<Complaints>>,
    /// The next offset of the ledger to read.
    next: Offset,
    marks: BTreeMap<String, Entry>,
}

impl Ledger {
    pub(super) fn new(config: KafkaConfig, asker: Arc<Asker>) -> Self {
        Self { config, asker, state: Arc::default() }
    }

    /// Those of `records` that are still to be appended under `mark`; none where the mark is done.
    pub(super) async fn begin(
        &self,
        producer: &Producer,
        mark: &str,
        records: Vec<Append>,
    ) -> Result<Option<Vec<Append>>, LogError> {
        let (mut begun_now, mut ends) = (false, None);
        let from = loop {
            match (self.entry(mark).await?, ends.take()) {
                (Some(Entry::Done), _) => {
                    if begun_now {
                        // What is compacted leaves the last word: it must not be our beginning.
                        self.end(producer, mark).await?;
                    }
                    return Ok(None);
                }
                (Some(Entry::Begun(ends)), _) => break ends,
                // The ends are older than a look at the ledger that shows no beginning: whoever else begins appends
                // behind them, and whichever beginning compaction leaves lies before all records of the mark.
                (None, None) => ends = Some(self.ends().await?),
                (None, Some(ends)) => {
                    self.write(producer, mark, &Entry::Begun(ends)).await?;
                    begun_now = true;
                }
            }
        };
        if begun_now {
            return Ok(Some(records));
        }
        let (config, asker) = (self.config.clone(), Arc::clone(&self.asker));
        let wanted: HashSet<ClickId> = records.iter().map(|record| record.key).collect();
        let there = blocking(move || standing(&config, &asker, &from, &wanted)).await?;
        Ok(Some(records.into_iter().filter(|record| !there.contains(&record.key)).collect()))
    }

    /// The records of `mark` are in the log.
    pub(super) async fn end(&self, producer: &Producer, mark: &str) -> Result<(), LogError> {
        self.write(producer, mark, &Entry::Done).await
    }

    async fn write(&self, producer: &Producer, mark: &str, entry: &Entry) -> Result<(), LogError> {
        let json = serde_json::to_vec(entry).expect("an entry is plain values");
        producer.put(&self.config.imports_topic(), mark, &json).await
    }

    /// What the ledger says now, read to its end.
    async fn entry(&self, mark: &str) -> Result<Option<Entry>, LogError> {
        let (state, config, asker) = (Arc::clone(&self.state), self.config.clone(), Arc::clone(&self.asker));
        let mark = mark.to_owned();
        blocking(move || {
            let mut state = state.lock();
            state.catch_up(&config, &asker)?;
            Ok(state.marks.get(&mark).cloned())
        })
        .await
    }

    async fn ends(&self) -> Result<Offsets, LogError> {
        let asker = Arc::clone(&self.asker);
        blocking(move || asker.ends(&asker.partitions(&asker.topic)?)).await
    }
}

/// The group that the ledger is read under; it has no members.
fn group(config: &KafkaConfig) -> String {
    format!("linktide-{}", config.imports_topic())
}

impl State {
    fn catch_up(&mut self, config: &KafkaConfig, asker: &Asker) -> Result<(), LogError> {
        let topic = config.imports_topic();
        let bounds = asker.bounds(&topic, ONLY).map_err(|error| match error {
            LogError::Unusable(why) => {
                LogError::Unusable(format!("{why}: topic {topic}; `linktide provision kafka` makes it"))
            }
            other => other,
        })?;
        if self.next >= bounds.high {
            return Ok(());
        }
        if self.consumer.is_none() {
            self.consumer = Some(consumer(config, &group(config), &[])?);
        }
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let from = Offsets::from([(ONLY, self.next.max(bounds.low))]);
        let marks = &mut self.marks;
        read_all(consumer, &topic, &from, &Offsets::from([(ONLY, bounds.high)]), &mut |message| {
            let (Some(key), Some(value)) = (message.key(), message.payload()) else { return Ok(()) };
            let entry = serde_json::from_slice(value)
                .map_err(|error| LogError::Unusable(format!("kafka: {topic} holds what is no mark: {error}")))?;
            let mark = String::from_utf8_lossy(key).into_owned();
            // The first beginning counts: what it appended lies behind its ends.
            match entry {
                Entry::Done => drop(marks.insert(mark, Entry::Done)),
                begun @ Entry::Begun(_) => drop(marks.entry(mark).or_insert(begun)),
            }
            Ok(())
        })?;
        self.next = bounds.high;
        Ok(())
    }
}

/// Which of the clicks `wanted` stand behind `from`.
fn standing(
    config: &KafkaConfig,
    asker: &Asker,
    from: &Offsets,
    wanted: &HashSet<ClickId>,
) -> Result<HashSet<ClickId>, LogError> {
    let (mut begin, mut to) = (Offsets::new(), Offsets::new());
    for partition in asker.partitions(&asker.topic)? {
        let bounds = asker.bounds(&asker.topic, partition)?;
        let start = from.get(&partition).copied().unwrap_or_default();
        if start < bounds.low {
            return Err(LogError::Unusable(format!(
                "kafka: an import began at offset {start} of partition {partition}, and the log now starts at {}: which of its clicks were taken cannot be told any more; import what is missing as a file of its own",
                bounds.low
            )));
        }
        begin.insert(partition, start);
        to.insert(partition, bounds.high);
    }
    let mut there = HashSet::new();
    let consumer = consumer(config, &group(config), &[])?;
    read_all(&consumer, &asker.topic, &begin, &to, &mut |message| {
        let id = message.key().and_then(|key| Uuid::try_parse_ascii(key).ok()).map(ClickId);
        there.extend(id.filter(|id| wanted.contains(id)));
        Ok(())
    })?;
    Ok(there)
}
