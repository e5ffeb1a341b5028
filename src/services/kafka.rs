//! The log in Kafka, as every process over it opens it.

use std::sync::Arc;
use std::time::Duration;

use linktide_common::id::Epoch;
use linktide_common::log::LogError;
use linktide_common::log::kafka::{KafkaConfig, KafkaLog};

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
