//! The log port: the partitioned, replayable record of raw clicks, as its writers and readers see it.
//!
//! Promises every adapter keeps, checked by one conformance suite:
//!
//! 1. What an append acknowledged is there after any crash, once, in one partition, at one offset, for good until retention.
//! 2. A record's append time is the log's own, given when it was appended.
//! 3. Two readers never hinder one another.
//! 4. A seek outside of what is kept is an error, never a silent skip.

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
mod partitioner;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::bucket::Timestamp;
use crate::id::{ClickId, Epoch, Offset, PartitionId};

pub use partitioner::partition_of;

/// Where to go on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The next offset to read.
    pub offset: Offset,
    /// The highest append time of all records before `offset`.
    pub received_at: Timestamp,
}

/// Where to go on in each partition.
pub type Positions = BTreeMap<PartitionId, Position>;

/// What a partition holds: offsets from `low` up to, not including, `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest offset still there.
    pub low: Offset,
    /// The offset the next record will get.
    pub high: Offset,
}

impl Bounds {
    /// Whether one can go on at `wanted`.
    ///
    /// # Errors
    /// [`LogError::BelowLow`] or [`LogError::AboveHigh`] where one cannot.
    pub fn admit(self, partition: PartitionId, wanted: Offset) -> Result<(), LogError> {
        let Self { low, high } = self;
        match wanted {
            _ if wanted < low => Err(LogError::BelowLow { partition, wanted, low }),
            _ if wanted > high => Err(LogError::AboveHigh { partition, wanted, high }),
            _ => Ok(()),
        }
    }
}

/// One record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// When the log appended it, by the log's clock. It may run back; `received_at` does not.
    pub appended_at: Timestamp,
    /// The click's JSON; none in a tick.
    pub payload: Option<Bytes>,
}

/// One record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Chooses the partition: copies of a click meet in one.
    pub key: ClickId,
    /// The click's JSON.
    pub payload: Bytes,
}

/// A record that is no click, as it is kept beside the log. It never holds what was sent: that may hold an address.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rejected {
    /// Where it stands in the log.
    pub partition: PartitionId,
    /// Where it stands in the log.
    pub offset: Offset,
    /// When it was received.
    pub received_at: Timestamp,
    /// The kind of reason.
    pub reason: &'static str,
    /// What is wrong, in words.
    pub detail: String,
}

/// What became of records that are appended under a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// They were appended, and the mark with them, both or none.
    Appended,
    /// The mark stood already: nothing was appended.
    Already,
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These partitions are this reader's from now on; each wants a [`LogReader::seek`] before it delivers.
    Assigned(Vec<PartitionId>),
    /// These partitions are another's from now on.
    Revoked(Vec<PartitionId>),
    /// Records, in offset order within each partition.
    Records(Vec<Record>),
}

/// A log failure.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The position lies below what the log kept.
    #[error("partition {partition}: offset {wanted} is gone, the log now starts at {low}")]
    BelowLow {
        /// Which partition.
        partition: PartitionId,
        /// The offset that was asked for.
        wanted: Offset,
        /// The lowest there is.
        low: Offset,
    },
    /// The position lies above what the log holds: it is another log than the one the position was made with.
    #[error(
        "partition {partition}: offset {wanted} lies beyond the end {high}; was the log recreated? raise log.epoch if so"
    )]
    AboveHigh {
        /// Which partition.
        partition: PartitionId,
        /// The offset that was asked for.
        wanted: Offset,
        /// The end of the partition.
        high: Offset,
    },
    /// The disk refused.
    #[error("the log cannot write: {0}")]
    Full(String),
    /// It cannot be used at all: another process holds it, or a newer version wrote it.
    #[error("{0}")]
    Unusable(String),
    /// It cannot be reached or read now; worth a retry.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
}

/// The writing side.
#[async_trait]
pub trait LogWriter: Send + Sync {
    /// Appends all of `records`; returns when they are durable. On an error none, some or all may have been appended.
    async fn append(&self, records: Vec<Append>) -> Result<(), LogError>;

    /// Appends all of `records` and sets `mark`, both or none, unless `mark` stands already.
    async fn append_marked(&self, mark: &str, records: Vec<Append>) -> Result<Marked, LogError>;
}

/// The reading side: one member of one consumer group.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// Which life of the log this is.
    fn epoch(&self) -> Epoch;

    /// The next thing that happened: up to about `max` records, or nothing (an empty [`Event::Records`]) after `wait`.
    /// What a dropped call would have told, the next one tells.
    ///
    /// A partition that cannot be read on is told once, by [`LogError::BelowLow`] or [`LogError::AboveHigh`], and delivers
    /// nothing until it is sought again; the others go on.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError>;

    /// Goes on at `to` in an assigned partition.
    async fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError>;

    /// Records of `[from, to)` without moving the reader; from the lowest kept offset where `from` lies below it.
    async fn read(&self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError>;

    /// What the partition holds now.
    async fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError>;

    /// Where each of these partitions ends now: at once, where the log can be asked so.
    async fn ends(&self, partitions: &[PartitionId]) -> Result<BTreeMap<PartitionId, Offset>, LogError> {
        let mut ends = BTreeMap::new();
        for partition in partitions {
            ends.insert(*partition, self.bounds(*partition).await?.high);
        }
        Ok(ends)
    }

    /// Appends a tick: a record without a click, so that received time advances.
    async fn tick(&self, partition: PartitionId) -> Result<(), LogError>;

    /// Keeps rejects beside the log, by their place: one that is told twice is kept once.
    async fn reject(&self, rejected: &[Rejected]) -> Result<(), LogError>;

    /// Tells the log how far the group has come, for autoscalers alone: nothing starts from it.
    async fn commit(&mut self, positions: &Positions) -> Result<(), LogError>;
}
