//! What runs say of themselves.

use linktide_common::bucket::{Day, Hour};

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It finishes a plan that an earlier run left open.
    Resume {
        /// The plan's number.
        plan: u64,
    },
    /// It rolls up the clicks received in these hours.
    Increment {
        /// The old watermark.
        from: Hour,
        /// The new one.
        to: Hour,
    },
    /// It adds that many clicks to the tables.
    Merge {
        /// How many.
        clicks: u64,
    },
    /// It sorts raw clicks.
    Compact {
        /// Of how many days of receipt.
        days: usize,
    },
    /// It deletes raw clicks.
    Delete {
        /// The last day of receipt that goes.
        through: Day,
    },
    /// It corrects raw clicks and rollups.
    Correct {
        /// How many clicks.
        clicks: u64,
        /// Of how many event days.
        days: usize,
    },
    /// It publishes.
    Publish,
    /// It cleans up behind old publications.
    Maintain,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to roll up yet.
    Nothing {
        /// Why not.
        why: String,
    },
    /// The watermark moved.
    Published {
        /// The number of the newest publication.
        number: u64,
        /// The old watermark.
        from: Hour,
        /// The new one.
        to: Hour,
        /// Clicks between them, as far as this run added them.
        clicks: u64,
    },
}
