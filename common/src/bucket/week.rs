//! Hours of the week on a zone's clocks.

use super::{Quarter, Zone};

/// An hour of the week. Where clocks fall back an hour of the day comes twice, where they go forward it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HourOfWeek {
    /// 0 (Monday) to 6 (Sunday).
    pub weekday: usize,
    /// 0 to 23.
    pub hour: usize,
}

impl HourOfWeek {
    /// The hour of the week in which a quarter begins.
    #[must_use]
    pub fn of(quarter: Quarter, zone: &Zone) -> Self {
        let local = zone.local(quarter.start());
        let number = |number: i8| usize::try_from(number).expect("weekdays and hours are not negative");
        Self { weekday: number(local.weekday().to_monday_zero_offset()), hour: number(local.hour()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Timestamp;

    #[test]
    fn hour_is_the_one_on_the_wall() {
        let at = |text: &str, zone: &str| {
            let ms = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            let found = HourOfWeek::of(Quarter::of(Timestamp::from_millis(ms).unwrap()), &Zone::parse(zone).unwrap());
            (found.weekday, found.hour)
        };
        assert_eq!(at("2026-11-26T00:00:00Z", "UTC"), (3, 0));
        assert_eq!(at("2026-11-25T18:15:00Z", "Asia/Kathmandu"), (3, 0));
        assert_eq!(at("2026-11-25T18:00:00Z", "Asia/Kathmandu"), (2, 23));
        // The hour that clocks show twice.
        assert_eq!(at("2026-10-25T00:30:00Z", "Europe/Berlin"), (6, 2));
        assert_eq!(at("2026-10-25T01:30:00Z", "Europe/Berlin"), (6, 2));
        assert_eq!(at("2026-03-29T01:00:00Z", "Europe/Berlin"), (6, 3));
    }
}
