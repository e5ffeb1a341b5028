//! History
