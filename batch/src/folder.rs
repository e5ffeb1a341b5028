//! A local folder as an object store that keeps what it has acknowledged.
//!
//! The store this rests on writes a file and renames it, but leaves it to the system when the bytes reach the disk: after
//! a power cut a commit could be there by name and empty, and a table whose log has an empty entry cannot be read at
//! all. Here
//!
//! 1. the bytes are on the disk before the file has its name,
//! 2. the name, and the folders made for it, are on the disk before the write is acknowledged,
//! 3. what is written in parts is gathered in memory and written as above,
//! 4. and whoever stands back reads and writes large files in short pieces, as it does all its work.
//!
//! Without the first two it is faster, for data that can be made again. A file that is still being written ends in
//! `#<number>`, which listings leave out.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use linktide_common::headroom::{give_way, taken_along};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

const STORE: &str = "folder";
/// Bytes that are read or written at once: they take a fraction of a millisecond.
const PIECE: usize = 512 << 10;

/// The store. Clones write to the same folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    files: Arc<LocalFileSystem>,
    staged: Arc<AtomicU64>,
    synced: bool,
}

impl Folder {
    /// One whose files are on the disk before they are acknowledged, where it is `synced`.
    pub(crate) fn new(files: LocalFileSystem, synced: bool) -> Self {
        Self { files: Arc::new(files), staged: Arc::default(), synced }
    }

    /// A name beside `path` that no other write of this or another process has.
    fn staging(&self, path: &FilePath) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        name.push(format!("#{}", (u64::from(std::process::id()) << 32) + number));
        name.into()
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder of {}", self.files)
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let path = self.files.path_to_filesystem(location)?;
        let staging = self.staging(&path);
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                let operation = "a conditional overwrite".to_owned();
                return Err(Error::NotImplemented { operation, implementer: self.to_string() });
            }
        };
        let synced = self.synced;
        let write = taken_along(move || write(&path, &staging, &payload, create, synced));
        match tokio::task::spawn_blocking(write).await? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: error.into() })
            }
            Err(error) => Err(Error::Generic { store: STORE, source: error.into() }),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Gathered { folder: self.clone(), location: location.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (path, wanted) = (self.files.path_to_filesystem(location)?, ranges.to_vec());
        match tokio::task::spawn_blocking(taken_along(move || read(&path, &wanted))).await? {
            Ok(read) => Ok(read),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NotFound { path: location.to_string(), source: error.into() })
            }
            Err(error) => Err(Error::Generic { store: STORE, source: error.into() }),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

/// Parts of one object, in the order they were given.
#[derive(Debug)]
struct Gathered {
    folder: Folder,
    location: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Gathered {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.parts.extend(part);
        Box::pin(std::future::ready(Ok(())))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = std::mem::take(&mut self.parts);
        self.folder.put(&self.location, parts.into_iter().collect()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

fn write(path: &FilePath, staging: &FilePath, payload: &PutPayload, create: bool, synced: bool) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    make(folder, synced)?;
    let outcome = write_staged(staging, payload, synced)
        .and_then(|()| if create { std::fs::hard_link(staging, path) } else { std::fs::rename(staging, path) });
    if create || outcome.is_err() {
        // What cannot be removed is left out of listings all the same.
        let _ = std::fs::remove_file(staging);
    }
    outcome?;
    if synced { sync(folder) } else { Ok(()) }
}

fn write_staged(staging: &FilePath, payload: &PutPayload, synced: bool) -> io::Result<()> {
    let mut file = File::create(staging)?;
    for piece in payload.iter().flat_map(|bytes| bytes.chunks(PIECE)) {
        give_way();
        file.write_all(piece)?;
    }
    if synced { file.sync_all() } else { Ok(()) }
}

fn read(path: &FilePath, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(named)?;
    let mut read_one = |range: &Range<u64>| {
        let length = usize::try_from(range.end - range.start).map_err(|_| ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; length];
        file.seek(SeekFrom::Start(range.start))?;
        for piece in bytes.chunks_mut(PIECE) {
            give_way();
            file.read_exact(piece)?;
        }
        Ok(bytes.into())
    };
    ranges.iter().map(|range| read_one(range).map_err(named)).collect()
}

/// Makes a folder and those above it.
fn make(folder: &FilePath, synced: bool) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if !synced {
        return std::fs::create_dir_all(folder);
    }
    // Each of them is on the disk before the next one.
    let above = folder.parent().ok_or(ErrorKind::NotFound)?;
    make(above, synced)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync(above),
    }
}

/// Puts a folder's entries on the disk. Where a folder cannot be opened as a file, its file system does that by itself.
fn sync(folder: &FilePath) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn folder(place: &tempfile::TempDir) -> Folder {
        Folder::new(LocalFileSystem::new_with_prefix(place.path()).unwrap(), true)
    }

    async fn names(folder: &Folder) -> Vec<String> {
        let mut names: Vec<_> =
            folder.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
        names.sort_unstable();
        names
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_created_once() {
        let place = tempfile::tempdir().unwrap();
        let (one, other) = (folder(&place), folder(&place));
        let path = Path::from("a/b/c.json");
        one.put_opts(&path, "first".into(), PutMode::Create.into()).await.unwrap();
        let taken = other.put_opts(&path, "second".into(), PutMode::Create.into()).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken}");
        assert_eq!(other.get(&path).await.unwrap().bytes().await.unwrap(), "first");
        one.put(&path, "third".into()).await.unwrap();
        assert_eq!(other.get(&path).await.unwrap().bytes().await.unwrap(), "third");
        assert_eq!(names(&one).await, ["a/b/c.json"]);
        assert_eq!(std::fs::read_dir(place.path().join("a/b")).unwrap().count(), 1, "staged files are left");
    }

    #[tokio::test]
    async fn ranges_of_a_large_file_are_read_in_pieces_and_are_whole() {
        let place = tempfile::tempdir().unwrap();
        let (synced, path) = (folder(&place), Path::from("large"));
        let folder = Folder { synced: false, ..synced };
        let content: Vec<u8> = (0u32..1_000_003).flat_map(u32::to_le_bytes).collect();
        folder.put(&path, content.clone().into()).await.unwrap();
        let piece = PIECE as u64;
        let ranges = [0..content.len() as u64, 5..5 + piece, 7..8 + piece, 3 * piece..3 * piece + 1, 9..10];
        let read = folder.get_ranges(&path, &ranges).await.unwrap();
        for (range, read) in ranges.iter().zip(read) {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(read == content[range.clone()], "{range:?}");
        }
        let gone = folder.get_ranges(&Path::from("gone"), std::slice::from_ref(&(0..9))).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    }

    #[tokio::test]
    async fn object_of_parts_is_there_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        let path = Path::from("whole");
        let mut upload = folder.put_multipart(&path).await.unwrap();
        upload.put_part("one ".into()).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        assert_eq!(names(&folder).await, [""; 0]);
        upload.complete().await.unwrap();
        assert_eq!(folder.get(&path).await.unwrap().bytes().await.unwrap(), "one two");
    }

    #[tokio::test]
    async fn only_one_of_many_creates() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        let path = Path::from("race");
        let put = |number: usize| {
            let (folder, path) = (folder.clone(), path.clone());
            async move { folder.put_opts(&path, vec![0; number].into(), PutMode::Create.into()).await }
        };
        let outcomes = futures::future::join_all((1..20).map(put)).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}
