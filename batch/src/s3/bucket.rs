//! A bucket as an object store whose refusals are true.
//!
//! The client this rests on sends a request again when the server failed or the connection ended, also one that creates
//! an object. If the first one had landed, the second is refused: "it already exists" may mean our own object. And a
//! server may answer 409 to a creation that met another request, with no object there at all. So
//!
//! 1. what is refused as existing, or whose outcome is unknown, is read back: with our content it is ours, and created;
//!    if nothing is there, it is sent again;
//! 2. what is larger than a part is uploaded in parts, each of them sent again by itself, and is there as a whole or not
//!    at all.
//!
//! Two writers who create the same content both hear that they did: whatever they said is said.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use fail::fail_point;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::S3Config;
use super::refusal::in_words;

/// Bytes of a part of a large object; S3 takes none below 5 MiB but the last.
const PART: usize = 8 << 20;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// Times a creation is sent that failed although nothing stands there.
const ATTEMPTS: usize = 3;

/// The bucket. Clones reach the same one.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    s3: Arc<AmazonS3>,
    config: Arc<S3Config>,
}

/// What stands where something was to be created.
enum Standing {
    Ours(PutResult),
    Others,
    Nothing,
}

impl Bucket {
    pub(super) fn new(s3: AmazonS3, config: Arc<S3Config>) -> Self {
        Self { s3: Arc::new(s3), config }
    }

    fn told(&self, error: Error) -> Error {
        in_words(&self.config, error)
    }

    async fn create(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let error = match self.s3.put_opts(location, payload.clone(), options.clone()).await {
                Ok(created) => return Ok(created),
                Err(error) => self.told(error),
            };
            let refused = matches!(error, Error::AlreadyExists { .. });
            if !refused && !matches!(error, Error::Generic { .. }) {
                return Err(error);
            }
            match self.standing(location, &payload).await {
                Ok(Standing::Ours(result)) => return Ok(result),
                Ok(Standing::Others) if refused => return Err(error),
                Ok(Standing::Others) => {
                    return Err(Error::AlreadyExists { path: location.to_string(), source: Box::new(error) });
                }
                Ok(Standing::Nothing) if attempts > 0 => {}
                Ok(Standing::Nothing) | Err(_) => return Err(error),
            }
        }
    }

    async fn standing(&self, location: &Path, payload: &PutPayload) -> Result<Standing> {
        let found = match self.s3.get(location).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(Standing::Nothing),
            Err(error) => return Err(self.told(error)),
        };
        let result = PutResult { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let content = found.bytes().await?;
        let ours = content.len() == payload.content_length() && content == gathered(payload);
        Ok(if ours { Standing::Ours(result) } else { Standing::Others })
    }

    async fn put_in_parts(&self, location: &Path, payload: &PutPayload, options: PutOptions) -> Result<PutResult> {
        let PutOptions { tags, attributes, extensions, .. } = options;
        let options = PutMultipartOptions { tags, attributes, extensions };
        let mut upload = self.s3.put_multipart_opts(location, options).await?;
        let whole = gathered(payload);
        let starts = (0..whole.len()).step_by(PART);
        let parts: Vec<_> =
            starts.map(|start| upload.put_part(whole.slice(start..whole.len().min(start + PART)).into())).collect();
        let sent = futures::stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await;
        let completed = match sent {
            Ok(_) => upload.complete().await,
            Err(error) => Err(error),
        };
        if completed.is_err() {
            // What stays is aborted by the bucket's rules.
            let _ = upload.abort().await;
        }
        completed
    }
}

fn gathered(payload: &PutPayload) -> Bytes {
    let mut bytes = BytesMut::with_capacity(payload.content_length());
    payload.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.freeze()
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.url.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        // Whatever a job does is done by one write after the other: between any two of them it may die.
        fail_point!("bucket::before_write", |_| std::process::abort());
        let written = match options.mode {
            PutMode::Create => self.create(location, payload, options).await,
            PutMode::Overwrite if payload.content_length() > PART => {
                self.put_in_parts(location, &payload, options).await.map_err(|error| self.told(error))
            }
            _ => self.s3.put_opts(location, payload, options).await.map_err(|error| self.told(error)),
        };
        fail_point!("bucket::behind_write", |_| std::process::abort());
        written
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.s3.put_multipart_opts(location, options).await.map_err(|error| self.told(error))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.s3.get_opts(location, options).await.map_err(|error| self.told(error))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        self.s3.get_ranges(location, ranges).await.map_err(|error| self.told(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        self.s3.delete_stream(locations).map_err(move |error| this.told(error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        self.s3.list(prefix).map_err(move |error| this.told(error)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        self.s3.list_with_offset(prefix, offset).map_err(move |error| this.told(error)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.s3.list_with_delimiter(prefix).await.map_err(|error| self.told(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.s3.copy_opts(from, to, options).await.map_err(|error| self.told(error))
    }
}
