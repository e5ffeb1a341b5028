//! The language of Linktide: clicks, ids, buckets, sketch, enrichment, the log port, clock, lifecycle.
//!
//! Everything else rests on this crate and it rests on nothing of the house. The functions in the middle are pure;
//! what touches a disk or a network stands at the edge, behind a port.
//!
//! A redirect service that embeds the emitter needs little of it: what the layers behind the log need is the feature
//! `layers`, who may ask what is `access`, and each log is one of its own.

#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "http")]
pub mod address;
pub mod background;
pub mod bucket;
pub mod click;
pub mod clock;
#[cfg(feature = "layers")]
pub mod copies;
pub mod count;
#[cfg(feature = "layers")]
pub mod dimension;
#[cfg(feature = "layers")]
pub mod enrich;
#[cfg(feature = "layers")]
pub mod filter;
pub mod headroom;
pub mod id;
#[cfg(feature = "layers")]
pub mod intake;
#[cfg(feature = "layers")]
pub mod label;
pub mod log;
pub mod metrics;
pub mod pool;
#[cfg(feature = "http")]
pub mod problem;
#[cfg(feature = "layers")]
pub mod publication;
#[cfg(feature = "http")]
pub mod rate;
#[cfg(feature = "layers")]
pub mod repeat;
pub mod secret;
#[cfg(feature = "layers")]
pub mod sketch;
#[cfg(feature = "layers")]
pub mod tick;
#[cfg(feature = "layers")]
pub mod turns;
#[cfg(feature = "layers")]
pub mod visitors;
