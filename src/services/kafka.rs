//! The log in Kafka, as every process over it opens it, and its topics.

use std::sync::Arc;
use std::time::Duration;

use linktide_common::id::Epoch;
use linktide_common::log::LogError;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog, Provisioned, TopicPlan, TopicState};

use crate::config::Kafka;

const AGAIN: Duration = Duration::from_secs(2);

/// How the log is reached.
#[must_use]
pub fn log_config(config: &Kafka) -> KafkaConfig {
    KafkaConfig {
        brokers: config.brokers.clone(),
        topic: config.topic.clone(),
        least_partitions: config.partitions,
        epoch: Epoch(config.epoch),
        settings: config.settings.0.clone(),
    }
}

/// The consumer group of a layer, such as `linktide-speed`: autoscalers and access rights know it by this name.
#[must_use]
pub fn group(layer: &str) -> String {
    format!("linktide-{layer}")
}

/// Opens the log. Brokers that do not answer are waited for, unless `fail_fast`.
///
/// # Errors
/// Where the topic is missing or unfit, a setting is wrong, or with `fail_fast` where no broker answers.
pub async fn open(config: &Kafka, fail_fast: bool) -> anyhow::Result<Arc<KafkaLog>> {
    loop {
        match KafkaLog::open(log_config(config)).await {
            Ok(log) => return Ok(log),
            Err(LogError::Unavailable(why)) if !fail_fast => {
                tracing::warn!(
                    brokers = config.brokers,
                    why,
                    "no broker answers; trying again (--fail-fast ends instead)"
                );
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the topics that are missing, and tells of each how it stands. With `dry_run` it only tells.
///
/// # Errors
/// Where a topic is not as the settings want it, in which case nothing is made and nothing is changed, or the brokers
/// cannot be reached or refuse.
pub async fn provision(config: &Kafka, dry_run: bool, tell: impl Fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let plan =
        TopicPlan { partitions: config.partitions, replication: config.replication, retention: config.retention.0 };
    let kafka = log_config(config);
    let topics =
        if dry_run { KafkaLog::survey(&kafka, &plan).await? } else { KafkaLog::provision(&kafka, &plan).await? };
    for topic in &topics {
        tell(&described(topic))?;
    }
    let wrong: Vec<_> = topics
        .iter()
        .filter(|topic| matches!(topic.state, TopicState::Wrong(_)))
        .map(|topic| topic.topic.as_str())
        .collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "not as the settings under [kafka] want it: {}; nothing was changed, change the topic or the settings (docs/kafka.md says how)",
        wrong.join(", ")
    );
    Ok(())
}

fn described(topic: &Provisioned) -> String {
    let name = &topic.topic;
    match &topic.state {
        TopicState::Created => format!("{name}: created"),
        TopicState::Right => format!("{name}: right"),
        TopicState::Missing => format!("{name}: missing"),
        TopicState::Wrong(differences) => {
            let lines: Vec<_> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
            format!("{name}: wrong{}", lines.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use linktide_common::log::kafka::Difference;

    use super::*;

    #[test]
    fn every_difference_of_a_topic_has_a_line() {
        let difference = |setting, is: &str, wanted: &str| Difference { setting, is: is.into(), wanted: wanted.into() };
        let state = TopicState::Wrong(vec![
            difference("partitions", "3", "at least 10"),
            difference("retention.ms", "1000", "604800000"),
        ]);
        assert_eq!(
            described(&Provisioned { topic: "click-events".into(), state }),
            "click-events: wrong\n  partitions is 3, wanted at least 10\n  retention.ms is 1000, wanted 604800000"
        );
    }

    #[tokio::test]
    async fn provisioning_without_a_broker_names_it_and_the_way_out() {
        // Nobody listens on the discard port of this machine.
        let config = Kafka { brokers: "127.0.0.1:9".to_owned(), ..Kafka::default() };
        let error = provision(&config, false, |line| panic!("{line}")).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:9") && error.contains("kafka.brokers"), "{error}");
    }
}
