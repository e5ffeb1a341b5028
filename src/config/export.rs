//! Settings of exports and webhooks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{ByteSize, Span};

/// Rows as files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Export {
    /// Whether this process makes exports. It writes below `export/` of the lake then.
    pub enabled: bool,
    /// Threads that make them; they stand back behind all others.
    pub threads: usize,
    /// Memory that running queries of exports may hold together.
    pub memory: ByteSize,
    /// Exports that are streamed at once.
    pub streams: usize,
    /// Of them, those of one tenant.
    pub streams_per_tenant: usize,
    /// Rows that are streamed at most; more are a job.
    pub stream_rows: usize,
    /// Bytes after which a stream is broken off.
    pub stream_bytes: ByteSize,
    /// Jobs of one tenant that are not over.
    pub jobs_per_tenant: usize,
    /// About how large a file of a job's result becomes; so much of it is held in memory.
    pub part: ByteSize,
    /// How long a job may show no sign of life before another process goes on with it.
    pub lease: Span,
    /// How long results are kept.
    pub keep: Span,
    /// How long a signed address of a file is good.
    pub url_valid_for: Span,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            enabled: true,
            threads: 1,
            memory: ByteSize(256 << 20),
            streams: 4,
            streams_per_tenant: 2,
            stream_rows: 200_000,
            stream_bytes: ByteSize(256 << 20),
            jobs_per_tenant: 5,
            part: ByteSize(32 << 20),
            lease: Span::seconds(30),
            keep: Span::days(7),
            url_valid_for: Span::seconds(15 * 60),
        }
    }
}

/// Telling other services what was counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Whether this process watches counts and tells of them. It writes below `webhook/` of the lake then.
    pub enabled: bool,
    /// The file of the secret that the secrets of webhooks are made from: the same for every process of a Linktide.
    /// `standalone` keeps its own in its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// How often counts are looked at.
    pub every: Span,
    /// How long a receiver may take to answer.
    pub timeout: Span,
    /// How long after a failure it is tried again, and after the next one, and so on; then it is given up.
    pub retries: Vec<Span>,
    /// Deliveries in a row that were given up before a webhook is disabled.
    pub disable_after: u32,
    /// Webhooks of one tenant.
    pub per_tenant: usize,
    /// Whether receivers may be reached without TLS, and at addresses of private networks or this machine.
    pub allow_private: bool,
}

impl Default for Webhook {
    fn default() -> Self {
        let minutes = |minutes: u64| Span::seconds(minutes * 60);
        Self {
            enabled: true,
            key: None,
            every: Span::seconds(5),
            timeout: Span::seconds(10),
            retries: vec![
                Span::seconds(5),
                minutes(1),
                minutes(5),
                minutes(30),
                Span::hours(2),
                Span::hours(5),
                Span::hours(10),
                Span::hours(10),
            ],
            disable_after: 5,
            per_tenant: 100,
            allow_private: false,
        }
    }
}
