//! Asking: one after the other, and at a fixed rate whatever becomes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::figures::Latencies;

/// Connections of a load at a fixed rate.
const CONNECTIONS: usize = 64;

/// One question after the other.
pub(crate) async fn in_turn(address: SocketAddr, requests: &[Vec<u8>]) -> anyhow::Result<Latencies> {
    let mut client = Client::to(address).await?;
    let mut took = Vec::with_capacity(requests.len());
    for request in requests {
        let began = Instant::now();
        client.ask(request).await?;
        took.push(began.elapsed());
    }
    Latencies::of(took)
}

/// A question that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// How long it took from when it should have been sent, so that a service that stands still is not spared the questions it
    /// holds up.
    pub(crate) from_due: Duration,
    /// The same without what the client itself was late: nothing that the service does holds it up but by taking its core. What
    /// a question waits for a connection counts.
    pub(crate) from_sent: Duration,
    pub(crate) refused: bool,
}

/// So many questions a second, and what came of each, in order. `sending` is done before each of them is sent.
pub(crate) async fn at_rate(
    address: SocketAddr,
    rate: u32,
    requests: Vec<Vec<u8>>,
    mut sending: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Asked>> {
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        clients.push(Client::to(address).await?);
    }
    let (free, freed) = async_channel(clients);
    let mut asked = JoinSet::new();
    let began = tokio::time::Instant::now();
    for (number, request) in (0u32..).zip(requests) {
        let due = began + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(due).await;
        sending()?;
        let (free, freed) = (free.clone(), Arc::clone(&freed));
        asked.spawn(async move {
            let sent = Instant::now();
            let mut client = freed.lock().await.recv().await.ok_or_else(|| anyhow::anyhow!("no connection is left"))?;
            let (status, body) = client.exchange(&request).await?;
            anyhow::ensure!(matches!(status, 200 | 429 | 503), "{status}: {}", String::from_utf8_lossy(body));
            let asked = Asked { from_due: due.elapsed(), from_sent: sent.elapsed(), refused: status != 200 };
            free.send(client).await?;
            Ok((number, asked))
        });
    }
    let mut answered = asked.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    answered.sort_unstable_by_key(|(number, _)| *number);
    Ok(answered.into_iter().map(|(_, asked)| asked).collect())
}

type Freed = Arc<Mutex<tokio::sync::mpsc::Receiver<Client>>>;

fn async_channel(clients: Vec<Client>) -> (tokio::sync::mpsc::Sender<Client>, Freed) {
    let (free, freed) = tokio::sync::mpsc::channel(CONNECTIONS);
    for client in clients {
        // It has room for all of them.
        let _ = free.try_send(client);
    }
    (free, Arc::new(Mutex::new(freed)))
}
