//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::counter;
use prometheus::IntCounter;

/// Flushes the view took.
pub(crate) static FLUSHES: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_speed_flushes_total", "Flushes the view took"));

/// Times the worker threw its fold away and read the view's positions again.
pub(crate) static RECOVERIES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "linktide_speed_recoveries_total",
        "Times the worker threw its fold away and read the view's positions again",
    )
});
