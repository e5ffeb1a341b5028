//! A reader of the embedded log: all partitions are its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{EmbeddedLog, blocking};
use crate::id::{Epoch, Offset, PartitionId};
use crate::log::{Bounds, Event, LogError, LogReader, Positions, Record};
use crate::metrics;

/// Reads every partition in turn, so that a busy one does not hold up the others.
pub struct EmbeddedReader {
    log: Arc<EmbeddedLog>,
    group: String,
    places: BTreeMap<PartitionId, Offset>,
    told: bool,
    appended: watch::Receiver<u64>,
}

impl EmbeddedReader {
    pub(super) fn new(log: Arc<EmbeddedLog>, group: &str) -> Self {
        let appended = log.appended.clone();
        Self { log, group: group.to_owned(), places: BTreeMap::new(), told: false, appended }
    }

    async fn fetch(&mut self, max: usize) -> Result<Vec<Record>, LogError> {
        let store = Arc::clone(&self.log.store);
        let places: Vec<_> = self.places.iter().map(|(partition, from)| (*partition, *from)).collect();
        let share = (max / places.len().max(1)).max(1);
        let records = blocking(move || {
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
        .await?;
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
        let bounds = self.bounds(partition).await?;
        if to < bounds.low {
            return Err(LogError::BelowLow { partition, wanted: to, low: bounds.low });
        }
        if to > bounds.high {
            return Err(LogError::AboveHigh { partition, wanted: to, high: bounds.high });
        }
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

    async fn commit(&mut self, positions: &Positions) -> Result<(), LogError> {
        for (partition, position) in positions {
            let behind = self.log.store.bounds(*partition).high.0.saturating_sub(position.offset.0);
            metrics::LAG
                .with_label_values(&[&self.group, &partition.to_string()])
                .set(i64::try_from(behind).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}
