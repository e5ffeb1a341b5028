//! The API over a view and publications that the tests move by hand, and over real layers.

mod access;
mod caching;
pub(crate) mod description;
mod documentation;
mod faults;
mod layers;
mod live;
mod page;
mod parameters;
mod questions;
pub(crate) mod stage;
mod together;
