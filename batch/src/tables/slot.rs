//! Which event days lie in one file of a rollup.
//!
//! The number of files decides how long a question takes, and how much is rewritten how long a night does. So
//!
//! 1. each event day of the young run of the young month has a file: `2026-03-24.<id>.parquet`;
//! 2. a run of three days of the young third that is over, days 1 to 3, 4 to 6 or 7 to 9 of it, has one:
//!    `2026-03-21_23.<id>.parquet`;
//! 3. a third that is over, days 1 to 10, 11 to 20 or 21 to the last, has one: `2026-03-01_10.<id>.parquet`;
//! 4. a month that has turned has one: `2026-03.<id>.parquet`; a table without days has one in all.
//!
//! The name of a file says which days it holds, and one key always has one row. Thirty days lie in eight files at most, and
//! each row is rewritten for its age three times.

use std::ops::Range;

use linktide_common::bucket::{Day, Timestamp};
use object_store::path::Path;

const DAYS_A_RUN: i32 = 3;

/// Which days a file holds: those that hold more are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// A day of the young run.
    Day(Day),
    /// A run of the young third that is over, by its first day.
    Run(Day),
    /// A third of the young month that is over, by its first day.
    Third(Day),
    /// A month that has turned, by its first day.
    Month(Day),
    /// The one file of a table without days.
    All,
}

impl Slot {
    /// Where rows of a day belong, `young` being the first day of the young run.
    pub(crate) fn of(day: Day, young: Day) -> Self {
        if day >= young {
            Self::Day(day)
        } else if third_of(day) == third_of(young) {
            Self::Run(run_of(day))
        } else if month_of(day) == month_of(young) {
            Self::Third(third_of(day))
        } else {
            Self::Month(month_of(day))
        }
    }

    /// What a file holds, by its name.
    pub(crate) fn named(file: &Path) -> Option<Self> {
        let name = file.filename()?.split('.').next()?;
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
            (13, Some((first, _))) => {
                let first = day(first)?;
                let slots = [Self::Run(run_of(first)), Self::Third(third_of(first))];
                slots.into_iter().find(|slot| slot.name() == name)
            }
            _ => None,
        }
    }

    /// Where its rows belong now.
    pub(crate) fn now(self, young: Day) -> Self {
        self.first_day().map_or(self, |first| Self::of(first, young).max(self))
    }

    /// The days it holds; none in a table without days.
    pub(crate) fn days(self) -> Option<Range<Day>> {
        match self {
            Self::Day(day) => Some(day..day.next()),
            Self::Run(first) => Some(first..behind_run(first)),
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
        let through = |first: Day, behind: Day| format!("{}_{}", date(first, 10), &date(Day(behind.0 - 1), 10)[8..]);
        match self {
            Self::Day(day) => date(day, 10),
            Self::Run(first) => through(first, behind_run(first)),
            Self::Third(first) => through(first, behind_third(first)),
            Self::Month(first) => date(first, 7),
            Self::All => "all".to_owned(),
        }
    }

    /// What its rows sort by before their key.
    pub(crate) fn first_day(self) -> Option<Day> {
        match self {
            Self::Day(day) | Self::Run(day) | Self::Third(day) | Self::Month(day) => Some(day),
            Self::All => None,
        }
    }
}

/// The first day of a day's month.
fn month_of(day: Day) -> Day {
    Day(day.0 - of_month(day) + 1)
}

/// The first day of a day's run of three days of its third.
pub(crate) fn run_of(day: Day) -> Day {
    let third = third_of(day);
    Day(third.0 + (day.0 - third.0) / DAYS_A_RUN * DAYS_A_RUN)
}

fn behind_run(first: Day) -> Day {
    Day(first.0 + DAYS_A_RUN).min(behind_third(third_of(first)))
}

/// The first day of a day's third of its month.
fn third_of(day: Day) -> Day {
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
    fn young_days_have_files_and_runs_and_thirds_and_months_that_are_over_have_one() {
        for (watermark, date, place, days) in [
            ("2026-03-03", "2026-03-01", "event_month=2026-03/2026-03-01.", 1),
            ("2026-03-05", "2026-03-01", "event_month=2026-03/2026-03-01_03.", 3),
            ("2026-03-05", "2026-04-01", "event_month=2026-04/2026-04-01.", 1),
            ("2026-03-05", "2026-02-28", "event_month=2026-02/2026-02.", 28),
            ("2026-03-10", "2026-03-09", "event_month=2026-03/2026-03-07_09.", 3),
            ("2026-03-11", "2026-03-10", "event_month=2026-03/2026-03-01_10.", 10),
            ("2026-03-31", "2026-03-20", "event_month=2026-03/2026-03-11_20.", 10),
            ("2026-03-31", "2026-03-21", "event_month=2026-03/2026-03-21_23.", 3),
            ("2026-03-31", "2026-03-30", "event_month=2026-03/2026-03-30.", 1),
            ("2026-04-01", "2026-03-31", "event_month=2026-03/2026-03.", 31),
            ("1970-01-02", "1969-12-31", "event_month=1969-12/1969-12.", 31),
        ] {
            let young = run_of(day(watermark));
            let slot = Slot::of(day(date), young);
            let path = slot.place();
            assert!(path.as_ref().starts_with(place), "{date} at {watermark}: {path}");
            let held = slot.days().unwrap();
            assert_eq!((held.contains(&day(date)), held.end.0 - held.start.0), (true, days), "{path}");
            for day in held.start.0..held.end.0 {
                assert_eq!(Slot::of(Day(day), young), slot, "what a file holds belongs into it");
            }
            assert_eq!(Slot::named(&path), Some(slot));
        }
        assert!(Slot::All.place().as_ref().starts_with("all."));
    }

    #[test]
    fn every_day_is_in_one_run_and_one_third_and_one_month() {
        for number in day("1969-01-01").0..day("1973-01-01").0 {
            let day = Day(number);
            let (run, third, month) = (Slot::Run(run_of(day)), Slot::Third(third_of(day)), Slot::Month(month_of(day)));
            let lengths = [run, third, month].map(|slot| {
                let days = slot.days().unwrap();
                assert!(days.contains(&day), "{slot:?} does not hold {day:?}");
                days.end.0 - days.start.0
            });
            assert!((1..=3).contains(&lengths[0]) && (8..=11).contains(&lengths[1]) && (28..=31).contains(&lengths[2]));
        }
    }

    #[test]
    fn thirty_days_lie_in_eight_files_at_most() {
        for watermark in day("2023-01-01").0..day("2025-01-01").0 {
            let young = run_of(Day(watermark));
            let slots: std::collections::BTreeSet<Slot> =
                (watermark - 29..=watermark).map(|day| Slot::of(Day(day), young)).collect();
            assert!(slots.len() <= 8, "{slots:?}");
        }
    }

    #[test]
    fn files_only_grow() {
        let young = |date| run_of(day(date));
        let (of_day, run) = (Slot::Day(day("2026-03-22")), Slot::Run(day("2026-03-21")));
        assert_eq!((of_day.now(young("2026-03-23")), of_day.now(young("2026-03-24"))), (of_day, run));
        assert_eq!((run.now(young("2026-03-31")), run.now(young("2026-03-01"))), (run, run));
        let month = Slot::Month(day("2026-03-01"));
        assert_eq!((run.now(young("2026-04-01")), month.now(young("2026-03-01"))), (month, month));
    }

    #[test]
    fn names_that_linktide_does_not_give_say_nothing() {
        for name in ["2026-03-02_04.x.parquet", "2026-03-01_04.x.parquet", "2026-03-01_02.x.parquet", "part-0.parquet"]
        {
            assert_eq!(Slot::named(&Path::from(name)), None, "{name}");
        }
    }

    #[test]
    fn first_day_of_a_month_is_its_own() {
        for date in ["2024-02-29", "2026-12-31", "1970-01-01", "1952-07-15"] {
            assert_eq!(month_of(day(date)), day(&format!("{}-01", &date[..7])));
        }
    }
}
