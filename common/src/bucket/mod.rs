//! Time-bucket arithmetic, all of it: instants, quarters, hours, days, and how a range is cut in a zone.
//!
//! The base bucket is the quarter, 15 minutes of UTC. Every zone's offset since 1972 is a multiple of it, so days and
//! hours of any zone are whole numbers of quarters, on days of 23 and 25 hours too.

mod comparison;
mod range;
mod week;
mod zone;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, NothingBefore};
pub use range::{
    Bucket, Cut, Edge, Interval, Range, RangeError, Unit, buckets, parse_instant, resolve_interval, today,
};
pub use week::HourOfWeek;
pub use zone::{UnknownZone, Zone};

const QUARTER_MS: i64 = 15 * 60 * 1000;
const HOUR_MS: i64 = 4 * QUARTER_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Quarters in an hour.
pub const QUARTERS_PER_HOUR: i32 = 4;
/// Quarters in a UTC day.
pub const QUARTERS_PER_DAY: i32 = 96;
/// Hours in a UTC day.
pub const HOURS_PER_DAY: i32 = 24;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z, below which no calendar of ours goes.
    pub const MIN: Self = Self(-62_135_596_800_000);
    /// 9999-01-01T00:00:00Z, a year below the last that text can say.
    pub const MAX: Self = Self(253_370_764_800_000);

    /// The instant `ms` milliseconds after the Unix epoch, or none where a four-digit year cannot say it.
    #[must_use]
    pub fn from_millis(ms: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&ms).then_some(Self(ms))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved by `ms` milliseconds, held within [`Timestamp::MIN`] and [`Timestamp::MAX`].
    #[must_use]
    pub fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds from `earlier` to this instant; negative where it lies later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

macro_rules! bucket {
    ($(#[$doc:meta])* $name:ident, $ms:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i32);

        impl $name {
            /// The bucket that holds `at`.
            #[must_use]
            pub fn of(at: Timestamp) -> Self {
                // The range of `Timestamp` divided by fifteen minutes fits in 32 bits.
                #[expect(clippy::cast_possible_truncation, reason = "bounded by Timestamp::MIN and MAX")]
                Self(at.0.div_euclid($ms) as i32)
            }

            /// The bucket's first instant.
            #[must_use]
            pub fn start(self) -> Timestamp {
                Timestamp(i64::from(self.0) * $ms)
            }

            /// The bucket behind this one; its start is this one's end.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

bucket! {
    /// Fifteen minutes of UTC, counted from the Unix epoch.
    Quarter, QUARTER_MS
}
bucket! {
    /// An hour of UTC, counted from the Unix epoch.
    Hour, HOUR_MS
}
bucket! {
    /// A day of UTC, counted from the Unix epoch (Arrow's `Date32`).
    Day, DAY_MS
}

impl Quarter {
    /// The UTC hour this quarter lies in.
    #[must_use]
    pub fn hour(self) -> Hour {
        Hour(self.0.div_euclid(QUARTERS_PER_HOUR))
    }

    /// The UTC day this quarter lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(QUARTERS_PER_DAY))
    }

    /// 0 to 3: which quarter of its hour.
    #[must_use]
    pub fn in_hour(self) -> usize {
        usize::try_from(self.0.rem_euclid(QUARTERS_PER_HOUR)).expect("a remainder by 4 is not negative")
    }

    /// 0 to 95: which quarter of its day.
    #[must_use]
    pub fn in_day(self) -> usize {
        usize::try_from(self.0.rem_euclid(QUARTERS_PER_DAY)).expect("a remainder by 96 is not negative")
    }
}

impl Hour {
    /// The UTC day this hour lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(HOURS_PER_DAY))
    }

    /// The hour's first quarter.
    #[must_use]
    pub fn first_quarter(self) -> Quarter {
        Quarter(self.0 * QUARTERS_PER_HOUR)
    }
}

impl Day {
    /// The day's first quarter.
    #[must_use]
    pub fn first_quarter(self) -> Quarter {
        Quarter(self.0 * QUARTERS_PER_DAY)
    }

    /// The day's first hour.
    #[must_use]
    pub fn first_hour(self) -> Hour {
        Hour(self.0 * HOURS_PER_DAY)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds where there are any: `2015-05-17T10:05:03Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        jiff::Timestamp::from_millisecond(self.0).expect("Timestamp lies within jiff's range").fmt(f)
    }
}
