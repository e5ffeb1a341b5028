//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

use std::sync::LazyLock;

use linktide_common::metrics::{counters, gauge};
use prometheus::{IntCounterVec, IntGauge};

/// Answers that lacked a layer.
pub(crate) static LAYERS_AWAY: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("linktide_answers_without_layer_total", "Answers that lacked a layer", &["layer"]));

/// How far answers lie behind the present, in seconds.
pub(crate) static LAG: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("linktide_as_of_lag_seconds", "How far answers lie behind the present, in seconds"));
