//! The topics: how they must be, made where they are missing, and never changed where they are there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Asker, Complaints, PATIENCE, blocking, failed};
use super::{KafkaConfig, LogError};

const STAMP: &str = "message.timestamp.type";
const IN_SYNC: &str = "min.insync.replicas";

/// How new topics are made.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Partitions of the topic of clicks: at most so many processes read it at once.
    pub partitions: u32,
    /// Copies of each partition.
    pub replication: u32,
    /// How long clicks are kept: longer than any reader may stand still.
    pub retention: std::time::Duration,
}

/// A topic, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Its name.
    pub topic: String,
    /// How it stands now.
    pub state: State,
}

/// How a topic stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was made.
    Created,
    /// It was there, as it must be.
    Right,
    /// It was there, and is not as it must be; nothing was changed.
    Wrong(Vec<Difference>),
    /// It is missing, and was not made: it was only looked for, or another topic is wrong.
    Missing,
}

/// A setting that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What it must be.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, wanted {}", self.setting, self.is, self.wanted)
    }
}

struct Wanted {
    name: String,
    partitions: u32,
    /// Whether more partitions will do as well.
    more: bool,
    /// At least so many copies.
    replication: u32,
    settings: Vec<(&'static str, String)>,
}

fn wanted(config: &KafkaConfig, plan: &TopicPlan) -> Vec<Wanted> {
    let retention = plan.retention.as_millis().to_string();
    let text = |value: &str| value.to_owned();
    // With three copies one may be away: what is acknowledged stands on two.
    let in_sync = (IN_SYNC, if plan.replication >= 3 { text("2") } else { text("1") });
    let replication = plan.replication;
    vec![
        Wanted {
            name: config.topic.clone(),
            partitions: plan.partitions,
            more: true,
            replication,
            settings: vec![
                (STAMP, text("LogAppendTime")),
                ("cleanup.policy", text("delete")),
                ("retention.ms", retention.clone()),
                ("retention.bytes", text("-1")),
                in_sync.clone(),
            ],
        },
        Wanted {
            name: config.rejected_topic(),
            partitions: 1,
            more: true,
            replication,
            settings: vec![("cleanup.policy", text("compact,delete")), ("retention.ms", retention), in_sync.clone()],
        },
        Wanted {
            name: config.imports_topic(),
            partitions: 1,
            more: false,
            replication,
            settings: vec![("cleanup.policy", text("compact")), in_sync],
        },
    ]
}

pub(super) async fn survey(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
    Topics::new(config)?.survey(&wanted(config, plan)).await
}

pub(super) async fn provision(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
    let (topics, wanted) = (Topics::new(config)?, wanted(config, plan));
    let mut found = topics.survey(&wanted).await?;
    if found.iter().any(|topic| matches!(topic.state, State::Wrong(_))) {
        return Ok(found);
    }
    for (wanted, topic) in wanted.iter().zip(&mut found) {
        if topic.state == State::Missing {
            topics.create(wanted).await?;
            topic.state = State::Created;
        }
    }
    Ok(found)
}

/// Whether the topic of clicks is there, and fit.
pub(super) async fn check(config: &KafkaConfig, asker: &Arc<Asker>) -> Result<(), LogError> {
    let topics = Topics { admin: admin(config)?, asker: Arc::clone(asker) };
    let wanted = Wanted {
        name: config.topic.clone(),
        partitions: config.least_partitions,
        more: true,
        replication: 1,
        settings: vec![(STAMP, "LogAppendTime".to_owned())],
    };
    let topic = &config.topic;
    match topics.differences(&wanted).await? {
        None => Err(LogError::Unusable(format!(
            "kafka: there is no topic {topic} at {}; `linktide provision kafka` makes it",
            config.brokers
        ))),
        Some(differences) if differences.is_empty() => Ok(()),
        Some(differences) => {
            let list: Vec<_> = differences.iter().map(Difference::to_string).collect();
            Err(LogError::Unusable(format!(
                "kafka: topic {topic} is not fit: {}; see docs/kafka.md for how to change a topic",
                list.join("; ")
            )))
        }
    }
}

/// Looks at topics, and makes them.
struct Topics {
    admin: AdminClient<Complaints>,
    asker: Arc<Asker>,
}

fn admin(config: &KafkaConfig) -> Result<AdminClient<Complaints>, LogError> {
    config.with_settings(config.client()).create_with_context(Complaints::default()).map_err(failed)
}

impl Topics {
    fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        Ok(Self { admin: admin(config)?, asker: Arc::new(Asker::new(config)?) })
    }

    async fn survey(&self, wanted: &[Wanted]) -> Result<Vec<Provisioned>, LogError> {
        let mut found = Vec::new();
        for wanted in wanted {
            let state = match self.differences(wanted).await? {
                None => State::Missing,
                Some(differences) if differences.is_empty() => State::Right,
                Some(differences) => State::Wrong(differences),
            };
            found.push(Provisioned { topic: wanted.name.clone(), state });
        }
        Ok(found)
    }

    async fn create(&self, wanted: &Wanted) -> Result<(), LogError> {
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let copies = TopicReplication::Fixed(number(wanted.replication));
        let mut topic = NewTopic::new(&wanted.name, number(wanted.partitions), copies);
        for (setting, value) in &wanted.settings {
            topic = topic.set(setting, value);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let made = self.admin.create_topics([&topic], &options).await.map_err(failed)?;
        match made.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((name, RDKafkaErrorCode::InvalidReplicationFactor))) => Err(LogError::Unusable(format!(
                "kafka: topic {name} cannot be made with {} copies of each partition; set kafka.replication to no more than there are brokers",
                wanted.replication
            ))),
            Some(Err((name, error))) => Err(LogError::Unusable(format!(
                "kafka: topic {name} cannot be made: {error}; see docs/kafka.md for the rights it takes"
            ))),
            None => Err(LogError::Unavailable("kafka: the brokers did not answer".to_owned())),
        }
    }

    /// What is not as wanted; none where there is no such topic.
    async fn differences(&self, wanted: &Wanted) -> Result<Option<Vec<Difference>>, LogError> {
        let (asker, name) = (Arc::clone(&self.asker), wanted.name.clone());
        let Some((count, copies)) = blocking(move || shape(&asker, &name)).await? else { return Ok(None) };
        let mut found = Vec::new();
        if count < wanted.partitions || (count > wanted.partitions && !wanted.more) {
            found.push(amount("partitions", count, wanted.partitions, wanted.more));
        }
        if copies < wanted.replication {
            found.push(amount("replication", copies, wanted.replication, true));
        }
        let values = self.settings(&wanted.name).await?;
        for (setting, wanted) in &wanted.settings {
            let is = values.get(*setting).map_or("unknown", String::as_str);
            if !same(is, wanted) {
                found.push(Difference { setting, is: is.to_owned(), wanted: wanted.clone() });
            }
        }
        Ok(Some(found))
    }

    async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, LogError> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let about = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await.map_err(failed)?;
        let about = about.into_iter().next().ok_or_else(|| LogError::Unavailable("kafka: no answer".to_owned()))?;
        let about: ConfigResource = about.map_err(|code| match failed(KafkaError::AdminOp(code)) {
            LogError::Unusable(why) => LogError::Unusable(format!(
                "{why}: the settings of topic {topic} may not be read; grant DescribeConfigs on it"
            )),
            other => other,
        })?;
        Ok(about.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }
}

/// Partitions of a topic, and the fewest copies that one of them has; none where there is no such topic.
fn shape(asker: &Asker, topic: &str) -> Result<Option<(u32, u32)>, LogError> {
    let about = asker.metadata(topic)?;
    let Some(found) = about.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error() {
        None => {}
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        ) => {
            return Ok(None);
        }
        Some(error) => {
            return Err(match failed(KafkaError::MetadataFetch(error.into())) {
                LogError::Unusable(why) => {
                    LogError::Unusable(format!("{why}: topic {topic}; see docs/kafka.md for the rights it takes"))
                }
                other => other,
            });
        }
    }
    let count = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
    let copies = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
    Ok(Some((count, u32::try_from(copies).unwrap_or(u32::MAX))))
}

fn amount(setting: &'static str, is: u32, wanted: u32, more: bool) -> Difference {
    let least = if more { "at least " } else { "" };
    Difference { setting, is: is.to_string(), wanted: format!("{least}{wanted}") }
}

/// Lists are the same in any order.
fn same(is: &str, wanted: &str) -> bool {
    let sorted = |list: &str| {
        let mut parts: Vec<String> = list.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort_unstable();
        parts
    };
    sorted(is) == sorted(wanted)
}
