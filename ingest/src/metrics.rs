//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::{counter, counters, gauge};
#[cfg(feature = "http")]
use prometheus::IntCounterVec;
use prometheus::{IntCounter, IntGauge};

use crate::emitter::DropReason;

/// Clicks the log has from emitters.
pub(crate) static EMITTED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_clicks_emitted_total", "Clicks the log has from emitters"));

/// Clicks that are lost for good, each once, by reason: one counter for each [`DropReason`], so that counting takes no
/// lock to find it.
pub(crate) static DROPPED: LazyLock<[IntCounter; DropReason::ALL.len()]> = LazyLock::new(|| {
    let help = "Clicks that are lost for good, each once, by reason";
    let dropped = counters("linktide_clicks_dropped_total", help, &["reason"]);
    DropReason::ALL.map(|reason| dropped.with_label_values(&[reason.name()]))
});

/// Shows what has not happened yet as 0: a counter that first appears with its first event shows no increase.
pub(crate) fn begin() {
    LazyLock::force(&EMITTED);
    LazyLock::force(&DROPPED);
}

/// Clicks that emitters hold.
pub(crate) static BUFFERED: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_emitter_buffered_clicks", "Clicks that emitters hold"));

/// Bytes that emitters hold.
pub(crate) static BUFFERED_BYTES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_emitter_buffered_bytes", "Bytes that emitters hold"));

/// Records of the collector and of imports, by what became of them.
#[cfg(feature = "http")]
pub(crate) static COLLECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "linktide_collected_records_total",
        "Records of the collector and of imports, by outcome",
        &["door", "outcome"],
    )
});

/// Challenges in front of links, by what became of them.
#[cfg(feature = "http")]
pub(crate) static CHALLENGES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_challenges_total", "Challenges in front of links, by what became of them", &["outcome"])
});

/// Records the collector refused, by reason. Their sender was told, and may send them again.
#[cfg(feature = "http")]
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_refused_records_total", "Records the collector refused, by reason", &["reason"])
});
