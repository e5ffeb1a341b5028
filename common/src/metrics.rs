//! What this crate measures. The comment of a metric is the help text that `/metrics` shows.

mod process;

use std::sync::{LazyLock, Once};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// Registers a counter under its name with its help text.
#[must_use]
pub fn counter(name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect("a metric's name is valid");
    prometheus::register(Box::new(counter.clone())).expect("a metric is registered once");
    counter
}

/// Registers a counter with labels under its name with its help text.
#[must_use]
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a metric's name is valid");
    prometheus::register(Box::new(counters.clone())).expect("a metric is registered once");
    counters
}

/// Registers a gauge under its name with its help text.
#[must_use]
pub fn gauge(name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("a metric's name is valid");
    prometheus::register(Box::new(gauge.clone())).expect("a metric is registered once");
    gauge
}

/// Registers a gauge with labels under its name with its help text.
#[must_use]
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect("a metric's name is valid");
    prometheus::register(Box::new(gauges.clone())).expect("a metric is registered once");
    gauges
}

/// Tells the version of the program, and which `layer` this process is: `standalone` where it is all of them.
pub fn tell_build(layer: &str) {
    BUILD.with_label_values(&[env!("CARGO_PKG_VERSION"), layer]).set(1);
    static PROCESS: Once = Once::new();
    PROCESS.call_once(|| {
        prometheus::register(Box::new(process::Process::new())).expect("a metric is registered once");
    });
}

/// Always 1: which version of Linktide this is, and which layer of it.
static BUILD: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Always 1: which version of Linktide this is, and which layer of it";
    gauges("linktide_build_info", help, &["version", "layer"])
});

/// Everything measured, in the text format of Prometheus.
#[must_use]
pub fn render() -> String {
    prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap_or_default()
}

/// Requests refused because nobody knows who asks, by reason.
#[cfg(feature = "access")]
pub static ACCESS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests refused because nobody knows who asks, by reason";
    counters("linktide_access_refused_total", help, &["reason"])
});

/// Requests refused because too much was asked, by whose limit it was: tenant, caller or address.
#[cfg(feature = "access")]
pub static ACCESS_LIMITED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests refused because too much was asked, by whose limit it was: tenant, caller or address";
    counters("linktide_access_limited_total", help, &["limit"])
});

/// Signals that edges signed, by what the door made of the signature.
#[cfg(feature = "access")]
pub static EDGE_SIGNALS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Signals that edges signed, by what the door made of the signature: signed, forged or expired";
    counters("linktide_edge_signals_total", help, &["outcome"])
});

/// Lists of bots that were not taken because they are broken.
pub static BOT_LIST_RELOADS_FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_bot_list_reloads_failed_total", "Lists of bots that were not taken because they are broken")
});

/// GeoIP databases that were not taken because they are broken.
pub static GEOIP_RELOADS_FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("linktide_geoip_reloads_failed_total", "GeoIP databases that were not taken because they are broken")
});

/// When a list or a database that is in use was changed last, in seconds since 1970, by file.
#[cfg(feature = "layers")]
static RULES_FILES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "When a list or a database that is in use was changed last, in seconds since 1970, by file";
    gauges("linktide_rules_file_modified_timestamp_seconds", help, &["file"])
});

/// Tells how old a list or a database is that is in use now.
#[cfg(feature = "layers")]
pub(crate) fn tell_rules_file(file: &std::path::Path, modified: std::time::SystemTime) {
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    RULES_FILES.with_label_values(&[&file.display().to_string()]).set(i64::try_from(since).unwrap_or(i64::MAX));
}

/// The watermark of the newest publication that this process knows of, in seconds since 1970.
pub static WATERMARK: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "The watermark of the newest publication that this process knows of, in seconds since 1970";
    gauge("linktide_watermark_timestamp_seconds", help)
});

/// Records that a layer left out, by layer and reason: copies and rejects.
pub static RECORDS_LEFT_OUT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "linktide_records_left_out_total",
        "Records that a layer left out: copies and rejects",
        &["layer", "reason"],
    )
});

/// Clicks a layer has read.
pub static CLICKS_READ: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("linktide_clicks_read_total", "Clicks a layer has read from the log", &["layer"]));

/// Ticks a layer appended to the log.
pub static TICKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("linktide_ticks_appended_total", "Ticks a layer appended to idle partitions", &["layer"])
});

/// Records between a layer's position and the end of each partition.
pub static LAG_RECORDS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Records between a layer's position and the end of each partition";
    gauges("linktide_log_lag_records", help, &["layer", "partition"])
});

/// How long ago what a layer read last of each partition was received; 0 at its end.
pub static LAG_SECONDS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "How long ago what a layer read last of each partition was received; 0 at its end";
    gauges("linktide_log_lag_seconds", help, &["layer", "partition"])
});

/// 1 where a layer has stopped reading a partition, and why.
pub static PARTITIONS_STOPPED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "1 where a layer has stopped reading a partition, by the reason: clock_ahead or above_high";
    gauges("linktide_partitions_stopped", help, &["layer", "partition", "reason"])
});
