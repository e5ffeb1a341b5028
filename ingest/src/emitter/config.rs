//! How much an emitter holds, and for how long.

use std::time::Duration;

/// What a click takes in the buffer, texts and all, where nothing better is known.
const TYPICAL_BYTES: usize = 600;

/// How much an emitter holds, and for how long.
#[derive(Debug, Clone)]
pub struct EmitterConfig {
    /// Clicks that may be held: waiting, or on their way to the log.
    pub buffer_clicks: usize,
    /// Bytes that may be held.
    pub buffer_bytes: usize,
    /// How long a click may wait before it is dropped.
    pub expiry: Duration,
    /// Clicks appended at once.
    pub batch_clicks: usize,
    /// How long a click waits at most before it goes its way, where less than a batch waits. Each time the emitter's thread,
    /// Kafka's client and the broker's answer wake up, beside the redirects: seldom is better for those.
    pub linger: Duration,
    /// Batches on their way at once. Their order does not matter: the log has its own times.
    pub batches: usize,
    /// Clicks a second that are expected. It bounds nothing; it says how long the buffer lasts.
    pub rate: u32,
}

impl Default for EmitterConfig {
    fn default() -> Self {
        Self {
            buffer_clicks: 200_000,
            buffer_bytes: 256 << 20,
            expiry: Duration::from_secs(120),
            batch_clicks: 5_000,
            linger: Duration::from_millis(100),
            batches: 8,
            rate: 10_000,
        }
    }
}

impl EmitterConfig {
    /// How long the log may be away at the expected rate before clicks are dropped: what ends first, room for clicks, room
    /// for their bytes (some 600 each), or their patience.
    #[must_use]
    pub fn bridges(&self) -> Duration {
        let room = self.buffer_clicks.min(self.buffer_bytes / TYPICAL_BYTES);
        Duration::from_secs_f64(room as f64 / f64::from(self.rate.max(1))).min(self.expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_is_stated_in_seconds_of_whatever_ends_first() {
        let config = EmitterConfig::default();
        assert_eq!(config.bridges(), Duration::from_secs(20));
        assert_eq!(EmitterConfig { buffer_bytes: 60_000_000, ..config.clone() }.bridges(), Duration::from_secs(10));
        assert_eq!(EmitterConfig { expiry: Duration::from_secs(3), ..config }.bridges(), Duration::from_secs(3));
    }
}
