//! The Kafka log: topic `click-events`, its rejects and its ledger of imports, by librdkafka.
//!
//! Append times are the broker's (`message.timestamp.type=LogAppendTime`), checked when the log is opened and on each
//! record. Positions belong to whoever stores the counts: what the group commits is for lag metrics and autoscalers alone,
//! and nothing starts from it (`auto.offset.reset=error`).

mod client;
mod group;
mod history;
mod ledger;
mod provision;
mod reader;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::ClientConfig;

use super::{Append, LogError, LogWriter, Marked};
use crate::id::{Epoch, PartitionId};
use client::{Asker, blocking};
use ledger::Ledger;
pub use provision::{Difference, Provisioned, State as TopicState, TopicPlan};
pub use reader::KafkaReader;
use writer::Producer;

/// Where the log is, and how it is reached.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The topic of clicks. Rejects are in `<topic>-rejected`, the ledger of imports in `<topic>-imports`.
    pub topic: String,
    /// Fewer partitions are refused.
    pub least_partitions: u32,
    /// Which life of the topic this is: raised when it was recreated.
    pub epoch: Epoch,
    /// Settings of librdkafka, such as `security.protocol` and `sasl.password`: they override our own.
    pub settings: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// The topic that records go to which are no clicks.
    #[must_use]
    pub fn rejected_topic(&self) -> String {
        format!("{}-rejected", self.topic)
    }

    /// The topic that remembers which chunks of imports were appended.
    #[must_use]
    pub fn imports_topic(&self) -> String {
        format!("{}-imports", self.topic)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "linktide")
            // A partition that was added is noticed this soon.
            .set("topic.metadata.refresh.interval.ms", "10000")
            // A broker that comes back is noticed this soon.
            .set("reconnect.backoff.max.ms", "2000");
        client
    }

    /// What the user set comes last, so that it wins.
    fn with_settings(&self, mut client: ClientConfig) -> ClientConfig {
        for (name, value) in &self.settings {
            client.set(name, value);
        }
        client
    }
}

/// The log in Kafka.
pub struct KafkaLog {
    config: KafkaConfig,
    asker: Arc<Asker>,
    producer: Producer,
    ledger: Ledger,
    /// Of readers; each leaves its group when it ends.
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl KafkaLog {
    /// Opens the log after checking that the topic is fit for it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where no broker answers, which is worth a retry; [`LogError::Unusable`] where the topic is
    /// missing or unfit, the brokers refuse us, or a setting is unknown.
    pub async fn open(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        let asker = Arc::new(Asker::new(&config)?);
        provision::check(&config, &asker).await?;
        let producer = Producer::new(&config)?;
        let ledger = Ledger::new(config.clone(), Arc::clone(&asker));
        Ok(Arc::new(Self { config, asker, producer, ledger, threads: Mutex::default() }))
    }

    /// Makes the topics that are missing, unless one that is there is not as it must be; tells of each how it stands. A
    /// topic that is there is never changed.
    ///
    /// # Errors
    /// [`LogError`] where the brokers cannot be reached or refuse.
    pub async fn provision(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
        provision::provision(config, plan).await
    }

    /// Tells of each topic how it stands, and makes none.
    ///
    /// # Errors
    /// [`LogError`] where the brokers cannot be reached or refuse.
    pub async fn survey(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
        provision::survey(config, plan).await
    }

    /// A member of a consumer group. The members of one group share the partitions.
    ///
    /// # Errors
    /// [`LogError::Unusable`] where a setting is unknown.
    pub fn reader(self: &Arc<Self>, group: &str) -> Result<KafkaReader, LogError> {
        KafkaReader::new(Arc::clone(self), group)
    }

    /// The partitions there are now.
    ///
    /// # Errors
    /// [`LogError`] where the brokers cannot be asked.
    pub async fn partitions(&self) -> Result<Vec<PartitionId>, LogError> {
        let asker = Arc::clone(&self.asker);
        blocking(move || asker.partitions(&asker.topic)).await
    }

    /// Which life of the log this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.config.epoch
    }

    /// Sends what waits to be sent, and waits until the readers that were dropped have left their groups, so that others
    /// take their partitions over at once. Returns after `budget` whatever is left.
    pub async fn close(&self, budget: Duration) {
        let threads = std::mem::take(&mut *self.threads.lock());
        let producer = self.producer.clone();
        let ended = tokio::task::spawn_blocking(move || {
            producer.flush(budget);
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        match tokio::time::timeout(budget, ended).await {
            Ok(Ok(0)) => {}
            Ok(outcome) => tracing::error!(?outcome, "kafka: a reader's thread panicked"),
            Err(_) => tracing::warn!("kafka: a reader did not leave its group in time; the brokers will notice"),
        }
    }
}

#[async_trait]
impl LogWriter for KafkaLog {
    async fn append(&self, records: Vec<Append>) -> Result<(), LogError> {
        self.producer.append(&self.config.topic, &records).await
    }

    async fn append_marked(&self, mark: &str, records: Vec<Append>) -> Result<Marked, LogError> {
        let Some(missing) = self.ledger.begin(&self.producer, mark, records).await? else { return Ok(Marked::Already) };
        self.append(missing).await?;
        self.ledger.end(&self.producer, mark).await?;
        Ok(Marked::Appended)
    }
}

#[cfg(test)]
mod tests;
