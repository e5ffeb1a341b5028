//! The topics: how they must be, made where they are missing, and never changed where they are there.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{KafkaConfig, LogError, PATIENCE, blocking, consumer, failed, partitions};

const STAMP: &str = "message.timestamp.type";

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

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provisioned {
    /// It was made.
    Created(String),
    /// It was there, as it must be.
    Right(String),
    /// It was there, and is not as it must be; nothing was changed.
    Wrong(String, Vec<Difference>),
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
        write!(f, "{} is {}, not {}", self.setting, self.is, self.wanted)
    }
}

struct Wanted {
    name: String,
    partitions: u32,
    /// Whether more partitions will do as well.
    more: bool,
    settings: Vec<(&'static str, String)>,
}

fn wanted(config: &KafkaConfig, plan: &TopicPlan) -> Vec<Wanted> {
    let retention = plan.retention.as_millis().to_string();
    let text = |value: &str| value.to_owned();
    vec![
        Wanted {
            name: config.topic.clone(),
            partitions: plan.partitions,
            more: true,
            settings: vec![
                (STAMP, text("LogAppendTime")),
                ("cleanup.policy", text("delete")),
                ("retention.ms", retention.clone()),
                ("retention.bytes", text("-1")),
            ],
        },
        Wanted {
            name: config.rejected_topic(),
            partitions: 1,
            more: true,
            settings: vec![("cleanup.policy", text("compact,delete")), ("retention.ms", retention)],
        },
        Wanted {
            name: config.imports_topic(),
            partitions: 1,
            more: false,
            settings: vec![("cleanup.policy", text("compact"))],
        },
    ]
}

pub(super) async fn provision(config: &KafkaConfig, plan: &TopicPlan) -> Result<Vec<Provisioned>, LogError> {
    let admin: AdminClient<DefaultClientContext> = config.with_settings(config.client()).create().map_err(failed)?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let mut outcomes = Vec::new();
    for wanted in wanted(config, plan) {
        let replication = i32::try_from(plan.replication).unwrap_or(i32::MAX);
        let count = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
        let mut topic = NewTopic::new(&wanted.name, count, TopicReplication::Fixed(replication));
        for (setting, value) in &wanted.settings {
            topic = topic.set(setting, value);
        }
        let made = admin.create_topics([&topic], &options).await.map_err(failed)?;
        outcomes.push(match made.into_iter().next() {
            Some(Err((name, RDKafkaErrorCode::TopicAlreadyExists))) => {
                match differences(config, &admin, &wanted).await? {
                    differences if differences.is_empty() => Provisioned::Right(name),
                    differences => Provisioned::Wrong(name, differences),
                }
            }
            Some(Err((name, error))) => {
                return Err(LogError::Unusable(format!("kafka: topic {name} cannot be made: {error}")));
            }
            Some(Ok(name)) => Provisioned::Created(name),
            None => return Err(LogError::Unavailable("kafka: the brokers did not answer".to_owned())),
        });
    }
    Ok(outcomes)
}

/// Whether the topic of clicks is there, and fit.
pub(super) async fn check(config: &KafkaConfig) -> Result<(), LogError> {
    let admin: AdminClient<DefaultClientContext> = config.with_settings(config.client()).create().map_err(failed)?;
    let wanted = Wanted {
        name: config.topic.clone(),
        partitions: config.least_partitions,
        more: true,
        settings: vec![(STAMP, "LogAppendTime".to_owned())],
    };
    let differences = differences(config, &admin, &wanted).await?;
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = differences.iter().map(Difference::to_string).collect();
    Err(LogError::Unusable(format!("kafka: topic {} is not fit: {}", config.topic, list.join("; "))))
}

async fn differences(
    config: &KafkaConfig,
    admin: &AdminClient<DefaultClientContext>,
    wanted: &Wanted,
) -> Result<Vec<Difference>, LogError> {
    let (own, name) = (config.clone(), wanted.name.clone());
    let there = blocking(move || partitions(&consumer(&own)?, &name)).await.map_err(|error| match error {
        LogError::Unusable(why) => LogError::Unusable(format!(
            "{why}: topic {}; `linktide provision kafka` makes it",
            wanted.name
        )),
        other => other,
    })?;
    let mut found = Vec::new();
    let count = u32::try_from(there.len()).unwrap_or(u32::MAX);
    if count < wanted.partitions || (count > wanted.partitions && !wanted.more) {
        let least = if wanted.more { "at least " } else { "" };
        let wanted = format!("{least}{}", wanted.partitions);
        found.push(Difference { setting: "partitions", is: count.to_string(), wanted });
    }
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let about = admin.describe_configs([&ResourceSpecifier::Topic(&wanted.name)], &options).await.map_err(failed)?;
    let about = about.into_iter().next().ok_or_else(|| LogError::Unavailable("kafka: no answer".to_owned()))?;
    let about: ConfigResource = about.map_err(|code| failed(KafkaError::AdminOp(code)))?;
    let values: BTreeMap<&str, &str> =
        about.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
    for (setting, wanted) in &wanted.settings {
        let is = values.get(setting).copied().unwrap_or("unknown");
        if !same(is, wanted) {
            found.push(Difference { setting, is: is.to_owned(), wanted: wanted.clone() });
        }
    }
    Ok(found)
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
