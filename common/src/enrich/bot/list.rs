//! Lists that people and providers write, read from files: what they have in common is how their mistakes are told.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// A list of bots that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{at}: {problem}", at = self.line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct ListError {
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

impl ListError {
    pub(super) fn of(path: &Path, problem: impl ToString) -> Self {
        Self { file: path.display().to_string(), line: None, problem: problem.to_string() }
    }

    pub(super) fn at(path: &Path, line: usize, problem: impl ToString) -> Self {
        Self { line: Some(line), ..Self::of(path, problem) }
    }
}

/// Hands on every line that says something, without what surrounds it. A comment begins with `#`, or with `;` where
/// `comments` says so.
pub(super) fn each_line(
    path: &Path,
    comments: &[char],
    mut take: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), ListError> {
    let file = File::open(path).map_err(|error| ListError::of(path, error))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let read = reader.read_until(b'\n', &mut line).map_err(|error| ListError::at(path, number, error))?;
        if read == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&line).map_err(|_| ListError::at(path, number, "the line is not UTF-8"))?;
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        let text = text.split(comments).next().unwrap_or_default().trim();
        if !text.is_empty() {
            take(number, text).map_err(|problem| ListError::at(path, number, problem))?;
        }
    }
}

/// Whether a file is one of JSON, by its name.
pub(super) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The JSON of a file.
pub(super) fn json(path: &Path) -> Result<serde_json::Value, ListError> {
    let text = std::fs::read(path).map_err(|error| ListError::of(path, error))?;
    serde_json::from_slice(&text).map_err(|error| ListError::at(path, error.line(), error))
}
