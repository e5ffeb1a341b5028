//! The embedded log: the partitioned record of raw clicks in one folder, for a Linktide that runs alone.
//!
//! A key-value store (fjall) holds a key per record, `partition ‖ offset`, both big-endian, so that a partition is a
//! range. One thread writes: it takes all appends that wait, stores them in one atomic batch together with their marks,
//! syncs it to the disk, and only then answers. Append times are the injected clock's and never run back within a
//! partition.
//!
//! When the disk has less free space than the reserve, appends are refused while there is still room to work in, and
//! taken again once there is more: reading goes on throughout. A folder belongs to one process; a lock on a file in it
//! keeps others out.

mod folder;
mod reader;
mod store;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Append, LogError, LogWriter, Marked};
use crate::clock::Clock;
use crate::id::{Epoch, Offset, PartitionId};
pub use reader::EmbeddedReader;
use store::Store;
use writer::{Request, Writer};

/// How many appends may wait for the writer before callers wait, too.
const WAITING: usize = 256;

/// How the embedded log is kept.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// How many partitions it has; more may be added, never fewer.
    pub partitions: u32,
    /// Whether an append is on the disk before it is acknowledged. Without it an append survives the end of the process, not of the machine.
    pub sync: bool,
    /// Free bytes below which appends are refused.
    pub reserve: u64,
    /// Which life of the log this is.
    pub epoch: Epoch,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { partitions: 4, sync: true, reserve: 64 << 20, epoch: Epoch(0) }
    }
}

/// The embedded log of one folder.
pub struct EmbeddedLog {
    store: Arc<Store>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    appended: watch::Receiver<u64>,
    epoch: Epoch,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    path: PathBuf,
}

impl EmbeddedLog {
    /// Opens the log in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`LogError::Unusable`] where another process has it open, a newer version wrote it, or it has more partitions.
    pub fn open(path: &Path, config: &EmbeddedConfig, clock: Clock) -> Result<Arc<Self>, LogError> {
        let store = Arc::new(Store::open(path, config)?);
        let (requests, waiting) = mpsc::channel(WAITING);
        let (announce, appended) = watch::channel(0);
        let writer = Writer::new(Arc::clone(&store), clock, config, announce)?;
        let thread = std::thread::Builder::new()
            .name("embedded-log".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Arc::new(Self {
            store,
            requests: Mutex::new(Some(requests)),
            appended,
            epoch: config.epoch,
            thread: Mutex::new(Some(thread)),
            path: path.to_owned(),
        }))
    }

    /// A reader of its own, which stands in no other's way.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> EmbeddedReader {
        EmbeddedReader::new(Arc::clone(self))
    }

    /// Its partitions.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionId> {
        (0..self.store.partitions()).map(PartitionId).collect()
    }

    /// Which life of the log this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Deletes what lies below an offset. The newest record always stays: the next offset follows from it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the store fails; what was deleted stays so.
    pub async fn trim(&self, partition: PartitionId, below: Offset) -> Result<(), LogError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.trim(partition, below)).await
    }

    /// Refuses further appends, writes those that wait, and closes the store.
    pub fn close(&self) {
        self.requests.lock().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(folder = %self.path.display(), "the embedded log's writer panicked");
        }
    }

    async fn request(&self, mark: Option<String>, records: Vec<Append>) -> Result<Marked, LogError> {
        let records = records
            .into_iter()
            .map(|record| (super::partition_of(record.key, self.store.partitions()), Some(record.payload)))
            .collect();
        self.send(mark, records).await
    }

    async fn send(&self, mark: Option<String>, records: writer::Records) -> Result<Marked, LogError> {
        let closed = || LogError::Unavailable("the embedded log is closed".to_owned());
        let requests = self.requests.lock().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        requests.send(Request { mark, records, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl LogWriter for EmbeddedLog {
    async fn append(&self, records: Vec<Append>) -> Result<(), LogError> {
        self.request(None, records).await.map(|_| ())
    }

    async fn append_marked(&self, mark: &str, records: Vec<Append>) -> Result<Marked, LogError> {
        self.request(Some(mark.to_owned()), records).await
    }
}

/// Runs what reads or writes the disk beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Unavailable(error.to_string()))?
}

#[cfg(test)]
mod tests;
