//! One line of an access log in Apache's and nginx's combined format becomes one click.
//!
//! The path becomes the link, its query stays out (a short link keeps its name whatever is appended), and a query that
//! carries campaign parameters is kept as the destination, where enrichment looks for them. What was no redirect or page, a request answered with an
//! error, is refused like a line that cannot be read.

use std::net::IpAddr;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, Kind, Trigger};
use linktide_common::id::{LinkId, TenantId};
use sha2::{Digest, Sha256};

/// Why a line became no click.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    /// It ends before its last quoted field does.
    #[error("the line is cut off in {field}")]
    CutOff {
        /// The field it ends in.
        field: &'static str,
    },
    /// A field is not what the format has there.
    #[error("{field} cannot be read; is the file in the combined format?")]
    Unreadable {
        /// The field.
        field: &'static str,
    },
    /// POST and its like follow no link.
    #[error("method {0} follows no link")]
    Method(String),
    /// The server answered with an error.
    #[error("status {0}: nobody was led anywhere (--any-status takes it all the same)")]
    Status(u16),
}

impl LineError {
    /// The reason by which refusals are added up.
    #[must_use]
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::CutOff { .. } => "cut_off",
            Self::Unreadable { .. } => "unreadable",
            Self::Method(_) => "method",
            Self::Status(_) => "status",
        }
    }
}

/// How lines are read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// Take requests that were answered with an error, too.
    pub(super) any_status: bool,
}

/// The click of one line, without link or click id: the caller knows the ids.
///
/// # Errors
/// [`LineError`] says which part of the line is not of the format, or why the request was no click.
pub(super) fn parse(line: &str, reading: Reading) -> Result<Click, LineError> {
    let (host, rest) = line.split_once(' ').ok_or(LineError::CutOff { field: "the address" })?;
    let (_identity_and_user, rest) = rest.split_once('[').ok_or(LineError::CutOff { field: "the user" })?;
    let (time, rest) = rest.split_once(']').ok_or(LineError::CutOff { field: "the time" })?;
    let (request, rest) = quoted(rest, "the request")?;
    let (status, rest) = word(rest).ok_or(LineError::CutOff { field: "the status" })?;
    let (_bytes, rest) = word(rest).ok_or(LineError::CutOff { field: "the size" })?;
    let (referrer, rest) = quoted(rest, "the referrer")?;
    let (user_agent, _) = quoted(rest, "the user agent")?;

    let status: u16 = status.parse().map_err(|_| LineError::Unreadable { field: "the status" })?;
    let mut request = request.splitn(3, ' ');
    let method = request.next().unwrap_or_default();
    let target = request.next().ok_or(LineError::Unreadable { field: "the request" })?;
    let kind = match method {
        "GET" => Kind::Click,
        "HEAD" => Kind::Preview,
        other => return Err(LineError::Method(other.chars().take(20).collect())),
    };
    if status >= 400 && !reading.any_status {
        return Err(LineError::Status(status));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Click {
        tenant_id: TenantId(0),
        link_id: LinkId(0),
        click_id: None,
        clicked_at: Some(parse_time(time).ok_or(LineError::Unreadable { field: "the time" })?),
        // Where the server resolved names the address is lost; the click is not.
        ip: host.parse::<IpAddr>().ok(),
        user_agent: given(user_agent),
        referrer: given(referrer),
        language: None,
        destination: query.contains("utm_").then(|| target.to_owned()),
        slug: Some(path.to_owned()),
        title: None,
        kind,
        trigger: Trigger::Link,
        imported: true,
        signals: None,
        edge_signals: None,
    })
}

/// A stable id for a path that no file of links names: the first 63 bits of its SHA-256, which signed readers can hold.
#[must_use]
pub(super) fn link_id_of(path: &str) -> LinkId {
    let digest = Sha256::digest(path.as_bytes());
    let first: [u8; 8] = digest[..8].try_into().expect("a SHA-256 has 32 bytes");
    LinkId(u64::from_be_bytes(first) >> 1)
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    if text.is_empty() {
        return None;
    }
    Some(text.split_once(' ').unwrap_or((text, "")))
}

/// The next field in double quotes, in which a backslash escapes a quote.
fn quoted<'a>(text: &'a str, field: &'static str) -> Result<(&'a str, &'a str), LineError> {
    let text = text.trim_start_matches(' ');
    if text.is_empty() {
        return Err(LineError::CutOff { field });
    }
    let inside = text.strip_prefix('"').ok_or(LineError::Unreadable { field })?;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    Err(LineError::CutOff { field })
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty() && text != "-").then(|| text.to_owned())
}

/// `17/May/2015:10:05:03 +0000`
fn parse_time(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (local, offset) = text.split_once(' ')?;
    let mut parts = local.split(['/', ':']);
    let day = parts.next()?.parse().ok()?;
    let month_name = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month_name)?;
    let year = parts.next()?.parse().ok()?;
    let mut clock = || parts.next()?.parse::<i8>().ok();
    // A leap second is told as :60; it belongs to the minute it ends.
    let (hour, minute, second) = (clock()?, clock()?, clock()?.min(59));
    let at = DateTime::new(year, i8::try_from(month + 1).ok()?, day, hour, minute, second, 0).ok()?;
    let instant = parse_offset(offset)?.to_timestamp(at).ok()?;
    Timestamp::from_millis(instant.as_millisecond())
}

/// `+0530`
fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"203.0.113.9 - frank [17/May/2015:10:05:03 +0530] "GET /spring?utm_source=x HTTP/1.1" 301 20 "http://example.com/a\"b" "Mozilla/5.0 (X)""#;

    fn read(line: &str) -> Result<Click, LineError> {
        parse(line, Reading::default())
    }

    #[test]
    fn line_becomes_a_click_in_utc() {
        let click = read(LINE).unwrap();
        assert_eq!(click.clicked_at.unwrap().to_string(), "2015-05-17T04:35:03Z");
        assert_eq!(click.slug.as_deref(), Some("/spring"));
        assert_eq!(click.destination.as_deref(), Some("/spring?utm_source=x"));
        assert_eq!(click.referrer.as_deref(), Some(r#"http://example.com/a\"b"#));
        assert_eq!(click.ip, "203.0.113.9".parse().ok());
        assert_eq!(click.kind, Kind::Click);
    }

    #[test]
    fn head_is_a_preview_and_post_is_refused() {
        assert_eq!(read(&LINE.replace("GET", "HEAD")).unwrap().kind, Kind::Preview);
        assert_eq!(read(&LINE.replace("GET", "POST")).unwrap_err(), LineError::Method("POST".into()));
    }

    #[test]
    fn error_answer_is_refused_unless_wanted() {
        let line = LINE.replace(" 301 ", " 404 ");
        assert_eq!(read(&line).unwrap_err(), LineError::Status(404));
        assert!(parse(&line, Reading { any_status: true }).is_ok());
    }

    #[test]
    fn every_proper_prefix_of_a_line_is_refused() {
        for end in 0..LINE.len() {
            assert!(read(&LINE[..end]).is_err(), "{}", &LINE[..end]);
        }
    }

    #[test]
    fn dash_means_not_given() {
        let click = read(r#"host.example - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 - "-" "-""#).unwrap();
        assert_eq!((click.referrer, click.user_agent, click.ip), (None, None, None));
    }

    #[test]
    fn link_id_is_stable_and_fits_a_signed_integer() {
        assert_eq!(link_id_of("/favicon.ico"), link_id_of("/favicon.ico"));
        assert_ne!(link_id_of("/a"), link_id_of("/b"));
        assert!(i64::try_from(link_id_of("/favicon.ico").0).is_ok());
    }
}
