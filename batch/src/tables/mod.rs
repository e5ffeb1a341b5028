//! The tables: what they are called, which columns they have, and where they lie.

pub(crate) mod click_event;
pub(crate) mod columns;
pub(crate) mod daily;
pub(crate) mod dimension;
pub(crate) mod hourly;
pub(crate) mod link;
pub(crate) mod parquet;
pub(crate) mod rate_bot;
pub(crate) mod rollup;

use std::path::Path as FilePath;
use std::sync::Arc;

use linktide_common::publication::PublicationStore;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;

use crate::error::BatchError;
use crate::folder::SyncedFolder;
use crate::table::{Definition, Table};

/// Where tables, plans and publications lie: a folder or a bucket.
#[derive(Clone)]
pub struct Lake {
    root: Url,
    /// Everything that `root`'s scheme and host can name.
    store: Arc<dyn ObjectStore>,
    /// What lies below `root`.
    objects: Arc<dyn ObjectStore>,
    publications: PublicationStore,
}

impl Lake {
    /// The lake in a local folder, which is made where it is missing. What it acknowledges survives the machine.
    ///
    /// # Errors
    /// [`BatchError::Unavailable`] where the folder cannot be made.
    pub fn in_folder(folder: &FilePath) -> Result<Self, BatchError> {
        Self::of_folder(folder, |files| Arc::new(SyncedFolder::new(files)))
    }

    /// The same, but what it acknowledges survives the end of the process, not of the machine: for history that can be
    /// made again.
    ///
    /// # Errors
    /// [`BatchError::Unavailable`] where the folder cannot be made.
    pub fn in_folder_unsynced(folder: &FilePath) -> Result<Self, BatchError> {
        Self::of_folder(folder, |files| Arc::new(files))
    }

    fn of_folder(
        folder: &FilePath,
        store: impl Fn(LocalFileSystem) -> Arc<dyn ObjectStore>,
    ) -> Result<Self, BatchError> {
        let unusable = |reason: String| BatchError::Unavailable(format!("{}: {reason}", folder.display()));
        std::fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let folder = std::path::absolute(folder).map_err(|error| unusable(error.to_string()))?;
        let root = Url::from_directory_path(&folder).map_err(|()| unusable("not an absolute path".to_owned()))?;
        let objects = store(LocalFileSystem::new_with_prefix(&folder)?);
        let publications = PublicationStore::new(Arc::clone(&objects));
        Ok(Self { root, store: store(LocalFileSystem::new()), objects, publications })
    }

    /// Its publications.
    #[must_use]
    pub fn publications(&self) -> &PublicationStore {
        &self.publications
    }

    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    pub(crate) async fn table(&self, definition: Definition) -> Result<Table, BatchError> {
        Table::open(&self.root, Arc::clone(&self.store), definition).await
    }
}
