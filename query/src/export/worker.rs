//! Makes jobs, one at a time in this process: whoever finds one open goes on with it.
//!
//! 1. Of the jobs in the queue the oldest of each tenant come first, so that many of one do not keep another's waiting.
//! 2. One that nobody has begun, or whose last attempt has shown no sign of life for as long as a lease (by this process's own
//!    patience: no clock is compared), gets the next attempt: an object that one process creates.
//! 3. Steps whose parts are there are left out. A step writes its files under names of its own attempt, then creates the
//!    part that names them.
//! 4. Erasures that came meanwhile are respected from the next step on; a job with a step from before one fails.
//! 5. What is transient ends the attempt, and after a lease there is another; anything else ends the job.

use std::sync::Arc;

use futures::StreamExt as _;
use linktide_common::publication::{Publication, Tombstone};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::files::Files;
use super::job::{
    self, END, End, Manifest, Outcome, PLAN, Part, Plan, REQUEST, Request, ResultFile, Slice, made, part_name,
};
use super::shelf::{JobKey, Queued};
use super::source::{Rows, schema, slice_rows};
use super::spec::{Of, Spec};
use super::{ExportError, Exports};
use crate::metrics;
use crate::state::Query;

/// Attempts after which a job fails: it may be what ends the processes that try.
const ATTEMPTS: usize = 6;
/// A marker whose request never came is removed after this long.
const ABANDONED_MS: i64 = 3_600_000;

/// Signs of life are not written more often than this.
const OFTEN: std::time::Duration = std::time::Duration::from_millis(100);

/// What was seen of a job that another attempt works on.
pub(super) struct Watched {
    objects: usize,
    since: Instant,
}

/// An attempt at a job.
struct Attempt<'a> {
    exports: &'a Arc<Exports>,
    query: &'a Query,
    key: JobKey,
    number: usize,
    request: Request,
    spec: Spec,
    publication: Arc<Publication>,
    cancelled: CancellationToken,
}

/// Makes jobs until told to stop.
pub(crate) async fn run(exports: Arc<Exports>, query: Query, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let worked = tokio::select! {
            () = stop.cancelled() => return,
            worked = step(&exports, &query) => worked,
        };
        let pause = match worked {
            Ok(true) => continue,
            Ok(false) => exports.config.look_every,
            Err(error) => {
                tracing::warn!(%error, "export jobs cannot be made now");
                exports.config.look_every * 5
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = exports.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks for a job and makes it; whether there was one.
pub(super) async fn step(exports: &Arc<Exports>, query: &Query) -> Result<bool, ExportError> {
    for queued in in_turn(exports.shelf.queued().await?) {
        let objects = exports.shelf.list(&queued.key).await?;
        let has = |name: &str| objects.iter().any(|object| object == name);
        if has(END) {
            exports.tidy(&queued.key).await?;
        } else if !has(REQUEST) {
            if query.clock.now().millis_since(queued.since) > ABANDONED_MS {
                exports.shelf.unqueue(&queued.key).await?;
            }
        } else if let Some(number) = exports.claim(&queued.key, &objects).await? {
            attempt(exports, query, queued.key, number).await;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The oldest job of each tenant, then the next of each.
fn in_turn(queued: Vec<Queued>) -> Vec<Queued> {
    let mut seen = std::collections::HashMap::new();
    let mut ranked: Vec<(usize, Queued)> = Vec::new();
    for one in queued {
        let rank = seen.entry(one.key.tenant).or_insert(0);
        ranked.push((*rank, one));
        *rank += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, one)| one).collect()
}

impl Exports {
    /// The number of the attempt that is this process's now, if it may try.
    async fn claim(&self, key: &JobKey, objects: &[String]) -> Result<Option<usize>, ExportError> {
        let attempts = objects.iter().filter(|object| object.starts_with("attempt/")).count();
        if attempts > 0 && !self.seems_dead(key.id, objects.len()) {
            return Ok(None);
        }
        let number = attempts + 1;
        if !self.shelf.create(key, &format!("attempt/{number}.json"), &json!({ "process": std::process::id() })).await?
        {
            return Ok(None);
        }
        self.watched.lock().remove(&key.id);
        // Another may have made all of it, and tidied up, since the objects were listed.
        Ok(if self.shelf.exists(key, END).await? { None } else { Some(number) })
    }

    /// Whether an attempt has added nothing for as long as a lease.
    fn seems_dead(&self, id: Uuid, objects: usize) -> bool {
        let mut watched = self.watched.lock();
        let now = Instant::now();
        let seen = watched.entry(id).or_insert(Watched { objects, since: now });
        if seen.objects != objects {
            *seen = Watched { objects, since: now };
        }
        now.duration_since(seen.since) >= self.config.lease
    }

    /// Removes what a job that is over does not need any more.
    async fn tidy(&self, key: &JobKey) -> Result<(), ExportError> {
        let end: Option<End> = self.shelf.read(key, END).await?;
        let kept = match end.map(|end| end.outcome) {
            Some(Outcome::Done(manifest)) => manifest.files,
            _ => Vec::new(),
        };
        let stays = |name: &str| kept.iter().any(|file| file.file == name);
        self.shelf.delete(key, |name| job::is_working_object(name) && !stays(name)).await?;
        self.shelf.unqueue(key).await?;
        self.watched.lock().remove(&key.id);
        Ok(())
    }
}

async fn attempt(exports: &Arc<Exports>, query: &Query, key: JobKey, number: usize) {
    let outcome = match try_to(exports, query, key, number).await {
        Ok(manifest) => Outcome::Done(manifest),
        Err(ExportError::Cancelled) => Outcome::Cancelled,
        Err(error) if error.is_transient() && number < ATTEMPTS => {
            tracing::warn!(%error, job = %key.id, number, "an export job is tried again later");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, job = %key.id, number, "an export job failed");
            Outcome::Failed(error.to_string())
        }
    };
    let name = match &outcome {
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
    };
    let end = End { outcome, at: query.clock.now() };
    let ended = async {
        exports.reached("export::end::before")?;
        exports.shelf.create(&key, END, &end).await?;
        exports.reached("export::end::behind")?;
        exports.tidy(&key).await
    };
    match ended.await {
        Ok(()) => metrics::EXPORTS.with_label_values(&["job", "", name]).inc(),
        // The next look finds it as it stands.
        Err(error) => tracing::warn!(%error, job = %key.id, "how an export job ended could not be written down"),
    }
}

async fn try_to(exports: &Arc<Exports>, query: &Query, key: JobKey, number: usize) -> Result<Manifest, ExportError> {
    let lost = || ExportError::Unreadable { place: REQUEST.to_owned(), reason: "it is gone".to_owned() };
    let request: Request = exports.shelf.read(&key, REQUEST).await?.ok_or_else(lost)?;
    let (spec, publication) = (request.spec(key.tenant)?, exports.pinned(query, &request).await?);
    let cancelled = CancellationToken::new();
    let _beats = Beats::begin(Arc::clone(exports), key, number, cancelled.clone());
    let attempt = Attempt { exports, query, key, number, request, spec, publication, cancelled };
    attempt.make().await
}

/// Shows that an attempt lives, and notices when its job was cancelled.
struct Beats(tokio::task::JoinHandle<()>);

impl Beats {
    fn begin(exports: Arc<Exports>, key: JobKey, number: usize, cancelled: CancellationToken) -> Self {
        Self(tokio::spawn(async move {
            let mut due = tokio::time::interval((exports.config.lease / 3).max(OFTEN));
            for beat in 0u64.. {
                due.tick().await;
                // What cannot be written now may be the next time; a lease has three of them.
                let _ = exports.shelf.create(&key, &format!("beat/{number}/{beat}"), &()).await;
                if exports.shelf.exists(&key, END).await.unwrap_or_default() {
                    cancelled.cancel();
                    return;
                }
            }
        }))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attempt<'_> {
    async fn make(&self) -> Result<Manifest, ExportError> {
        let plan = self.plan().await?;
        self.exports.reached("export::plan::behind")?;
        let made = made(&self.exports.shelf.list(&self.key).await?);
        for (number, slice) in plan.slices.iter().enumerate() {
            if !made.contains(&number) {
                self.make_part(number, slice).await?;
            }
        }
        self.finish(plan.slices.len()).await
    }

    /// The steps, as they were planned first.
    async fn plan(&self) -> Result<Plan, ExportError> {
        let shelf = &self.exports.shelf;
        if let Some(plan) = shelf.read(&self.key, PLAN).await? {
            return Ok(plan);
        }
        let plan = Plan { slices: self.slices().await? };
        if shelf.create(&self.key, PLAN, &plan).await? {
            return Ok(plan);
        }
        let lost = || ExportError::Unreadable { place: PLAN.to_owned(), reason: "it is gone".to_owned() };
        shelf.read(&self.key, PLAN).await?.ok_or_else(lost)
    }

    async fn slices(&self) -> Result<Vec<Slice>, ExportError> {
        if self.spec.of != Of::Clicks {
            return Ok(vec![Slice::default()]);
        }
        let (exports, publication) = (Arc::clone(self.exports), Arc::clone(&self.publication));
        let wanted = self.spec.wanted(self.request.range);
        let files =
            self.exports.pool.run(self.key.tenant, async move { exports.raw.at(&publication).await?.files(&wanted) });
        let (mut slices, most): (Vec<Slice>, u64) = (Vec::new(), self.exports.config.slice_rows);
        for file in files.await.unwrap_or(Ok(Vec::new()))? {
            // Where the log does not say how many, it is a step of its own.
            let rows = file.rows.unwrap_or(most);
            match slices.last_mut() {
                Some(last) if last.rows + rows <= most => {
                    last.files.push(file.path);
                    last.rows += rows;
                }
                _ => slices.push(Slice { files: vec![file.path], rows }),
            }
        }
        Ok(slices)
    }

    /// The erasures in force that touch the job.
    async fn erasures(&self) -> Result<Vec<Tombstone>, ExportError> {
        let newest = self.query.kept.latest().await?;
        let mut all: Vec<Tombstone> = newest.iter().flat_map(|newest| newest.tombstones.clone()).collect();
        all.extend(self.publication.tombstones.iter().filter(|tombstone| !all.contains(tombstone)).collect::<Vec<_>>());
        all.retain(|tombstone| self.spec.meets(tombstone));
        Ok(all)
    }

    async fn make_part(&self, number: usize, slice: &Slice) -> Result<(), ExportError> {
        let erased = self.erasures().await?;
        let (files, as_of) = self.write_files(number, slice, &erased).await?;
        self.exports.reached("export::part::before")?;
        let erased = erased.iter().map(|tombstone| tombstone.plan).collect();
        // Who else made it made the same.
        self.exports.shelf.create(&self.key, &part_name(number), &Part { files, erased, as_of }).await?;
        self.exports.reached("export::part::behind")
    }

    /// Writes the rows of a step into files.
    async fn write_files(
        &self,
        number: usize,
        slice: &Slice,
        erased: &[Tombstone],
    ) -> Result<(Vec<ResultFile>, String), ExportError> {
        let (exports, query, key) = (Arc::clone(self.exports), self.query.clone(), self.key);
        let (spec, range, publication) = (self.spec.clone(), self.request.range, Arc::clone(&self.publication));
        let (files, erased, cancelled) = (slice.files.clone(), erased.to_vec(), self.cancelled.clone());
        let name = format!("data/{number:06}.{}", self.number);
        let written = self.exports.pool.run(self.key.tenant, async move {
            let rows = slice_rows(&exports, &query, &spec, range, &publication, &files, &erased).await?;
            let as_of = rows.as_of.clone();
            let written = Files { exports: &exports, key, spec: &spec, name, written: Vec::new() };
            Ok((written.take(rows, &cancelled).await?, as_of))
        });
        written.await.unwrap_or(Err(ExportError::Ends))
    }

    async fn finish(&self, slices: usize) -> Result<Manifest, ExportError> {
        let mut parts: Vec<Part> = Vec::with_capacity(slices);
        for number in 0..slices {
            let name = part_name(number);
            let lost = || ExportError::Unreadable { place: name.clone(), reason: "it is gone".to_owned() };
            parts.push(self.exports.shelf.read(&self.key, &name).await?.ok_or_else(lost)?);
        }
        let erased: Vec<u64> = self.erasures().await?.iter().map(|tombstone| tombstone.plan).collect();
        if parts.iter().any(|part| erased.iter().any(|plan| !part.erased.contains(plan))) {
            return Err(ExportError::Refused(
                "clicks that are in it were erased while it was made: ask again".to_owned(),
            ));
        }
        let as_of =
            parts.first().map_or_else(|| self.publication.watermark.start().to_string(), |part| part.as_of.clone());
        let mut files: Vec<ResultFile> = parts.into_iter().flat_map(|part| part.files).collect();
        if files.is_empty() {
            // Whoever opens the result finds its columns, and no rows.
            let empty =
                Rows { schema: schema(&self.spec), batches: futures::stream::empty().boxed(), as_of: String::new() };
            let name = format!("data/empty.{}", self.number);
            let files_of = Files { exports: self.exports, key: self.key, spec: &self.spec, name, written: Vec::new() };
            files = files_of.take_all(empty, &self.cancelled, true).await?;
        }
        Ok(Manifest { files, erased, as_of })
    }
}
