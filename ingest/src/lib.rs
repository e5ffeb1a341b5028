//! The front door: how clicks come in.
//!
//! - [`Emitter`]: for a redirect service in Rust. It never waits.
//! - the collector, `POST /v1/clicks`: for everyone else. It answers when the log has the clicks.
//! - imports, `PUT /v1/imports/{digest}/chunks/{number}`: for the past. Each chunk counts once.
//! - the redirector, `GET /r/{slug}`: a small reference of how to use the emitter, with challenges in front of links that
//!   want them.

mod emitter;
mod metrics;

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod challenge;
#[cfg(feature = "http")]
mod collector;
#[cfg(feature = "http")]
mod health;
#[cfg(feature = "http")]
mod import;
#[cfg(feature = "http")]
mod links;
#[cfg(feature = "http")]
mod quota;
#[cfg(feature = "http")]
mod redirect;
#[cfg(feature = "http")]
mod router;
#[cfg(feature = "http")]
mod sender;
#[cfg(feature = "http")]
mod sighting;

#[cfg(feature = "http")]
pub use challenge::{CaptchaConfig, ChallengeConfig, Challenges, MOST_BITS, Provider, Suspicion};
pub use emitter::{DropReason, Emitter, EmitterConfig, Tally};
#[cfg(feature = "http")]
pub use health::{Readiness, health};
#[cfg(feature = "http")]
pub use links::{LinkFile, LinkFileError};
#[cfg(feature = "http")]
pub use linktide_common::rate::Rate;
#[cfg(feature = "http")]
pub use quota::QuotaConfig;
#[cfg(feature = "http")]
pub use router::{IngestConfig, openapi, router};
