//! From lines to chunks: each line becomes a click in JSON, or a refusal with its number.
//!
//! Chunk `n` covers the same lines at every run, whatever is refused, because the ledger knows chunks by number.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use linktide_common::bucket::Timestamp;
use linktide_common::click::{Click, limits};
use linktide_common::id::{ClickId, LinkId, TenantId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Format;
use super::combined::{self, Reading};

/// Lines a chunk covers.
pub(super) const LINES: usize = 5_000;

/// A line that became no click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its number in the source, from 1.
    pub(super) line: u64,
    /// The kind of reason, by which refusals are added up.
    pub(super) reason: String,
    /// The reason in words.
    pub(super) detail: String,
}

/// What [`LINES`] lines became.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Which chunk, from 0.
    pub(super) number: u64,
    /// The clicks, one JSON object a line.
    pub(super) body: Vec<u8>,
    /// For each click the number of its line.
    pub(super) lines: Vec<u64>,
    /// The lines that became none.
    pub(super) refusals: Vec<Refusal>,
    /// Bytes of the source it covers.
    pub(super) bytes: u64,
    /// Event times of its clicks.
    pub(super) times: Vec<Option<Timestamp>>,
}

/// How lines become clicks.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// What a line looks like.
    pub(super) format: Format,
    /// Which requests are taken.
    pub(super) reading: Reading,
    /// Whose links they are.
    pub(super) tenant: TenantId,
    /// Ids of links by their path; a path that is not here has an id derived from it.
    pub(super) links: HashMap<String, LinkId>,
    /// Added to each event time.
    pub(super) shift_ms: i64,
}

/// Reads a source chunk by chunk.
pub(super) struct Chunks<R> {
    reader: R,
    rules: Rules,
    digest: String,
    line: u64,
    number: u64,
}

impl<R: BufRead> Chunks<R> {
    /// The chunks of the source with that digest.
    pub(super) fn new(reader: R, digest: &str, rules: Rules) -> Self {
        Self { reader, rules, digest: digest.to_owned(), line: 0, number: 0 }
    }

    /// The next chunk; none at the end.
    ///
    /// # Errors
    /// Where the source cannot be read on.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk { number: self.number, ..Chunk::default() };
        let mut line = Vec::new();
        for _ in 0..LINES {
            line.clear();
            let read = read_line(&mut self.reader, &mut line)?;
            if read == 0 {
                break;
            }
            self.line += 1;
            chunk.bytes += read;
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match self.click(text) {
                Ok(click) => {
                    chunk.times.push(click.clicked_at);
                    chunk.lines.push(self.line);
                    click.to_json(&mut chunk.body);
                    chunk.body.push(b'\n');
                }
                Err((reason, detail)) => chunk.refusals.push(Refusal { line: self.line, reason, detail }),
            }
        }
        self.number += 1;
        Ok((chunk.bytes > 0).then_some(chunk))
    }

    fn click(&self, line: &[u8]) -> Result<Click, (String, String)> {
        let mut click = match self.rules.format {
            Format::Json => {
                Click::parse(line).map_err(|reject| (reject.reason.name().to_owned(), reject.to_string()))?
            }
            Format::Combined => self.read_log(line)?,
        };
        click.clicked_at = click.clicked_at.map(|at| at.plus_millis(self.rules.shift_ms));
        click.click_id = click.click_id.or_else(|| Some(self.click_id()));
        click.tenant_id = self.rules.tenant;
        Ok(click)
    }

    fn read_log(&self, line: &[u8]) -> Result<Click, (String, String)> {
        if line.len() > limits::RECORD {
            return Err(("too_large".to_owned(), format!("the line is longer than {} bytes", limits::RECORD)));
        }
        let text = std::str::from_utf8(line)
            .map_err(|error| ("not_utf8".to_owned(), format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        let mut click = combined::parse(text, self.rules.reading)
            .map_err(|error| (error.reason().to_owned(), error.to_string()))?;
        let path = click.slug.as_deref().unwrap_or_default();
        click.link_id = self.rules.links.get(path).copied().unwrap_or_else(|| combined::link_id_of(path));
        Ok(click)
    }

    /// An id that is the same at every run of the same import.
    fn click_id(&self) -> ClickId {
        let digest = Sha256::new().chain_update(&self.digest).chain_update(self.line.to_be_bytes()).finalize();
        let first: [u8; 16] = digest[..16].try_into().expect("a SHA-256 has 32 bytes");
        ClickId(Uuid::new_v8(first))
    }
}

/// Reads a line of any length but keeps only so much of it that the record's limit is seen to be passed.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let most = limits::RECORD as u64 + 2;
    let mut read = reader.by_ref().take(most).read_until(b'\n', line)? as u64;
    if read == most && !line.ends_with(b"\n") {
        loop {
            let available = reader.fill_buf()?;
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(available.len(), |at| at + 1);
            reader.consume(used);
            read += used as u64;
            if end.is_some() {
                break;
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(format: Format) -> Rules {
        Rules { format, reading: Reading::default(), tenant: TenantId(0), links: HashMap::new(), shift_ms: 0 }
    }

    #[test]
    fn line_of_ten_megabytes_is_refused_and_its_neighbours_are_taken() {
        let mut content = b"{\"link_id\":1}\n".to_vec();
        content.extend(std::iter::repeat_n(b'x', 10 << 20));
        content.extend(b"\n{\"link_id\":2}\n{\"link_id\":-3}\n\xff\xfe\n");
        let size = content.len() as u64;
        let chunk = Chunks::new(io::Cursor::new(content), "d", rules(Format::Json)).next().unwrap().unwrap();
        assert_eq!(chunk.lines, [1, 3]);
        let refused: Vec<_> = chunk.refusals.iter().map(|refusal| (refusal.line, refusal.reason.as_str())).collect();
        assert_eq!(refused, [(2, "too_large"), (4, "bad_value"), (5, "not_utf8")]);
        assert_eq!(chunk.bytes, size);
    }

    #[test]
    fn chunks_cover_the_same_lines_and_ids_at_every_run() {
        let content: String = (0..LINES + 10).map(|link| format!("{{\"link_id\":{link}}}\n")).collect();
        let run = || {
            let mut chunks = Chunks::new(content.as_bytes(), "digest", rules(Format::Json));
            let bodies: Vec<_> = std::iter::from_fn(|| chunks.next().unwrap()).map(|chunk| chunk.body).collect();
            bodies
        };
        assert_eq!(run().len(), 2);
        assert_eq!(run(), run());
    }
}
