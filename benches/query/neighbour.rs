//! A tenant that asks without a pause, in a process of its own that stands back: what it costs itself is not the service's
//! doing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use linktide_common::background::Background;
use linktide_common::id::TenantId;
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};

use crate::ask::{Links, dashboard};
use crate::client::{Client, get, with_key};
use crate::process;
use crate::servers::dashboard_range;

/// Loops of questions at once.
const LOOPS: u64 = 32;
/// Exports that are streamed at once, beside the job: as many as a tenant may have.
const STREAMS: u64 = 2;
/// Links that are clicked often, each with fewer clicks in a month than a stream may have.
const POPULAR: std::ops::Range<u64> = 20..29;
/// How long it waits where it is told that it asks too much: as long as the answer says, at least.
const REFUSED: Duration = Duration::from_secs(1);

/// What it asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Dashboards that nobody asked for before.
    Dashboards,
    /// All its links with what they have.
    Links,
    /// All its raw clicks as a job, and those of some links as streams.
    Exports,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Dashboards, Self::Links, Self::Exports];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dashboards => "dashboards of another in a loop",
            Self::Links => "all links of another in a loop",
            Self::Exports => "exports of another in a loop",
        }
    }
}

/// Asks from when whoever started this process tells it to begin until it lets go of it.
pub(crate) async fn ask(kind: &str, seed: u64, address: SocketAddr, key: String) -> anyhow::Result<()> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).context("there is no such neighbour")?;
    tokio::task::spawn_blocking(process::told_to_begin).await?;
    let let_go = tokio::task::spawn_blocking(process::let_go);
    let asking = async move {
        match kind {
            Kind::Dashboards => {
                let one = |number| dashboards(address, key.clone(), seed * LOOPS + number);
                until(let_go, (0..LOOPS).map(one)).await
            }
            Kind::Links => until(let_go, (0..LOOPS).map(|_| all_links(address, key.clone()))).await,
            Kind::Exports => {
                let exports = Exports::new(address, key)?;
                let job = exports.begin().await?;
                let one = |number| exports.clone().streams(seed * STREAMS + number);
                until(let_go, (0..STREAMS).map(one)).await?;
                exports.cancel(&job).await
            }
        }
    };
    Background::start("neighbour", 1)?.run(TenantId(0), asking).await.context("it panicked")?
}

/// All of `loops` at once, until let go of or one of them breaks.
async fn until(
    let_go: impl Future<Output = Result<(), JoinError>>,
    loops: impl Iterator<Item = impl Future<Output = anyhow::Result<()>> + Send + 'static>,
) -> anyhow::Result<()> {
    let mut loops: JoinSet<anyhow::Result<()>> = loops.collect();
    tokio::select! {
        let_go = let_go => Ok(let_go?),
        Some(broken) = loops.join_next() => broken?,
    }
}

async fn dashboards(address: SocketAddr, key: String, seed: u64) -> anyhow::Result<()> {
    let (mut client, mut links) = (Client::to(address).await?, Links::alike(seed));
    loop {
        exchange(&mut client, &with_key(dashboard(links.next(), dashboard_range()), &key)).await?;
    }
}

async fn all_links(address: SocketAddr, key: String) -> anyhow::Result<()> {
    let mut client = Client::to(address).await?;
    let (start, end) = dashboard_range();
    let request = with_key(get(&format!("/v1/links?start={}&end={}", start.start(), end.start())), &key);
    loop {
        exchange(&mut client, &request).await?;
    }
}

async fn exchange(client: &mut Client, request: &[u8]) -> anyhow::Result<()> {
    match client.exchange(request).await? {
        (200, _) => {}
        (429 | 503, _) => tokio::time::sleep(REFUSED).await,
        (status, body) => anyhow::bail!("{status}: {}", String::from_utf8_lossy(body)),
    }
    Ok(())
}

/// Exports of a tenant.
#[derive(Clone)]
struct Exports {
    client: reqwest::Client,
    place: String,
    key: String,
}

impl Exports {
    fn new(address: SocketAddr, key: String) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().build()?;
        Ok(Self { client, place: format!("http://{address}/v1"), key })
    }

    /// Begins a job.
    async fn begin(&self) -> anyhow::Result<String> {
        let (start, end) = dashboard_range();
        let wanted = json!({"format": "parquet", "start": start.start().to_string(), "end": end.start().to_string(), "traffic": "all"});
        let asked = self.client.post(format!("{}/exports", self.place)).bearer_auth(&self.key).json(&wanted);
        let job: Value = asked.send().await?.error_for_status()?.json().await?;
        Ok(job["id"].as_str().context("a job has an id")?.to_owned())
    }

    async fn cancel(&self, job: &str) -> anyhow::Result<()> {
        let asked = self.client.delete(format!("{}/exports/{job}", self.place)).bearer_auth(&self.key);
        asked.send().await?.error_for_status()?;
        Ok(())
    }

    async fn streams(self, from: u64) -> anyhow::Result<()> {
        let (start, end) = dashboard_range();
        for link in POPULAR.cycle().skip(usize::try_from(from)? % POPULAR.count()) {
            let place =
                format!("{}/links/{link}/export?start={}&end={}&traffic=all", self.place, start.start(), end.start());
            let mut answer = self.client.get(place).bearer_auth(&self.key).send().await?.error_for_status()?;
            while answer.chunk().await?.is_some() {}
        }
        Ok(())
    }
}
