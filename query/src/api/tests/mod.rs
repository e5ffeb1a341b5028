//! The API over a view and publications that the tests move by hand, and over real layers.

mod caching;
mod description;
mod documentation;
mod faults;
mod layers;
mod live;
mod parameters;
mod questions;
mod stage;
mod together;
