//! Exports against a plain filter over the clicks that were sent.

mod decode;
mod jobs;
mod streams;
pub(crate) mod world;
