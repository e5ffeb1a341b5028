//! How far a reader lies behind the end of the log, as metrics and autoscalers see it.

use serde::{Deserialize, Serialize};

use crate::bucket::Timestamp;
use crate::id::{Offset, PartitionId};
use crate::log::Position;
use crate::metrics;

/// How far a reader lies behind the end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// The next offset it reads.
    pub position: Offset,
    /// The offset the next record gets.
    pub end: Offset,
    /// How long ago what it read last was received; 0 at the end of the partition, unless it is stopped.
    pub seconds: u64,
}

impl Lag {
    pub(super) fn between(position: Position, end: Offset, now: Timestamp, stopped: bool) -> Self {
        let behind = stopped || position.offset < end;
        let ms = now.millis_since(position.received_at).max(0);
        let seconds = if behind { ms.unsigned_abs().div_ceil(1000) } else { 0 };
        Self { position: position.offset, end, seconds }
    }

    /// Records between the two.
    #[must_use]
    pub fn records(self) -> u64 {
        self.end.0.saturating_sub(self.position.0)
    }

    pub(super) fn measure(self, layer: &str, partition: PartitionId) {
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let partition = partition.to_string();
        metrics::LAG_RECORDS.with_label_values(&[layer, &partition]).set(gauge(self.records()));
        metrics::LAG_SECONDS.with_label_values(&[layer, &partition]).set(gauge(self.seconds));
    }
}
