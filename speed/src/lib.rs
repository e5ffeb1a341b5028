//! What came in lately: clicks folded into cells, and the view that holds them for the query service.
//!
//! The view is never the only copy of anything: empty it, and it refills from the log, from the cut of the watermark.
//! Each click is folded once because positions travel with the counts: a flush applies both or neither, and only where
//! the view stands where the fold began.

mod fold;
mod metrics;
pub mod reader;
mod series;
mod shard;
pub mod view;
mod worker;

pub use worker::{SpeedConfig, SpeedError, SpeedWorker};
