//! Where publications are: `pub/<n>.json` beside the tables, each written once and never changed.

use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::sync::watch;

use super::{FORMAT, Publication};
use crate::metrics;

/// Why publications cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// The store failed; worth a retry.
    #[error("publications cannot be reached: {0}")]
    Unavailable(#[from] object_store::Error),
    /// The object is none, or one of a newer Linktide.
    #[error("{path}: {reason}")]
    Unreadable {
        /// Which object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It is the newest.
    Published,
    /// Someone else published this number: read the newest and decide anew.
    Taken,
}

/// Reader and writer of publications. Clones tell one another of what they publish.
#[derive(Clone)]
pub struct PublicationStore {
    objects: Arc<dyn ObjectStore>,
    newest: watch::Sender<Option<Arc<Publication>>>,
}

impl PublicationStore {
    /// The publications of the folder or bucket that `objects` shows.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, newest: watch::Sender::new(None) }
    }

    /// Tells of each newer publication that this process publishes or comes across in [`PublicationStore::latest`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Publication>>> {
        self.newest.subscribe()
    }

    /// The newest publication, if there is any.
    ///
    /// # Errors
    /// [`PublicationError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn latest(&self) -> Result<Option<Arc<Publication>>, PublicationError> {
        let known = self.newest.borrow().clone();
        let folder = Path::from("pub");
        let listed = match &known {
            Some(known) => self.objects.list_with_offset(Some(&folder), &place(known.number)),
            None => self.objects.list(Some(&folder)),
        };
        // A name that is still being written sorts behind none of ours: only whole objects end in `.json`.
        let newest = listed
            .try_filter(|object| std::future::ready(object.location.as_ref().ends_with(".json")))
            .try_fold(None, |newest: Option<Path>, object| async move { Ok(newest.max(Some(object.location))) })
            .await?;
        let Some(path) = newest else { return Ok(known) };
        let publication = Arc::new(self.read(&path).await?);
        self.announce(Arc::clone(&publication));
        Ok(Some(publication))
    }

    /// Publishes, unless its number is taken.
    ///
    /// # Errors
    /// [`PublicationError::Unavailable`]: it may have been published all the same; [`PublicationStore::latest`] tells.
    pub async fn publish(&self, publication: Publication) -> Result<Announced, PublicationError> {
        let json = serde_json::to_vec_pretty(&publication).expect("a publication is plain values");
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&place(publication.number), PutPayload::from(json), options).await {
            Ok(_) => {
                self.announce(Arc::new(publication));
                Ok(Announced::Published)
            }
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Announced::Taken),
            Err(error) => Err(error.into()),
        }
    }

    /// The publication of a number, while it is kept.
    ///
    /// # Errors
    /// [`PublicationError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn numbered(&self, number: u64) -> Result<Option<Arc<Publication>>, PublicationError> {
        match self.read(&place(number)).await {
            Ok(publication) => Ok(Some(Arc::new(publication))),
            Err(PublicationError::Unavailable(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every publication that is kept, the oldest first.
    ///
    /// # Errors
    /// [`PublicationError`] where the store fails or holds one that this Linktide does not understand.
    pub async fn kept(&self) -> Result<Vec<Publication>, PublicationError> {
        let listed = self.objects.list(Some(&Path::from("pub"))).map_ok(|object| object.location);
        let mut places: Vec<Path> =
            listed.try_filter(|place| std::future::ready(place.as_ref().ends_with(".json"))).try_collect().await?;
        places.sort_unstable();
        let mut kept = Vec::with_capacity(places.len());
        for place in places {
            match self.read(&place).await {
                Ok(publication) => kept.push(publication),
                // Someone else removed it since it was listed.
                Err(PublicationError::Unavailable(object_store::Error::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
    }

    /// Removes a publication, unless it is the newest: its number is the next one's, and its versions are what is asked.
    /// One that is gone already is removed.
    ///
    /// # Errors
    /// [`PublicationError::Unavailable`] where the store fails.
    pub async fn remove(&self, number: u64) -> Result<(), PublicationError> {
        if self.latest().await?.is_none_or(|newest| newest.number <= number) {
            return Ok(());
        }
        match self.objects.delete(&place(number)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn announce(&self, publication: Arc<Publication>) {
        self.newest.send_if_modified(|newest| {
            let newer = newest.as_ref().is_none_or(|known| known.number < publication.number);
            if newer {
                metrics::WATERMARK.set(publication.watermark.start().as_millis() / 1000);
                *newest = Some(publication);
            }
            newer
        });
    }

    async fn read(&self, path: &Path) -> Result<Publication, PublicationError> {
        let bytes = self.objects.get(path).await?.bytes().await?;
        let unreadable = |reason: String| PublicationError::Unreadable { path: path.to_string(), reason };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if format > u64::from(FORMAT) {
            return Err(unreadable(format!("format {format} is of a newer linktide, this one reads up to {FORMAT}")));
        }
        serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))
    }
}

fn place(number: u64) -> Path {
    Path::from(format!("pub/{number:020}.json"))
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::bucket::Day;
    use crate::id::{Epoch, PartitionId};

    fn store(folder: &tempfile::TempDir) -> PublicationStore {
        PublicationStore::new(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()))
    }

    fn first() -> Publication {
        Publication::first(Epoch(0), &[PartitionId(0)], "r".into(), Day(20_000).start().plus_millis(5))
    }

    #[tokio::test]
    async fn number_is_published_once_and_the_newest_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (store(&folder), store(&folder));
        assert_eq!(one.latest().await.unwrap(), None);
        assert_eq!(one.publish(first()).await.unwrap(), Announced::Published);
        assert_eq!(other.publish(first()).await.unwrap(), Announced::Taken);
        let found = other.latest().await.unwrap().unwrap();
        assert_eq!((found.watermark.start(), found.number), (Day(20_000).start(), 0));
        let next = found.extended(Epoch(0), &[PartitionId(7)], Day(20_001).start());
        assert_eq!(next.unnamed(Epoch(0), &[PartitionId(0), PartitionId(7), PartitionId(8)]), [PartitionId(8)]);
        other.publish(next).await.unwrap();
        assert_eq!(one.latest().await.unwrap().unwrap().number, 1);
        assert_eq!(one.watch().borrow().as_ref().unwrap().cut.len(), 2);
    }

    #[tokio::test]
    async fn old_publications_go_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        for number in 0..3 {
            store.publish(Publication { number, ..first() }).await.unwrap();
        }
        for number in [0, 1, 2, 1, 7] {
            store.remove(number).await.unwrap();
        }
        let numbers: Vec<u64> = store.kept().await.unwrap().iter().map(|publication| publication.number).collect();
        assert_eq!(numbers, [2]);
        assert_eq!(super::PublicationStore::new(Arc::clone(&store.objects)).latest().await.unwrap().unwrap().number, 2);
    }

    #[tokio::test]
    async fn publication_of_format_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pub")).unwrap();
        let json = r#"{"format":1,"number":4,"watermark":494000,"cut":[{"epoch":0,"partition":0,"offset":7,"received_at":1778400000000}],
            "tables":{"link":3},"rules_version":"r","published_at":1778400000001}"#;
        std::fs::write(folder.path().join("pub/00000000000000000004.json"), json).unwrap();
        let found = store(&folder).latest().await.unwrap().unwrap();
        assert_eq!((found.number, found.plan_done, found.deleted_through), (4, None, None));
        let next = found.extended(Epoch(0), &[PartitionId(1)], Day(20_001).start());
        assert_eq!((next.format, next.number), (FORMAT, 5));
    }

    #[tokio::test]
    async fn publication_of_a_newer_linktide_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.publish(Publication { format: 9, ..first() }).await.unwrap();
        let error = super::PublicationStore::new(Arc::clone(&store.objects)).latest().await.unwrap_err();
        assert!(error.to_string().contains("newer linktide"), "{error}");
    }
}
