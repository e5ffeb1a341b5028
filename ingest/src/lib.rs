//! The front door: emitter, collector, redirector
