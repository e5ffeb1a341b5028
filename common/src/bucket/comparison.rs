//! What a range is compared with: the one before it, or the same one a year ago, on the caller's calendar.

use std::str::FromStr;

use jiff::civil::Time;
use jiff::{Span, ToSpan as _};

use super::{Interval, Quarter, Range, Zone};

/// What a range is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// The period before: as many days, or the month, quarter or year before up to the same day and time.
    Previous,
    /// The same days a year ago.
    Year,
}

/// Everything there is has nothing before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`all` is everything there is, and has nothing before it to be compared with; ask for another range")]
pub struct NothingBefore;

impl Comparison {
    /// Every comparison with its name.
    pub const NAMES: &'static [(&'static str, Self)] = &[("previous", Self::Previous), ("year", Self::Year)];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, comparison)| *comparison == self).map_or("", |(name, _)| name)
    }

    /// What `range` is compared with; `interval` is the name it was asked for by, if any.
    ///
    /// # Errors
    /// [`NothingBefore`] of all there is.
    pub fn of(self, range: Range, interval: Option<Interval>, zone: &Zone) -> Result<Range, NothingBefore> {
        if interval == Some(Interval::All) {
            return Err(NothingBefore);
        }
        let back = match self {
            Self::Year => Some(1.year()),
            Self::Previous => calendar_length(range, interval, zone),
        };
        let moved = |quarter: Quarter| match back {
            Some(back) => {
                let local = zone.local(quarter.start()).datetime();
                local.checked_sub(back).ok().and_then(|local| zone.quarter_from(local)).unwrap_or(quarter)
            }
            None => Quarter(quarter.0 - (range.end.0 - range.start.0)),
        };
        Ok(Range::new(moved(range.start), moved(range.end)))
    }
}

/// How long a range is on the calendar; none where it is cut by the clock and not by days.
fn calendar_length(range: Range, interval: Option<Interval>, zone: &Zone) -> Option<Span> {
    match interval {
        Some(Interval::Days7) => Some(7.days()),
        Some(Interval::Days30) => Some(30.days()),
        Some(Interval::Days90) => Some(90.days()),
        Some(Interval::Months12) => Some(12.months()),
        Some(Interval::MonthToDate) => Some(1.month()),
        Some(Interval::QuarterToDate) => Some(3.months()),
        Some(Interval::YearToDate) => Some(1.year()),
        Some(Interval::Hours24 | Interval::All) => None,
        None => {
            let (start, end) = (zone.local(range.start.start()), zone.local(range.end.start()));
            if [&start, &end].iter().any(|edge| edge.time() != Time::midnight()) {
                return None;
            }
            start.date().until(end.date()).ok().map(|span| span.get_days().days())
        }
    }
}

impl FromStr for Comparison {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, comparison)| *comparison).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{Edge, Timestamp, parse_instant, resolve_interval};

    fn zone() -> Zone {
        Zone::parse("Europe/Berlin").unwrap()
    }

    fn between(start: &str, end: &str) -> Range {
        let edge = |text, edge| parse_instant(text, &zone(), edge).unwrap();
        Range::new(edge(start, Edge::Start), edge(end, Edge::End))
    }

    fn shown(range: Range) -> (String, String) {
        (zone().format(range.start.start()), zone().format(range.end.start()))
    }

    fn compared(range: Range, comparison: Comparison) -> (String, String) {
        shown(comparison.of(range, None, &zone()).unwrap())
    }

    fn text(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn whole_days_are_compared_with_as_many_days_before_whatever_the_clocks_did() {
        // Clocks went forward on 29 March: both weeks have seven days, one of them 167 hours.
        let week = between("2026-03-30", "2026-04-05");
        let before = text("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
        assert_eq!(compared(week, Comparison::Previous), before);
        let last_year = text("2025-03-30T00:00:00+01:00", "2025-04-06T00:00:00+02:00");
        assert_eq!(compared(week, Comparison::Year), last_year);
    }

    #[test]
    fn hours_are_compared_with_as_many_hours_before() {
        let hours = between("2026-03-29T00:00", "2026-03-29T06:00");
        assert_eq!(
            compared(hours, Comparison::Previous),
            text("2026-03-28T19:00:00+01:00", "2026-03-29T00:00:00+01:00")
        );
        assert_eq!(compared(between("2028-02-29", "2028-02-29"), Comparison::Year).0, "2027-02-28T00:00:00+01:00");
    }

    #[test]
    fn month_so_far_is_compared_with_the_month_before_up_to_the_same_time() {
        let now = "2026-03-31T08:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let now = Timestamp::from_millis(now).unwrap();
        let compared = |interval, comparison: Comparison| {
            let range = resolve_interval(interval, &zone(), now, Quarter(0));
            comparison.of(range, Some(interval), &zone()).map(shown)
        };
        let february = text("2026-02-01T00:00:00+01:00", "2026-02-28T10:15:00+01:00");
        assert_eq!(compared(Interval::MonthToDate, Comparison::Previous), Ok(february));
        let last_year = text("2025-01-01T00:00:00+01:00", "2025-03-31T10:15:00+02:00");
        assert_eq!(compared(Interval::YearToDate, Comparison::Previous), Ok(last_year.clone()));
        assert_eq!(compared(Interval::QuarterToDate, Comparison::Year), Ok(last_year));
        let week = text("2026-03-18T00:00:00+01:00", "2026-03-24T10:15:00+01:00");
        assert_eq!(compared(Interval::Days7, Comparison::Previous), Ok(week));
        let day = text("2026-03-29T10:15:00+02:00", "2026-03-30T10:15:00+02:00");
        assert_eq!(compared(Interval::Hours24, Comparison::Previous), Ok(day));
        assert_eq!(compared(Interval::All, Comparison::Previous), Err(NothingBefore));
    }
}
