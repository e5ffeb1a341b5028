//! The whole of it, as its users see it: over HTTP and by its commands, on real folders.

mod bad_input;
mod demo;
mod harness;
mod kill;
mod real_log;
mod seam;
