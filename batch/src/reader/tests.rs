//! Rows of files as they are written, found again by whoever owns them, against a plain list.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalake::ObjectStore;
use deltalake::arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::file::metadata::ColumnChunkMetaData;
use deltalake::parquet::file::reader::{FileReader as _, SerializedFileReader};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::Names;
use super::files::{File, Files};
use super::kept::{Kept, Labels};
use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner};
use crate::tables::parquet::Encoder;

const MEMORY: u64 = 1 << 24;

/// Owners with their rows.
fn owners() -> BTreeMap<Owner, Range<i64>> {
    let mut counts = vec![(Owner { tenant: -1, link: None }, 3), (Owner { tenant: -1, link: Some(i64::MIN) }, 1)];
    counts.extend((0..700).map(|link| (Owner { tenant: 0, link: Some(link * 3) }, 1 + link % 7)));
    counts.push((Owner { tenant: 0, link: Some(5000) }, 150_000));
    counts.extend((1..60).flat_map(|tenant| {
        let own = (Owner { tenant, link: None }, 40);
        [own, (Owner { tenant, link: Some(tenant) }, 1 + tenant % 90), (Owner { tenant, link: Some(9) }, 0)]
    }));
    counts.sort_by_key(|(owner, _)| *owner);
    let mut first = 0;
    let mut owners = BTreeMap::new();
    for (owner, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        owners.insert(owner, first..first + count);
        first += count;
    }
    owners
}

fn batch(owners: &[Owner]) -> RecordBatch {
    let tenants: ArrayRef = Arc::new(owners.iter().map(|owner| owner.tenant).collect::<Int64Array>());
    let links: ArrayRef = Arc::new(owners.iter().map(|owner| owner.link).collect::<Int64Array>());
    let count = i64::try_from(owners.len()).unwrap();
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let sketches: ArrayRef =
        Arc::new(BinaryArray::from_iter_values((0..count).map(|row| vec![row.to_le_bytes()[0]; 400])));
    let columns =
        [("tenant_id", tenants, false), ("link_id", links, true), ("value", values, false), ("sketch", sketches, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

async fn encoded(owners: &[Owner]) -> Vec<u8> {
    written(batch(owners)).await
}

async fn written(rows: RecordBatch) -> Vec<u8> {
    let encoder = Encoder::start(rows.schema());
    for first in (0..rows.num_rows()).step_by(8192) {
        encoder.add(rows.slice(first, 8192.min(rows.num_rows() - first))).await;
    }
    encoder.finish().await.unwrap().bytes.iter().flatten().copied().collect()
}

/// A store with one file of these bytes, said to have so many.
async fn store(bytes: Vec<u8>, size: usize) -> (Arc<dyn ObjectStore>, Arc<File>) {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let path = Path::from("event_month=2026-03/2026-03.x.parquet");
    objects.put(&path, bytes.into()).await.unwrap();
    (objects, Arc::new(File { name: format!("some_table/{path}"), path, size: size as u64, days: None }))
}

async fn whole(owners: &[Owner]) -> (Arc<dyn ObjectStore>, Arc<File>) {
    let bytes = encoded(owners).await;
    let size = bytes.len();
    store(bytes, size).await
}

fn all(owners: &BTreeMap<Owner, Range<i64>>) -> Vec<Owner> {
    owners.iter().flat_map(|(owner, rows)| rows.clone().map(|_| *owner)).collect()
}

fn take_values(rows: &RecordBatch, found: &mut Vec<i64>) -> Result<(), BatchError> {
    found.extend(Columns::new(rows).numbers("value")?.values());
    Ok(())
}

/// The values of an owner's rows.
struct Values(Vec<i64>);

impl Kept for Values {
    const COLUMNS: Names = &["value"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let mut found = Vec::new();
        rows.iter().try_for_each(|rows| take_values(rows, &mut found))?;
        Ok(Self(found))
    }

    fn beside(&self) -> usize {
        self.0.len() * size_of::<i64>()
    }
}

/// The first byte of each of an owner's sketches.
struct Sketches(Vec<u8>);

impl Kept for Sketches {
    const COLUMNS: Names = &["sketch"];

    fn read(rows: &[RecordBatch]) -> Result<Self, BatchError> {
        let sketches = rows.iter().map(|rows| Columns::new(rows).binaries("sketch")).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(sketches.into_iter().flatten().flatten().map(|sketch| sketch[0]).collect()))
    }

    fn beside(&self) -> usize {
        self.0.len()
    }
}

/// An owner's values in a file, of which others may be known already.
async fn ask_of(
    files: &Files,
    objects: &Arc<dyn ObjectStore>,
    file: &Arc<File>,
    owner: Owner,
) -> Result<Vec<i64>, BatchError> {
    let found = files.kept::<Values>(objects, vec![Arc::clone(file)], owner).await?;
    Ok(found.iter().flat_map(|values| &values.0).copied().collect())
}

async fn ask(objects: &Arc<dyn ObjectStore>, file: &Arc<File>, owner: Owner) -> Result<Vec<i64>, BatchError> {
    ask_of(&Files::new(MEMORY), objects, file, owner).await
}

#[tokio::test]
async fn rows_of_everybody_are_found_and_of_nobody_else() {
    let owners = owners();
    let (objects, file) = whole(&all(&owners)).await;
    let files = Files::new(MEMORY);
    for round in 0..2 {
        for (owner, rows) in &owners {
            let found = ask_of(&files, &objects, &file, *owner).await.unwrap();
            assert_eq!(found, rows.clone().collect::<Vec<_>>(), "{owner:?}, round {round}");
        }
    }
    for owner in
        [Owner { tenant: 0, link: Some(1) }, Owner { tenant: 60, link: None }, Owner { tenant: -2, link: None }]
    {
        let found = ask_of(&files, &objects, &file, owner).await.unwrap();
        assert_eq!(found, [0; 0], "{owner:?}");
    }
    for tenant in [-2, -1, 0, 1, 59, 60] {
        let wanted: Vec<i64> =
            owners.iter().filter(|(owner, _)| owner.tenant == tenant).flat_map(|(_, rows)| rows.clone()).collect();
        let found: Vec<i64> =
            files.scan(&objects, vec![Arc::clone(&file)], tenant, Values::COLUMNS, take_values).await.unwrap();
        assert_eq!(found, wanted, "tenant {tenant}");
    }
}

#[tokio::test]
async fn file_of_a_folder_is_read_as_one_of_a_bucket_and_named_when_it_is_gone() {
    let (owners, folder) = (owners(), tempfile::tempdir().unwrap());
    let (bucket, file) = whole(&all(&owners)).await;
    let bytes = bucket.get(&file.path).await.unwrap().bytes().await.unwrap();
    let objects: Arc<dyn ObjectStore> =
        Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    objects.put(&file.path, bytes.into()).await.unwrap();
    let files = Files::new(MEMORY);
    let asked = |owner| ask_of(&files, &objects, &file, owner);
    for (owner, rows) in owners.iter().step_by(17) {
        let found = asked(*owner).await.unwrap();
        assert_eq!(found, rows.clone().collect::<Vec<_>>(), "{owner:?}");
    }
    objects.delete(&file.path).await.unwrap();
    let error = asked(Owner { tenant: 0, link: Some(3) }).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&file.name), "{error}");
}

/// As rollups were written once, and raw clicks are.
#[tokio::test]
async fn file_whose_columns_are_all_packed_is_read_like_one_whose_few_are() {
    let owners = owners();
    let rows = batch(&all(&owners));
    let with_offset = ["tenant_id", "link_id", "value", "sketch", "offset"].map(|name| {
        let column = rows.column_by_name(name).or(rows.column_by_name("value"));
        (name, Arc::clone(column.unwrap()), name == "link_id" || name == "sketch")
    });
    let bytes = written(RecordBatch::try_from_iter_with_nullable(with_offset).unwrap()).await;
    let (few, size) = (encoded(&all(&owners)).await, bytes.len());
    let compressed = |bytes: &[u8]| {
        let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(bytes)).unwrap();
        let group = reader.metadata().row_group(0);
        let packed = |column: &&ColumnChunkMetaData| matches!(column.compression(), Compression::ZSTD(_));
        (group.columns().iter().filter(packed).count(), group.num_columns())
    };
    assert_eq!((compressed(&bytes), compressed(&few)), ((5, 5), (1, 4)));
    let (objects, file) = store(bytes, size).await;
    for (owner, rows) in owners.iter().step_by(17) {
        let found = ask(&objects, &file, *owner).await.unwrap();
        assert_eq!(found, rows.clone().collect::<Vec<_>>(), "{owner:?}");
    }
}

#[tokio::test]
async fn sketches_of_few_rows_are_read_without_those_around_them() {
    let owners = owners();
    let (objects, file) = whole(&all(&owners)).await;
    let store = Arc::new(Counting { objects, read: AtomicU64::new(0) });
    let (objects, files): (Arc<dyn ObjectStore>, _) = (Arc::clone(&store) as Arc<dyn ObjectStore>, Files::new(MEMORY));
    files.footer(&objects, &file).await.unwrap();
    let before = store.read.load(Ordering::Acquire);
    let owner = Owner { tenant: 0, link: Some(300) };
    let found = files.kept::<Sketches>(&objects, vec![file], owner).await.unwrap();
    let found = &found[0].0;
    assert_eq!(*found, owners[&owner].clone().map(|row| row.to_le_bytes()[0]).collect::<Vec<_>>());
    let read = store.read.load(Ordering::Acquire) - before;
    assert!(read < 64 << 10, "{read} bytes were read for {} rows", found.len());
}

#[tokio::test]
async fn name_of_one_link_is_read_without_those_of_all() {
    let count = 60_000;
    let text = |name: &str, link: i64| format!("{name} {link:x} {}", link.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let texts = |name| Arc::new((0..count).map(|link| Some(text(name, link))).collect::<StringArray>()) as ArrayRef;
    let stamps = TimestampMicrosecondArray::from_iter_values((0..count).map(|link| link * 1000)).with_timezone("UTC");
    let ids = BinaryArray::from_iter_values(
        (0..count).map(|link| uuid::Uuid::from_u64_pair(7, link.cast_unsigned()).into_bytes()),
    );
    let columns = [
        ("tenant_id", Arc::new(Int64Array::from_iter_values((0..count).map(|_| 7))) as ArrayRef, false),
        ("link_id", Arc::new(Int64Array::from_iter_values(0..count)), false),
        ("slug", texts("slug"), true),
        ("title", texts("title"), true),
        ("destination", texts("destination"), true),
        ("labelled_at", Arc::new(stamps), false),
        ("click_id", Arc::new(ids), false),
    ];
    let bytes = written(RecordBatch::try_from_iter_with_nullable(columns).unwrap()).await;
    let size = bytes.len();
    let (objects, file) = store(bytes, size).await;
    let store = Arc::new(Counting { objects, read: AtomicU64::new(0) });
    let (objects, files): (Arc<dyn ObjectStore>, _) = (Arc::clone(&store) as Arc<dyn ObjectStore>, Files::new(MEMORY));
    files.footer(&objects, &file).await.unwrap();
    let before = store.read.load(Ordering::Acquire);
    let found = files.kept::<Labels>(&objects, vec![file], Owner { tenant: 7, link: Some(41_234) }).await.unwrap();
    let [label] = &*found[0].0 else { panic!("{} labels", found[0].0.len()) };
    for (name, found) in [("slug", &label.slug), ("title", &label.title), ("destination", &label.destination)] {
        assert_eq!(found.as_deref(), Some(&*text(name, 41_234)));
    }
    let read = store.read.load(Ordering::Acquire) - before;
    assert!(read < 128 << 10, "{read} bytes of {size} were read for one label");
}

#[tokio::test]
async fn little_memory_costs_time_and_no_rows() {
    let owners = owners();
    let (objects, file) = whole(&all(&owners)).await;
    let files = Files::new(1 << 10);
    for (owner, rows) in owners.iter().step_by(37).chain(owners.iter().step_by(53)) {
        let found = ask_of(&files, &objects, &file, *owner).await.unwrap();
        assert_eq!(found.len(), rows.clone().count(), "{owner:?}");
    }
}

#[tokio::test]
async fn file_in_another_order_is_refused_and_named() {
    let owner = |link| Owner { tenant: 0, link: Some(link) };
    let within_a_page: Vec<Owner> = [1, 3, 2, 4].map(owner).into();
    let by_pages: Vec<Owner> = (0..5000).map(|row| owner(if row < 3000 { 7 } else { 5 })).collect();
    for owners in [within_a_page, by_pages] {
        let (objects, file) = whole(&owners).await;
        let error = ask(&objects, &file, owner(2)).await.unwrap_err();
        assert!(matches!(error, BatchError::Corrupt { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains(&file.name) && told.contains("not in the order of tenants and links"), "{told}");
    }
}

#[tokio::test]
async fn file_that_is_gone_cut_or_overwritten_is_named() {
    let owners = owners();
    let bytes = encoded(&all(&owners)).await;
    let len = bytes.len();
    let owner = Owner { tenant: 0, link: Some(5000) };
    for (damage, bytes) in [
        ("cut", bytes[..len / 2].to_vec()),
        ("emptied", Vec::new()),
        ("overwritten", vec![7; len]),
        ("spoilt in the middle", [&bytes[..len / 4], &vec![0xa5; len / 4], &bytes[len / 2..]].concat()),
    ] {
        let (objects, file) = store(bytes, len).await;
        let error = ask(&objects, &file, owner).await.unwrap_err().to_string();
        assert!(error.contains(&file.name), "{damage}: {error}");
    }
    let (objects, file) = store(bytes, len).await;
    objects.delete(&file.path).await.unwrap();
    let error = ask(&objects, &file, owner).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&file.name), "{error}");
}

/// A store that counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    objects: Arc<dyn ObjectStore>,
    read: AtomicU64,
}

impl std::fmt::Display for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        location: &Path,
        payload: object_store::PutPayload,
        options: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        let found = self.objects.get_opts(location, options).await?;
        self.read.fetch_add(found.range.end - found.range.start, Ordering::AcqRel);
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<object_store::ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
