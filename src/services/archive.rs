//! `linktide archive`: the log of Kafka into the tables. Any number of them share the partitions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linktide_batch::{Access, Archiver};
use linktide_common::clock::Clock;
use linktide_common::enrich::Enricher;
use linktide_common::intake::Intake;
use tokio_util::sync::CancellationToken;

use super::{archive_config, enrichment, kafka, lake, probes, salt_key};
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
    let lake = lake::open(&config.lake, Access::Write, fail_fast).await?;
    let log = kafka::open(&config.kafka, fail_fast).await?;
    let enricher = Arc::new(Enricher::new(enrichment(config, salt_key(config)?)?)?);
    let reader = Box::new(log.reader(&kafka::group(&config.kafka, "archive"))?);
    let intake = Intake::new("archive", reader, enricher, Clock::system(), config.log.copy_window);
    let (archiver, _flusher) = Archiver::open(lake, intake, Clock::system(), archive_config(config)).await?;
    let stop = CancellationToken::new();
    let answers = stop.clone();
    let probes = async move {
        match listen {
            Some(listen) => probes::serve(listen, || std::future::ready(Ok(())), answers).await.map(|_| ()),
            None => {
                answers.cancelled().await;
                Ok(())
            }
        }
    };
    let (work, probes) = (tokio::spawn(archiver.run(stop.clone())), tokio::spawn(probes));
    tokio::pin!(work);
    tokio::select! {
        () = told => {}
        ended = &mut work => {
            ended?.context("the archive ended on its own")?;
            anyhow::bail!("the archive ended on its own");
        }
    }
    stop.cancel();
    work.await??;
    // Others take the partitions over at once, instead of when this member is missed.
    log.close(BUDGET).await;
    probes.await?
}
