//! What every client of the brokers has in common: errors told by kind, and questions that wait for nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset as Place, TopicPartitionList};

use super::{KafkaConfig, LogError};
use crate::id::{Offset, PartitionId};
use crate::log::Bounds;

/// How long a question to the brokers may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long the reason of a failure may come behind it.
const COMPLAINTS_WITHIN: Duration = Duration::from_secs(1);
const LISTEN: Duration = Duration::from_millis(20);

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<PartitionId, Offset>;

/// librdkafka's own lines are for those who look closer: what they say is told once, by whoever had to do without.
pub(super) fn note(level: RDKafkaLogLevel, facility: &str, line: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{line}");
}

/// Remembers what the brokers last complained of: librdkafka answers a question with "timed out" and tells the reason
/// beside it.
#[derive(Default)]
pub(super) struct Complaints {
    last: Mutex<Option<(KafkaError, String)>>,
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        note(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        tracing::debug!(%error, reason, "kafka: a client has trouble");
        // That all are down says less than why the last one was.
        if !all_down || self.last.lock().is_none() {
            *self.last.lock() = Some((error, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Complaints {}

/// Asks the brokers. It reads nothing and belongs to no group, so its connections never wait behind a fetch.
pub(super) struct Asker {
    consumer: BaseConsumer<Complaints>,
    brokers: String,
    pub(super) topic: String,
}

impl Asker {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let consumer =
            config.with_settings(config.client()).create_with_context(Complaints::default()).map_err(failed)?;
        Ok(Self { consumer, brokers: config.brokers.clone(), topic: config.topic.clone() })
    }

    pub(super) fn metadata(&self, topic: &str) -> Result<Metadata, LogError> {
        self.consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|error| self.explained(error))
    }

    /// The partitions of a topic; [`LogError::Unusable`] where there is no such topic.
    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<PartitionId>, LogError> {
        let about = self.metadata(topic)?;
        let found = about.topics().iter().find(|found| found.name() == topic);
        if let Some(error) = found.and_then(|found| found.error()) {
            return Err(failed(KafkaError::MetadataFetch(error.into())));
        }
        Ok(found.map(|found| found.partitions().iter().map(|about| id_of(about.id())).collect()).unwrap_or_default())
    }

    /// Where each of these partitions of the log ends: one request a broker, however many they are.
    pub(super) fn ends(&self, partitions: &[PartitionId]) -> Result<Offsets, LogError> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            // In this request the place of an offset holds a time, and the end is the time -1.
            list.add_partition_offset(&self.topic, number_of(*partition), Place::End).map_err(failed)?;
        }
        let answered = self.consumer.offsets_for_times(list, PATIENCE).map_err(|error| self.explained(error))?;
        let end = |about: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            about.error().map_err(|error| self.explained(error))?;
            match about.offset() {
                Place::Offset(end) => Ok((id_of(about.partition()), offset_of(end))),
                other => Err(LogError::Unavailable(format!(
                    "kafka: the end of partition {} is told as {other:?}",
                    about.partition()
                ))),
            }
        };
        answered.elements().into_iter().map(end).collect()
    }

    /// What a partition of a topic holds.
    pub(super) fn bounds(&self, topic: &str, partition: PartitionId) -> Result<Bounds, LogError> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, number_of(partition), PATIENCE)
            .map_err(|error| self.explained(error))?;
        Ok(Bounds { low: offset_of(low), high: offset_of(high) })
    }

    /// An error with what the brokers said beside it, and the way out.
    fn explained(&self, error: KafkaError) -> LogError {
        let complaints = &self.consumer.context().last;
        // Complaints wait until somebody polls, and some come behind the failure; there are never messages.
        let until = Instant::now() + COMPLAINTS_WITHIN;
        while complaints.lock().is_none() && Instant::now() < until {
            drop(self.consumer.poll(LISTEN));
        }
        let complaint = complaints.lock().take();
        let code = |error: &KafkaError| error.rdkafka_error_code();
        match complaint {
            Some((said, reason)) if code(&said).is_some_and(is_refusal) || reason.contains("uthentication") => {
                LogError::Unusable(format!(
                    "kafka: the brokers {} refuse us: {reason}; check security.protocol, sasl.mechanism, sasl.username and sasl.password in kafka.settings",
                    self.brokers
                ))
            }
            Some((said, reason)) if code(&said) == Some(RDKafkaErrorCode::SSL) => LogError::Unusable(format!(
                "kafka: no TLS with the brokers {}: {reason}; check security.protocol and the ssl settings in kafka.settings",
                self.brokers
            )),
            said if matches!(failed(error.clone()), LogError::Unavailable(_)) => {
                let reason = said.map_or_else(|| error.to_string(), |(_, reason)| reason);
                LogError::Unavailable(format!(
                    "kafka: no broker of {} answers: {reason}; check kafka.brokers, and security.protocol in kafka.settings",
                    self.brokers
                ))
            }
            _ => failed(error),
        }
    }
}

/// A consumer that reads what it is told to, from explicit places.
pub(super) fn consumer(
    config: &KafkaConfig,
    group: &str,
    settings: &[(&str, &str)],
) -> Result<BaseConsumer<Complaints>, LogError> {
    let mut client = config.client();
    client
        // It never joins: the name is asked for, and checked against the same rights as the member's.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error");
    for (name, value) in settings {
        client.set(*name, *value);
    }
    config.with_settings(client).create_with_context(Complaints::default()).map_err(failed)
}

pub(super) fn id_of(partition: i32) -> PartitionId {
    PartitionId(u32::try_from(partition).unwrap_or_default())
}

pub(super) fn number_of(partition: PartitionId) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

pub(super) fn offset_of(raw: i64) -> Offset {
    Offset(u64::try_from(raw).unwrap_or_default())
}

pub(super) fn place_of(offset: Offset) -> Place {
    Place::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

/// Runs what waits for a broker beside the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Unavailable(error.to_string()))?
}

pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
    )
}

/// What cannot get better by waiting is told apart from what can.
pub(super) fn failed(error: KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    let hopeless = code.is_some_and(|code| {
        is_refusal(code) || matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
    });
    let misconfigured = matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_));
    match error {
        KafkaError::ClientConfig(_, what, name, value) if name.contains("password") || name.contains("secret") => {
            drop(value);
            LogError::Unusable(format!("kafka: {what} {name}; check kafka.settings"))
        }
        error if misconfigured => LogError::Unusable(format!("kafka: {error}; check kafka.settings")),
        error if hopeless => LogError::Unusable(format!("kafka: {error}")),
        error => LogError::Unavailable(format!("kafka: {error}")),
    }
}
