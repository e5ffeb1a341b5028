//! `linktide archive`: the log of Kafka into the tables. Any number of them share the partitions.

use std::net::SocketAddr;
use std::time::Duration;

use linktide_batch::{Access, Archiver};
use linktide_common::clock::Clock;
use linktide_common::intake::Intake;
use linktide_common::metrics;
use linktide_ingest::LinkFile;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;
use super::{archive_config, enricher, kafka, lake, look_at_files, probes, salt_key};
use crate::config::Config;

const BUDGET: Duration = Duration::from_secs(10);

/// Archives until `told` to stop. Servers that do not answer are waited for, unless `fail_fast`.
///
/// # Errors
/// Where a setting is wrong or missing, the log or the tables are unfit, or with `fail_fast` a server does not answer.
pub async fn run(
    config: &Config,
    listen: Option<SocketAddr>,
    fail_fast: bool,
    told: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    metrics::tell_build("archive");
    let lake = lake::open(&config.lake, Access::Write, fail_fast).await?;
    let log = kafka::open(&config.kafka, fail_fast).await?;
    let enricher = enricher(config, salt_key(config)?)?;
    let rules = enricher.rules();
    let reader = Box::new(log.reader(&kafka::group(&config.kafka, "archive"))?);
    let intake = Intake::new("archive", reader, enricher, Clock::system(), config.log.copy_window);
    let (archiver, _flusher) = Archiver::open(lake, intake, Clock::system(), archive_config(config)).await?;
    let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
    tasks.spawn(look_at_files(rules, LinkFile::none().into(), stop.clone()));
    if let Some(listen) = listen {
        tasks.spawn(probes::serve(listen, || std::future::ready(Ok(())), stop.clone()));
    }
    let worked = stop.clone();
    tasks.spawn(async move { Ok(archiver.run(worked).await.map(|()| "archive")?) });
    let outage = tasks.until(told).await;
    stop.cancel();
    let ended = tasks.end().await;
    // Others take the partitions over at once, instead of when this member is missed.
    log.close(BUDGET).await;
    outage.and(ended)
}
