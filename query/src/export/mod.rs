//! Exports: rows of what the API answers, whole, and raw clicks, as files of open formats.
//!
//! 1. A small one is streamed in the answer ([`stream`]): counted first, so that one that is too large is refused before its
//!    first byte, and broken off where it fails, so that half a file never looks like a whole one.
//! 2. A large one is a job ([`job`], [`worker`]): objects in the lake that are created or left alone, so that any process
//!    goes on with it where another ended.
//! 3. Results go by age, by wish, and when clicks that may be in them are erased ([`janitor`]).
//!
//! Exports have threads of their own that stand back, a budget of memory and a connection to the lake of their own: what they
//! cost, no question pays. Everything is named by its tenant: what another tenant has is not found.

mod admission;
mod error;
mod files;
pub(crate) mod format;
pub(crate) mod janitor;
pub(crate) mod job;
mod rollup;
mod shelf;
mod source;
pub(crate) mod spec;
pub(crate) mod stream;
pub(crate) mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use linktide_batch::reader::BatchError;
use linktide_batch::reader::raw::RawClicks;
use linktide_common::background::Background;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use admission::Admission;
pub(crate) use error::ExportError;
pub(crate) use job::new_id;
use shelf::Shelf;

/// Signs addresses of objects, each with the name it is saved under, for so long.
pub type Presign =
    Arc<dyn Fn(Vec<(Path, String)>, Duration) -> BoxFuture<'static, Result<Vec<String>, BatchError>> + Send + Sync>;

/// How exports are made.
#[derive(Debug, Clone)]
pub struct ExportConfig {
    /// Threads that make them.
    pub threads: usize,
    /// Exports that are streamed at once by this process, and of one tenant.
    pub streams: usize,
    /// Of them, those of one tenant.
    pub streams_per_tenant: usize,
    /// Rows that are streamed; more are a job.
    pub stream_rows: usize,
    /// Bytes after which a stream is broken off.
    pub stream_bytes: u64,
    /// How long a stream waits for whoever reads it.
    pub patience: Duration,
    /// Jobs of one tenant that are not over.
    pub jobs_per_tenant: usize,
    /// Bytes of a file of a job's result, about.
    pub part_bytes: usize,
    /// Rows of source files that are one step of a job.
    pub slice_rows: u64,
    /// How long a job may show no sign of life before another process goes on with it.
    pub lease: Duration,
    /// How often jobs are looked for.
    pub look_every: Duration,
    /// How long results are kept.
    pub keep: Duration,
    /// How long a signed address of a result is good.
    pub address_valid_for: Duration,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            streams: 4,
            streams_per_tenant: 2,
            stream_rows: 200_000,
            stream_bytes: 256 << 20,
            patience: Duration::from_secs(60),
            jobs_per_tenant: 5,
            part_bytes: 32 << 20,
            slice_rows: 500_000,
            lease: Duration::from_secs(30),
            look_every: Duration::from_secs(2),
            keep: Duration::from_secs(7 * 86_400),
            address_valid_for: Duration::from_secs(15 * 60),
        }
    }
}

/// What exports are made of and kept in.
pub struct Exports {
    pub(crate) config: ExportConfig,
    raw: RawClicks,
    shelf: Shelf,
    presign: Option<Presign>,
    pool: Background,
    admission: Admission,
    /// Told when this process took a job in.
    wake: Notify,
    /// When each job that is another attempt's last showed a sign of life.
    watched: Mutex<HashMap<Uuid, worker::Watched>>,
    /// What is known of results, so that nobody reads them anew every minute.
    results: Mutex<HashMap<Uuid, janitor::Known>>,
    #[cfg(test)]
    pub(crate) stop_at: Mutex<Option<&'static str>>,
}

impl Exports {
    /// Exports of clicks that `raw` reads, with jobs below `export/` of `objects`.
    ///
    /// # Errors
    /// Where the system gives no threads.
    pub fn new(
        raw: RawClicks,
        objects: Arc<dyn ObjectStore>,
        presign: Option<Presign>,
        config: ExportConfig,
    ) -> std::io::Result<Self> {
        Ok(Self {
            pool: Background::start("export", config.threads)?,
            admission: Admission::new(config.streams, config.streams_per_tenant),
            raw,
            shelf: Shelf::new(objects),
            presign,
            config,
            wake: Notify::new(),
            watched: Mutex::default(),
            results: Mutex::default(),
            #[cfg(test)]
            stop_at: Mutex::default(),
        })
    }

    /// A place between two steps, where tests let the process die, or this attempt end.
    fn reached(&self, place: &'static str) -> Result<(), ExportError> {
        // A build without failpoints asks nobody where it is.
        let _ = place;
        fail::fail_point!(place, |_| std::process::abort());
        #[cfg(test)]
        if *self.stop_at.lock() == Some(place) {
            return Err(ExportError::Stopped(place));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
