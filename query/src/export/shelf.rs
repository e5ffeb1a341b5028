//! The objects of export jobs, each created once and never changed:
//!
//! ```text
//! export/queue/<id>.<tenant>              a job is not over yet: where to look, never what it is
//! export/<tenant>/<id>/request.json       what was asked for
//! export/<tenant>/<id>/attempt/<n>.json   who tries for the nth time
//! export/<tenant>/<id>/beat/<n>/<m>       that attempt lives
//! export/<tenant>/<id>/plan.json          the steps it is made in
//! export/<tenant>/<id>/data/<step>.<n>.<m>.<format>   files; an attempt has names of its own
//! export/<tenant>/<id>/part/<step>.json   which of them are the step's
//! export/<tenant>/<id>/end.json           done with these files, or failed, or cancelled: whichever came first
//! export/<tenant>/<id>/gone.json          why there are no files any more
//! ```

use std::sync::Arc;

use linktide_common::bucket::Timestamp;
use linktide_common::id::TenantId;
use object_store::path::Path;
use object_store::{GetResult, ObjectStore, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::ExportError;
use crate::objects::Objects;

/// Whose job it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct JobKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
}

impl JobKey {
    pub(super) fn place(&self, name: &str) -> Path {
        Path::from(format!("export/{}/{}/{name}", self.tenant, self.id))
    }

    fn folder(&self) -> Path {
        Path::from(format!("export/{}/{}", self.tenant, self.id))
    }

    fn marker(&self) -> Path {
        Path::from(format!("export/queue/{}.{}", self.id, self.tenant))
    }
}

/// A job that is not over, by its marker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    pub(super) key: JobKey,
    pub(super) since: Timestamp,
}

/// All objects of jobs.
pub(super) struct Shelf {
    objects: Objects,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { objects: Objects::new(store) }
    }

    /// Creates an object of a job; tells whether it did, or somebody else had.
    pub(super) async fn create(&self, key: &JobKey, name: &str, value: &impl Serialize) -> Result<bool, ExportError> {
        Ok(self.objects.create(&key.place(name), value).await?)
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, key: &JobKey, name: &str) -> Result<Option<T>, ExportError> {
        Ok(self.objects.read(&key.place(name)).await?)
    }

    pub(super) async fn exists(&self, key: &JobKey, name: &str) -> Result<bool, ExportError> {
        Ok(self.objects.exists(&key.place(name)).await?)
    }

    /// The names of a job's objects below its folder, in order.
    pub(super) async fn list(&self, key: &JobKey) -> Result<Vec<String>, ExportError> {
        let folder = key.folder();
        let name = |place: &Path| place.as_ref().get(folder.as_ref().len() + 1..).unwrap_or_default().to_owned();
        Ok(self.objects.list(&folder).await?.iter().map(|object| name(&object.place)).collect())
    }

    /// The jobs of a tenant, the newest first.
    pub(super) async fn jobs(&self, tenant: TenantId) -> Result<Vec<JobKey>, ExportError> {
        let folders = self.objects.folders(&Path::from(format!("export/{tenant}"))).await?;
        let ids = folders.iter().filter_map(|name| Uuid::parse_str(name).ok());
        let mut found: Vec<JobKey> = ids.map(|id| JobKey { tenant, id }).collect();
        found.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
        Ok(found)
    }

    /// The tenants that have jobs.
    pub(super) async fn tenants(&self) -> Result<Vec<TenantId>, ExportError> {
        let folders = self.objects.folders(&Path::from("export")).await?;
        Ok(folders.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub(super) async fn queue(&self, key: &JobKey) -> Result<(), ExportError> {
        self.objects.create(&key.marker(), &()).await?;
        Ok(())
    }

    pub(super) async fn unqueue(&self, key: &JobKey) -> Result<(), ExportError> {
        Ok(self.objects.delete(&key.marker()).await?)
    }

    /// The jobs that are not over, as far as their markers tell, the oldest first.
    pub(super) async fn queued(&self) -> Result<Vec<Queued>, ExportError> {
        let listed = self.objects.list(&Path::from("export/queue")).await?;
        let parse = |place: &Path| {
            let (id, tenant) = place.filename()?.split_once('.')?;
            Some(JobKey { tenant: tenant.parse().ok()?, id: Uuid::parse_str(id).ok()? })
        };
        let queued =
            listed.iter().filter_map(|object| Some(Queued { key: parse(&object.place)?, since: object.written_at }));
        Ok(queued.collect())
    }

    /// Writes a file whose name nobody else has.
    pub(super) async fn write(&self, key: &JobKey, name: &str, content: PutPayload) -> Result<(), ExportError> {
        Ok(self.objects.write(&key.place(name), content).await?)
    }

    pub(super) async fn open(&self, key: &JobKey, name: &str) -> Result<Option<GetResult>, ExportError> {
        Ok(self.objects.open(&key.place(name)).await?)
    }

    /// Deletes those objects of a job that `goes` names.
    pub(super) async fn delete(&self, key: &JobKey, goes: impl Fn(&str) -> bool) -> Result<(), ExportError> {
        let going: Vec<Path> =
            self.list(key).await?.iter().filter(|name| goes(name)).map(|name| key.place(name)).collect();
        Ok(self.objects.delete_all(&going).await?)
    }
}
