//! Telling a receiver, until it has heard or is given up.
//!
//! 1. Whoever sends creates the claim of that try first: of several processes one sends. A claim without an outcome is taken
//!    for a crash once its sender must have given up; the next try sends the event again, so a receiver may hear it twice,
//!    each time under the same `webhook-id`. An outcome that nobody drew a conclusion from is drawn by the next who looks.
//! 2. Any 2xx is heard. 410 disables the webhook. Anything else, a redirect too, is tried again after a time that grows,
//!    spread so that receivers are not met by all at once.
//! 3. An event that was tried as often as it may be is given up; several in a row disable the webhook.

use std::net::SocketAddr;
use std::time::Duration;

use linktide_common::bucket::Timestamp;
use serde::{Deserialize, Serialize};

use super::address::Receiver;
use super::shelf::{ENDED, HookKey, Names, attempt, claim, fired, over};
use super::subscription::Subscription;
use super::watch::Fired;
use super::{WebhookError, Webhooks, reached, signature};
use crate::metrics;
use crate::state::Query;

/// That someone sends.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    at: Timestamp,
}

/// What came of a try.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Attempt {
    /// When it was sent.
    #[schema(value_type = i64)]
    pub(crate) at: Timestamp,
    /// What the receiver answered, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) milliseconds: u64,
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Over {
    Delivered,
    GivenUp,
}

/// Why nobody is told any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    Deleted,
    /// Why it was disabled.
    Disabled(String),
}

/// What one try came to.
enum Heard {
    Yes,
    No,
    /// It wants to hear nothing more.
    Never,
}

impl Heard {
    fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..300) => Self::Yes,
            Some(410) => Self::Never,
            _ => Self::No,
        }
    }
}

impl Webhooks {
    /// Sends an event where that is due.
    pub(super) async fn deliver(
        &self,
        query: &Query,
        key: &HookKey,
        names: &Names,
        subscription: &Subscription,
        event: &str,
    ) -> Result<(), WebhookError> {
        let (claimed, _) = names.tries(event);
        if !self.is_due(query, key, event, claimed).await? {
            return Ok(());
        }
        let Some(told) = self.shelf.read::<Fired>(key, &fired(event)).await? else { return Ok(()) };
        let (number, at) = (claimed + 1, query.clock.now());
        if !self.shelf.create(key, &claim(event, number), &Claim { at }).await? {
            return Ok(());
        }
        reached("query::webhook::claimed");
        let begun = tokio::time::Instant::now();
        let answered = self.send(query, key, subscription, event, &told.body).await;
        reached("query::webhook::sent");
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, error) = match &answered {
            Ok(status) => (Some(*status), None),
            Err(why) => (None, Some(why.clone())),
        };
        self.shelf.create(key, &attempt(event, number), &Attempt { at, status, error, milliseconds }).await?;
        reached("query::webhook::attempted");
        self.conclude(key, event, number, Heard::of(status)).await
    }

    /// Whether a try is due: the first at once, others a time after the one before.
    async fn is_due(&self, query: &Query, key: &HookKey, event: &str, claimed: u32) -> Result<bool, WebhookError> {
        if claimed == 0 {
            return Ok(true);
        }
        let now = query.clock.now();
        if let Some(last) = self.shelf.read::<Attempt>(key, &attempt(event, claimed)).await? {
            return match (Heard::of(last.status), self.config.retries.get(claimed as usize - 1)) {
                (Heard::No, Some(pause)) => Ok(now.millis_since(last.at) >= spread(*pause, key, event, claimed)),
                (heard, _) => {
                    // Whoever tried last ended before it could say what came of it.
                    self.conclude(key, event, claimed, heard).await?;
                    Ok(false)
                }
            };
        }
        let lost = i64::try_from(self.config.timeout.as_millis()).unwrap_or(i64::MAX / 4) * 3;
        let claim = self.shelf.read::<Claim>(key, &claim(event, claimed)).await?;
        let silent = claim.is_none_or(|claim| now.millis_since(claim.at) > lost);
        let last = claimed as usize > self.config.retries.len();
        if silent && last {
            self.conclude(key, event, claimed, Heard::No).await?;
        }
        Ok(silent && !last)
    }

    async fn conclude(&self, key: &HookKey, event: &str, number: u32, heard: Heard) -> Result<(), WebhookError> {
        let last = number as usize > self.config.retries.len();
        let outcome = match heard {
            Heard::Yes => Over::Delivered,
            Heard::Never => {
                let why = "the receiver answered 410: it wants to hear nothing more".to_owned();
                self.shelf.create(key, ENDED, &Ended::Disabled(why)).await?;
                Over::GivenUp
            }
            Heard::No if last => Over::GivenUp,
            Heard::No => return Ok(()),
        };
        let name = if outcome == Over::Delivered { "delivered" } else { "given_up" };
        metrics::WEBHOOK_DELIVERIES.with_label_values(&[name]).inc();
        self.shelf.create(key, &over(event), &outcome).await?;
        if outcome == Over::GivenUp {
            self.disable_if_deaf(key).await?;
        }
        Ok(())
    }

    /// Disables a webhook whose last events were all given up.
    async fn disable_if_deaf(&self, key: &HookKey) -> Result<(), WebhookError> {
        let names = self.shelf.one(key).await?;
        let mut outcomes: Vec<(Timestamp, Over)> = Vec::new();
        for event in names.events().filter(|event| names.is_over(event)) {
            if let (Some(fired), Some(over)) =
                (self.shelf.read::<Fired>(key, &fired(event)).await?, self.shelf.read::<Over>(key, &over(event)).await?)
            {
                outcomes.push((fired.at, over));
            }
        }
        outcomes.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
        let in_a_row = outcomes.iter().take_while(|(_, over)| *over == Over::GivenUp).count();
        if in_a_row >= self.config.disable_after.max(1) as usize {
            let why =
                format!("{in_a_row} events in a row could not be delivered: make it anew once the receiver answers");
            self.shelf.create(key, ENDED, &Ended::Disabled(why)).await?;
        }
        Ok(())
    }

    /// One request; the status of its answer.
    async fn send(
        &self,
        query: &Query,
        key: &HookKey,
        subscription: &Subscription,
        event: &str,
        body: &str,
    ) -> Result<u16, String> {
        let private = self.config.allow_private;
        let receiver = Receiver::parse(&subscription.url, private)?;
        let looked_up = tokio::time::timeout(self.config.timeout, receiver.addresses(private));
        let addresses = looked_up.await.map_err(|_| "its name was not looked up in time".to_owned())??;
        let client = self.client(&receiver, &addresses)?;
        let (id, seconds) = (message_id(key, event), query.clock.now().as_millis() / 1000);
        let secret = signature::secret(&self.key, key.tenant, key.id);
        let answer = client
            .post(receiver.url.clone())
            .header("content-type", "application/json")
            .header("user-agent", "Linktide-Webhook/1")
            .header("webhook-signature", signature::sign(&secret, &id, seconds, body))
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-id", id)
            .body(body.to_owned())
            .send()
            .await
            .map_err(|error| in_words(&error))?;
        // What else it says is of no interest, however much it is.
        Ok(answer.status().as_u16())
    }

    fn client(&self, receiver: &Receiver, addresses: &[SocketAddr]) -> Result<reqwest::Client, String> {
        let mut client = reqwest::Client::builder()
            .timeout(self.config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(!self.config.allow_private)
            .pool_max_idle_per_host(0);
        if let Some(name) = receiver.url.domain() {
            client = client.resolve_to_addrs(name, addresses);
        }
        client.build().map_err(|error| in_words(&error))
    }
}

/// What a receiver knows an event by, however often it hears of it.
pub(crate) fn message_id(key: &HookKey, event: &str) -> String {
    format!("msg_{}_{event}", key.id.simple())
}

/// A pause, a fifth longer or shorter: by what is tried, so that every process says the same.
fn spread(pause: Duration, key: &HookKey, event: &str, number: u32) -> i64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    (key.id, event, number).hash(&mut hasher);
    let ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX / 1000);
    let thousandths = i64::try_from(hasher.finish() % 401).unwrap_or(200) - 200;
    ms + ms * thousandths / 1000
}

/// Why a request failed, without the address, whose query may be a secret.
fn in_words(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    if error.is_timeout() {
        return "the receiver did not answer in time".to_owned();
    }
    let mut why = "the receiver was not reached".to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    why.chars().take(300).collect()
}
