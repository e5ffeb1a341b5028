//! Which event days lie in one file of a rollup.
//!
//! The number of files decides how long a question takes, and how much is rewritten how long a night does. So
//!
//! 1. each event day of the young third of the young month has a file: `2026-03-21.<id>.parquet`;
//! 2. a third that is over, days 1 to 10, 11 to 20 or 21 to the last, has one: `2026-03-01_10.<id>.parquet`;
//! 3. a month that has turned has one: `2026-03.<id>.parquet`; a table without days has one in all.
//!
//! The name of a file says which days it holds, and one key always has one row. Thirty days lie in some dozen files at most,
//! and each row is rewritten for its age twice.

use std::ops::Range;

use linktide_common::bucket::{Day, Timestamp};
use object_store::path::Path;

use crate::table::File;

/// Which days a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// A day of the young third.
    Day(Day),
    /// A third of the young month that is over, by its first day.
    Third(Day),
    /// A month that has turned, by its first day.
    Month(Day),
    /// The one file of a table without days.
    All,
}

impl Slot {
    /// Where rows of a day belong, `young` being the first day of the young third.
    pub(crate) fn of(day: Day, young: Day) -> Self {
        if day >= young {
            Self::Day(day)
        } else if month_of(day) == month_of(young) {
            Self::Third(third_of(day))
        } else {
            Self::Month(month_of(day))
        }
    }

    /// What a file holds, by its name.
    pub(crate) fn named(file: &File) -> Option<Self> {
        let name = file.path.filename()?.split('.').next()?;
        if name == "all" {
            return Some(Self::All);
        }
        let day = |date: &str| {
            let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
            Timestamp::from_millis(start.as_millisecond()).map(Day::of)
        };
        match (name.len(), name.split_once('_')) {
            (7, None) => day(&format!("{name}-01")).map(Self::Month),
            (10, None) => day(name).map(Self::Day),
            (13, Some((first, _))) => day(first).map(Self::Third).filter(|third| third.name() == name),
            _ => None,
        }
    }

    /// Where its rows belong now.
    pub(crate) fn now(self, young: Day) -> Self {
        match self {
            Self::Day(day) => Self::of(day, young),
            Self::Third(day) if month_of(day) < month_of(young) => Self::Month(month_of(day)),
            Self::Third(_) | Self::Month(_) | Self::All => self,
        }
    }

    /// The days it holds; none in a table without days.
    pub(crate) fn days(self) -> Option<Range<Day>> {
        match self {
            Self::Day(day) => Some(day..day.next()),
            Self::Third(first) => Some(first..behind_third(first)),
            Self::Month(first) => Some(first..month_of(Day(first.0 + 31))),
            Self::All => None,
        }
    }

    pub(crate) fn month(self) -> Option<String> {
        self.first_day().map(|day| day.start().to_string()[..7].to_owned())
    }

    /// A place for a file that no other has.
    pub(crate) fn place(self) -> Path {
        let folder = self.month().map(|month| format!("event_month={month}/")).unwrap_or_default();
        Path::from(format!("{folder}{}.{}.parquet", self.name(), uuid::Uuid::new_v4()))
    }

    fn name(self) -> String {
        let date = |day: Day, len: usize| day.start().to_string()[..len].to_owned();
        match self {
            Self::Day(day) => date(day, 10),
            Self::Third(first) => {
                let last = date(Day(behind_third(first).0 - 1), 10);
                format!("{}_{}", date(first, 10), &last[8..])
            }
            Self::Month(first) => date(first, 7),
            Self::All => "all".to_owned(),
        }
    }

    /// What its rows sort by before their key.
    pub(crate) fn first_day(self) -> Option<Day> {
        match self {
            Self::Day(day) | Self::Third(day) | Self::Month(day) => Some(day),
            Self::All => None,
        }
    }
}

/// The first day of a day's month.
fn month_of(day: Day) -> Day {
    Day(day.0 - of_month(day) + 1)
}

/// The first day of a day's third of its month.
pub(crate) fn third_of(day: Day) -> Day {
    Day(month_of(day).0 + (of_month(day) - 1).min(29) / 10 * 10)
}

fn behind_third(first: Day) -> Day {
    if of_month(first) > 20 { month_of(Day(first.0 + 14)) } else { Day(first.0 + 10) }
}

fn of_month(day: Day) -> i32 {
    let date = day.start().to_string();
    date[8..10].parse().expect("a date's last two letters are the day of its month")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str) -> Day {
        let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().unwrap();
        Day::of(Timestamp::from_millis(start.as_millisecond()).unwrap())
    }

    #[test]
    fn young_days_have_files_and_thirds_and_months_that_are_over_have_one() {
        for (watermark, date, place, days) in [
            ("2026-03-05", "2026-03-01", "event_month=2026-03/2026-03-01.", 1),
            ("2026-03-05", "2026-04-01", "event_month=2026-04/2026-04-01.", 1),
            ("2026-03-05", "2026-02-28", "event_month=2026-02/2026-02.", 28),
            ("2026-03-11", "2026-03-10", "event_month=2026-03/2026-03-01_10.", 10),
            ("2026-03-31", "2026-03-20", "event_month=2026-03/2026-03-11_20.", 10),
            ("2026-03-31", "2026-03-21", "event_month=2026-03/2026-03-21.", 1),
            ("2026-04-01", "2026-03-31", "event_month=2026-03/2026-03.", 31),
            ("1970-01-02", "1969-12-31", "event_month=1969-12/1969-12.", 31),
        ] {
            let young = third_of(day(watermark));
            let slot = Slot::of(day(date), young);
            let path = slot.place();
            assert!(path.as_ref().starts_with(place), "{date} at {watermark}: {path}");
            let held = slot.days().unwrap();
            assert_eq!((held.contains(&day(date)), held.end.0 - held.start.0), (true, days), "{path}");
            for day in held.start.0..held.end.0 {
                assert_eq!(Slot::of(Day(day), young), slot, "what a file holds belongs into it");
            }
        }
        assert!(Slot::All.place().as_ref().starts_with("all."));
    }

    #[test]
    fn every_day_is_in_one_third_and_one_month() {
        for number in day("1969-01-01").0..day("1973-01-01").0 {
            let (day, third) = (Day(number), Slot::Third(third_of(Day(number))));
            assert!(third.days().unwrap().contains(&day) && Slot::Month(month_of(day)).days().unwrap().contains(&day));
            assert!((8..=11).contains(&third.days().map(|days| days.end.0 - days.start.0).unwrap()));
        }
    }

    #[test]
    fn first_day_of_a_month_is_its_own() {
        for date in ["2024-02-29", "2026-12-31", "1970-01-01", "1952-07-15"] {
            assert_eq!(month_of(day(date)), day(&format!("{}-01", &date[..7])));
        }
    }
}
