//! The tables at a publication: which files hold what.

use std::ops::Range;
use std::sync::Arc;

use deltalake::ObjectStore;
use futures::{StreamExt as _, stream};
use linktide_common::bucket::Day;
use linktide_common::id::TenantId;
use linktide_common::publication::Publication;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Snapshot;
use super::files::{File, Files};
use crate::error::BatchError;
use crate::table::Table;
use crate::tables::Lake;
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::rollup::Rollup;
use crate::tables::slot::Slot;

/// Publications that stay open: the newest, the one before it, and reports of the past.
const OPEN: usize = 8;
/// Footers that are read at once before anybody asks.
const AHEAD: usize = 4;

/// Reads the rollups of a lake.
pub struct Tables {
    lake: Lake,
    files: Arc<Files>,
    /// The one that was asked for last comes last.
    open: Mutex<Vec<Arc<Snapshot>>>,
    logs: tokio::sync::Mutex<Logs>,
}

/// The tables' logs as they were read last: the next version is read on from there.
#[derive(Default)]
struct Logs {
    hourly: Option<Table>,
    daily: Option<Table>,
    dimensions: Option<Table>,
    links: Option<Table>,
}

/// A table's files at one version.
pub(super) struct Part {
    pub(super) objects: Option<Arc<dyn ObjectStore>>,
    pub(super) files: Vec<Arc<File>>,
}

impl Tables {
    /// A reader that keeps up to `memory` bytes, a half of it footers of files and a half of it rows.
    ///
    /// # Panics
    /// Where the system gives no threads, and outside of a runtime: the one it is made on asks the store.
    #[must_use]
    pub fn new(lake: Lake, memory: u64) -> Self {
        Self { lake, files: Arc::new(Files::new(memory)), open: Mutex::default(), logs: tokio::sync::Mutex::default() }
    }

    /// Whether a tenant has lately taken much of the processor for its rows, and is served behind the others.
    #[must_use]
    pub fn is_behind(&self, tenant: TenantId) -> bool {
        self.files.lookups.is_behind(tenant)
    }

    /// The rollups as `publication` names them.
    ///
    /// # Errors
    /// [`BatchError`] where a table cannot be read at that version.
    pub async fn at(&self, publication: &Arc<Publication>) -> Result<Arc<Snapshot>, BatchError> {
        if let Some(known) = self.known(publication) {
            return Ok(known);
        }
        let mut logs = self.logs.lock().await;
        // Whoever held the logs may have opened it.
        if let Some(known) = self.known(publication) {
            return Ok(known);
        }
        let Logs { hourly, daily, dimensions, links } = &mut *logs;
        let (hourly, daily, dimensions, links) = tokio::try_join!(
            self.part::<Hourly>(hourly, publication),
            self.part::<Daily>(daily, publication),
            self.part::<Dimensions>(dimensions, publication),
            self.part::<Links>(links, publication),
        )?;
        let (publication, files) = (Arc::clone(publication), Arc::clone(&self.files));
        let snapshot = Arc::new(Snapshot { publication, hourly, daily, dimensions, links, files });
        let mut open = self.open.lock();
        open.push(Arc::clone(&snapshot));
        if open.len() > OPEN {
            open.remove(0);
        }
        Ok(snapshot)
    }

    fn known(&self, publication: &Publication) -> Option<Arc<Snapshot>> {
        let mut open = self.open.lock();
        let at = open.iter().position(|open| open.publication.number == publication.number)?;
        let known = open.remove(at);
        open.push(Arc::clone(&known));
        Some(known)
    }

    async fn part<R: Rollup>(&self, log: &mut Option<Table>, publication: &Publication) -> Result<Part, BatchError> {
        let definition = R::definition();
        let name = definition.name;
        let Some(version) = publication.tables.get(name) else { return Ok(Part { objects: None, files: Vec::new() }) };
        let mut table = match log.take() {
            Some(table) => table,
            None => self.lake.table(definition).await?,
        };
        table.load_version(*version).await?;
        let file = |file: crate::table::File| {
            let days = Slot::named(&file.path).and_then(Slot::days);
            let name = format!("{name}/{}", file.path);
            Arc::new(File { path: file.path, size: file.size, days, name })
        };
        let mut files: Vec<_> = table.files()?.into_iter().map(file).collect();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let objects = Some(table.objects());
        *log = Some(table);
        Ok(Part { objects, files })
    }

    /// Opens each publication as it is announced, and reads footers of files before anybody asks, until told to stop.
    pub async fn keep_ready(
        &self,
        mut publications: watch::Receiver<Option<Arc<Publication>>>,
        stop: CancellationToken,
    ) {
        loop {
            let newest = publications.borrow_and_update().clone();
            if let Some(newest) = newest {
                tokio::select! {
                    () = stop.cancelled() => return,
                    prepared = self.prepare(&newest) => {
                        // Whoever asks is told the same.
                        if let Err(error) = prepared {
                            tracing::warn!(%error, number = newest.number, "a publication cannot be opened yet");
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = publications.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Opens a publication, and reads the footers of its files while there is room for them, those of the newest days first.
    ///
    /// # Errors
    /// [`BatchError`] where a table cannot be read at that version. What is wrong with a file is told to whoever asks for it.
    pub async fn prepare(&self, publication: &Arc<Publication>) -> Result<(), BatchError> {
        let snapshot = self.at(publication).await?;
        let parts = [&snapshot.links, &snapshot.daily, &snapshot.hourly, &snapshot.dimensions];
        let mut files: Vec<_> = parts
            .into_iter()
            .filter_map(|part| Some((part.objects.as_ref()?, &part.files)))
            .flat_map(|(objects, files)| files.iter().map(move |file| (objects, file)))
            .collect();
        files.sort_by_key(|(_, file)| std::cmp::Reverse(file.days.as_ref().map_or(Day(i32::MAX), |days| days.end)));
        let read = |(objects, file): (&Arc<dyn ObjectStore>, &Arc<File>)| {
            let (objects, file) = (Arc::clone(objects), Arc::clone(file));
            async move {
                if self.files.has_room(&file)
                    && let Err(error) = self.files.footer(&objects, &file).await
                {
                    tracing::warn!(%error, "a file cannot be read");
                }
            }
        };
        stream::iter(files).for_each_concurrent(AHEAD, read).await;
        Ok(())
    }
}

impl Part {
    /// The files that can hold rows of these UTC days.
    pub(super) fn holding(&self, days: &Range<Day>) -> Vec<Arc<File>> {
        let holds = |file: &&Arc<File>| {
            file.days.as_ref().is_none_or(|held| held.start < days.end && days.start < held.end) && !days.is_empty()
        };
        self.files.iter().filter(holds).cloned().collect()
    }
}
