//! The API over a view and publications that the tests move by hand, and over real layers.

mod caching;
mod description;
mod faults;
mod layers;
mod live;
mod parameters;
mod questions;
pub(crate) mod stage;
mod together;
