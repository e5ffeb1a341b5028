//! Whether a bucket is what it says it is: found out at start, before anything is written that rests on it.
//!
//! A server that lets two writers create the same object lets two commits of a table win, and clicks are lost or counted
//! twice without a word. Some do: they ignore the condition, or look first and write later. So several writers race for
//! fresh keys, and in each race exactly one may win, its content must stand, and a later one must be refused.

use std::sync::Arc;

use futures::TryStreamExt as _;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use uuid::Uuid;

use super::refusal::at_start;
use crate::error::BatchError;

const RACES: usize = 4;
const WRITERS: usize = 16;

/// Fails where `objects` cannot be listed.
pub(crate) async fn check_reading(objects: &Arc<dyn ObjectStore>) -> Result<(), BatchError> {
    objects.list(Some(&Path::from("pub"))).try_next().await.map(|_| ()).map_err(|error| at_start(&error))
}

/// Fails where `objects` cannot be written, or lets more than one create an object. `name` is what people call it.
pub(crate) async fn check_creation(objects: &Arc<dyn ObjectStore>, name: &str) -> Result<(), BatchError> {
    let places: Vec<Path> = (0..RACES).map(|_| Path::from(format!("probe/{}", Uuid::new_v4()))).collect();
    let mut outcome = Ok(());
    for place in &places {
        outcome = race(objects, place).await;
        if outcome.is_err() {
            break;
        }
    }
    for place in &places {
        match objects.delete(place).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%error, %place, "an object of the check at start stays"),
        }
    }
    outcome.map_err(|failure| match failure {
        Failure::Store(error) => at_start(&error),
        Failure::Unsound(what) => BatchError::Refused(format!(
            "the server behind {name} does not keep `If-None-Match: *` ({what}), so two writers could overwrite each other's commits; use a server that does: AWS S3, MinIO, Cloudflare R2 or versitygw do (docs/s3.md)"
        )),
    })
}

enum Failure {
    Store(Error),
    Unsound(String),
}

async fn race(objects: &Arc<dyn ObjectStore>, place: &Path) -> Result<(), Failure> {
    let create = |writer: usize| objects.put_opts(place, content(writer).into(), PutOptions::from(PutMode::Create));
    let mut winners = Vec::new();
    for (writer, outcome) in join_all((0..WRITERS).map(create)).await.into_iter().enumerate() {
        match outcome {
            Ok(_) => winners.push(writer),
            Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(Failure::Store(error)),
        }
    }
    let [winner] = winners[..] else {
        return Err(Failure::Unsound(format!("{} of {WRITERS} writers created the same object", winners.len())));
    };
    let stands = async { objects.get(place).await?.bytes().await }.await.map_err(Failure::Store)?;
    if stands != content(winner) {
        return Err(Failure::Unsound("what was created was overwritten".to_owned()));
    }
    match create(WRITERS).await {
        Err(Error::AlreadyExists { .. }) => Ok(()),
        Ok(_) => Err(Failure::Unsound("an object that stands was created again".to_owned())),
        Err(error) => Err(Failure::Store(error)),
    }
}

fn content(writer: usize) -> Vec<u8> {
    format!("writer {writer}").into_bytes()
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn store_that_keeps_its_word_passes_and_nothing_stays() {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        check_creation(&objects, "memory").await.unwrap();
        assert_eq!(objects.list(None).try_collect::<Vec<_>>().await.unwrap(), []);
    }
}
