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
pub(crate) mod slot;

use std::path::Path as FilePath;
use std::sync::Arc;

use linktide_common::publication::PublicationStore;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::error::BatchError;
use crate::folder::Folder;
use crate::s3::{self, Presigner, S3Config};
use crate::table::{Definition, Table};

/// What a process does in a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes, too.
    Write,
}

/// Where tables, plans and publications lie: a folder or a bucket.
#[derive(Clone)]
pub struct Lake {
    root: Url,
    /// Everything that `root`'s scheme and host can name.
    store: Arc<dyn ObjectStore>,
    /// What lies below `root`.
    objects: Arc<dyn ObjectStore>,
    publications: PublicationStore,
    /// None of a folder.
    presigner: Option<Presigner>,
}

impl Lake {
    /// The lake in a local folder, which is made where it is missing. What it acknowledges survives the machine.
    ///
    /// # Errors
    /// [`BatchError::Unavailable`] where the folder cannot be made.
    pub fn in_folder(folder: &FilePath) -> Result<Self, BatchError> {
        Self::of_folder(folder, true)
    }

    /// The same, but what it acknowledges survives the end of the process, not of the machine: for history that can be
    /// made again.
    ///
    /// # Errors
    /// [`BatchError::Unavailable`] where the folder cannot be made.
    pub fn in_folder_unsynced(folder: &FilePath) -> Result<Self, BatchError> {
        Self::of_folder(folder, false)
    }

    fn of_folder(folder: &FilePath, synced: bool) -> Result<Self, BatchError> {
        let store = |files| -> Arc<dyn ObjectStore> { Arc::new(Folder::new(files, synced)) };
        let unusable = |reason: String| BatchError::Unavailable(format!("{}: {reason}", folder.display()));
        std::fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let folder = std::path::absolute(folder).map_err(|error| unusable(error.to_string()))?;
        let root = Url::from_directory_path(&folder).map_err(|()| unusable("not an absolute path".to_owned()))?;
        let objects = store(LocalFileSystem::new_with_prefix(&folder)?);
        let publications = PublicationStore::new(Arc::clone(&objects));
        Ok(Self { root, store: store(LocalFileSystem::new()), objects, publications, presigner: None })
    }

    /// The lake in a bucket. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`BatchError::Refused`] where a setting cannot be right.
    pub fn in_bucket(config: &S3Config) -> Result<Self, BatchError> {
        let store: Arc<dyn ObjectStore> = Arc::new(config.open()?);
        let mut root = config.url.clone();
        root.set_path(&format!("{}/", root.path().trim_end_matches('/')));
        let prefix = Path::from(root.path().trim_matches('/'));
        let objects: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&store), prefix));
        let publications = PublicationStore::new(Arc::clone(&objects));
        let presigner = Some(Presigner::new(config.clone()));
        Ok(Self { root, store, objects, publications, presigner })
    }

    /// Finds out whether the place can be used as it must be: a bucket may be missing, refuse us, or be kept by a server
    /// that lets two writers create the same object. (A local folder is what it is.)
    ///
    /// # Errors
    /// [`BatchError::Refused`] where only people can change what is wrong, [`BatchError::Unavailable`] where the server
    /// does not answer.
    pub async fn check(&self, access: Access) -> Result<(), BatchError> {
        if self.root.scheme() != s3::SCHEME {
            return Ok(());
        }
        s3::check_reading(&self.objects).await?;
        if access == Access::Write {
            s3::check_creation(&self.objects, self.root.as_str()).await?;
        }
        Ok(())
    }

    /// Its publications.
    #[must_use]
    pub fn publications(&self) -> &PublicationStore {
        &self.publications
    }

    /// What lies below its place: tables, plans and publications, and what others keep beside them.
    #[must_use]
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Who signs addresses of its objects; nobody where it is a folder.
    #[must_use]
    pub fn presigner(&self) -> Option<Presigner> {
        self.presigner.clone()
    }

    pub(crate) async fn table(&self, definition: Definition) -> Result<Table, BatchError> {
        Table::open(&self.root, Arc::clone(&self.store), definition).await
    }
}
