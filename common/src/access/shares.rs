//! Making share links, listing and revoking them, by whoever may.

use super::share::Share;
use super::store::{AccessError, AccessStore};
use crate::bucket::Timestamp;
use crate::clock::Clock;
use crate::id::{LinkId, TenantId};
use crate::secret::Secret;

/// The share links of a lake.
#[derive(Debug, Clone)]
pub struct Shares {
    pub(super) store: AccessStore,
    pub(super) secret: Option<Secret>,
    pub(super) clock: Clock,
}

impl Shares {
    /// Those that a store keeps, signed with a secret that is given, or with the store's own.
    #[must_use]
    pub fn new(store: AccessStore, secret: Option<Secret>, clock: Clock) -> Self {
        Self { store, secret, clock }
    }

    /// What time it is for them.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new one, with the token that is handed on. It is told once.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails, or the tenant has too many.
    pub async fn create(
        &self,
        tenant: TenantId,
        link: LinkId,
        expires_at: Timestamp,
    ) -> Result<(Share, String), AccessError> {
        let secret = match &self.secret {
            Some(secret) => secret.clone(),
            None => self.store.make_share_secret().await?,
        };
        let share = Share::new(tenant, link, expires_at);
        self.store.add_share(&share, self.clock.now()).await?;
        let token = share.token(&secret);
        Ok((share, token))
    }

    /// A tenant's that are neither revoked nor expired, those that expire first before the others.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<Share>, AccessError> {
        let now = self.clock.now();
        let shares = self.store.shares(tenant).await?;
        Ok(shares.into_iter().filter(|share| share.expires_at > now).collect())
    }

    /// One of a tenant's is one no longer; false where the tenant has none of this id.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] where the store fails.
    pub async fn revoke(&self, tenant: TenantId, id: &str) -> Result<bool, AccessError> {
        let own = self.store.has_share(tenant, id).await?;
        if own {
            self.store.revoke(id, self.clock.now()).await?;
        }
        Ok(own)
    }
}
