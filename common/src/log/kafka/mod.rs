//! The Kafka log: topic `click-events`, its rejects and its ledger of imports, by librdkafka.
//!
//! Append times are the broker's (`message.timestamp.type=LogAppendTime`), checked when the log is opened and on each
//! record. Positions belong to whoever stores the counts: what the group commits is for lag metrics and autoscalers alone,
//! and nothing starts from it (`auto.offset.reset=error`).

mod group;
mod ledger;
mod provision;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Append, LogError, LogWriter, Marked};
use crate::id::{Epoch, PartitionId};
use ledger::Ledger;
pub use provision::{Difference, Provisioned, TopicPlan};
pub use reader::KafkaReader;
use writer::Producer;

/// How long a question to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
        client.set("bootstrap.servers", &self.brokers).set("client.id", "linktide");
        // A partition that was added is noticed this soon.
        client.set("topic.metadata.refresh.interval.ms", "10000");
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
    producer: Producer,
    ledger: Arc<Ledger>,
}

impl KafkaLog {
    /// Opens the log after checking that the topic is fit for it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where no broker answers, which is worth a retry; [`LogError::Unusable`] where the topic is
    /// missing or unfit, or a setting is unknown.
    pub async fn open(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        provision::check(&config).await?;
        let producer = Producer::new(&config)?;
        let ledger = Arc::new(Ledger::new(config.clone())?);
        Ok(Arc::new(Self { config, producer, ledger }))
    }

    /// Creates the topics that are missing, and tells what differs in those that are there.
    ///
    /// # Errors
    /// [`LogError`] where the brokers cannot be reached or refuse.
    pub async fn provision(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
        provision::provision(config, plan).await
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
        let config = self.config.clone();
        blocking(move || partitions(&consumer(&config)?, &config.topic)).await
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

/// A consumer that belongs to no group's business: it asks, and reads what it is told to.
fn consumer(config: &KafkaConfig) -> Result<BaseConsumer, LogError> {
    let mut client = config.client();
    client
        .set("group.id", "linktide")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error");
    config.with_settings(client).create().map_err(failed)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<PartitionId>, LogError> {
    let about = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
    let found = about.topics().iter().find(|found| found.name() == topic);
    if let Some(error) = found.and_then(|found| found.error()) {
        return Err(failed(KafkaError::MetadataFetch(error.into())));
    }
    let ids = found.map(|found| found.partitions().iter().map(|partition| id_of(partition.id())).collect());
    Ok(ids.unwrap_or_default())
}

fn id_of(partition: i32) -> PartitionId {
    PartitionId(u32::try_from(partition).unwrap_or_default())
}

fn number_of(partition: PartitionId) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// Runs what waits for a broker beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Unavailable(error.to_string()))?
}

/// What cannot get better by waiting is told apart from what can.
fn failed(error: KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let hopeless = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication
        )
    ) || matches!(error, KafkaError::ClientConfig(..));
    if hopeless { LogError::Unusable(format!("kafka: {error}")) } else { LogError::Unavailable(format!("kafka: {error}")) }
}
