//! What is imported: files and standard input, plain, gzip or zstd, told by their first bytes.
//!
//! An import is known by the SHA-256 of its content, unpacked: the same log counts once, whatever its name or packing.
//! Standard input is kept in a temporary file first, because its digest must be known before its first chunk is sent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One thing to import, with what its first reading told.
#[derive(Debug)]
pub(super) struct Source {
    /// What people call it.
    pub(super) name: String,
    /// SHA-256 of the unpacked content, in hexadecimal.
    pub(super) digest: String,
    /// Unpacked size in bytes.
    pub(super) size: u64,
    /// The last line that is not empty.
    pub(super) last_line: Vec<u8>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Kept(File),
}

impl Source {
    /// Reads `path` once, `-` being standard input.
    ///
    /// # Errors
    /// Where it cannot be read to its end.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let standard_input = path == Path::new("-");
        let place =
            if standard_input { Place::Kept(keep(&mut io::stdin().lock())?) } else { Place::File(path.to_owned()) };
        let name = if standard_input { "standard input".to_owned() } else { path.display().to_string() };
        let mut digest = Sha256::new();
        let (mut size, mut line, mut last_line) = (0, Vec::new(), Vec::new());
        let mut reader = place.reader().with_context(|| format!("opening {name}"))?;
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).with_context(|| format!("reading {name}"))?;
            if read == 0 {
                break;
            }
            digest.update(&line);
            size += read as u64;
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                std::mem::swap(&mut line, &mut last_line);
            }
        }
        let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, digest, size, last_line, place })
    }

    /// The unpacked content from its beginning.
    ///
    /// # Errors
    /// Where the file has gone since it was opened.
    pub(super) fn reader(&self) -> io::Result<Box<dyn BufRead + Send>> {
        self.place.reader()
    }
}

impl Place {
    fn reader(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let file = match self {
            Self::File(path) => File::open(path)?,
            Self::Kept(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                file
            }
        };
        unpacked(BufReader::with_capacity(1 << 18, file))
    }
}

fn unpacked(mut packed: BufReader<File>) -> io::Result<Box<dyn BufRead + Send>> {
    let start = packed.fill_buf()?;
    if start.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(packed))));
    }
    if start.starts_with(&ZSTD) {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, zstd::Decoder::with_buffer(packed)?)));
    }
    Ok(Box::new(packed))
}

fn keep(input: &mut impl Read) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().context("making a temporary file for standard input")?;
    io::copy(input, &mut file).context("reading standard input")?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_plain_are_the_same_import() {
        let folder = tempfile::tempdir().unwrap();
        let content = b"one\ntwo\n\n";
        let plain = folder.path().join("plain.log");
        std::fs::write(&plain, content).unwrap();
        let gz = folder.path().join("packed.log.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
        let zst = folder.path().join("packed.log.zst");
        std::fs::write(&zst, zstd::encode_all(&content[..], 1).unwrap()).unwrap();

        let plain = Source::open(&plain).unwrap();
        assert_eq!((plain.size, plain.last_line.as_slice()), (9, &b"two\n"[..]));
        for packed in [gz, zst] {
            let packed = Source::open(&packed).unwrap();
            assert_eq!(packed.digest, plain.digest);
            let mut again = String::new();
            packed.reader().unwrap().read_to_string(&mut again).unwrap();
            assert_eq!(again.as_bytes(), content);
        }
    }

    #[test]
    fn truncated_gzip_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&[b'x'; 1000]).unwrap();
        let packed = encoder.finish().unwrap();
        std::fs::write(&path, &packed[..packed.len() - 9]).unwrap();
        let error = Source::open(&path).unwrap_err();
        assert!(format!("{error:#}").contains("cut.gz"), "{error:#}");
    }
}
