//! Bodies: unpacked within bounds, and split into records.

use std::io::Read as _;
use std::ops::Range;

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use linktide_common::problem::{Problem, ProblemKind};

/// The most a body may unpack to.
const UNPACKED: u64 = 256 << 20;

/// Unpacks a body as `Content-Encoding` says.
pub(crate) fn unpack(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    match encoding.to_ascii_lowercase().as_str() {
        "identity" => Ok(body),
        "gzip" => read_bounded(flate2::read::MultiGzDecoder::new(body.as_ref())),
        "zstd" => read_bounded(zstd::Decoder::new(body.as_ref()).map_err(damaged)?),
        other => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("Content-Encoding `{other}` is not read; send identity, gzip or zstd"),
        )),
    }
}

fn read_bounded(packed: impl std::io::Read) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    packed.take(UNPACKED + 1).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > UNPACKED {
        let detail = format!("the body unpacks to more than {} MiB; send less at once", UNPACKED >> 20);
        return Err(Problem::new(ProblemKind::PayloadTooLarge, detail));
    }
    Ok(unpacked.into())
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn damaged(error: std::io::Error) -> Problem {
    Problem::new(ProblemKind::MalformedBody, format!("the body cannot be unpacked: {error}"))
}

/// Where the records of a body are: the lines of NDJSON, the elements of an array, or the one object.
///
/// An array is split before its elements are parsed, so that a broken one costs no other; its end must be found, or
/// nobody can tell where the next begins.
pub(crate) fn records(body: &[u8]) -> Result<Vec<Range<usize>>, Problem> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(body.len());
    match body.get(start) {
        None => Err(Problem::new(
            ProblemKind::MalformedBody,
            "the body is empty; send a click, an array of clicks, or a click a line",
        )),
        Some(b'[') => elements(body, start),
        Some(_) if is_one_object(&body[start..]) => Ok(std::iter::once(start..body.len()).collect()),
        Some(_) => Ok(lines(body)),
    }
}

/// The lines that are not blank.
pub(crate) fn lines(body: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut found = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if !line.trim_ascii().is_empty() {
            found.push(start..start + line.len());
        }
        start += line.len();
    }
    found
}

/// Whether the body is one object over several lines: its first line does not close what it opens.
fn is_one_object(body: &[u8]) -> bool {
    let first_line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    body.starts_with(b"{") && Nesting::default().depth_after(first_line) > 0
}

fn elements(body: &[u8], start: usize) -> Result<Vec<Range<usize>>, Problem> {
    let (mut nesting, mut found, mut element) = (Nesting::default(), Vec::new(), start + 1);
    for (at, byte) in body.iter().enumerate().skip(start) {
        let depth = nesting.step(*byte);
        let ends = nesting.outside_text() && ((depth == 1 && *byte == b',') || (depth == 0 && *byte == b']'));
        if ends {
            if !body[element..at].trim_ascii().is_empty() || *byte == b',' {
                found.push(element..at);
            }
            element = at + 1;
        }
        if depth == 0 {
            return match body[at + 1..].trim_ascii() {
                [] => Ok(found),
                _ => Err(Problem::new(
                    ProblemKind::MalformedBody,
                    format!("something follows the array at byte {}", at + 1),
                )),
            };
        }
    }
    Err(Problem::new(ProblemKind::MalformedBody, format!("the array that begins at byte {start} is not closed")))
}

/// How deep in brackets a byte of JSON stands.
#[derive(Default)]
struct Nesting {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    fn step(&mut self, byte: u8) -> usize {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return self.depth;
        }
        match byte {
            b'"' => self.in_text = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth
    }

    fn outside_text(&self) -> bool {
        !self.in_text
    }

    fn depth_after(mut self, bytes: &[u8]) -> usize {
        bytes.iter().fold(0, |_, byte| self.step(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> Vec<&str> {
        records(body.as_bytes()).unwrap().into_iter().map(|range| body[range].trim()).collect()
    }

    #[test]
    fn body_is_an_object_an_array_or_lines() {
        assert_eq!(split(r#" {"a":1} "#), [r#"{"a":1}"#]);
        assert_eq!(split("{\"a\":\n1}"), ["{\"a\":\n1}"]);
        assert_eq!(split("{\"a\":1}\n\n{\"b\":2}\n"), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(split(r#"[{"a":"],[{"},{"b":[1,2]}]"#), [r#"{"a":"],[{"}"#, r#"{"b":[1,2]}"#]);
        assert_eq!(split("[]"), Vec::<&str>::new());
        assert_eq!(split("[1,,2]"), ["1", "", "2"]);
        assert_eq!(split("{broken\n{\"b\":2}").len(), 1, "an object that is not closed takes the rest");
        for open in ["", " \n", "[{\"a\":1}", "[] x"] {
            assert!(records(open.as_bytes()).is_err(), "{open}");
        }
    }
}
