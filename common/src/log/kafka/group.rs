//! Membership in a consumer group: it says who reads which partition, and reads nothing itself.
//!
//! Reading goes through a consumer of its own with explicit offsets, so that a rebalance can neither deliver a record
//! from a position nobody asked for nor move one that is being read.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::{ClientContext, TopicPartitionList};

use super::client::{failed, id_of, is_refusal, note, number_of, place_of};
use super::{KafkaConfig, LogError};
use crate::id::PartitionId;
use crate::log::Positions;

/// Which partitions came or went.
#[derive(Debug)]
pub(super) enum Change {
    Assigned(Vec<PartitionId>),
    Revoked(Vec<PartitionId>),
}

pub(super) struct Membership {
    consumer: BaseConsumer<Changes>,
    topic: String,
    group: String,
}

impl Membership {
    pub(super) fn join(config: &KafkaConfig, group: &str) -> Result<Self, LogError> {
        let mut client = config.client();
        client
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Its partitions are paused as they come; these two bound what could be fetched before that.
            .set("auto.offset.reset", "latest")
            .set("queued.max.messages.kbytes", "64")
            .set("fetch.message.max.bytes", "1024")
            // A member that died is replaced this soon.
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "2000");
        let consumer: BaseConsumer<Changes> =
            config.with_settings(client).create_with_context(Changes::default()).map_err(failed)?;
        consumer.subscribe(&[&config.topic]).map_err(failed)?;
        Ok(Self { consumer, topic: config.topic.clone(), group: group.to_owned() })
    }

    /// Serves the group's protocol, and tells the next change.
    ///
    /// # Errors
    /// [`LogError::Unusable`] where we may not belong to the group: it would be waited for without end.
    pub(super) fn next_change(&self) -> Result<Option<Change>, LogError> {
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            let Err(error) = event else { continue };
            if error.rdkafka_error_code().is_some_and(is_refusal) {
                return Err(LogError::Unusable(format!(
                    "kafka: {error}: group {}; see docs/kafka.md for the rights it takes",
                    self.group
                )));
            }
            tracing::warn!(%error, "kafka: the consumer group has trouble; it goes on by itself");
        }
        Ok(self.consumer.context().queue.lock().pop_front())
    }

    /// Tells the group how far it has come.
    pub(super) fn commit(&self, positions: &Positions) -> Result<(), LogError> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, position) in positions {
            list.add_partition_offset(&self.topic, number_of(*partition), place_of(position.offset)).map_err(failed)?;
        }
        self.consumer.commit(&list, CommitMode::Async).map_err(failed)
    }
}

#[derive(Default)]
struct Changes {
    queue: Mutex<VecDeque<Change>>,
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        note(level, facility, line);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        // Whoever polls tells the error; the reason is for those who look closer.
        tracing::debug!(%error, reason, "kafka: the consumer group has trouble");
    }
}

impl ConsumerContext for Changes {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.tell(list, Change::Revoked);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(error) = consumer.pause(list) {
                tracing::warn!(%error, "kafka: a new partition was not paused; what it fetches is thrown away");
            }
            self.tell(list, Change::Assigned);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "kafka: the group was not told how far it has come; the next commit says it");
        }
    }
}

impl Changes {
    /// A rebalance may well change nothing for a member.
    fn tell(&self, list: &TopicPartitionList, change: fn(Vec<PartitionId>) -> Change) {
        let partitions: Vec<_> = list.elements().iter().map(|element| id_of(element.partition())).collect();
        if !partitions.is_empty() {
            self.queue.lock().push_back(change(partitions));
        }
    }
}
