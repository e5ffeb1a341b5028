//! The whole of it, as its users see it: over HTTP and by its commands, on real folders.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it skips")]

mod access;
mod bad_input;
mod challenge;
mod dashboard;
mod demo;
mod exports;
mod front_door;
mod harness;
mod jobs;
mod kill;
mod lake;
mod real_log;
mod recognition;
mod seam;
mod speed;
mod status;
mod verdicts;
mod webhooks;
