//! How fresh an answer is, and what it lacks.

use std::sync::Arc;

use linktide_common::bucket::Timestamp;
use linktide_common::publication::Publication;
use linktide_speed::reader::Held;
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics;
use crate::state::QueryConfig;

/// What an answer rests on.
pub(crate) struct Basis {
    pub(crate) publication: Arc<Publication>,
    /// The state of speed's view when it was read, or why it was not.
    pub(crate) speed: Result<Held, String>,
    /// Why history could not be read.
    pub(crate) batch: Result<(), String>,
}

/// How fresh an answer is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Freshness {
    /// Every click that was received before this instant is in the answer, or its absence is named here.
    pub(crate) as_of: String,
    /// How far that lies behind the present.
    pub(crate) lag_seconds: i64,
    /// The watermark: what was received before it rests on history.
    complete_through: String,
    /// Whether the answer is older or poorer than it should be.
    pub(crate) stale: bool,
    /// Why it is.
    reasons: Vec<String>,
    /// Clicks that are known to be missing.
    gaps: Vec<String>,
    layers: Layers,
}

/// The layers behind an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Layers {
    speed: SpeedLayer,
    batch: BatchLayer,
}

/// The speed layer behind an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct SpeedLayer {
    /// `ok`, `rebuilding` or `unavailable`.
    state: &'static str,
    /// From which hour of received time on it holds all.
    held_from: Option<String>,
}

/// The batch layer behind an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct BatchLayer {
    /// `ok` or `unavailable`.
    state: &'static str,
    /// Number of the publication.
    publication: u64,
    /// When it was published.
    published_at: String,
    /// How long ago.
    age_seconds: i64,
}

/// The least received time over the publication's partitions, never below the watermark.
fn as_of(publication: &Publication, held: &Held) -> Timestamp {
    let floor = publication.watermark.start();
    let received = |entry: &linktide_common::publication::CutEntry| {
        held.positions.get(&entry.partition).map_or(floor, |position| position.received_at)
    };
    publication.cut.iter().map(received).min().unwrap_or(floor).max(floor)
}

impl Basis {
    /// Every click received before this instant is in the answer.
    pub(crate) fn as_of(&self) -> Timestamp {
        self.speed.as_ref().map_or(self.publication.watermark.start(), |held| as_of(&self.publication, held))
    }

    pub(crate) fn freshness(&self, now: Timestamp, config: &QueryConfig) -> Freshness {
        let watermark = self.publication.watermark;
        let (mut reasons, mut gaps) = (Vec::new(), Vec::new());
        match &self.speed {
            Ok(held) => {
                if let Some(from) = held.from.filter(|from| *from > watermark) {
                    gaps.push(format!(
                        "clicks received from {} to {} are in neither layer",
                        watermark.start(),
                        from.start()
                    ));
                }
                let lost = |gap: &linktide_common::intake::Gap| {
                    format!(
                        "partition {}: records {} to {} were gone from the log before they were counted",
                        gap.partition, gap.from, gap.to
                    )
                };
                gaps.extend(held.gaps.iter().map(lost));
            }
            Err(reason) => {
                metrics::LAYERS_AWAY.with_label_values(&["speed"]).inc();
                reasons.push(format!("the speed layer is unavailable ({reason}): nothing received since complete_through is in the answer"));
            }
        }
        let as_of = self.as_of();
        if let Err(reason) = &self.batch {
            metrics::LAYERS_AWAY.with_label_values(&["batch"]).inc();
            reasons.push(format!(
                "history is unavailable ({reason}): nothing received before complete_through is in the answer"
            ));
        }
        let lag_seconds = now.millis_since(as_of).max(0) / 1000;
        let late = lag_seconds > i64::try_from(config.stale_after.as_secs()).unwrap_or(i64::MAX);
        if late && self.speed.is_ok() {
            reasons.push(format!("clicks of the last {lag_seconds} seconds are not counted yet"));
        }
        metrics::LAG.set(lag_seconds);
        Freshness {
            as_of: as_of.to_string(),
            lag_seconds,
            complete_through: watermark.start().to_string(),
            stale: !reasons.is_empty() || !gaps.is_empty(),
            reasons,
            gaps,
            layers: Layers { speed: self.speed_layer(late), batch: self.batch_layer(now) },
        }
    }

    fn speed_layer(&self, late: bool) -> SpeedLayer {
        let state = match &self.speed {
            Err(_) => "unavailable",
            Ok(_) if late => "rebuilding",
            Ok(_) => "ok",
        };
        let held = self.speed.as_ref().ok().and_then(|held| held.from);
        SpeedLayer { state, held_from: held.map(|from| from.start().to_string()) }
    }

    fn batch_layer(&self, now: Timestamp) -> BatchLayer {
        BatchLayer {
            state: if self.batch.is_ok() { "ok" } else { "unavailable" },
            publication: self.publication.number,
            published_at: self.publication.published_at.to_string(),
            age_seconds: now.millis_since(self.publication.published_at).max(0) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use linktide_common::bucket::Hour;
    use linktide_common::id::{Epoch, Offset, PartitionId};
    use linktide_common::log::{Position, Positions};

    use super::*;

    const W: Hour = Hour(480_000);

    fn basis(speed: Result<Held, String>, batch: Result<(), String>) -> Basis {
        let partitions = [PartitionId(0), PartitionId(1)];
        Basis { publication: Arc::new(Publication::first(Epoch(0), &partitions, "r".into(), W.start())), speed, batch }
    }

    fn held(from: Hour, received: [i64; 2]) -> Held {
        let position = |ms| Position { offset: Offset(1), received_at: W.start().plus_millis(ms) };
        let positions =
            Positions::from([(PartitionId(0), position(received[0])), (PartitionId(1), position(received[1]))]);
        Held { from: Some(from), positions, gaps: Vec::new() }
    }

    #[test]
    fn as_of_is_the_slowest_partition_and_never_below_the_watermark() {
        let now = W.start().plus_millis(20_000);
        let fresh = |received| basis(Ok(held(W, received)), Ok(())).freshness(now, &QueryConfig::default());
        assert_eq!((fresh([15_000, 5_000]).lag_seconds, fresh([15_000, 5_000]).stale), (15, false));
        assert_eq!(fresh([15_000, -9_000_000]).as_of, W.start().to_string());
        let mut one = held(W, [15_000, 15_000]);
        one.positions.remove(&PartitionId(1));
        assert_eq!(basis(Ok(one), Ok(())).freshness(now, &QueryConfig::default()).as_of, W.start().to_string());
    }

    #[test]
    fn what_is_missing_is_named() {
        let now = W.start().plus_millis(90_000);
        let away = basis(Err("connection refused".into()), Ok(())).freshness(now, &QueryConfig::default());
        assert_eq!(
            (away.as_of.as_str(), away.stale, away.layers.speed.state),
            (W.start().to_string().as_str(), true, "unavailable")
        );
        assert!(away.reasons[0].contains("connection refused"));
        let gap =
            basis(Ok(held(W.next(), [80_000, 80_000])), Err("gone".into())).freshness(now, &QueryConfig::default());
        assert_eq!((gap.gaps.len(), gap.layers.batch.state), (1, "unavailable"));
        let late = basis(Ok(held(W, [10_000, 80_000])), Ok(())).freshness(now, &QueryConfig::default());
        assert_eq!((late.stale, late.layers.speed.state), (true, "rebuilding"));
    }
}
