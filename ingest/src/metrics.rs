//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::{counter, counters, gauge};
use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// Clicks the log has from emitters.
pub(crate) static EMITTED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_clicks_emitted_total", "Clicks the log has from emitters"));

/// Clicks that are lost for good, each once, by reason.
pub(crate) static DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_clicks_dropped_total", "Clicks that are lost for good, each once, by reason", &["reason"])
});

/// Clicks that wait in emitters' buffers.
pub(crate) static BUFFERED: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_emitter_buffered_clicks", "Clicks that wait in emitters' buffers"));

/// Records of the collector and of imports, by what became of them.
#[cfg(feature = "http")]
pub(crate) static COLLECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "linktide_collected_records_total",
        "Records of the collector and of imports, by outcome",
        &["door", "outcome"],
    )
});
