//! The language of Linktide: clicks, ids, buckets, sketch, enrichment, the log port, clock, lifecycle.
//!
//! Everything else rests on this crate and it rests on nothing of the house. The functions in the middle are pure;
//! what touches a disk or a network stands at the edge, behind a port.

pub mod bucket;
pub mod click;
pub mod clock;
pub mod copies;
pub mod count;
pub mod dimension;
pub mod enrich;
pub mod id;
pub mod intake;
pub mod label;
pub mod log;
pub mod metrics;
#[cfg(feature = "http")]
pub mod problem;
pub mod publication;
pub mod secret;
pub mod sketch;
pub mod tick;
