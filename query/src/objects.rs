//! Objects that are created once and never changed: what this layer keeps in the lake.
//!
//! Of several writers one creates an object, and the others are told so. There are no locks and no conditional overwrites,
//! which a folder does not have.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use linktide_common::bucket::Timestamp;
use object_store::path::Path;
use object_store::{Error, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Objects deleted at once.
const AT_ONCE: usize = 8;

/// Why objects cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectsError {
    /// Worth a retry.
    #[error("the lake cannot be reached: {0}")]
    Unavailable(#[from] Error),
    /// It is not what this Linktide wrote.
    #[error("{place}: {reason}")]
    Unreadable { place: String, reason: String },
}

impl ObjectsError {
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// An object that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) place: Path,
    pub(crate) written_at: Timestamp,
}

/// Objects of a folder or a bucket.
#[derive(Clone)]
pub(crate) struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Creates an object; tells whether it did, or somebody else had.
    pub(crate) async fn create(&self, place: &Path, value: &impl Serialize) -> Result<bool, ObjectsError> {
        let json = serde_json::to_vec(value).expect("objects are plain values");
        match self.0.put_opts(place, PutPayload::from(json), PutOptions::from(PutMode::Create)).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, place: &Path) -> Result<Option<T>, ObjectsError> {
        let Some(found) = self.open(place).await? else { return Ok(None) };
        let unreadable =
            |error: serde_json::Error| ObjectsError::Unreadable { place: place.to_string(), reason: error.to_string() };
        serde_json::from_slice(&found.bytes().await?).map(Some).map_err(unreadable)
    }

    pub(crate) async fn open(&self, place: &Path) -> Result<Option<GetResult>, ObjectsError> {
        match self.0.get(place).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn exists(&self, place: &Path) -> Result<bool, ObjectsError> {
        match self.0.head(place).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a file whose name nobody else has.
    pub(crate) async fn write(&self, place: &Path, content: PutPayload) -> Result<(), ObjectsError> {
        self.0.put(place, content).await?;
        Ok(())
    }

    /// All objects below a folder, in the order of their names.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<Listed>, ObjectsError> {
        let named = |object: ObjectMeta| Listed {
            written_at: Timestamp::from_millis(object.last_modified.timestamp_millis()).unwrap_or(Timestamp::MIN),
            place: object.location,
        };
        let mut found: Vec<Listed> = self.0.list(Some(folder)).map_ok(named).try_collect().await?;
        found.sort_unstable_by(|one, other| one.place.cmp(&other.place));
        Ok(found)
    }

    /// The names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &Path) -> Result<Vec<String>, ObjectsError> {
        let listed = self.0.list_with_delimiter(Some(folder)).await?;
        Ok(listed.common_prefixes.iter().filter_map(|place| place.filename().map(str::to_owned)).collect())
    }

    pub(crate) async fn delete(&self, place: &Path) -> Result<(), ObjectsError> {
        match self.0.delete(place).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn delete_all(&self, places: &[Path]) -> Result<(), ObjectsError> {
        let delete = |place: Path| {
            let this = self.clone();
            async move { this.delete(&place).await }
        };
        let deleted = futures::stream::iter(places.to_vec()).map(delete).buffer_unordered(AT_ONCE);
        deleted.try_collect::<Vec<()>>().await.map(|_| ())
    }
}
