use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn day_lengths(name: &str, start: &str, end: &str) -> Vec<usize> {
    let zone = zone(name);
    let start = parse_instant(start, &zone, Edge::Start).unwrap();
    let end = parse_instant(end, &zone, Edge::End).unwrap();
    buckets(Range::new(start, end), Unit::Day, &zone).unwrap().iter().map(|bucket| bucket.range.len()).collect()
}

#[test]
fn days_of_23_and_25_hours_have_their_length() {
    assert_eq!(day_lengths("America/New_York", "2026-03-07", "2026-03-09"), [96, 92, 96]);
    assert_eq!(day_lengths("America/New_York", "2026-10-31", "2026-11-02"), [96, 100, 96]);
    // Lord Howe's clocks change by half an hour.
    assert_eq!(day_lengths("Australia/Lord_Howe", "2026-04-04", "2026-04-06"), [96, 98, 96]);
    assert_eq!(day_lengths("Asia/Kathmandu", "2026-04-04", "2026-04-05"), [96, 96]);
    // Samoa left out the 30th of December 2011.
    assert_eq!(day_lengths("Pacific/Apia", "2011-12-29", "2011-12-31"), [96, 96]);
}

#[test]
fn hour_that_comes_twice_makes_two_buckets() {
    let zone = zone("America/New_York");
    let start = parse_instant("2026-11-01T05:00:00Z", &zone, Edge::Start).unwrap();
    let cut = buckets(Range::new(start, Quarter(start.0 + 8)), Unit::Hour, &zone).unwrap();
    let starts: Vec<_> = cut.iter().map(|bucket| zone.format(bucket.range.start.start())).collect();
    assert_eq!(starts, ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"]);
}

#[test]
fn date_as_end_includes_that_day() {
    let zone = zone("Asia/Kolkata");
    let start = parse_instant("2026-03-01", &zone, Edge::Start).unwrap();
    let end = parse_instant("2026-03-01", &zone, Edge::End).unwrap();
    assert_eq!(zone.format(start.start()), "2026-03-01T00:00:00+05:30");
    assert_eq!(Range::between(start, end, &zone).unwrap().len(), 96);
}

#[test]
fn range_that_cannot_be_is_refused_with_its_reason() {
    let utc = Zone::utc();
    let at = |text| parse_instant(text, &utc, Edge::Start).unwrap();
    assert!(matches!(parse_instant("yesterday", &utc, Edge::Start), Err(RangeError::NotAnInstant(_))));
    assert!(matches!(parse_instant("1970-01-01", &utc, Edge::Start), Err(RangeError::TooEarly(_))));
    assert!(matches!(Range::between(at("2026-01-02"), at("2026-01-01"), &utc), Err(RangeError::Backwards { .. })));
    assert!(matches!(Range::between(at("1980-01-01"), at("2180-01-01"), &utc), Err(RangeError::TooLong { .. })));
    let year = Range::between(at("2025-01-01"), at("2026-01-01"), &utc).unwrap();
    assert!(matches!(buckets(year, Unit::Quarter, &utc), Err(RangeError::TooManyBuckets { .. })));
}

#[test]
fn interval_is_resolved_in_the_callers_calendar() {
    let zone = zone("America/St_Johns");
    let now = Timestamp::from_millis(1_767_240_000_000).unwrap(); // 2026-01-01T04:00Z, 00:30 in St. John's
    let started = |interval| zone.format(resolve_interval(interval, &zone, now, Quarter(0)).start.start());
    assert_eq!(started(Interval::Days7), "2025-12-26T00:00:00-03:30");
    assert_eq!(started(Interval::YearToDate), "2026-01-01T00:00:00-03:30");
    assert_eq!(started(Interval::Months12), "2025-02-01T00:00:00-03:30");
    assert_eq!(started(Interval::QuarterToDate), "2026-01-01T00:00:00-03:30");
    assert_eq!(started(Interval::Hours24), "2025-12-31T00:45:00-03:30");
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect();
    prop::sample::select(names).prop_map(|name| zone(&name))
}

fn any_unit() -> impl Strategy<Value = Unit> {
    prop::sample::select(Unit::NAMES.iter().map(|(_, unit)| *unit).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn cut_is_disjoint_and_whole(start in -100_000i32..3_000_000, len in 0i32..1000) {
        let range = Range::new(Quarter(start), Quarter(start + len));
        let cut = range.cut();
        prop_assert_eq!(cut.head.start, range.start);
        prop_assert_eq!(cut.tail.end, range.end);
        let days = Range::of_days(cut.days.clone());
        if days.is_empty() {
            prop_assert_eq!(cut.head.len() + cut.tail.len(), range.len());
        } else {
            prop_assert_eq!((cut.head.end, days.end), (days.start, cut.tail.start));
            prop_assert!(cut.head.len() < 96 && cut.tail.len() < 96);
        }
    }

    #[test]
    fn buckets_are_gapless_and_start_where_the_calendar_does(
        zone in any_zone(), unit in any_unit(), start in 73_100i32..2_380_000, len in 1i32..3000,
    ) {
        let range = Range::new(Quarter(start), Quarter(start + len));
        let cut = buckets(range, unit, &zone).unwrap();
        prop_assert_eq!(cut[0].range.start, range.start);
        prop_assert_eq!(cut[cut.len() - 1].range.end, range.end);
        for pair in cut.windows(2) {
            prop_assert_eq!(pair[0].range.end, pair[1].range.start);
            prop_assert!(!pair[0].range.is_empty());
            let before = zone.local(Quarter(pair[1].range.start.0 - 1).start());
            let after = zone.local(pair[1].range.start.start());
            match unit {
                Unit::Quarter => prop_assert_eq!(pair[1].range.len(), 1),
                Unit::Hour => prop_assert!(after.minute() == 0 || after.hour() != before.hour()),
                Unit::Day => prop_assert!(after.date() > before.date()),
                Unit::Week => prop_assert!(after.date().iso_week_date().week() != before.date().iso_week_date().week()),
                Unit::Month => prop_assert!(after.month() != before.month()),
            }
        }
        // No bucket but the hour of a changing clock spans two units.
        if unit == Unit::Day {
            for bucket in &cut[1..] {
                let last = Quarter(bucket.range.end.0 - 1);
                prop_assert_eq!(zone.local(bucket.range.start.start()).date(), zone.local(last.start()).date());
            }
        }
    }
}

/// Around every change of the clocks from 1986 on: buckets are gapless, and each quarter is in the bucket of its date, the
/// later one where clocks fall back over midnight.
#[test]
fn days_are_those_of_the_calendar_around_every_change_of_the_clocks() {
    let from = "1986-02-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let to = "2038-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let mut changes = 0;
    for name in jiff::tz::TimeZoneDatabase::bundled().available() {
        let (zone, plain) = (zone(name.as_str()), jiff::tz::TimeZoneDatabase::bundled().get(name.as_str()).unwrap());
        for change in plain.following(from).take_while(|change| change.timestamp() < to) {
            let at = Quarter::of(Timestamp::from_millis(change.timestamp().as_millisecond()).unwrap());
            let range = Range::new(Quarter(at.0 - 150), Quarter(at.0 + 150));
            let mut date = jiff::civil::Date::MIN;
            let mut expected: Vec<(jiff::civil::Date, usize)> = Vec::new();
            for quarter in range.start.0..range.end.0 {
                let instant = jiff::Timestamp::from_millisecond(i64::from(quarter) * 900_000).unwrap();
                date = date.max(plain.to_datetime(instant).date());
                match expected.last_mut() {
                    Some((last, quarters)) if *last == date => *quarters += 1,
                    _ => expected.push((date, 1)),
                }
            }
            let cut = buckets(range, Unit::Day, &zone).unwrap();
            let found: Vec<usize> = cut.iter().map(|bucket| bucket.range.len()).collect();
            let expected: Vec<usize> = expected.into_iter().map(|(_, quarters)| quarters).collect();
            assert_eq!(found, expected, "{} at {}", name.as_str(), change.timestamp());
            changes += 1;
        }
    }
    assert!(changes > 20_000, "only {changes} changes were looked at");
}
