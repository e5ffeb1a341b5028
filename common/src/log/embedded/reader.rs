//! A reader of the embedded log: all partitions are its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{EmbeddedLog, blocking};
use crate::id::{Epoch, Offset, PartitionId};
use crate::log::{Bounds, Event, LogError, LogReader, Positions, Record, Rejected};

/// Reads every partition in turn, so that a busy one does not hold up the others.
pub struct EmbeddedReader {
    log: Arc<EmbeddedLog>,
    places: BTreeMap<PartitionId, Offset>,
    told: bool,
    appended: watch::Receiver<u64>,
}

impl EmbeddedReader {
    pub(super) fn new(log: Arc<EmbeddedLog>) -> Self {
        let appended = log.appended.clone();
        Self { log, places: BTreeMap::new(), told: false, appended }
    }

    async fn fetch(&mut self, max: usize) -> Result<Vec<Record>, LogError> {
        let store = Arc::clone(&self.log.store);
        let places: Vec<_> = self.places.iter().map(|(partition, from)| (*partition, *from)).collect();
        let share = (max / places.len().max(1)).max(1);
        let read = blocking(move || {
            let mut records = Vec::new();
            for (partition, from) in places {
                let bounds = store.bounds(partition);
                if from < bounds.low {
                    return Err(LogError::BelowLow { partition, wanted: from, low: bounds.low });
                }
                records.extend(store.read(partition, from, bounds.high, share)?);
            }
            Ok(records)
        })
        .await;
        if let Err(LogError::BelowLow { partition, .. }) = &read {
            // Told once: the caller seeks it, or does without it. What was read of others is read again.
            self.places.remove(partition);
        }
        let records = read?;
        for record in &records {
            self.places.insert(record.partition, record.offset.next());
        }
        Ok(records)
    }
}

#[async_trait]
impl LogReader for EmbeddedReader {
    fn epoch(&self) -> Epoch {
        self.log.epoch
    }

    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Event, LogError> {
        if !self.told {
            self.told = true;
            return Ok(Event::Assigned(self.log.partitions()));
        }
        loop {
            self.appended.borrow_and_update();
            let records = self.fetch(max).await?;
            if !records.is_empty() {
                return Ok(Event::Records(records));
            }
            match tokio::time::timeout(wait, self.appended.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(Event::Records(Vec::new())),
            }
        }
    }

    async fn seek(&mut self, partition: PartitionId, to: Offset) -> Result<(), LogError> {
        self.bounds(partition).await?.admit(partition, to)?;
        self.places.insert(partition, to);
        Ok(())
    }

    async fn read(&self, partition: PartitionId, from: Offset, to: Offset) -> Result<Vec<Record>, LogError> {
        let store = Arc::clone(&self.log.store);
        blocking(move || store.read(partition, from, to, usize::MAX)).await
    }

    async fn bounds(&self, partition: PartitionId) -> Result<Bounds, LogError> {
        Ok(self.log.store.bounds(partition))
    }

    async fn tick(&self, partition: PartitionId) -> Result<(), LogError> {
        self.log.send(None, vec![(partition, None)]).await.map(|_| ())
    }

    async fn reject(&self, rejected: &[Rejected]) -> Result<(), LogError> {
        let (store, rejected) = (Arc::clone(&self.log.store), rejected.to_vec());
        blocking(move || store.reject(&rejected)).await
    }

    async fn commit(&mut self, _: &Positions) -> Result<(), LogError> {
        Ok(())
    }
}
