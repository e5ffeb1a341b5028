//! What stays in memory of the tables' files, within two budgets: their footers, and what owners' rows in them say.
//!
//! A file is never changed, and its name is never given again, so whatever was read of it holds for good. Several
//! questions for the same rows wait for one reading of them.

use std::any::{Any, TypeId};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::ObjectStore;
use deltalake::arrow::array::RecordBatch;
use futures::FutureExt as _;
use futures::future::try_join_all;
use linktide_common::bucket::Day;
use linktide_common::headroom::give_way;
use linktide_common::id::TenantId;
use linktide_common::pool::{Pool, PoolConfig};
use linktide_common::turns::Turns;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::Names;
use super::footer::{Candidates, Footer, Whose};
use super::kept::Kept;
use super::pages::{Parts, Placed, Plan};
use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner};

const FOOTERS: usize = 4096;
const BLOCKS: usize = 1 << 18;
/// Owners in files whose rows are known.
const PLACES: usize = 1 << 16;
/// What an entry takes in memory beside what is kept, about.
const ENTRY: usize = 256;
/// More rows than these are not read with their sketches before it is known which of them are wanted.
const FEW: usize = 64;
/// Files whose rows are decoded in one piece of work: a piece takes a millisecond or two.
const FILES_A_PIECE: usize = 16;
/// Questions for rows that a tenant may have under way, which are what a dashboard or two ask at once, and that may wait.
const TURNS: usize = 8;
const WAITING: usize = 512;
/// Requests to a bucket at once, for all questions.
const REQUESTS_AT_ONCE: usize = 64;
/// Of a file's bytes, so many lie in its footer and page index at most, with few exceptions.
const FOOTER_SHARE: u64 = 16;
const SMALL: u64 = 64 << 10;

/// What rows are found by.
pub(super) const IDS: Names = &["tenant_id", "link_id"];

/// A file of a table.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Path,
    pub(super) size: u64,
    /// The event days whose rows it can hold; none where its table has no days.
    pub(super) days: Option<Range<Day>>,
    /// What it is called in errors.
    pub(super) name: String,
}

/// Names are given once.
impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for File {}

impl Hash for File {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

impl File {
    /// The error, with which file it is about.
    pub(super) fn named(&self, error: BatchError) -> BatchError {
        match error {
            BatchError::Corrupt { what, reason } if what != self.name => {
                BatchError::Corrupt { what: self.name.clone(), reason: format!("{what}: {reason}") }
            }
            BatchError::Unavailable(reason) => BatchError::Unavailable(format!("{}: {reason}", self.name)),
            error => error,
        }
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<Path, Arc<Footer>> for BySize {
    fn weight(&self, _path: &Path, footer: &Arc<Footer>) -> u64 {
        footer.size() as u64
    }
}

impl Weighter<Block, Value> for BySize {
    fn weight(&self, _block: &Block, value: &Value) -> u64 {
        (value.beside + ENTRY) as u64
    }
}

/// What is kept of an owner's rows in a file, by its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Block {
    file: Arc<File>,
    owner: Owner,
    kept: TypeId,
}

/// What is kept, with the bytes it takes beside itself.
#[derive(Clone)]
struct Value {
    kept: Arc<dyn Any + Send + Sync>,
    beside: usize,
}

impl Value {
    fn of<K: Kept>(kept: &Arc<K>) -> Self {
        Self { kept: Arc::clone(kept) as _, beside: kept.beside() }
    }

    fn get<K: Kept>(self) -> Arc<K> {
        self.kept.downcast().expect("what is kept is looked up by its type")
    }
}

pub(super) struct Files {
    footers: Cache<Path, Arc<Footer>, BySize>,
    blocks: Cache<Block, Value, BySize>,
    places: Cache<(Arc<File>, Owner), Range<usize>>,
    requests: Semaphore,
    /// Where the store is asked, whoever asks: a connection is served where it was begun, and whoever takes it up next is not
    /// to wait for a thread that stands back.
    runtime: Handle,
    /// For an owner's rows, which are few.
    pub(super) lookups: Pool,
    /// For all rows of a tenant: whoever asks for few goes first.
    pub(super) scans: Pool,
    /// For both.
    pub(super) turns: Turns,
}

impl Files {
    /// Up to `memory` bytes, a half of it for footers and a half for rows. It is made on the runtime of the requests.
    pub(super) fn new(memory: u64) -> Self {
        // A month's footer may be large: a shard of the budget might not hold it.
        let whole =
            OptionsBuilder::new().estimated_items_capacity(FOOTERS).weight_capacity(memory / 2).shards(1).build();
        let whole = whole.expect("its capacities are given");
        Self {
            footers: Cache::with_options(whole, BySize, DefaultHashBuilder::default(), DefaultLifecycle::default()),
            blocks: Cache::with_weighter(BLOCKS, memory / 2, BySize),
            places: Cache::new(PLACES),
            requests: Semaphore::new(REQUESTS_AT_ONCE),
            runtime: Handle::current(),
            lookups: Pool::start(PoolConfig::of_the_machine("lookups")),
            scans: Pool::start(PoolConfig {
                stands_back: true,
                threads_behind: 0,
                ..PoolConfig::of_the_machine("scans")
            }),
            turns: Turns::new(TURNS, WAITING),
        }
    }

    /// Whether there is room for another footer of that many bytes without letting go of one.
    pub(super) fn has_room(&self, file: &File) -> bool {
        self.footers.weight() + file.size / FOOTER_SHARE * 2 < self.footers.capacity()
    }

    pub(super) async fn footer(&self, objects: &Arc<dyn ObjectStore>, file: &File) -> Result<Arc<Footer>, BatchError> {
        let load = async { self.load(objects, file).await.map(Arc::new).map_err(|error| file.named(error)) };
        self.footers.get_or_insert_async(&file.path, load).await
    }

    async fn load(&self, objects: &Arc<dyn ObjectStore>, file: &File) -> Result<Footer, BatchError> {
        let mut from = file.size.saturating_sub((file.size / FOOTER_SHARE).max(SMALL));
        loop {
            let (bytes, local) = self.get(objects, file, from..file.size).await?;
            let len = file.size;
            let parsed = tokio::task::spawn_blocking(move || Footer::parse(len, bytes)).await;
            match parsed.map_err(|error| BatchError::Unavailable(error.to_string()))?? {
                Ok(footer) => return Ok(Footer { local, ..footer }),
                Err(further) if further < from => from = further,
                Err(_) => {
                    return Err(BatchError::Corrupt { what: "its footer".to_owned(), reason: "it is cut".to_owned() });
                }
            }
        }
    }

    /// A range of a file, and where the file lies on this machine, if it does. (Several ranges are asked for one by one:
    /// together, the store would read along a megabyte between two of them.)
    async fn get(
        &self,
        objects: &Arc<dyn ObjectStore>,
        file: &File,
        range: Range<u64>,
    ) -> Result<(Bytes, Option<PathBuf>), BatchError> {
        let _permit = self.requests.acquire().await.map_err(|error| BatchError::Unavailable(error.to_string()))?;
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let (objects, path) = (Arc::clone(objects), file.path.clone());
        let read = async move {
            let found = objects.get_opts(&path, options).await?;
            let local = match &found.payload {
                GetResultPayload::File(_, path) => Some(path.clone()),
                GetResultPayload::Stream(_) => None,
            };
            Ok::<_, BatchError>((found.bytes().await?, local))
        };
        let read = AbortOnDropHandle::new(self.runtime.spawn(read));
        let (bytes, local) = read.await.map_err(|error| BatchError::Unavailable(error.to_string()))??;
        if bytes.len() as u64 != range.end - range.start {
            let reason = format!("{} of the bytes {} to {} are there", bytes.len(), range.start, range.end);
            return Err(BatchError::Corrupt { what: "it".to_owned(), reason });
        }
        Ok((bytes, local))
    }

    /// What an owner's rows in each of some files say, in the order of the files' names.
    pub(super) async fn kept<K: Kept>(
        &self,
        objects: &Arc<dyn ObjectStore>,
        mut files: Vec<Arc<File>>,
        owner: Owner,
    ) -> Result<Vec<Arc<K>>, BatchError> {
        let _turn = self.turns.turn(tenant(owner.tenant)).await?;
        // Whoever reads rows holds them until they are there: in one order for all, nobody waits for those who wait for them.
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let (mut found, mut missing, mut held) = (Vec::with_capacity(files.len()), Vec::new(), Vec::new());
        for file in files {
            let block = Block { file: Arc::clone(&file), owner, kept: TypeId::of::<K>() };
            match self.blocks.get_value_or_guard_async(&block).await {
                Ok(value) => found.push(Some(value.get())),
                Err(place) => {
                    held.push((found.len(), place));
                    missing.push(file);
                    found.push(None);
                }
            }
        }
        if !missing.is_empty() {
            // Boxed: most of what is asked for is kept.
            let read = self.read_of::<K>(objects, &missing, owner).boxed().await?;
            for ((at, place), kept) in held.into_iter().zip(read) {
                let kept = Arc::new(kept);
                // There may be no room for it.
                let _ = place.insert(Value::of(&kept));
                found[at] = Some(kept);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    async fn read_of<K: Kept>(
        &self,
        objects: &Arc<dyn ObjectStore>,
        files: &[Arc<File>],
        owner: Owner,
    ) -> Result<Vec<K>, BatchError> {
        let place = |file: &Arc<File>| {
            let file = Arc::clone(file);
            async move {
                if let Some(rows) = self.places.get(&(Arc::clone(&file), owner)) {
                    return Ok::<_, BatchError>(Place { file, rows, ids: &[] });
                }
                let Candidates { rows, are_of_tenant } =
                    self.footer(objects, &file).await?.owners.candidates(Whose::Owner(owner));
                Ok(Place { file, rows, ids: if are_of_tenant { &IDS[1..] } else { IDS } })
            }
        };
        let mut places = try_join_all(files.iter().map(place)).await?;
        if K::COLUMNS.contains(&"sketch") {
            let many = places.iter_mut().filter(|place| !place.ids.is_empty() && place.rows.len() > FEW);
            let many: Vec<&mut Place> = many.collect();
            let found =
                self.own::<Nothing>(objects, many.iter().map(|place| (*place).clone()).collect(), owner).await?;
            for (place, (_, rows)) in many.into_iter().zip(found) {
                (place.rows, place.ids) = (rows, &[]);
            }
        }
        Ok(self.own(objects, places, owner).await?.into_iter().map(|(kept, _)| kept).collect())
    }

    /// What an owner's rows in some places say, and which they are. They are decoded a few files at a time, so that others have
    /// their turn.
    async fn own<K: Kept>(
        &self,
        objects: &Arc<dyn ObjectStore>,
        places: Vec<Place>,
        owner: Owner,
    ) -> Result<Vec<Own<K>>, BatchError> {
        let read = |place: Place| async move {
            let Place { file, rows, ids } = &place;
            let part = match rows.is_empty() {
                true => None,
                false => Some(self.part(objects, file, rows.clone(), ids, K::COLUMNS).await?),
            };
            Ok::<_, BatchError>((place, part))
        };
        let mut parts = try_join_all(places.into_iter().map(read)).await?.into_iter().peekable();
        let mut pieces = Vec::new();
        while parts.peek().is_some() {
            let piece: Vec<_> = parts.by_ref().take(FILES_A_PIECE).collect();
            let decode = move || {
                let own = piece.into_iter().inspect(|_| give_way()).map(|(place, part)| own_of(place, part, owner));
                own.collect::<Result<Vec<_>, _>>()
            };
            pieces.push(self.lookups.run(tenant(owner.tenant), decode));
        }
        let mut found = Vec::new();
        for piece in try_join_all(pieces).await? {
            found.extend(piece?.into_iter().map(|(file, own): (_, Own<K>)| {
                self.places.insert((file, owner), own.1.clone());
                own
            }));
        }
        Ok(found)
    }

    /// Some rows of a file that are not decoded yet.
    pub(super) async fn part(
        &self,
        objects: &Arc<dyn ObjectStore>,
        file: &File,
        rows: Range<usize>,
        ids: Names,
        columns: Names,
    ) -> Result<Part, BatchError> {
        let footer = self.footer(objects, file).await?;
        let source = match &footer.local {
            // Whoever decodes it reads it.
            Some(path) => Source::File(path.clone()),
            None => {
                let ranges = Plan::of(&footer, &rows, ids, columns).ranges(&footer);
                let read = ranges.iter().map(|range| self.get(objects, file, range.clone()));
                let read = try_join_all(read).await.map_err(|error| file.named(error))?;
                Source::Bytes(Parts::of(&ranges, read.into_iter().map(|(bytes, _)| bytes).collect()))
            }
        };
        Ok(Part { footer, rows, ids, columns, source })
    }
}

/// Some rows of a file that are not decoded yet.
pub(super) struct Part {
    footer: Arc<Footer>,
    rows: Range<usize>,
    ids: Names,
    columns: Names,
    source: Source,
}

enum Source {
    File(PathBuf),
    Bytes(Parts),
}

impl Part {
    pub(super) fn decode(self) -> Result<Vec<RecordBatch>, BatchError> {
        let plan = Plan::of(&self.footer, &self.rows, self.ids, self.columns);
        match self.source {
            Source::File(path) => {
                let unreadable = |error: std::io::Error| BatchError::Unavailable(error.to_string());
                plan.decode(&self.footer, Placed::open(&path).map_err(unreadable)?)
            }
            Source::Bytes(parts) => plan.decode(&self.footer, parts),
        }
    }
}

/// Where an owner's rows in a file are, or among which they are.
#[derive(Clone)]
struct Place {
    file: Arc<File>,
    rows: Range<usize>,
    /// What they have to be found by: nothing where all are the owner's, the link where all are the tenant's.
    ids: Names,
}

/// What is kept of rows that are only looked for.
struct Nothing;

impl Kept for Nothing {
    const COLUMNS: Names = &[];

    fn read(_rows: &[RecordBatch]) -> Result<Self, BatchError> {
        Ok(Self)
    }

    fn beside(&self) -> usize {
        0
    }
}

/// What an owner's rows say, and which rows of the file they are.
type Own<K> = (K, Range<usize>);

/// That of the part of a file that a place is; where it has no rows, the owner has none.
fn own_of<K: Kept>(place: Place, part: Option<Part>, owner: Owner) -> Result<(Arc<File>, Own<K>), BatchError> {
    let Place { file, rows, ids } = place;
    let own = || {
        let read = part.map_or(Ok(Vec::new()), Part::decode)?;
        if ids.is_empty() {
            return Ok((K::read(&read)?, rows));
        }
        let (own, found) = of_owner(&read, owner, ids)?;
        Ok((K::read(&own)?, found.start + rows.start..found.end + rows.start))
    };
    let own = own().map_err(|error| file.named(error))?;
    Ok((file, own))
}

pub(super) fn tenant(id: i64) -> TenantId {
    TenantId(id.cast_unsigned())
}

/// An owner's rows, and which of those read they are.
///
/// They are found by bisection elsewhere, so rows in another order are refused.
fn of_owner(read: &[RecordBatch], wanted: Owner, ids: Names) -> Result<(Vec<RecordBatch>, Range<usize>), BatchError> {
    let (mut slices, mut found, mut first) = (Vec::new(), None, 0);
    let mut last: Option<Owner> = None;
    for batch in read {
        let owners = Columns::new(batch).owners_of((ids != IDS).then_some(wanted.tenant))?;
        let mut own: Option<Range<usize>> = None;
        for row in 0..batch.num_rows() {
            let owner = owners.at(row);
            if last.is_some_and(|last| last > owner) {
                return Err(BatchError::Corrupt {
                    what: format!("row {} of those read", first + row),
                    reason: "it is not in the order of tenants and links".to_owned(),
                });
            }
            last = Some(owner);
            if owner == wanted {
                own = Some(own.map_or(row, |own| own.start)..row + 1);
            }
        }
        if let Some(own) = own {
            slices.push(batch.slice(own.start, own.len()));
            let start = found.map_or(first + own.start, |found: Range<usize>| found.start);
            found = Some(start..first + own.end);
        }
        first += batch.num_rows();
    }
    Ok((slices, found.unwrap_or(0..0)))
}
