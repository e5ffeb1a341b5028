//! Ranges of event time: what a caller asks for, in the caller's zone, and how it is cut into buckets.

use std::ops;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{Day, HOURS_PER_DAY, Hour, QUARTERS_PER_DAY, QUARTERS_PER_HOUR, Quarter, Timestamp, Zone};

/// The most buckets a question may be cut into.
const MOST_BUCKETS: usize = 10_000;
/// The longest range a question may have: 40 years.
const MOST_DAYS: i32 = 40 * 366;
/// 1972-02-01: before it some zones were not whole quarters away from UTC.
const FIRST: Day = Day(761);

/// Event time from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The first quarter in it.
    pub start: Quarter,
    /// The first quarter behind it.
    pub end: Quarter,
}

/// A range as whole UTC days and the quarters at its edges; the three are disjoint and together the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Quarters before the first whole day.
    pub head: Range,
    /// Whole UTC days.
    pub days: ops::Range<Day>,
    /// Quarters behind the last whole day.
    pub tail: Range,
}

impl Range {
    /// From `start` up to `end`; empty where `end` lies earlier.
    #[must_use]
    pub fn new(start: Quarter, end: Quarter) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The UTC days from the first up to, not including, the second.
    #[must_use]
    pub fn of_days(days: ops::Range<Day>) -> Self {
        Self::new(days.start.first_quarter(), days.end.first_quarter())
    }

    /// How many quarters it has.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.end.0 - self.start.0).expect("the end is not before the start")
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the quarter lies in it.
    #[must_use]
    pub fn contains(self, quarter: Quarter) -> bool {
        self.start <= quarter && quarter < self.end
    }

    /// What both have.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The UTC days it touches.
    #[must_use]
    pub fn days_touched(self) -> ops::Range<Day> {
        if self.is_empty() {
            return self.start.day()..self.start.day();
        }
        self.start.day()..Quarter(self.end.0 - 1).day().next()
    }

    /// Its whole UTC days and its edges.
    #[must_use]
    pub fn cut(self) -> Cut {
        let first = Day((self.start.0 + QUARTERS_PER_DAY - 1).div_euclid(QUARTERS_PER_DAY));
        let last = self.end.day();
        if first >= last {
            let nothing = Self::new(self.end, self.end);
            return Cut { head: self, days: first..first, tail: nothing };
        }
        Cut {
            head: Self::new(self.start, first.first_quarter()),
            days: first..last,
            tail: Self::new(last.first_quarter(), self.end),
        }
    }

    /// The UTC hours it touches: what a sketch by the hour can answer for it.
    #[must_use]
    pub fn hours_touched(self) -> ops::Range<Hour> {
        self.start.hour()
            ..Hour((self.end.0 + QUARTERS_PER_HOUR - 1).div_euclid(QUARTERS_PER_HOUR)).max(self.start.hour())
    }

    /// Whole hours as whole days and the hours at the edges.
    #[must_use]
    pub fn cut_hours(hours: ops::Range<Hour>) -> (ops::Range<Hour>, ops::Range<Day>, ops::Range<Hour>) {
        let first = Day((hours.start.0 + HOURS_PER_DAY - 1).div_euclid(HOURS_PER_DAY));
        let last = hours.end.day();
        if first >= last {
            return (hours.clone(), first..first, hours.end..hours.end);
        }
        (hours.start..first.first_hour(), first..last, last.first_hour()..hours.end)
    }
}

/// Why a range cannot be answered. The message names the value and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No instant.
    #[error(
        "`{0}` is neither a date (2026-03-01), a local time (2026-03-01T10:00) nor an instant (2026-03-01T10:00:00Z)"
    )]
    NotAnInstant(String),
    /// Before the first answerable day.
    #[error("`{0}` lies before 1972-02-01, from which on every zone is whole quarters away from UTC")]
    TooEarly(String),
    /// The end is not behind the start.
    #[error("the range ends at {end}, which is not after its start {start}")]
    Backwards {
        /// Where it starts.
        start: String,
        /// Where it ends.
        end: String,
    },
    /// Longer than anyone has clicks for.
    #[error("the range has {days} days, at most {MOST_DAYS} are answered; ask for a shorter one")]
    TooLong {
        /// How many days it has.
        days: i32,
    },
    /// More buckets than a chart can show.
    #[error("the range has more than {MOST_BUCKETS} buckets of a {unit}; ask for a shorter range or a larger unit")]
    TooManyBuckets {
        /// The unit they were asked in.
        unit: &'static str,
    },
}

/// Which end of a range an instant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The first: it is moved down to a quarter.
    Start,
    /// The last: it is moved up to a quarter, and a date means the end of that day.
    End,
}

/// The quarter at which a range starts or ends, from a date, a local time or an instant.
///
/// # Errors
/// [`RangeError::NotAnInstant`] and [`RangeError::TooEarly`].
pub fn parse_instant(text: &str, zone: &Zone, edge: Edge) -> Result<Quarter, RangeError> {
    let wrong = || RangeError::NotAnInstant(text.chars().take(80).collect());
    let ms = if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        instant.as_millisecond()
    } else if let (10, Ok(date)) = (text.len(), text.parse::<Date>()) {
        let date = if edge == Edge::End { date.tomorrow().map_err(|_| wrong())? } else { date };
        zone.quarter_from(date.to_datetime(Time::midnight())).ok_or_else(wrong)?.start().as_millis()
    } else {
        let local: DateTime = text.parse().map_err(|_| wrong())?;
        local
            .to_zoned_datetime(zone.local(Timestamp::MIN).time_zone().clone())
            .map_err(|_| wrong())?
            .timestamp()
            .as_millisecond()
    };
    let at = Timestamp::from_millis(ms).ok_or_else(wrong)?;
    if at < FIRST.start() {
        return Err(RangeError::TooEarly(text.to_owned()));
    }
    let floor = Quarter::of(at);
    Ok(if edge == Edge::End && floor.start() != at { floor.next() } else { floor })
}

impl Range {
    /// The range between two resolved edges.
    ///
    /// # Errors
    /// [`RangeError::Backwards`] and [`RangeError::TooLong`].
    pub fn between(start: Quarter, end: Quarter, zone: &Zone) -> Result<Self, RangeError> {
        if start >= end {
            return Err(RangeError::Backwards { start: zone.format(start.start()), end: zone.format(end.start()) });
        }
        let days = (end.0 - start.0) / QUARTERS_PER_DAY;
        if days > MOST_DAYS {
            return Err(RangeError::TooLong { days });
        }
        Ok(Self { start, end })
    }
}

/// A range by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// The last 24 hours.
    Hours24,
    /// Today and the 6 days before.
    Days7,
    /// Today and the 29 days before.
    Days30,
    /// Today and the 89 days before.
    Days90,
    /// This month and the 11 before.
    Months12,
    /// This month so far.
    MonthToDate,
    /// This quarter of the year so far.
    QuarterToDate,
    /// This year so far.
    YearToDate,
    /// Everything there is.
    All,
}

impl Interval {
    /// Every interval with its name.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("24h", Self::Hours24),
        ("7d", Self::Days7),
        ("30d", Self::Days30),
        ("90d", Self::Days90),
        ("12mo", Self::Months12),
        ("mtd", Self::MonthToDate),
        ("qtd", Self::QuarterToDate),
        ("ytd", Self::YearToDate),
        ("all", Self::All),
    ];
}

impl FromStr for Interval {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, interval)| *interval).ok_or(())
    }
}

/// The range an interval means now, in the caller's calendar. It ends with the present quarter; `all` starts at `earliest`.
#[must_use]
pub fn resolve_interval(interval: Interval, zone: &Zone, now: Timestamp, earliest: Quarter) -> Range {
    let end = Quarter::of(now).next();
    let today = zone.local(now).date();
    let start_of = |date: Date| zone.quarter_from(date.to_datetime(Time::midnight())).unwrap_or(earliest);
    let back = |span: Span| today.checked_sub(span).unwrap_or(today);
    let start = match interval {
        Interval::Hours24 => Quarter(end.0 - QUARTERS_PER_DAY),
        Interval::Days7 => start_of(back(6.days())),
        Interval::Days30 => start_of(back(29.days())),
        Interval::Days90 => start_of(back(89.days())),
        Interval::Months12 => start_of(back(11.months()).first_of_month()),
        Interval::MonthToDate => start_of(today.first_of_month()),
        Interval::QuarterToDate => start_of(back(i64::from((today.month() - 1) % 3).months()).first_of_month()),
        Interval::YearToDate => start_of(today.first_of_year()),
        Interval::All => earliest.max(FIRST.first_quarter()),
    };
    Range::new(start.min(end), end)
}

/// The first quarter of the day that it is now in the zone.
#[must_use]
pub fn today(now: Timestamp, zone: &Zone) -> Quarter {
    Unit::Day.start_of(Quarter::of(now), zone)
}

/// How long a bucket of a timeseries is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 15 minutes.
    Quarter,
    /// An hour of the zone's clock.
    Hour,
    /// A day of the zone's calendar: 23, 24 or 25 hours.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
}

impl Unit {
    /// Every unit with its name.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("quarter", Self::Quarter),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
    ];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, unit)| *unit == self).map_or("", |(name, _)| name)
    }

    /// The first quarter behind the bucket of this unit that holds `quarter`.
    fn end_of(self, quarter: Quarter, zone: &Zone) -> Quarter {
        let start = quarter.start();
        let local = || zone.local(start);
        // Clocks that fall back over midnight show the old date again; the new day began at the first midnight all the same.
        let day_after = |date: Date, span: Span| {
            let mut next = date.checked_add(span).ok()?;
            let mut start = zone.quarter_from(next.to_datetime(Time::midnight()))?;
            while start <= quarter {
                next = next.tomorrow().ok()?;
                start = zone.quarter_from(next.to_datetime(Time::midnight()))?;
            }
            Some(start)
        };
        let end = match self {
            Self::Quarter => Some(quarter.next()),
            Self::Hour => zone.whole_offset(start, Quarter(quarter.0 + QUARTERS_PER_HOUR).start()).map_or_else(
                || {
                    // Within an hour of UTC the offset may change, but only on a whole quarter: the walk sees it.
                    let mut end = quarter.next();
                    while zone.local(end.start()).minute() != 0 && zone.local(end.start()).hour() == local().hour() {
                        end = end.next();
                    }
                    Some(end)
                },
                |offset| {
                    Some(Quarter(quarter.0 + QUARTERS_PER_HOUR - (quarter.0 + offset).rem_euclid(QUARTERS_PER_HOUR)))
                },
            ),
            Self::Day => day_after(local().date(), 1.day()),
            Self::Week => {
                let to_monday = 7 - i64::from(local().weekday().to_monday_zero_offset());
                day_after(local().date(), to_monday.days())
            }
            Self::Month => day_after(local().date().first_of_month(), 1.month()),
        };
        end.filter(|end| *end > quarter).unwrap_or(quarter.next())
    }

    /// The first quarter of the bucket of this unit that holds `quarter`.
    fn start_of(self, quarter: Quarter, zone: &Zone) -> Quarter {
        let local = zone.local(quarter.start());
        let midnight = |date: Date| zone.quarter_from(date.to_datetime(Time::midnight()));
        let start = match self {
            Self::Quarter => Some(quarter),
            Self::Hour => {
                let mut start = quarter;
                while zone.local(start.start()).minute() != 0
                    && zone.local(Quarter(start.0 - 1).start()).hour() == local.hour()
                {
                    start = Quarter(start.0 - 1);
                }
                Some(start)
            }
            Self::Day => midnight(local.date()),
            Self::Week => {
                let back = i64::from(local.weekday().to_monday_zero_offset());
                local.date().checked_sub(back.days()).ok().and_then(midnight)
            }
            Self::Month => midnight(local.date().first_of_month()),
        };
        start.filter(|start| *start <= quarter).unwrap_or(quarter)
    }
}

impl FromStr for Unit {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit).ok_or(())
    }
}

/// A bucket of a timeseries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its quarters, cut off where the range begins or ends within it.
    pub range: Range,
    /// Whether it was cut off.
    pub clipped: bool,
}

/// Cuts a range into buckets of the zone's calendar: gapless, disjoint, and together exactly the range.
///
/// # Errors
/// [`RangeError::TooManyBuckets`].
pub fn buckets(range: Range, unit: Unit, zone: &Zone) -> Result<Vec<Bucket>, RangeError> {
    let mut cut = Vec::new();
    let mut start = range.start;
    while start < range.end {
        if cut.len() == MOST_BUCKETS {
            return Err(RangeError::TooManyBuckets { unit: unit.name() });
        }
        let whole_end = unit.end_of(start, zone);
        let end = whole_end.min(range.end);
        let clipped = whole_end > range.end || (cut.is_empty() && unit.start_of(start, zone) < start);
        cut.push(Bucket { range: Range::new(start, end), clipped });
        start = end;
    }
    Ok(cut)
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
