//! Maintenance: what nobody can ask for any more goes. It runs behind a publication, and changes no table.
//!
//! 1. A publication goes once another has followed it for as long as publications are kept; never the newest.
//! 2. **vacuum**: of each table, files go that no kept publication, no open plan and not the newest version names. What
//!    was written lately stays: a commit may be about to name it.
//! 3. The newest version of each table gets a checkpoint, and the log goes that no kept version needs.
//! 4. Erasures that all this is past get their receipts.

use std::collections::{BTreeSet, HashSet};

use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Timestamp};
use linktide_common::publication::Publication;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::{Nightly, Stage, plan, raw};
use crate::error::BatchError;
use crate::table::{Definition, Table};
use crate::tables::click_event;
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::rate_bot::RateBots;
use crate::tables::rollup::Rollup as _;

/// How long a file may wait for the commit that names it.
const UNNAMED_FOR_MS: i64 = 24 * 3_600_000;

/// What maintenance did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Publications that went.
    pub publications: u64,
    /// Files of tables that went.
    pub files: u64,
    /// Files that no version names, but that were written lately.
    pub waiting: u64,
    /// Erasures that have their receipt now, by number.
    pub receipts: Vec<u64>,
}

/// A publication that is kept, with what its raw clicks are like.
pub(super) struct Kept {
    pub(super) publication: Publication,
    /// The first day of receipt that has a file which no compaction wrote.
    pub(super) first_unsorted: Option<Day>,
}

impl Nightly {
    /// Cleans up behind old publications.
    ///
    /// # Errors
    /// [`BatchError`]; the next time goes on.
    pub async fn maintain(&self) -> Result<Maintained, BatchError> {
        self.progress(Stage::Maintain);
        let mut maintained = Maintained::default();
        let now = self.clock.now();
        let mut kept = Vec::new();
        for publication in self.expire(now, &mut maintained).await? {
            kept.push(Kept { publication, first_unsorted: None });
        }
        self.reached("batch::maintenance::expired")?;
        let newest = self.newest().await?;
        let open = plan::open(&self.lake, &newest).await?.ok().map(|plan| plan.raw_version);
        let definitions = [
            click_event::definition(),
            Hourly::definition(),
            Daily::definition(),
            Dimensions::definition(),
            Links::definition(),
            RateBots::definition(),
        ];
        for definition in definitions.into_iter().filter(|definition| newest.tables.contains_key(definition.name)) {
            let open = open.filter(|_| definition.name == click_event::NAME);
            self.vacuum(definition, &mut kept, open, now, &mut maintained).await?;
            self.reached("batch::maintenance::vacuumed")?;
        }
        self.write_receipts(&kept, &mut maintained).await?;
        Ok(maintained)
    }

    /// Removes publications that are too old; those that stay.
    async fn expire(&self, now: Timestamp, maintained: &mut Maintained) -> Result<Vec<Publication>, BatchError> {
        let publications = self.lake.publications();
        let mut kept = publications.kept().await?;
        let age = i64::try_from(self.config.publications.as_millis()).unwrap_or(i64::MAX);
        let followed = kept.iter().skip(1).take_while(|next| now.millis_since(next.published_at) > age).count();
        for old in kept.drain(..followed) {
            publications.remove(old.number).await?;
            maintained.publications += 1;
        }
        Ok(kept)
    }

    /// Deletes the files of a table that nobody needs, and the log.
    async fn vacuum(
        &self,
        definition: Definition,
        kept: &mut [Kept],
        open: Option<u64>,
        now: Timestamp,
        maintained: &mut Maintained,
    ) -> Result<(), BatchError> {
        let name = definition.name;
        let mut table = self.lake.table(definition).await?;
        let mut versions: BTreeSet<u64> = open.into_iter().collect();
        versions.insert(table.version()?);
        versions.extend(kept.iter().filter_map(|kept| kept.publication.tables.get(name).copied()));
        let mut needed: HashSet<Path> = HashSet::new();
        for version in &versions {
            table.load_version(*version).await?;
            let files = table.files()?;
            if name == click_event::NAME {
                let unsorted = files.iter().filter(|file| !raw::is_sorted(&file.path));
                let first = unsorted.filter_map(|file| raw::day_of(&file.path)).min();
                for kept in kept.iter_mut().filter(|kept| kept.publication.tables.get(name) == Some(version)) {
                    kept.first_unsorted = first;
                }
            }
            needed.extend(files.into_iter().map(|file| file.path));
        }
        let before = now.plus_millis(-UNNAMED_FOR_MS);
        delete_unneeded(&table, &needed, before, maintained).await?;
        table.reload().await?;
        if let Some(oldest) = versions.first() {
            table.tidy_log(*oldest, before).await?;
        }
        Ok(())
    }
}

/// Deletes the files of a table that were written before `before` and are not needed.
async fn delete_unneeded(
    table: &Table,
    needed: &HashSet<Path>,
    before: Timestamp,
    maintained: &mut Maintained,
) -> Result<(), BatchError> {
    let objects = table.objects();
    let mut listed = objects.list(None);
    let mut gone = Vec::new();
    while let Some(object) = listed.try_next().await? {
        let place = &object.location;
        if !place.as_ref().ends_with(".parquet") || place.as_ref().starts_with("_delta_log/") || needed.contains(place)
        {
            continue;
        }
        if object.last_modified.timestamp_millis() < before.as_millis() {
            gone.push(object.location);
        } else {
            maintained.waiting += 1;
        }
    }
    drop(listed);
    for place in gone {
        match objects.delete(&place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => maintained.files += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
