//! How fresh an answer is, and what it lacks.

use std::hash::Hash;
use std::sync::Arc;

use linktide_common::bucket::Timestamp;
use linktide_common::publication::Publication;
use linktide_speed::reader::Held;
use serde::Serialize;
use utoipa::ToSchema;

use crate::merge::Answered;
use crate::metrics;
use crate::state::QueryConfig;

/// Why the speed layer is not in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Away {
    /// It did not answer, and why.
    Failed(String),
    /// A report as of a past publication rests on history alone.
    NotAsked,
}

/// What an answer rests on.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    pub(crate) publication: Arc<Publication>,
    /// The state of speed's view when it was read, or why it was not.
    pub(crate) speed: Result<Held, Away>,
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
    pub(crate) reasons: Vec<String>,
    /// Clicks that are known to be missing.
    gaps: Vec<String>,
    layers: Layers,
}

impl Freshness {
    /// What does not change by itself as time passes.
    pub(crate) fn lasting(&self) -> impl Hash + use<'_> {
        let speed = self.layers.speed.state;
        let batch = (self.layers.batch.state, self.layers.batch.publication);
        (self.stale, &self.gaps, self.reasons.len(), speed, batch)
    }
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
    /// `ok`, `rebuilding`, `unavailable` or `not_asked`.
    state: SpeedState,
    /// Every click that was received before it and from the watermark on is in this layer; none while it is away.
    as_of: Option<String>,
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

/// What the speed layer can be relied on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SpeedState {
    /// All but the last moments is counted.
    Ok,
    /// It has not read the log to its end yet.
    Rebuilding,
    /// It did not answer.
    Unavailable,
    /// The question was about a past publication.
    NotAsked,
}

/// The least received time over the publication's partitions, never below the watermark.
fn as_of(publication: &Publication, held: &Held) -> Timestamp {
    let floor = publication.watermark.start();
    let received = |entry: &linktide_common::publication::CutEntry| {
        held.positions.get(&(entry.epoch, entry.partition)).map_or(floor, |position| position.received_at)
    };
    publication.cut.iter().map(received).min().unwrap_or(floor).max(floor)
}

impl Basis {
    /// What an answer of several parts rests on: no fresher than any of them. None where there is no part.
    pub(crate) fn of_all<'a>(parts: impl Iterator<Item = &'a Self>) -> Option<Self> {
        parts.fold(None, |whole: Option<Self>, part| {
            let Some(whole) = whole else { return Some(part.clone()) };
            let speed = match (whole.speed, &part.speed) {
                (Ok(whole), Ok(part)) => Ok(whole.and(part)),
                (Err(away), _) => Err(away),
                (Ok(_), Err(away)) => Err(away.clone()),
            };
            Some(Self { speed, batch: whole.batch.and_then(|()| part.batch.clone()), ..whole })
        })
    }

    /// Every click received before this instant is in the answer.
    pub(crate) fn as_of(&self) -> Timestamp {
        self.speed.as_ref().map_or(self.publication.watermark.start(), |held| as_of(&self.publication, held))
    }

    /// Which layers answered.
    pub(crate) fn answered(&self) -> Answered {
        Answered { batch: self.batch.is_ok(), speed: self.speed.is_ok() }
    }

    /// How fresh the answer is at `now`; `more` is what else its reader must know of.
    pub(crate) fn freshness(&self, now: Timestamp, config: &QueryConfig, more: Vec<String>) -> Freshness {
        let (as_of, state) = (self.as_of(), self.speed_state(now, config));
        let lag_seconds = self.lag_seconds(now);
        let mut reasons = more;
        reasons.extend(self.speed_reason(state, lag_seconds));
        if let Err(reason) = &self.batch {
            metrics::LAYERS_AWAY.with_label_values(&["batch"]).inc();
            reasons.push(format!(
                "history is unavailable ({reason}): nothing received before complete_through is in the answer"
            ));
        }
        self.measure(now);
        let gaps = self.gaps();
        Freshness {
            as_of: as_of.to_string(),
            lag_seconds,
            complete_through: self.publication.watermark.start().to_string(),
            stale: !reasons.is_empty() || !gaps.is_empty(),
            reasons,
            gaps,
            layers: Layers { speed: self.speed_layer(state), batch: self.batch_layer(now) },
        }
    }

    /// Whether all but the last moments of the log is counted, whatever state history is in and whatever was lost before.
    pub(crate) fn caught_up(&self, now: Timestamp, config: &QueryConfig) -> bool {
        self.speed_state(now, config) == SpeedState::Ok
    }

    /// Tells how far answers lie behind.
    pub(crate) fn measure(&self, now: Timestamp) {
        metrics::LAG.set(self.lag_seconds(now));
    }

    fn lag_seconds(&self, now: Timestamp) -> i64 {
        now.millis_since(self.as_of()).max(0) / 1000
    }

    fn speed_state(&self, now: Timestamp, config: &QueryConfig) -> SpeedState {
        let late = self.lag_seconds(now) > i64::try_from(config.stale_after.as_secs()).unwrap_or(i64::MAX);
        match &self.speed {
            Err(Away::Failed(_)) => SpeedState::Unavailable,
            Err(Away::NotAsked) => SpeedState::NotAsked,
            Ok(held) if late || held.from.is_none() || self.not_begun(held) > 0 => SpeedState::Rebuilding,
            Ok(_) => SpeedState::Ok,
        }
    }

    /// Partitions that the publication names and the view has not begun.
    fn not_begun(&self, held: &Held) -> usize {
        self.publication
            .cut
            .iter()
            .filter(|entry| !held.positions.contains_key(&(entry.epoch, entry.partition)))
            .count()
    }

    fn speed_reason(&self, state: SpeedState, lag_seconds: i64) -> Option<String> {
        match (state, &self.speed) {
            (_, Err(Away::Failed(reason))) => {
                metrics::LAYERS_AWAY.with_label_values(&["speed"]).inc();
                Some(format!(
                    "the speed layer is unavailable ({reason}): nothing received since complete_through is in the answer"
                ))
            }
            (SpeedState::Rebuilding, Ok(held)) if self.not_begun(held) > 0 => Some(format!(
                "the speed layer has not begun {} of {} partitions: clicks received since complete_through may not be counted yet",
                self.not_begun(held),
                self.publication.cut.len()
            )),
            (SpeedState::Rebuilding, Ok(held)) => {
                let behind: u64 = held.lags.values().map(|lag| lag.records()).sum();
                Some(format!(
                    "clicks received in the last {lag_seconds} seconds may not be counted yet: the speed layer has {behind} records to go, and is whole up to as_of"
                ))
            }
            _ => None,
        }
    }

    fn gaps(&self) -> Vec<String> {
        let (Ok(held), watermark) = (&self.speed, self.publication.watermark) else { return Vec::new() };
        let let_go = held
            .from
            .filter(|from| *from > watermark)
            .map(|from| format!("clicks received from {} to {} are in neither layer", watermark.start(), from.start()));
        let lost = held.gaps.iter().map(|gap| {
            format!(
                "partition {}: records {} to {} were gone from the log before they were counted",
                gap.partition, gap.from, gap.to
            )
        });
        let_go.into_iter().chain(lost).collect()
    }

    fn speed_layer(&self, state: SpeedState) -> SpeedLayer {
        let held = self.speed.as_ref().ok();
        SpeedLayer {
            state,
            as_of: held.map(|held| as_of(&self.publication, held).to_string()),
            held_from: held.and_then(|held| held.from).map(|from| from.start().to_string()),
        }
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
    use linktide_common::log::Position;

    use super::*;

    const W: Hour = Hour(480_000);

    fn basis(speed: Result<Held, Away>, batch: Result<(), String>) -> Basis {
        let partitions = [PartitionId(0), PartitionId(1)];
        Basis { publication: Arc::new(Publication::first(Epoch(0), &partitions, "r".into(), W.start())), speed, batch }
    }

    fn held(from: Hour, received: [i64; 2]) -> Held {
        let position = |ms| Position { offset: Offset(1), received_at: W.start().plus_millis(ms) };
        let place = |partition| (Epoch(0), PartitionId(partition));
        let positions = [(place(0), position(received[0])), (place(1), position(received[1]))].into();
        Held { from: Some(from), positions, ..Held::default() }
    }

    #[test]
    fn as_of_is_the_slowest_partition_and_never_below_the_watermark() {
        let now = W.start().plus_millis(20_000);
        let fresh = |received| basis(Ok(held(W, received)), Ok(())).freshness(now, &QueryConfig::default(), Vec::new());
        assert_eq!((fresh([15_000, 5_000]).lag_seconds, fresh([15_000, 5_000]).stale), (15, false));
        assert_eq!(fresh([15_000, -9_000_000]).as_of, W.start().to_string());
        let mut one = held(W, [15_000, 15_000]);
        one.positions.remove(&(Epoch(0), PartitionId(1)));
        assert_eq!(
            basis(Ok(one), Ok(())).freshness(now, &QueryConfig::default(), Vec::new()).as_of,
            W.start().to_string()
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let now = W.start().plus_millis(90_000);
        let away = basis(Err(Away::Failed("connection refused".into())), Ok(())).freshness(
            now,
            &QueryConfig::default(),
            Vec::new(),
        );
        assert_eq!(
            (away.as_of.as_str(), away.stale, away.layers.speed.state),
            (W.start().to_string().as_str(), true, SpeedState::Unavailable)
        );
        assert!(away.reasons[0].contains("connection refused"));
        let gap = basis(Ok(held(W.next(), [80_000, 80_000])), Err("gone".into())).freshness(
            now,
            &QueryConfig::default(),
            Vec::new(),
        );
        assert_eq!((gap.gaps.len(), gap.layers.batch.state), (1, "unavailable"));
        let late = basis(Ok(held(W, [10_000, 80_000])), Ok(())).freshness(now, &QueryConfig::default(), Vec::new());
        assert_eq!((late.stale, late.layers.speed.state), (true, SpeedState::Rebuilding));
    }

    #[test]
    fn readiness_asks_for_the_end_of_the_log_alone() {
        let config = QueryConfig::default();
        let now = W.start().plus_millis(90_000);
        let caught_up = |speed, batch| basis(speed, batch).caught_up(now, &config);
        // What was lost before this process began, and history that is away, would keep it from ever being asked.
        assert!(caught_up(Ok(held(W.next(), [80_000, 80_000])), Err("gone".into())));
        assert!(!caught_up(Ok(held(W, [80_000, 10_000])), Ok(())));
        assert!(!caught_up(Err(Away::Failed("connection refused".into())), Ok(())));
        let mut one = held(W, [80_000, 80_000]);
        one.positions.remove(&(Epoch(0), PartitionId(1)));
        let soon = W.start().plus_millis(1_000);
        let begun = basis(Ok(one), Ok(()));
        assert!(!begun.caught_up(soon, &config), "a partition that was not begun");
        let freshness = begun.freshness(soon, &config, Vec::new());
        assert!(freshness.stale && freshness.reasons[0].contains("not begun 1 of 2"), "{:?}", freshness.reasons);
    }
}
