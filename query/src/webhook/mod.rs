//! Webhooks: telling other services that a link has more clicks than a threshold, or has reached a milestone.
//!
//! 1. A subscription is an object in the lake ([`shelf`]); any process that has webhooks enabled looks at all of them every
//!    few seconds, through the same questions as the API asks: both layers, at one watermark ([`watch`]).
//! 2. What came is an object, too, and whoever creates it has claimed it: once for all processes and restarts.
//! 3. It is sent until the receiver has heard or is given up ([`deliver`]): at least once, signed ([`signature`]), to the
//!    public internet alone ([`address`]).

mod address;
mod deliver;
mod shelf;
mod signature;
mod subscription;
mod view;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use linktide_common::secret::Secret;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::objects::ObjectsError;
use crate::state::Query;
pub(crate) use deliver::{Attempt, Over};
pub(crate) use shelf::HookKey;
use shelf::{ENDED, HookKey as Key, Names, SUBSCRIPTION, Shelf};
pub(crate) use subscription::{Event, Subscription};
pub(crate) use view::{Delivery, Hook};

/// Requests on their way at once.
const AT_ONCE: usize = 32;
/// Events of one webhook whose deliveries are kept.
const KEPT: usize = 100;

/// How webhooks are kept.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// How often counts are looked at.
    pub every: Duration,
    /// How long a receiver may take.
    pub timeout: Duration,
    /// How long after each failure the next try is due.
    pub retries: Vec<Duration>,
    /// Events in a row that were given up before a webhook is disabled.
    pub disable_after: u32,
    /// Webhooks of one tenant.
    pub per_tenant: usize,
    /// Whether private addresses and plain http may be receivers.
    pub allow_private: bool,
}

/// Why webhooks cannot be looked at now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error("{0}")]
    Unanswered(String),
}

/// The webhooks of a lake.
pub struct Webhooks {
    pub(crate) config: WebhookConfig,
    key: Secret,
    shelf: Shelf,
    room: Arc<Semaphore>,
    /// Events that this process is sending.
    sending: Mutex<HashSet<(Key, String)>>,
}

impl Webhooks {
    /// Webhooks below `webhook/` of `objects`, whose secrets are made from `key`.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, key: Secret, config: WebhookConfig) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { config, key, shelf: Shelf::new(objects), room, sending: Mutex::default() }
    }
}

/// A place between two steps, where tests let the process die.
fn reached(place: &'static str) {
    // A build without failpoints asks nobody where it is.
    let _ = place;
    fail::fail_point!(place, |_| std::process::abort());
}

/// Looks at counts, and tells of what came, until told to stop.
pub(crate) async fn run(webhooks: Arc<Webhooks>, query: Query, stop: CancellationToken) {
    let mut due = tokio::time::interval(webhooks.config.every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = due.tick() => {}
        }
        if let Err(error) = look(&webhooks, &query).await {
            tracing::warn!(%error, "webhooks cannot be looked at now");
        }
    }
}

/// Looks at every webhook once. What is to be sent is sent beside.
pub(crate) async fn look(webhooks: &Arc<Webhooks>, query: &Query) -> Result<(), WebhookError> {
    for (key, names) in webhooks.shelf.all().await? {
        if names.has(ENDED) || !names.has(SUBSCRIPTION) {
            continue;
        }
        // One that cannot be looked at keeps no other waiting.
        if let Err(error) = webhooks.look_at(query, key, &names).await {
            tracing::warn!(%error, webhook = %key.id, "a webhook cannot be looked at now");
        }
    }
    Ok(())
}

impl Webhooks {
    async fn look_at(self: &Arc<Self>, query: &Query, key: Key, names: &Names) -> Result<(), WebhookError> {
        let Some(subscription) = self.shelf.read::<Subscription>(&key, SUBSCRIPTION).await? else { return Ok(()) };
        for event in names.events().filter(|event| !names.is_over(event)) {
            self.begin(query, key, names, &subscription, event);
        }
        self.watch(query, &key, names, &subscription).await?;
        self.forget(&key, names).await
    }

    /// Sends an event beside, unless this process does already.
    fn begin(self: &Arc<Self>, query: &Query, key: Key, names: &Names, subscription: &Subscription, event: &str) {
        let sending = (key, event.to_owned());
        if !self.sending.lock().insert(sending.clone()) {
            return;
        }
        let (this, query, names, subscription) = (Arc::clone(self), query.clone(), names.clone(), subscription.clone());
        tokio::spawn(async move {
            if let Ok(_room) = this.room.acquire().await
                && let Err(error) = this.deliver(&query, &key, &names, &subscription, &sending.1).await
            {
                tracing::warn!(%error, webhook = %key.id, "an event could not be sent");
            }
            this.sending.lock().remove(&sending);
        });
    }

    /// Lets go of what was said of old events. That a milestone was reached stays, or it would be told of again.
    async fn forget(&self, key: &Key, names: &Names) -> Result<(), WebhookError> {
        let over: Vec<&str> = names.events().filter(|event| names.is_over(event)).collect();
        // Numbers and ids of one kind of event sort by time; the last of a kind stays by being among the last.
        let mut old: Vec<&str> = Vec::new();
        for kind in ["milestone-", "test-", "threshold-"] {
            let of_kind: Vec<&str> = over.iter().copied().filter(|event| event.starts_with(kind)).collect();
            old.extend(&of_kind[..of_kind.len().saturating_sub(KEPT)]);
        }
        let is_of = |name: &str, event: &str| {
            let said = name.starts_with(&format!("claim/{event}/")) || name.starts_with(&format!("attempt/{event}/"));
            let came = name == shelf::fired(event) || name == shelf::over(event);
            said || (came && !watch::comes_once(event))
        };
        let is_old = |name: &&String| old.iter().any(|event| is_of(name, event));
        let going: Vec<String> = names.all().iter().filter(is_old).cloned().collect();
        if going.is_empty() {
            return Ok(());
        }
        Ok(self.shelf.delete(key, &going).await?)
    }
}

#[cfg(test)]
mod tests;
