//! The keys and fields of the view in Redis, and what they mean: the one place that knows them. `docs/redis.md` is for readers.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `{s<n>}:positions` | hash | `<epoch>/<partition>` → `<next offset>:<received at>`; `held_from`, `kept_from`, `begun_at` (microseconds by the server's clock); `gap/<epoch>/<partition>/<from>` → `<to>` |
//! | `{s<n>}:totals:<subject>:<received hour>` | hash | `<quarter>` people, `<quarter>b` bots, `<quarter>p` previews, `<quarter>r` repeats among people (of a link); `f` and `l`, event time of the first and last; `x` where the breakdown was left out |
//! | `{s<n>}:cell:<subject>:<received hour>` | hash | `<quarter><dimension>:<value>` people, `…!<value>` bots; `<quarter><dimension>+` and `-`, those whose value was left out |
//! | `{s<n>}:link:<subject>:uv:<date>`, `…T<hour>` | HyperLogLog | visitors that are people, by event time; `tenant:` for a whole tenant |
//! | `{s<n>}:visitors:<subject>:<received hour>:<date>` | set | visitors that are people, by event date: 64 bits of each one's hash as a signed number; more than 128 members: too many to be told, whoever they are |
//! | `{s<n>}:top:<tenant>:<received hour>` | sorted set | `<event hour>\|<link>` → people, `…\|b` bots, `…\|p` previews |
//! | `{s<n>}:visits:<received hour>` | hash | a hash of link and visitor → when: spans `<first>:<last>` of milliseconds behind the start of the received hour, or `<first>` alone, apart by spaces; until two hours behind the last |
//! | `{s<n>}:repeats:<tenant>:<received hour>` | hash | `<quarter>` → repeats on its links in this shard |
//! | `{s<n>}:rates`, `{s<n>}:rates:before` | hash | a hash of subject, received hour, minute and address → 2^26 · samples + clicks, of addresses seen lately and before; nothing → the minute of received time it was begun in |
//! | `{s<n>}:label:<subject>` | string | the stamp that orders labels, and the label |
//! | `{s<n>}:tenants:<received hour>` | set | tenants that have anything here |
//! | `{s<n>}:breakdowns` | hash | tenant → breakdowns of its links here |
//! | `{lags}` | hash | `<epoch>/<partition>` → JSON |
//!
//! A subject is `<tenant>/<link>` or `<tenant>`; hours are counted from 1970, quarters from the first of the received
//! hour (so a late click's are negative), times are milliseconds since 1970.

use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;

use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::dimension::Dimension;
use linktide_common::enrich::SUSPECTED_RATE;
use linktide_common::id::{Epoch, LinkId, Offset, PartitionId, Subject, TenantId};
use linktide_common::intake::Gap;
use linktide_common::label::Label;
use linktide_common::log::Position;
use linktide_common::repeat::Visits;
use rustc_hash::FxBuildHasher;

use crate::fold::AddressMinute;
use crate::shard::Shard;
use crate::view::Place;

pub(super) const LAGS: &str = "{lags}";
pub(super) const HELD_FROM: &str = "held_from";
pub(super) const BEGUN_AT: &str = "begun_at";
pub(super) const FIRST: &str = "f";
pub(super) const LAST: &str = "l";
pub(super) const LEFT_OUT: &str = "x";

/// A subject's name within keys.
pub(super) struct Name(pub(super) Subject);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Subject::Tenant(tenant) => write!(f, "{tenant}"),
            Subject::Link(tenant, link) => write!(f, "{tenant}/{link}"),
        }
    }
}

pub(super) fn positions(shard: Shard) -> String {
    format!("{{s{}}}:positions", shard.index())
}

pub(super) fn totals(subject: Subject, received: Hour) -> String {
    format!("{{s{}}}:totals:{}:{}", Shard::of(subject).index(), Name(subject), received.0)
}

pub(super) fn cell(subject: Subject, received: Hour) -> String {
    format!("{{s{}}}:cell:{}:{}", Shard::of(subject).index(), Name(subject), received.0)
}

pub(super) fn visitors(subject: Subject, hour: Hour) -> String {
    let kind = if subject.link().is_some() { "link" } else { "tenant" };
    format!("{{s{}}}:{kind}:{}:uv:{}", Shard::of(subject).index(), Name(subject), date_and_hour(hour))
}

pub(super) fn visitor_set(subject: Subject, received: Hour, day: Day) -> String {
    format!("{{s{}}}:visitors:{}:{}:{}", Shard::of(subject).index(), Name(subject), received.0, date(day))
}

pub(super) fn repeats(shard: Shard, tenant: TenantId, received: Hour) -> String {
    format!("{{s{}}}:repeats:{tenant}:{}", shard.index(), received.0)
}

pub(super) fn top(shard: Shard, tenant: TenantId, received: Hour) -> String {
    format!("{{s{}}}:top:{tenant}:{}", shard.index(), received.0)
}

pub(super) fn tenants(shard: Shard, received: Hour) -> String {
    format!("{{s{}}}:tenants:{}", shard.index(), received.0)
}

pub(super) fn label(subject: Subject) -> String {
    format!("{{s{}}}:label:{}", Shard::of(subject).index(), Name(subject))
}

/// `2026-11-25T14`
pub(super) fn date_and_hour(hour: Hour) -> String {
    let mut text = hour.start().to_string();
    text.truncate("2026-11-25T14".len());
    text
}

/// `2026-11-25`
pub(super) fn date(day: Day) -> String {
    let mut text = day.start().to_string();
    text.truncate("2026-11-25".len());
    text
}

pub(super) fn place(epoch: Epoch, partition: PartitionId) -> String {
    format!("{epoch}/{partition}")
}

pub(super) fn parse_place(field: &str) -> Option<Place> {
    let (epoch, partition) = field.split_once('/')?;
    Some((Epoch(epoch.parse().ok()?), PartitionId(partition.parse().ok()?)))
}

pub(super) fn position(position: Position) -> String {
    format!("{}:{}", position.offset, position.received_at.as_millis())
}

pub(super) fn parse_position(value: &str) -> Option<Position> {
    let (offset, received) = value.split_once(':')?;
    let received_at = Timestamp::from_millis(received.parse().ok()?)?;
    Some(Position { offset: Offset(offset.parse().ok()?), received_at })
}

pub(super) fn gap(epoch: Epoch, gap: &Gap) -> (String, String) {
    (format!("gap/{epoch}/{}/{}", gap.partition, gap.from), gap.to.to_string())
}

pub(super) fn parse_gap(field: &str, value: &str) -> Option<Gap> {
    let mut parts = field.strip_prefix("gap/")?.split('/').skip(1);
    let partition = PartitionId(parts.next()?.parse().ok()?);
    Some(Gap { partition, from: Offset(parts.next()?.parse().ok()?), to: Offset(value.parse().ok()?) })
}

/// How far an event quarter lies from the first of the received hour.
pub(super) fn quarter_in(received: Hour, quarter: Quarter) -> i32 {
    quarter.0 - received.first_quarter().0
}

pub(super) fn parse_quarter(received: Hour, text: &str) -> Option<Quarter> {
    text.parse::<i32>().ok().map(|distance| Quarter(received.first_quarter().0 + distance))
}

/// The field of a visitor of a link: a hash of both, since there are many.
pub(super) fn visitor(link: Subject, visitor: i64) -> [u8; 8] {
    FxBuildHasher.hash_one((link, visitor)).to_be_bytes()
}

/// The field of a minute of an address on a subject, in the same way.
pub(super) fn address_minute(subject: Subject, received: Hour, minute: &AddressMinute) -> [u8; 8] {
    FxBuildHasher.hash_one((subject, received, minute.minute, minute.address)).to_be_bytes()
}

/// When a visitor clicked.
pub(super) struct Spans<'a>(pub(super) &'a Visits);

impl fmt::Display for Spans<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.spans().iter().enumerate() {
            write!(f, "{}{first}", if place == 0 { "" } else { " " })?;
            if last > first {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    People,
    Bots,
    Previews,
    /// Those of people that are repeats.
    Repeats,
}

impl Who {
    /// Of a total, and of a member of a top list.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::People => "",
            Self::Bots => "b",
            Self::Previews => "p",
            Self::Repeats => "r",
        }
    }
}

/// A total's field: the quarter's text and who.
pub(super) fn parse_total(field: &str) -> (&str, Who) {
    let marked = [Who::Bots, Who::Previews, Who::Repeats].into_iter();
    let mut parts = marked.filter_map(|who| Some((field.strip_suffix(who.suffix())?, who)));
    parts.next().unwrap_or((field, Who::People))
}

/// The member of a top list.
pub(super) fn member(text: &mut String, hour: Hour, link: LinkId, who: Who) {
    let bar = if who == Who::People { "" } else { "|" };
    write!(text, "{}|{link}{bar}{}", hour.0, who.suffix()).expect("a text takes what is written");
}

pub(super) fn parse_member(member: &str) -> Option<(Hour, LinkId, Who)> {
    let mut parts = member.split('|');
    let (hour, link) = (Hour(parts.next()?.parse().ok()?), LinkId(parts.next()?.parse().ok()?));
    let who = match parts.next() {
        None => Who::People,
        Some("b") => Who::Bots,
        Some(_) => Who::Previews,
    };
    Some((hour, link, who))
}

/// A value's field in a cell, behind the quarter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ValueField<'a> {
    /// A value, and whether bots are counted.
    Value(Dimension, &'a str, bool),
    /// All values that were left out, and whether bots are counted.
    LeftOut(Dimension, bool),
}

pub(super) fn parse_value(field: &str) -> Option<(&str, ValueField<'_>)> {
    let at = field.find(|c: char| c.is_ascii_alphabetic())?;
    let (quarter, rest) = field.split_at(at);
    let letter = rest.chars().next()?;
    let dimension = *Dimension::ALL.iter().find(|dimension| self::letter(**dimension) == letter)?;
    let rest = &rest[letter.len_utf8()..];
    let value = match rest.chars().next()? {
        ':' => ValueField::Value(dimension, &rest[1..], false),
        '!' => ValueField::Value(dimension, &rest[1..], true),
        '+' => ValueField::LeftOut(dimension, false),
        '-' => ValueField::LeftOut(dimension, true),
        _ => return None,
    };
    Some((quarter, value))
}

/// The field of people whose addresses seem to click too often, behind the quarter.
pub(super) fn suspected_rate() -> String {
    format!("{}:{SUSPECTED_RATE}", letter(Dimension::BotReason))
}

/// One letter each: the name of a dimension stands in every field, and most of Redis' memory is fields.
pub(super) fn letter(dimension: Dimension) -> char {
    match dimension {
        Dimension::Country => 'c',
        Dimension::Region => 'r',
        Dimension::City => 't',
        Dimension::Continent => 'n',
        Dimension::Referrer => 'h',
        Dimension::ReferrerClass => 'k',
        Dimension::Device => 'd',
        Dimension::Browser => 'b',
        Dimension::Os => 'o',
        Dimension::UtmSource => 's',
        Dimension::UtmMedium => 'm',
        Dimension::UtmCampaign => 'p',
        Dimension::Trigger => 'g',
        Dimension::Language => 'l',
        Dimension::BotReason => 'w',
    }
}

/// A label with the stamp that orders labels before it: of two texts the greater is the later label.
pub(super) fn label_text(label: &Label) -> String {
    let since = label.clicked_at.millis_since(Timestamp::MIN);
    let json = serde_json::to_string(label).expect("a label is plain values");
    format!("{since:015} {} {json}", label.click_id)
}

pub(super) fn parse_label(text: &str) -> Option<Label> {
    serde_json::from_str(text.splitn(3, ' ').nth(2)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let hour = Hour(490_000);
        let at = Position { offset: Offset(u64::MAX), received_at: Timestamp::MIN };
        assert_eq!(parse_position(&position(at)), Some(at));
        assert_eq!(parse_place(&place(Epoch(3), PartitionId(7))), Some((Epoch(3), PartitionId(7))));
        let lost = Gap { partition: PartitionId(2), from: Offset(5), to: Offset(9) };
        let (field, value) = gap(Epoch(1), &lost);
        assert_eq!((parse_gap(&field, &value), parse_place(&field)), (Some(lost), None));
        assert_eq!(parse_total("-17r"), ("-17", Who::Repeats));
        let visits = Visits::of([-70_000, -50_000, 5], 30_000, drop);
        assert_eq!(Spans(&visits).to_string(), "-70000:-50000 5");
        for who in [Who::People, Who::Bots, Who::Previews] {
            let mut text = String::new();
            member(&mut text, hour, LinkId(42), who);
            assert_eq!(parse_member(&text), Some((hour, LinkId(42), who)), "{text}");
            assert_eq!(parse_total(&format!("-17{}", who.suffix())), ("-17", who));
        }
        for quarter in [Quarter(0), Quarter(hour.first_quarter().0 + 3)] {
            assert_eq!(parse_quarter(hour, &quarter_in(hour, quarter).to_string()), Some(quarter));
        }
    }

    #[test]
    fn value_field_tells_quarter_dimension_and_value() {
        for dimension in Dimension::ALL {
            let letter = letter(*dimension);
            let field = format!("-3{letter}:a:b!c");
            assert_eq!(parse_value(&field), Some(("-3", ValueField::Value(*dimension, "a:b!c", false))));
            let field = format!("3{letter}!");
            assert_eq!(parse_value(&field), Some(("3", ValueField::Value(*dimension, "", true))));
            let field = format!("3{letter}-");
            assert_eq!(parse_value(&field), Some(("3", ValueField::LeftOut(*dimension, true))));
        }
    }

    #[test]
    fn hour_is_written_as_a_date() {
        assert_eq!(date_and_hour(Hour(0)), "1970-01-01T00");
        assert_eq!(date_and_hour(Hour(498_754)), "2026-11-24T10");
        assert_eq!(date(Hour(498_754).day()), "2026-11-24");
    }
}
