//! What the API is told of webhooks, and asks of them. Everything is named by its tenant.

use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};
use serde_json::Value;

use super::deliver::{Attempt, Ended, Over, message_id};
use super::shelf::{ENDED, HookKey, Names, SUBSCRIPTION, attempt, fired, over};
use super::subscription::Subscription;
use super::watch::{self, Fired};
use super::{WebhookError, Webhooks, signature};
use crate::state::Query;

/// The most events whose deliveries are listed.
const MOST_LISTED: usize = 50;

/// Events of the type `test` that wait for a receiver at once: a webhook is no way to keep one busy.
const MOST_TESTS: usize = 3;

/// A webhook, as it stands.
pub(crate) struct Hook {
    pub(crate) key: HookKey,
    pub(crate) subscription: Subscription,
    /// Why nobody is told any more.
    pub(crate) disabled: Option<String>,
}

/// An event with its deliveries.
pub(crate) struct Delivery {
    pub(crate) message_id: String,
    pub(crate) fired: linktide_common::bucket::Timestamp,
    pub(crate) body: String,
    pub(crate) over: Option<Over>,
    pub(crate) attempts: Vec<Attempt>,
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Objects(error) if !error.is_transient() => {
                tracing::error!(%error, "a webhook cannot be read");
                Self::new(ProblemKind::Internal, error.to_string())
            }
            error => Self::new(ProblemKind::NotReady, error.to_string()).retry_after(5),
        }
    }
}

impl Webhooks {
    /// Makes a webhook; its secret is told here and never again.
    pub(crate) async fn subscribe(
        &self,
        query: &Query,
        tenant: TenantId,
        body: &Value,
    ) -> Result<(Hook, String), Problem> {
        let now = query.clock.now();
        let mut subscription = Subscription::parse(body, self.config.allow_private, now)?;
        if self.hooks(tenant).await?.len() >= self.config.per_tenant {
            return Err(Problem::new(
                ProblemKind::TooManyRequests,
                format!(
                    "there are {} webhooks of yours, which is as many as there may be; delete one",
                    self.config.per_tenant
                ),
            ));
        }
        let key = HookKey { tenant, id: crate::export::new_id(now) };
        watch::passed(query, &key, &mut subscription).await?;
        self.shelf.create(&key, SUBSCRIPTION, &subscription).await.map_err(WebhookError::from)?;
        let secret = signature::shown(&signature::secret(&self.key, tenant, key.id));
        Ok((Hook { key, subscription, disabled: None }, secret))
    }

    /// The webhooks of a tenant, the newest first.
    pub(crate) async fn hooks(&self, tenant: TenantId) -> Result<Vec<Hook>, Problem> {
        let mut hooks = Vec::new();
        let all = self.shelf.of_tenant(tenant).await.map_err(WebhookError::from)?;
        for (key, names) in all.into_iter().rev() {
            hooks.extend(self.hook_of(key, &names).await?);
        }
        Ok(hooks)
    }

    /// A webhook of a tenant; none where there is none of that tenant.
    pub(crate) async fn hook(&self, key: HookKey) -> Result<Option<Hook>, Problem> {
        let names = self.shelf.one(&key).await.map_err(WebhookError::from)?;
        Ok(self.hook_of(key, &names).await?)
    }

    async fn hook_of(&self, key: HookKey, names: &Names) -> Result<Option<Hook>, WebhookError> {
        if !names.has(SUBSCRIPTION) {
            return Ok(None);
        }
        let ended = if names.has(ENDED) { self.shelf.read::<Ended>(&key, ENDED).await? } else { None };
        let disabled = match ended {
            Some(Ended::Deleted) => return Ok(None),
            Some(Ended::Disabled(why)) => Some(why),
            None => None,
        };
        let subscription = self.shelf.read(&key, SUBSCRIPTION).await?;
        Ok(subscription.map(|subscription| Hook { key, subscription, disabled }))
    }

    /// Ends a webhook for good; what was kept of it goes.
    pub(crate) async fn unsubscribe(&self, key: HookKey) -> Result<Option<()>, Problem> {
        if self.hook(key).await?.is_none() {
            return Ok(None);
        }
        let gone = async {
            // First nobody looks at it any more; then what it was goes, the subscription before all else.
            self.shelf.create(&key, ENDED, &Ended::Deleted).await?;
            self.shelf.delete(&key, &[SUBSCRIPTION.to_owned()]).await?;
            let names = self.shelf.one(&key).await?;
            self.shelf.delete(&key, names.all()).await
        };
        gone.await.map_err(WebhookError::from)?;
        Ok(Some(()))
    }

    /// Sends an event that says nothing but that it arrives; its id.
    pub(crate) async fn test(&self, query: &Query, key: HookKey) -> Result<Option<String>, Problem> {
        let Some(hook) = self.hook(key).await? else { return Ok(None) };
        if let Some(why) = hook.disabled {
            return Err(Problem::new(ProblemKind::Gone, format!("the webhook is disabled: {why}")));
        }
        let names = self.shelf.one(&key).await.map_err(WebhookError::from)?;
        let waiting = names.events().filter(|event| event.starts_with("test-") && !names.is_over(event)).count();
        if waiting >= MOST_TESTS {
            return Err(Problem::new(
                ProblemKind::TooManyRequests,
                format!(
                    "{waiting} events of the type `test` are still to be delivered; `deliveries` tells how it goes"
                ),
            )
            .retry_after(30));
        }
        let event = self.fire_test(query, &key).await?;
        Ok(Some(message_id(&key, &event)))
    }

    /// The last events of a webhook with their deliveries, the newest first.
    pub(crate) async fn deliveries(&self, key: HookKey) -> Result<Vec<Delivery>, Problem> {
        let read = async {
            let names = self.shelf.one(&key).await?;
            let mut deliveries = Vec::new();
            for event in names.events() {
                let Some(told) = self.shelf.read::<Fired>(&key, &fired(event)).await? else { continue };
                deliveries.push((event.to_owned(), told));
            }
            deliveries.sort_by_key(|(_, told)| std::cmp::Reverse(told.at));
            deliveries.truncate(MOST_LISTED);
            let mut all = Vec::new();
            for (event, told) in deliveries {
                let mut attempts = Vec::new();
                for number in 1..=names.tries(&event).0 {
                    attempts.extend(self.shelf.read(&key, &attempt(&event, number)).await?);
                }
                let over = if names.is_over(&event) { self.shelf.read(&key, &over(&event)).await? } else { None };
                all.push(Delivery {
                    message_id: message_id(&key, &event),
                    fired: told.at,
                    body: told.body,
                    over,
                    attempts,
                });
            }
            Ok::<_, WebhookError>(all)
        };
        Ok(read.await?)
    }
}
