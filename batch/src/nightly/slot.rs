//! Which event days lie in one file of a rollup.
//!
//! While a month is young each of its event days has a file; once the month has turned, its files become one. The name of
//! a file says which days it holds: `2026-03-01.<id>.parquet` or `2026-03.<id>.parquet`; a table without days has one
//! file. So one key always has one row.

use linktide_common::bucket::{Day, Timestamp};
use object_store::path::Path;

use crate::table::File;

/// Which days a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// A day of a young month.
    Day(Day),
    /// A month that has turned, by its first day.
    Month(Day),
    /// The one file of a table without days.
    All,
}

impl Slot {
    /// Where rows of a day belong, `young` being the first day of the young month.
    pub(super) fn of(day: Day, young: Day) -> Self {
        if day >= young { Self::Day(day) } else { Self::Month(month_of(day)) }
    }

    /// Where rows of a file belong now, by the file's name.
    pub(super) fn holding(file: &File, young: Day) -> Option<Self> {
        let name = file.path.filename()?.split('.').next()?;
        if name == "all" {
            return Some(Self::All);
        }
        let date = if name.len() == 7 { format!("{name}-01") } else { name.to_owned() };
        let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
        let day = Timestamp::from_millis(start.as_millisecond()).map(Day::of)?;
        Some(if name.len() == 7 { Self::Month(day) } else { Self::of(day, young) })
    }

    pub(super) fn month(self) -> Option<String> {
        match self {
            Self::Day(day) | Self::Month(day) => Some(day.start().to_string()[..7].to_owned()),
            Self::All => None,
        }
    }

    /// A place for a file that no other has.
    pub(super) fn place(self) -> Path {
        let name = match self {
            Self::Day(day) => day.start().to_string()[..10].to_owned(),
            Self::Month(day) => day.start().to_string()[..7].to_owned(),
            Self::All => "all".to_owned(),
        };
        let folder = self.month().map(|month| format!("event_month={month}/")).unwrap_or_default();
        Path::from(format!("{folder}{name}.{}.parquet", uuid::Uuid::new_v4()))
    }

    /// What its rows sort by before their key.
    pub(super) fn first_day(self) -> Option<Day> {
        match self {
            Self::Day(day) | Self::Month(day) => Some(day),
            Self::All => None,
        }
    }
}

/// The first day of a day's month.
pub(super) fn month_of(day: Day) -> Day {
    let date = day.start().to_string();
    let of_month: i32 = date[8..10].parse().expect("a date's last two letters are the day of its month");
    Day(day.0 - of_month + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(date: &str) -> Day {
        let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().unwrap();
        Day::of(Timestamp::from_millis(start.as_millisecond()).unwrap())
    }

    #[test]
    fn young_days_have_files_and_older_months_have_one() {
        let young = month_of(day("2026-03-01"));
        for (date, place) in [
            ("2026-03-01", "event_month=2026-03/2026-03-01."),
            ("2026-04-01", "event_month=2026-04/2026-04-01."),
            ("2026-02-28", "event_month=2026-02/2026-02."),
            ("1969-12-31", "event_month=1969-12/1969-12."),
        ] {
            let slot = Slot::of(day(date), young);
            let path = slot.place();
            assert!(path.as_ref().starts_with(place), "{date}: {path}");
            assert_eq!(Slot::of(slot.first_day().unwrap(), young), slot, "a slot's first day is in it");
        }
        assert!(Slot::All.place().as_ref().starts_with("all."));
    }

    #[test]
    fn first_day_of_a_month_is_its_own() {
        for date in ["2024-02-29", "2026-12-31", "1970-01-01", "1952-07-15"] {
            assert_eq!(month_of(day(date)), day(&format!("{}-01", &date[..7])));
        }
    }
}
