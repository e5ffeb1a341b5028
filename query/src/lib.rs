//! One honest answer
