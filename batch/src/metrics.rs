//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::{counter, gauge};
use prometheus::{IntCounter, IntGauge};

/// Clicks committed to `click_event`.
pub(crate) static ARCHIVED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_archive_clicks_total", "Clicks committed to click_event"));

/// Commits that another writer came before.
pub(crate) static CONFLICTS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("linktide_table_conflicts_total", "Commits that another writer came before"));

/// The watermark, in seconds since 1970.
pub(crate) static WATERMARK: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_watermark_timestamp_seconds", "The watermark, in seconds since 1970"));
