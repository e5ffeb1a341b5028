//! The one binary: which layers run in this process, and the commands that talk to them. Everything else is in the crates.

pub mod cli;
mod client;
pub mod config;
pub mod demo;
mod explain;
pub mod import;
mod jobs;
mod keys;
mod people;
mod schedule;
pub mod services;
mod telemetry;
