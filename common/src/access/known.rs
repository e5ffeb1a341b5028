//! The keys and revocations that this process knows: read again every few seconds, so that a new key works and a revoked one
//! stops working without a restart. A lake that is away changes nothing: what was known last goes on.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures::StreamExt as _;
use rustc_hash::{FxHashMap, FxHashSet};

use super::key::KeyRecord;
use super::store::{AccessError, AccessStore, Listed};
use crate::secret::Secret;

/// Keys read at once.
const AT_ONCE: usize = 16;

/// What was known at one time.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The keys; none where one cannot be read, so that it is told of once.
    keys: FxHashMap<Arc<str>, Option<Arc<KeyRecord>>>,
    revoked: FxHashSet<Arc<str>>,
    share_secret: Option<Secret>,
}

impl Book {
    pub(super) fn key(&self, id: &str) -> Option<&Arc<KeyRecord>> {
        self.keys.get(id)?.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn is_revoked(&self, id: &str) -> bool {
        self.revoked.contains(id)
    }

    pub(super) fn share_secret(&self) -> Option<&Secret> {
        self.share_secret.as_ref()
    }
}

/// What this process knows.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) store: AccessStore,
    book: ArcSwapOption<Book>,
}

impl Known {
    pub(super) fn new(store: AccessStore) -> Self {
        Self { store, book: ArcSwapOption::empty() }
    }

    /// What is known; none before the lake has answered once.
    pub(super) fn book(&self) -> Option<Arc<Book>> {
        self.book.load_full()
    }

    /// Looks for what is new. What is there never changes, so only what is new is read.
    pub(super) async fn look(&self) -> Result<(), AccessError> {
        let Listed { keys, revoked, share_secret } = self.store.list().await?;
        let before = self.book().unwrap_or_default();
        let known = |id: &Arc<str>| before.keys.get(id).cloned();
        let read = futures::stream::iter(keys)
            .map(|id| async move {
                let record = match known(&id) {
                    Some(record) => record,
                    None => self.read(&id).await?,
                };
                Ok((id, record))
            })
            .buffer_unordered(AT_ONCE);
        let keys = read.collect::<Vec<Result<_, AccessError>>>().await.into_iter().collect::<Result<_, _>>()?;
        let share_secret = match (&before.share_secret, share_secret) {
            (Some(secret), _) => Some(secret.clone()),
            (None, true) => self.store.share_secret().await?,
            (None, false) => None,
        };
        self.book.store(Some(Arc::new(Book { keys, revoked: revoked.into_iter().collect(), share_secret })));
        Ok(())
    }

    /// A key that cannot be read opens nothing, and costs no other.
    async fn read(&self, id: &str) -> Result<Option<Arc<KeyRecord>>, AccessError> {
        match self.store.key(id).await {
            Ok(record) => Ok(record.map(Arc::new)),
            Err(AccessError::Unreadable { path, reason }) => {
                tracing::error!(path, reason, "a key cannot be read; it opens nothing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
