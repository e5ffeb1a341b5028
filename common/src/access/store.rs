//! Where keys, share links and their revocations are: objects beside the publications, each created once and never changed,
//! so that it works the same in a folder and in a bucket.
//!
//! | object | what it says |
//! |---|---|
//! | `access/key/<id>.json` | a key: what it allows, and the hash of its secret |
//! | `access/revoked/<id>.json` | a key or share link is one no longer |
//! | `access/share-secret.json` | the secret that share links are signed with |
//! | `share/<tenant>/<expires>-<id>.json` | a share link, for those who list them: its token says the rest |
//!
//! What processes follow stands below `access/`: one listing tells all that is new. What is revoked stays so: where a
//! revocation goes, so has what it revoked.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::code;
use super::key::{FORMAT, KeyRecord};
use super::share::Share;
use crate::bucket::Timestamp;
use crate::id::TenantId;
use crate::secret::Secret;

/// Objects read at once.
const AT_ONCE: usize = 16;
/// Share links a tenant may have that have not expired: what is listed, and what can be revoked, is bounded.
pub(super) const SHARES: usize = 10_000;
/// Expired share links are forgotten after so long: clocks may differ.
const FORGET_AFTER_MS: i64 = 86_400_000;

/// Why keys and share links cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store failed; worth a retry.
    #[error("keys cannot be reached: {0}")]
    Unavailable(#[from] object_store::Error),
    /// The object is none, or one of a newer Linktide.
    #[error("{path}: {reason}")]
    Unreadable {
        /// Which object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tenant has as many share links as it may have.
    #[error("tenant {0} has {SHARES} share links, and may have no more; revoke some, or let them expire")]
    TooManyShares(TenantId),
}

/// Reader and writer of keys, share links and revocations.
#[derive(Debug, Clone)]
pub struct AccessStore {
    objects: Arc<dyn ObjectStore>,
}

/// What stands below `access/`, by name.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) keys: Vec<Arc<str>>,
    pub(super) revoked: Vec<Arc<str>>,
    pub(super) share_secret: bool,
}

#[derive(Serialize, Deserialize)]
struct ShareSecret {
    format: u32,
    secret: String,
}

#[derive(Serialize)]
struct Revocation {
    revoked_at: Timestamp,
}

impl AccessStore {
    /// What the folder or bucket that `objects` shows holds.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// Keeps a new key.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] where the store fails: the key may be kept all the same, and nobody has it.
    pub async fn add_key(&self, record: &KeyRecord) -> Result<(), AccessError> {
        Ok(self.create(&key(&record.id), record).await.map(drop)?)
    }

    /// Every key, the oldest first, and whether it is revoked.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn keys(&self) -> Result<Vec<(KeyRecord, bool)>, AccessError> {
        let Listed { keys, revoked, .. } = self.list().await?;
        let read = futures::stream::iter(keys).map(|id| async move { self.key(&id).await }).buffer_unordered(AT_ONCE);
        let records: Vec<Option<KeyRecord>> = read.try_collect().await?;
        let told = |record: KeyRecord| {
            let is_revoked = revoked.contains(&record.id);
            (record, is_revoked)
        };
        let mut keys: Vec<_> = records.into_iter().flatten().map(told).collect();
        keys.sort_by(|(one, _), (other, _)| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(keys)
    }

    /// A key; none where nothing is called so.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRecord>, AccessError> {
        self.read(&key(id)).await
    }

    /// A key or share link is one no longer. Done twice, it is done.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] where the store fails.
    pub async fn revoke(&self, id: &str, now: Timestamp) -> Result<(), AccessError> {
        Ok(self.create(&revoked(id), &Revocation { revoked_at: now }).await.map(drop)?)
    }

    /// The secret that share links are signed with; made where nobody has made it yet.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails, does not take it, or holds one that this Linktide does not understand.
    pub async fn make_share_secret(&self) -> Result<Secret, AccessError> {
        if let Some(secret) = self.share_secret().await? {
            return Ok(secret);
        }
        let made = ShareSecret { format: FORMAT, secret: code::hex(&rand::random::<[u8; 32]>()) };
        self.create(&share_secret(), &made).await?;
        // Whoever was first has made it.
        let unreadable =
            || AccessError::Unreadable { path: share_secret().to_string(), reason: "it is gone".to_owned() };
        self.share_secret().await?.ok_or_else(unreadable)
    }

    pub(super) async fn share_secret(&self) -> Result<Option<Secret>, AccessError> {
        let Some(found) = self.read::<ShareSecret>(&share_secret()).await? else { return Ok(None) };
        let unreadable = || AccessError::Unreadable {
            path: share_secret().to_string(),
            reason: "it holds no secret of 32 bytes".to_owned(),
        };
        let bytes = code::unhex(&found.secret).filter(|bytes| bytes.len() >= 32).ok_or_else(unreadable)?;
        Ok(Some(Secret::new(bytes)))
    }

    /// Keeps a new share link, and forgets the tenant's that expired long ago.
    ///
    /// # Errors
    /// [`AccessError::TooManyShares`] where the tenant has too many, [`AccessError::Unavailable`] where the store fails.
    pub async fn add_share(&self, share: &Share, now: Timestamp) -> Result<(), AccessError> {
        let (kept, old): (Vec<_>, Vec<_>) = self
            .named_shares(share.tenant_id)
            .await?
            .into_iter()
            .partition(|(expires, _)| now.millis_since(*expires) < FORGET_AFTER_MS);
        for (expires, id) in old {
            // The revocation last: while the link is listed, it is known to be revoked.
            for place in [shared(share.tenant_id, expires, &id), revoked(&id)] {
                self.delete(&place).await?;
            }
        }
        if kept.len() >= SHARES {
            return Err(AccessError::TooManyShares(share.tenant_id));
        }
        Ok(self.create(&shared(share.tenant_id, share.expires_at, &share.id), share).await.map(drop)?)
    }

    /// A tenant's share links that are not revoked, those that expire first before the others.
    ///
    /// # Errors
    /// [`AccessError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn shares(&self, tenant: TenantId) -> Result<Vec<Share>, AccessError> {
        let revocations = self.list().await?.revoked;
        let named = self.named_shares(tenant).await?.into_iter().filter(|(_, id)| !revocations.contains(id));
        let read = futures::stream::iter(named)
            .map(|(expires, id)| async move { self.read::<Share>(&shared(tenant, expires, &id)).await })
            .buffered(AT_ONCE);
        let shares: Vec<Option<Share>> = read.try_collect().await?;
        Ok(shares.into_iter().flatten().collect())
    }

    /// Whether a tenant has, or had lately, a share link of this id.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] where the store fails.
    pub async fn has_share(&self, tenant: TenantId, id: &str) -> Result<bool, AccessError> {
        Ok(self.named_shares(tenant).await?.iter().any(|(_, known)| **known == *id))
    }

    /// What a tenant's share links are called, by when they expire.
    async fn named_shares(&self, tenant: TenantId) -> Result<Vec<(Timestamp, Arc<str>)>, AccessError> {
        let names: Vec<Path> = self
            .objects
            .list(Some(&Path::from(format!("share/{tenant}"))))
            .map_ok(|object| object.location)
            .try_collect()
            .await?;
        let read = |name: &Path| {
            let (expires, id) = name.filename()?.strip_suffix(".json")?.split_once('-')?;
            let expires = expires.parse::<i64>().ok()?.checked_mul(1000).and_then(Timestamp::from_millis)?;
            code::is_id(id).then(|| (expires, Arc::from(id)))
        };
        let mut named: Vec<_> = names.iter().filter_map(read).collect();
        named.sort_unstable();
        Ok(named)
    }

    /// What stands below `access/`.
    pub(super) async fn list(&self) -> Result<Listed, AccessError> {
        let mut listed = Listed::default();
        let mut objects = self.objects.list(Some(&Path::from("access")));
        while let Some(object) = objects.try_next().await? {
            let mut parts = object.location.parts().skip(1);
            let (folder, name) = (parts.next(), parts.next());
            let name =
                name.as_ref().and_then(|name| name.as_ref().strip_suffix(".json")).filter(|name| code::is_id(name));
            match (folder.as_ref().map(AsRef::as_ref), name) {
                (Some("key"), Some(id)) => listed.keys.push(id.into()),
                (Some("revoked"), Some(id)) => listed.revoked.push(id.into()),
                (Some("share-secret.json"), None) => listed.share_secret = true,
                // Another Linktide's, or a file that is still being written.
                _ => {}
            }
        }
        Ok(listed)
    }

    /// Creates an object; false where it is there already.
    async fn create(&self, place: &Path, value: &impl Serialize) -> Result<bool, object_store::Error> {
        let json = serde_json::to_vec_pretty(value).expect("what is stored is plain values");
        match self.objects.put_opts(place, PutPayload::from(json), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, place: &Path) -> Result<(), AccessError> {
        match self.objects.delete(place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, place: &Path) -> Result<Option<T>, AccessError> {
        let bytes = match self.objects.get(place).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // What cannot be read is never shown: it may hold a secret.
        let unreadable = |reason: &str| AccessError::Unreadable { path: place.to_string(), reason: reason.to_owned() };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|_| unreadable("it is no JSON"))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if format > u64::from(FORMAT) {
            return Err(unreadable("it is of a newer linktide"));
        }
        serde_json::from_value(value).map(Some).map_err(|_| unreadable("it is not what its name says"))
    }
}

fn key(id: &str) -> Path {
    Path::from(format!("access/key/{id}.json"))
}

fn revoked(id: &str) -> Path {
    Path::from(format!("access/revoked/{id}.json"))
}

fn share_secret() -> Path {
    Path::from("access/share-secret.json")
}

fn shared(tenant: TenantId, expires: Timestamp, id: &str) -> Path {
    Path::from(format!("share/{tenant}/{:012}-{id}.json", expires.as_millis() / 1000))
}
