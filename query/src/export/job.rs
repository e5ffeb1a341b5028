//! A job, as its objects tell: what was asked for, how far it is, what came of it.
//!
//! 1. It is there once its request is, and whoever asked has its id then. It pins a publication: the same rows, whenever
//!    and by whomever it is made. (A publication that is no longer kept ends it, clearly.)
//! 2. A process that finds it open creates the next attempt. One attempt may be thought dead while it lives: parts are
//!    created or left alone, so that two make the same.
//! 3. It ends once, by whichever object `end.json` is first: done, failed or cancelled.

use std::sync::Arc;

use linktide_common::bucket::{Range, Timestamp};
use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::{Publication, Tombstone};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use super::shelf::JobKey;
use super::source::resolve;
use super::spec::Spec;
use super::{ExportError, Exports};
use crate::params::Parameters;
use crate::state::Query;

/// Raised when an older Linktide could no longer follow a job.
const FORMAT: u32 = 1;

pub(super) const REQUEST: &str = "request.json";
pub(super) const PLAN: &str = "plan.json";
pub(super) const END: &str = "end.json";
pub(super) const GONE: &str = "gone.json";

/// What was asked for, as it was sent, and what it came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    format: u32,
    parameters: Vec<(String, String)>,
    pub(super) range: Range,
    pub(super) publication: u64,
    pub(crate) requested_at: Timestamp,
}

/// The steps of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) slices: Vec<Slice>,
}

/// One step: these files of clicks, or all of a rollup.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Slice {
    pub(super) files: Vec<String>,
    /// Rows of those files, wanted or not.
    pub(super) rows: u64,
}

/// What came of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) files: Vec<ResultFile>,
    /// The erasures that it respects, by number.
    pub(super) erased: Vec<u64>,
    pub(super) as_of: String,
}

/// A file of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultFile {
    /// Its name below the job's folder.
    pub(super) file: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// How a job ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Done(Manifest),
    Failed(String),
    Cancelled,
}

/// The result of a job that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) files: Vec<ResultFile>,
    /// The erasures that it respects, by number.
    pub(super) erased: Vec<u64>,
    pub(crate) as_of: String,
}

/// Why the files of a job are there no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gone {
    Expired,
    Erased,
    Deleted,
}

/// A job, as it stands.
pub(crate) struct Job {
    pub(crate) key: JobKey,
    pub(crate) request: Request,
    pub(crate) spec: Spec,
    pub(crate) state: State,
}

/// How far it is.
pub(crate) enum State {
    Queued,
    Running(Progress),
    Done { manifest: Manifest, at: Timestamp },
    Failed { why: String, at: Timestamp },
    Cancelled { at: Timestamp },
    Gone(Gone),
}

/// How much of a job is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Progress {
    /// Steps that are made.
    pub(crate) steps_done: usize,
    pub(crate) steps: usize,
    /// Rows of the files that those steps read, wanted or not.
    pub(crate) source_rows_done: u64,
    pub(crate) source_rows: u64,
}

impl Request {
    pub(super) fn spec(&self, tenant: TenantId) -> Result<Spec, ExportError> {
        let parameters = Parameters::of(self.parameters.clone());
        Spec::parse(&parameters, tenant, None).map_err(|problem| ExportError::Unreadable {
            place: REQUEST.to_owned(),
            reason: format!("this linktide cannot read what was asked for: {}", problem.detail()),
        })
    }
}

impl Manifest {
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether it may hold clicks that were erased since it was made.
    pub(super) fn holds_erased(&self, spec: &Spec, tombstones: &[Tombstone]) -> bool {
        tombstones.iter().any(|tombstone| spec.meets(tombstone) && !self.erased.contains(&tombstone.plan))
    }
}

/// The numbers of the steps whose parts are there.
pub(super) fn made(objects: &[String]) -> Vec<usize> {
    let number = |name: &String| name.strip_prefix("part/")?.strip_suffix(".json")?.parse().ok();
    objects.iter().filter_map(number).collect()
}

pub(super) fn part_name(slice: usize) -> String {
    format!("part/{slice:06}.json")
}

impl Exports {
    /// Takes a job in.
    pub(crate) async fn take_in(
        &self,
        query: &Query,
        tenant: TenantId,
        parameters: &Parameters,
    ) -> Result<Job, Problem> {
        let spec = Spec::parse(parameters, tenant, None)?;
        let resolved = resolve(query, &spec).await?;
        let now = query.clock.now();
        let request = Request {
            format: FORMAT,
            parameters: parameters.pairs().to_vec(),
            range: resolved.range,
            publication: resolved.publication.number,
            requested_at: now,
        };
        let open = self.shelf.queued().await?.iter().filter(|queued| queued.key.tenant == tenant).count();
        if open >= self.config.jobs_per_tenant {
            return Err(Problem::new(
                ProblemKind::TooManyRequests,
                format!("{open} export jobs of yours are not over, which is as many as there may be; wait for one, or cancel one"),
            )
            .retry_after(30));
        }
        let key = JobKey { tenant, id: new_id(now) };
        // A marker without a request is nothing; a request without a marker would never be found.
        self.shelf.queue(&key).await?;
        self.shelf.create(&key, REQUEST, &request).await?;
        self.wake.notify_one();
        Ok(Job { key, request, spec, state: State::Queued })
    }

    /// A job of a tenant, as it stands; none where there is none of that tenant.
    pub(crate) async fn job(&self, query: &Query, key: JobKey) -> Result<Option<Job>, Problem> {
        let Some(request) = self.shelf.read::<Request>(&key, REQUEST).await? else { return Ok(None) };
        let spec = request.spec(key.tenant)?;
        let state = self.state(query, &key, &spec).await?;
        Ok(Some(Job { key, request, spec, state }))
    }

    async fn state(&self, query: &Query, key: &JobKey, spec: &Spec) -> Result<State, ExportError> {
        let objects = self.shelf.list(key).await?;
        let has = |name: &str| objects.iter().any(|object| object == name);
        if has(GONE) {
            return Ok(State::Gone(self.shelf.read(key, GONE).await?.unwrap_or(Gone::Deleted)));
        }
        if has(END)
            && let Some(End { outcome, at }) = self.shelf.read(key, END).await?
        {
            return Ok(match outcome {
                Outcome::Done(manifest) => match self.lapse(query, key, spec, &manifest, at).await? {
                    Some(gone) => State::Gone(gone),
                    None => State::Done { manifest, at },
                },
                Outcome::Failed(why) => State::Failed { why, at },
                Outcome::Cancelled => State::Cancelled { at },
            });
        }
        if has(PLAN)
            && let Some(plan) = self.shelf.read::<Plan>(key, PLAN).await?
        {
            let made = made(&objects);
            let rows = |slices: &mut dyn Iterator<Item = &Slice>| slices.map(|slice| slice.rows).sum();
            return Ok(State::Running(Progress {
                steps_done: made.len(),
                steps: plan.slices.len(),
                source_rows_done: rows(&mut made.iter().filter_map(|slice| plan.slices.get(*slice))),
                source_rows: rows(&mut plan.slices.iter()),
            }));
        }
        Ok(State::Queued)
    }

    /// Ends a job that is not over, and deletes the files of one that is.
    pub(crate) async fn cancel(&self, query: &Query, key: JobKey) -> Result<Option<()>, Problem> {
        if !self.shelf.exists(&key, REQUEST).await? {
            return Ok(None);
        }
        let end = End { outcome: Outcome::Cancelled, at: query.clock.now() };
        if !self.shelf.create(&key, END, &end).await? {
            self.shelf.create(&key, GONE, &Gone::Deleted).await?;
        }
        self.shelf.unqueue(&key).await?;
        self.shelf.delete(&key, is_working_object).await?;
        Ok(Some(()))
    }

    /// The jobs of a tenant that are known, the newest first, `most` of them.
    pub(crate) async fn jobs(&self, query: &Query, tenant: TenantId, most: usize) -> Result<Vec<Job>, Problem> {
        let mut jobs = Vec::new();
        for key in self.shelf.jobs(tenant).await?.into_iter().take(most) {
            match self.job(query, key).await {
                Ok(job) => jobs.extend(job),
                // One that this Linktide cannot read hides no other.
                Err(problem) if problem.kind() == ProblemKind::Internal => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(jobs)
    }

    /// Addresses of the files of a result, signed where the lake can; else none.
    pub(crate) async fn addresses(&self, job: &Job, manifest: &Manifest) -> Result<Option<Vec<String>>, Problem> {
        let Some(presign) = &self.presign else { return Ok(None) };
        let files = manifest.files.iter().enumerate();
        let named = files.map(|(number, file)| (job.key.place(&file.file), job.file_name(number, manifest))).collect();
        let signed = presign(named, self.config.address_valid_for).await;
        Ok(Some(signed.map_err(ExportError::from)?))
    }

    /// A file of a result.
    pub(crate) async fn file(
        &self,
        key: &JobKey,
        file: &ResultFile,
    ) -> Result<Option<object_store::GetResult>, Problem> {
        Ok(self.shelf.open(key, &file.file).await?)
    }

    /// The publication of a job, while it is kept.
    pub(super) async fn pinned(&self, query: &Query, request: &Request) -> Result<Arc<Publication>, ExportError> {
        let number = request.publication;
        query.kept.numbered(number).await?.ok_or_else(|| {
            ExportError::Refused(format!(
                "publication {number}, which it was asked for as of, is no longer kept (retention.publications): ask again"
            ))
        })
    }
}

/// What nobody needs once a job is over, but what says how it ended.
pub(super) fn is_working_object(name: &str) -> bool {
    ["data/", "beat/", "attempt/", "part/"].iter().any(|folder| name.starts_with(folder)) || name == PLAN
}

impl Job {
    /// The name that a file of the result is saved under.
    pub(crate) fn file_name(&self, number: usize, manifest: &Manifest) -> String {
        let (stem, ending) = (self.spec.stem(self.request.range), self.spec.format.name());
        if manifest.files.len() == 1 { format!("{stem}.{ending}") } else { format!("{stem}-{number:05}.{ending}") }
    }

    pub(crate) fn publication(&self) -> u64 {
        self.request.publication
    }

    pub(crate) fn range(&self) -> Range {
        self.request.range
    }
}

/// An id that sorts by time, and that nobody guesses.
pub(crate) fn new_id(now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.as_millis()).unwrap_or_default();
    let context = uuid::NoContext;
    let subsecond = u32::try_from(ms % 1000).unwrap_or_default() * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(context, ms / 1000, subsecond))
}
