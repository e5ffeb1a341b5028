//! The store under the embedded log: keys, values, and what is kept in memory of each partition.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::EmbeddedConfig;
use super::folder::Folder;
use crate::bucket::Timestamp;
use crate::id::{Offset, PartitionId};
use crate::log::{Bounds, LogError, Record, Rejected};

/// Records deleted in one batch.
const TRIMMED_AT_ONCE: u64 = 10_000;
const TICK: u8 = 0;
const CLICK: u8 = 1;

pub(super) struct Store {
    database: Database,
    records: Keyspace,
    marks: Keyspace,
    rejects: Keyspace,
    ends: Vec<Ends>,
    path: std::path::PathBuf,
    // Dropped last: the folder is free only once the database is closed.
    _folder: Folder,
}

struct Ends {
    low: AtomicU64,
    high: AtomicU64,
}

/// One record to store.
pub(super) struct Entry {
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) appended_at: Timestamp,
    pub(super) payload: Option<Bytes>,
}

impl Store {
    pub(super) fn open(path: &Path, config: &EmbeddedConfig) -> Result<Self, LogError> {
        let folder = Folder::claim(path)?;
        let database = Database::builder(path.join("log")).open().map_err(failed)?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default).map_err(failed)?;
        let marks = database.keyspace("marks", KeyspaceCreateOptions::default).map_err(failed)?;
        let rejects = database.keyspace("rejects", KeyspaceCreateOptions::default).map_err(failed)?;
        let used = records.last_key_value().map(|entry| entry.key()).transpose().map_err(failed)?;
        if let Some((last, _)) = used.and_then(|key| place(&key))
            && last.0 >= config.partitions
        {
            return Err(LogError::Unusable(format!(
                "log.partitions is {}, but the log in {} has at least {}; partitions can be added, not taken away",
                config.partitions,
                path.display(),
                last.0 + 1,
            )));
        }
        let ends = (0..config.partitions)
            .map(|partition| ends_of(&records, PartitionId(partition)))
            .collect::<Result<_, _>>()?;
        Ok(Self { database, records, marks, rejects, ends, path: path.to_owned(), _folder: folder })
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("partitions are counted in 32 bits")
    }

    pub(super) fn bounds(&self, partition: PartitionId) -> Bounds {
        let ends = &self.ends[partition.0 as usize];
        Bounds { low: Offset(ends.low.load(Ordering::Acquire)), high: Offset(ends.high.load(Ordering::Acquire)) }
    }

    /// Free bytes on the disk.
    pub(super) fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.path).map_or(u64::MAX, |about| about.f_bavail.saturating_mul(about.f_frsize))
    }

    pub(super) fn has_mark(&self, mark: &str) -> Result<bool, LogError> {
        self.marks.contains_key(mark).map_err(failed)
    }

    /// Stores all of it or nothing; what it stored is on the disk where `sync` says so, and then visible.
    pub(super) fn write(&self, entries: &[Entry], marks: &[String], sync: bool) -> Result<(), LogError> {
        let mut batch = self.database.batch();
        for entry in entries {
            let mut value = Vec::with_capacity(9 + entry.payload.as_ref().map_or(0, Bytes::len));
            value.extend_from_slice(&entry.appended_at.as_millis().to_le_bytes());
            value.push(if entry.payload.is_some() { CLICK } else { TICK });
            value.extend_from_slice(entry.payload.as_deref().unwrap_or_default());
            batch.insert(&self.records, key(entry.partition, entry.offset), value);
        }
        for mark in marks {
            batch.insert(&self.marks, mark.as_str(), "");
        }
        batch.commit().map_err(failed)?;
        self.database.persist(if sync { PersistMode::SyncData } else { PersistMode::Buffer }).map_err(failed)?;
        for entry in entries {
            self.ends[entry.partition.0 as usize].high.store(entry.offset.next().0, Ordering::Release);
        }
        Ok(())
    }

    /// Records of `[from, to)`, at most `most` of them.
    pub(super) fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        to: Offset,
        most: usize,
    ) -> Result<Vec<Record>, LogError> {
        let bounds = self.bounds(partition);
        let (from, to) = (from.max(bounds.low), to.min(bounds.high));
        if from >= to {
            return Ok(Vec::new());
        }
        self.records
            .range(key(partition, from)..key(partition, to))
            .take(most)
            .map(|entry| entry.into_inner().map_err(failed).and_then(|(key, value)| record(&key, &value)))
            .collect()
    }

    /// Keeps rejects until what they stood beside is deleted.
    pub(super) fn reject(&self, rejected: &[Rejected]) -> Result<(), LogError> {
        let mut batch = self.database.batch();
        for reject in rejected {
            let json = serde_json::to_vec(reject).expect("a reject is plain values");
            batch.insert(&self.rejects, key(reject.partition, reject.offset), json);
        }
        batch.commit().map_err(failed)
    }

    /// The rejects that are kept, by their places.
    #[cfg(test)]
    pub(super) fn rejected(&self) -> Vec<Vec<u8>> {
        self.rejects.iter().map(|entry| entry.value().unwrap().to_vec()).collect()
    }

    /// When the newest record of a partition was appended.
    pub(super) fn last_appended(&self, partition: PartitionId) -> Result<Option<Timestamp>, LogError> {
        let high = self.bounds(partition).high;
        let Some(last) = high.0.checked_sub(1) else { return Ok(None) };
        Ok(self.read(partition, Offset(last), high, 1)?.first().map(|record| record.appended_at))
    }

    pub(super) fn trim(&self, partition: PartitionId, below: Offset) -> Result<(), LogError> {
        let bounds = self.bounds(partition);
        let below = below.0.min(bounds.high.0.saturating_sub(1));
        let mut low = bounds.low.0;
        while low < below {
            let next = below.min(low + TRIMMED_AT_ONCE);
            // Readers are told first: whoever asks for less from now on gets an error, not a hole.
            self.ends[partition.0 as usize].low.store(next, Ordering::Release);
            let mut batch = self.database.batch();
            for offset in low..next {
                batch.remove(&self.records, key(partition, Offset(offset)));
                batch.remove(&self.rejects, key(partition, Offset(offset)));
            }
            batch.commit().map_err(failed)?;
            low = next;
        }
        Ok(())
    }
}

fn ends_of(records: &Keyspace, partition: PartitionId) -> Result<Ends, LogError> {
    let mut all = records.prefix(partition.0.to_be_bytes());
    let offset = |entry: Option<fjall::Guard>| -> Result<Option<u64>, LogError> {
        let key = entry.map(fjall::Guard::key).transpose().map_err(failed)?;
        Ok(key.and_then(|key| place(&key)).map(|(_, offset)| offset.0))
    };
    let low = offset(all.next())?;
    let last = offset(all.next_back())?.or(low);
    Ok(Ends { low: AtomicU64::new(low.unwrap_or(0)), high: AtomicU64::new(last.map_or(0, |last| last + 1)) })
}

fn key(partition: PartitionId, offset: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.0.to_be_bytes());
    key[4..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

fn place(key: &[u8]) -> Option<(PartitionId, Offset)> {
    let (partition, offset) = key.split_at_checked(4)?;
    let offset = u64::from_be_bytes(offset.try_into().ok()?);
    Some((PartitionId(u32::from_be_bytes(partition.try_into().ok()?)), Offset(offset)))
}

fn record(key: &[u8], value: &[u8]) -> Result<Record, LogError> {
    let damaged = || LogError::Unusable("the embedded log holds a record that it did not write".to_owned());
    let (partition, offset) = place(key).ok_or_else(damaged)?;
    let (time, rest) = value.split_at_checked(8).ok_or_else(damaged)?;
    let appended_at =
        time.try_into().ok().map(i64::from_le_bytes).and_then(Timestamp::from_millis).ok_or_else(damaged)?;
    let payload = match rest.split_first().ok_or_else(damaged)? {
        (&TICK, _) => None,
        (&CLICK, payload) => Some(Bytes::copy_from_slice(payload)),
        _ => return Err(damaged()),
    };
    Ok(Record { partition, offset, appended_at, payload })
}

/// A store that is poisoned stays so until the process starts again; everything else may pass.
pub(super) fn failed(error: fjall::Error) -> LogError {
    match error {
        fjall::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => LogError::Full(io.to_string()),
        fjall::Error::Poisoned => LogError::Unusable(
            "the embedded log failed while it wrote; free its disk and start linktide again".to_owned(),
        ),
        other => LogError::Unavailable(other.to_string()),
    }
}
