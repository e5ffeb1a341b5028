//! The API over a view and publications that the tests move by hand, and over real layers.

mod access;
mod description;
mod faults;
mod layers;
mod parameters;
mod questions;
mod stage;
