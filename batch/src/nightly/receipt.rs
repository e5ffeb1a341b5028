//! Receipts of erasures: `receipt/<n>.json`, written once nothing of the subject is left anywhere.
//!
//! An erasure is done for whoever asks as soon as it is published. Until kept publications, files and the log are past it,
//! its tombstone stays in the publications, and says what it waits for.

use linktide_common::bucket::{Hour, Timestamp};
use linktide_common::publication::{Announced, Publication, Tombstone};
use object_store::path::Path;
use object_store::{PutMode, PutOptions};
use serde::Serialize;

use super::Nightly;
use super::maintenance::{Kept, Maintained};
use crate::error::BatchError;

/// An erasure that has no receipt yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// What is erased, and up to when.
    pub tombstone: Tombstone,
    /// What holds the receipt back, as far as is known without looking at files.
    pub waits_for: Vec<String>,
}

/// What a receipt says.
#[derive(Serialize)]
struct Receipt {
    format: u32,
    #[serde(flatten)]
    tombstone: Tombstone,
    /// The first publication that is kept: neither it nor a later one names a file that held the subject.
    first_publication: u64,
    written_at: Timestamp,
}

impl Nightly {
    /// The erasures that have no receipt yet.
    ///
    /// # Errors
    /// [`BatchError`] where the publications cannot be read.
    pub async fn erasures(&self) -> Result<Vec<Erasure>, BatchError> {
        let Some(newest) = self.lake.publications().latest().await? else { return Ok(Vec::new()) };
        let kept = self.lake.publications().kept().await?;
        let state = |tombstone: &Tombstone| {
            let mut waits_for = self.waits_for(tombstone, &newest);
            let older = kept.iter().filter(|publication| publication.plan_done < Some(tombstone.plan)).count();
            if older > 0 {
                waits_for.push(format!("{older} publications that are kept, and came before it"));
            }
            if waits_for.is_empty() {
                waits_for.push("the next maintenance, which looks at the files".to_owned());
            }
            Erasure { tombstone: *tombstone, waits_for }
        };
        Ok(newest.tombstones.iter().map(state).collect())
    }

    /// What holds a receipt back, publications and files aside.
    fn waits_for(&self, tombstone: &Tombstone, newest: &Publication) -> Vec<String> {
        let mut waits_for = Vec::new();
        let end = tombstone.received_before;
        if newest.watermark < end {
            waits_for.push(format!("the watermark, which is to pass {}", end.start()));
        }
        let log = i64::try_from(self.config.log.as_millis()).unwrap_or(i64::MAX);
        let forgotten = end.start().plus_millis(log);
        if self.clock.now() < forgotten {
            waits_for.push(format!("the log, which keeps clicks until {forgotten}"));
        }
        waits_for
    }

    /// Writes the receipts that nothing holds back, and takes their tombstones out of the publications.
    pub(super) async fn write_receipts(&self, kept: &[Kept], maintained: &mut Maintained) -> Result<(), BatchError> {
        let newest = self.newest().await?;
        let is_clean = |tombstone: &Tombstone, kept: &Kept| {
            let last = Hour(tombstone.received_before.0 - 1).day();
            kept.publication.plan_done >= Some(tombstone.plan) && kept.first_unsorted.is_none_or(|first| first > last)
        };
        for tombstone in &newest.tombstones {
            let clean = kept.iter().all(|kept| is_clean(tombstone, kept));
            if maintained.waiting > 0 || !clean || !self.waits_for(tombstone, &newest).is_empty() {
                continue;
            }
            let first_publication = kept.first().map_or(newest.number, |kept| kept.publication.number);
            let receipt = Receipt { format: 1, tombstone: *tombstone, first_publication, written_at: self.clock.now() };
            let json = serde_json::to_vec_pretty(&receipt).expect("a receipt is plain values");
            let place = Path::from(format!("receipt/{:020}.json", tombstone.plan));
            match self.lake.objects().put_opts(&place, json.into(), PutOptions::from(PutMode::Create)).await {
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.reached("batch::receipt::written")?;
            self.forget(tombstone.plan).await?;
            maintained.receipts.push(tombstone.plan);
        }
        Ok(())
    }

    /// Publishes without a tombstone.
    async fn forget(&self, number: u64) -> Result<(), BatchError> {
        loop {
            let newest = self.newest().await?;
            if newest.tombstones.iter().all(|tombstone| tombstone.plan != number) {
                return Ok(());
            }
            let mut next =
                Publication { number: newest.number + 1, published_at: self.clock.now(), ..newest.as_ref().clone() };
            next.tombstones.retain(|tombstone| tombstone.plan != number);
            if self.lake.publications().publish(next).await? == Announced::Published {
                return Ok(());
            }
        }
    }
}
