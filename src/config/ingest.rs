//! How clicks come in: `[ingest]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use linktide_ingest::Provider;
use serde::{Deserialize, Serialize};

use super::{ByteSize, Hidden, Span};

/// How clicks come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Where `linktide ingest` listens. It shows no clicks, so this may be any address; whoever reaches it may send some.
    pub listen: SocketAddr,
    /// A CSV file of links for the redirector: `slug,link_id,destination,title`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<PathBuf>,
    /// Whether redirects are recorded as clicks.
    pub track: bool,
    /// Whether a record may name any tenant. Without keys nobody checks who sends: only where every sender is trusted.
    pub any_tenant: bool,
    /// The largest body, as sent.
    pub body: ByteSize,
    /// How long the log may take to acknowledge what the collector got.
    pub ack_within: Span,
    /// How many proxies of our own stand in front, each adding to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// Clicks that the emitter may hold.
    pub buffer_clicks: usize,
    /// Bytes that the emitter may hold.
    pub buffer: ByteSize,
    /// How long a click may wait in the emitter.
    pub expiry: Span,
    /// Clicks a second that are expected: it bounds nothing, and says how many seconds the buffer bridges.
    pub rate: u32,
    /// How long `linktide ingest` answers on after it is told to end, unready, so that those in front notice.
    pub leave: Span,
    /// How long the emitter may take to empty its buffer at the end.
    pub drain: Span,
    /// The secret that an edge signs its signals with, of 16 bytes at least; never shown. Without it, none is believed.
    #[serde(skip_serializing)]
    pub edge_secret: Option<Hidden>,
    /// How old such a signature may be, and how far ahead.
    pub edge_fresh: Span,
    /// Challenges in front of links that want them.
    pub challenge: Challenge,
    /// What a tenant may send to the collector.
    pub quota: Quota,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            links: None,
            track: true,
            any_tenant: false,
            body: ByteSize(16 << 20),
            ack_within: Span::seconds(10),
            trusted_proxies: 0,
            buffer_clicks: 200_000,
            buffer: ByteSize(256 << 20),
            expiry: Span::seconds(120),
            rate: 10_000,
            leave: Span::seconds(3),
            drain: Span::seconds(10),
            edge_secret: None,
            edge_fresh: Span::seconds(60),
            challenge: Challenge::default(),
            quota: Quota::default(),
        }
    }
}

/// Challenges in front of links that want them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Challenge {
    /// What tokens are signed with, of 16 bytes at least; never shown. Several processes behind one name need the same;
    /// without it, a process makes its own at its start.
    #[serde(skip_serializing)]
    pub secret: Option<Hidden>,
    /// How long an answer may take.
    pub lifetime: Span,
    /// Leading zero bits that the proof of work needs, 20 at most: each doubles it. 12 are some 4,000 hashes.
    pub bits: u32,
    /// Challenges that may wait for an answer at once; beyond, visitors are led on.
    pub most: usize,
    /// A provider of CAPTCHAs in place of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captcha: Option<Captcha>,
}

impl Default for Challenge {
    fn default() -> Self {
        Self { secret: None, lifetime: Span::seconds(120), bits: 12, most: 10_000, captcha: None }
    }
}

/// A provider of CAPTCHAs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captcha {
    /// `turnstile`, `hcaptcha` or `recaptcha`.
    pub provider: Provider,
    /// The public key of the site.
    pub site_key: String,
    /// The secret of the site; never shown.
    #[serde(skip_serializing, default)]
    pub secret: Option<Hidden>,
    /// Where responses are verified, where that is not the provider's own place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_url: Option<String>,
    /// Where the script is, where that is not the provider's own place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_url: Option<String>,
}

/// What a tenant may send to the collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Clicks a second, over time.
    pub clicks_per_second: u64,
    /// Clicks at once.
    pub clicks_burst: u64,
    /// Bytes of records a second, over time.
    pub bytes_per_second: ByteSize,
    /// Bytes of records at once: no less than a record may have, 64KiB.
    pub bytes_burst: ByteSize,
    /// Tenants whose use is remembered one by one; those beyond share one quota.
    pub tenants: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            clicks_per_second: 10_000,
            clicks_burst: 100_000,
            bytes_per_second: ByteSize(8 << 20),
            bytes_burst: ByteSize(64 << 20),
            tenants: 10_000,
        }
    }
}
