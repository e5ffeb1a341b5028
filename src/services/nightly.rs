//! `linktide nightly --every`: rolls up what other processes archive, whenever it is due.

use std::net::SocketAddr;
use std::time::Duration;

use linktide_batch::{Lake, Nightly};
use linktide_common::metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::probes;
use super::tasks::Tasks;
use crate::schedule;

/// Rolls up until `told` to stop; a run under way is finished, since the next one would have to. Not ready is whose last
/// run failed.
///
/// # Errors
/// Where `listen` cannot be listened on.
pub(crate) async fn run(
    lake: Lake,
    nightly: Nightly,
    every: Duration,
    listen: Option<SocketAddr>,
    told: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    metrics::tell_build("nightly");
    let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
    let (failed, failure) = watch::channel(None);
    if let Some(listen) = listen {
        let ready = move || {
            let failure: Option<String> = failure.borrow().clone();
            std::future::ready(failure.map_or(Ok(()), Err))
        };
        tasks.spawn(probes::serve(listen, ready, stop.clone()));
    }
    let worked = stop.clone();
    tasks.spawn(async move {
        schedule::roll_up_every(&nightly, &lake, every, &failed, &worked).await;
        Ok("schedule")
    });
    let outage = tasks.until(told).await;
    stop.cancel();
    outage.and(tasks.end().await)
}
