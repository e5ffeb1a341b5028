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

/// Clicks handed to the view, those of flushes that it did not take included.
pub(crate) static FLUSHED_CLICKS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_speed_flushed_clicks_total", "Clicks handed to the view, again after a failure too")
});

/// Records that were gone from the log before they were counted.
pub(crate) static LOST_RECORDS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_speed_lost_records_total", "Records that were gone from the log before they were counted")
});

/// Operations that the view refused behind a position: counts that are missing until it is rebuilt.
pub(crate) static VIEW_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_speed_view_errors_total", "Operations that the view refused behind a position; rebuild it")
});

/// Shows what has not happened yet as 0: a counter that first appears with its first event shows no increase.
pub(crate) fn begin() {
    for counter in [&RECOVERIES, &LOST_RECORDS, &VIEW_ERRORS] {
        LazyLock::force(counter);
    }
}
