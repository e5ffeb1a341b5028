//! One honest answer: history and the last hours, merged at one watermark, with how fresh it is.
//!
//! 1. A question pins the newest publication.
//! 2. Batch gives its rows at the versions it names: every click received before `W`, by event time.
//! 3. Speed gives its cells from `W` on. If it no longer holds all of them, a newer publication is there: the question
//!    starts again with that, or says that clicks are missing.
//! 4. Both are added. Each click is in one of them, by the stamp the log gave it, however late its event time is.
//!
//! A layer that is away costs its part of the answer, never the answer, and `meta.freshness` says so.

mod answer;
mod api;
mod ask;
mod envelope;
mod export;
mod freshness;
mod live;
mod merge;
mod metrics;
mod needs;
mod objects;
mod params;
mod question;
mod state;
mod webhook;

pub use api::{openapi, router};
pub use export::{ExportConfig, Exports, Presign};
pub use state::{Query, QueryConfig};
pub use webhook::{WebhookConfig, Webhooks};
