//! Time zones: IANA names, from the database that is built into the program, so that no answer depends on the host.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ZonedDateTime};

use super::{QUARTER_MS, Quarter, Timestamp};

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    zone: TimeZone,
    name: String,
}

/// A name that the IANA database does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no time zone of the IANA database; use a name such as Europe/Berlin")]
pub struct UnknownZone {
    /// What was asked for.
    pub name: String,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC, name: "UTC".to_owned() }
    }

    /// The zone of that name, in any case.
    ///
    /// # Errors
    /// [`UnknownZone`] for any other name: it is never replaced by UTC.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone { name: name.chars().take(80).collect() };
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        let canonical = zone.iana_name().ok_or_else(unknown)?.to_owned();
        Ok(Self { zone, name: canonical })
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Local time at an instant.
    pub(super) fn local(&self, at: Timestamp) -> ZonedDateTime {
        instant(at).to_zoned_datetime(self.zone.clone())
    }

    /// The first quarter that starts at or after that local time. A time that a clock change skips is the first one after the gap;
    /// one that comes twice is the first of the two.
    pub(super) fn quarter_from(&self, local: DateTime) -> Option<Quarter> {
        let at = self.zone.to_ambiguous_zoned_datetime(local).compatible().ok()?.timestamp();
        let at = Timestamp::from_millis(at.as_millisecond())?;
        let floor = Quarter::of(at);
        // Only local mean times, before 1972, are not whole quarters from UTC.
        Some(if floor.start() == at { floor } else { floor.next() })
    }

    /// How far the zone's clocks are ahead of UTC at an instant, in quarters.
    #[must_use]
    pub fn offset_quarters(&self, at: Timestamp) -> i64 {
        i64::from(self.zone.to_offset(instant(at)).seconds()) * 1000 / QUARTER_MS
    }

    /// How far the zone's clocks are ahead of UTC at two instants, in quarters, where that is the same and whole. Two
    /// instants an hour apart have no change of the clocks between them then: none is taken back within an hour.
    pub(super) fn whole_offset(&self, one: Timestamp, other: Timestamp) -> Option<i32> {
        let seconds = self.zone.to_offset(instant(one)).seconds();
        let quarter = i32::try_from(QUARTER_MS / 1000).expect("a quarter has 900 seconds");
        let same = seconds == self.zone.to_offset(instant(other)).seconds() && seconds % quarter == 0;
        same.then_some(seconds / quarter)
    }

    /// An instant in this zone as RFC 3339 with the offset: `2026-03-01T00:00:00+05:30`.
    #[must_use]
    pub fn format(&self, at: Timestamp) -> String {
        let at = instant(at);
        let offset = self.zone.to_offset(at);
        if offset.is_zero() { at.to_string() } else { at.display_with_offset(offset).to_string() }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn instant(at: Timestamp) -> Instant {
    Instant::from_millisecond(at.as_millis()).expect("Timestamp lies within jiff's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_zone_is_refused_by_name() {
        assert_eq!(Zone::parse("Mars/Olympus").unwrap_err().name, "Mars/Olympus");
        assert!(Zone::parse("").is_err());
        assert_eq!(Zone::parse("asia/kolkata").unwrap().name(), "Asia/Kolkata");
    }

    #[test]
    fn every_offset_since_1986_is_whole_quarters() {
        // Kiritimati (to 1979), Guyana (to 1975) and Nepal (to 1986) among others had odd ones after 1972; their days are moved up to a quarter.
        let from = "1986-02-01T00:00:00Z".parse::<Instant>().unwrap();
        let to = "2038-01-01T00:00:00Z".parse::<Instant>().unwrap();
        let mut zones = 0;
        for name in TimeZoneDatabase::bundled().available() {
            let zone = TimeZoneDatabase::bundled().get(name.as_str()).unwrap();
            assert_eq!(zone.to_offset(from).seconds() % 900, 0, "{}", name.as_str());
            for change in zone.following(from).take_while(|change| change.timestamp() < to) {
                assert_eq!(change.offset().seconds() % 900, 0, "{} at {}", name.as_str(), change.timestamp());
            }
            zones += 1;
        }
        assert!(zones > 400, "only {zones} zones are built in");
    }

    #[test]
    fn instant_is_shown_with_the_offset() {
        let at = Timestamp::from_millis(1_431_857_103_000).unwrap();
        assert_eq!(Zone::utc().format(at), "2015-05-17T10:05:03Z");
        assert_eq!(Zone::parse("Asia/Kolkata").unwrap().format(at), "2015-05-17T15:35:03+05:30");
    }
}
