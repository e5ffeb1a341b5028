//! The jobs that change tables: increments, compaction, deletion, corrections. Each goes the same way.
//!
//! 1. **plan**: `plan/<n>` says what will be done. Whoever creates it owns the turn; whoever finds one open finishes it
//!    exactly as planned, before anything else. So jobs never overlap, and a crash costs nothing but time.
//! 2. The job changes each table in one commit, fenced by the plan's number.
//! 3. **publish**: `pub/<n+1>` names the tables' versions and the plan as done. Before it, nobody sees any of it.
//!
//! The nightly run is: close the hours that every archived partition has passed by its own received time, roll up what
//! lies between the cuts of the old watermark and the new one, sort raw days that take no more clicks, delete those that
//! are too old, and once a day clean up. Two runs at once do the same work, and each step lands once.

mod audit;
pub(crate) mod clicks;
mod correct;
pub(crate) mod damage;
mod files;
mod functions;
mod increment;
mod maintenance;
mod merge;
mod order;
mod parts;
mod plan;
mod propose;
mod raw;
mod receipt;
mod reclassified;
mod repeats;
pub(crate) mod session;
mod stage;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use linktide_common::bucket::{Day, Hour};
use linktide_common::clock::Clock;
use linktide_common::enrich::Rules;
use linktide_common::id::Subject;
use linktide_common::publication::{Announced, CutEntry, FORMAT, Publication, Tombstone};
use linktide_common::repeat::Windows;

use crate::error::BatchError;
use crate::metrics;
use crate::tables::rate_bot::RateBots;
use crate::tables::rollup::Rollup as _;
use crate::tables::{Lake, click_event};
pub use audit::{Audit, Difference, Recount, Recounter, audits};
pub use correct::Corrected;
use increment::Increment;
pub use maintenance::Maintained;
use plan::{Job, Plan};
use propose::Wanted;
pub use receipt::Erasure;
pub use reclassified::{DayReasons, Reason, Reclassified, overall, reclassifications};
pub use stage::{Outcome, Stage};

/// How the tables are kept.
#[derive(Debug, Clone)]
pub struct NightlyConfig {
    /// Clicks of one address in one minute above which they are a bot's; none: no address is one for its rate.
    pub rate_bots: Option<u32>,
    /// When a click is a repeat of the one before it.
    pub repeats: Windows,
    /// Whole days of receipt before the watermark's whose raw clicks are kept; none: all are.
    pub raw_days: Option<u32>,
    /// How long a publication is kept once another has followed it.
    pub publications: Duration,
    /// How long the log keeps what was read from it.
    pub log: Duration,
    /// How long an increment waits for the speed layer to have read as far, for the audit.
    pub audit_patience: Duration,
}

impl Default for NightlyConfig {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            rate_bots: Some(300),
            repeats: Windows::new(Some(Duration::from_secs(30)), []),
            raw_days: None,
            publications: days(30),
            log: days(7),
            audit_patience: Duration::from_secs(60),
        }
    }
}

/// A correction that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correct {
    /// Places of clicks whose place could not be looked up when they came in.
    Geo,
    /// Who is a bot, by today's rules for user agents.
    Bots,
    /// All clicks of a subject go.
    Erase(Subject),
}

/// What a job changed.
#[derive(Debug, Default)]
struct Changed {
    /// New versions, by the table's name.
    tables: BTreeMap<String, u64>,
    /// Clicks that were added or corrected.
    rows: u64,
    deleted_through: Option<Day>,
    tombstone: Option<Tombstone>,
    corrected: Option<Corrected>,
}

/// What came of what was asked for.
#[derive(Debug, Default)]
struct Worked {
    /// Clicks rolled up, those of plans that were open included.
    clicks: u64,
    /// What the job changed, where there was one to do.
    changed: Option<Changed>,
    /// Why there was none.
    why: String,
}

/// Jobs over one lake.
pub struct Nightly {
    lake: Lake,
    clock: Clock,
    rules: Arc<Rules>,
    config: NightlyConfig,
    progress: Box<dyn Fn(Stage) + Send + Sync>,
    recounter: Option<Recounter>,
    #[cfg(test)]
    pub(crate) stop_at: Option<&'static str>,
}

impl Nightly {
    /// Jobs over `lake` by the rules of today.
    #[must_use]
    pub fn new(lake: Lake, clock: Clock, rules: Arc<Rules>, config: NightlyConfig) -> Self {
        metrics::begin();
        Self {
            lake,
            clock,
            rules,
            config,
            progress: Box::new(|_| {}),
            recounter: None,
            #[cfg(test)]
            stop_at: None,
        }
    }

    /// The same, telling what it is doing.
    #[must_use]
    pub fn telling(self, progress: impl Fn(Stage) + Send + Sync + 'static) -> Self {
        Self { progress: Box::new(progress), ..self }
    }

    /// The same, comparing each increment with what the speed layer counted.
    #[must_use]
    pub fn auditing(self, recounter: Recounter) -> Self {
        Self { recounter: Some(recounter), ..self }
    }

    /// Rolls up what can be closed, up to `through` where it is given, and keeps the tables in order: raw days by every
    /// run, and once a day what old publications leave behind.
    ///
    /// # Errors
    /// [`BatchError`]; whatever was done stands, and the next run goes on from there.
    pub async fn run(&self, through: Option<Hour>) -> Result<Outcome, BatchError> {
        let outcome = self.roll_up_and_maintain(through).await;
        let what = match &outcome {
            Ok(Outcome::Published { .. }) => "published",
            Ok(Outcome::Nothing { .. }) => "nothing",
            Err(_) => "failed",
        };
        metrics::RUNS.with_label_values(&[what]).inc();
        metrics::LAST_RUN.with_label_values(&[what]).set(self.clock.now().as_millis() / 1000);
        outcome
    }

    async fn roll_up_and_maintain(&self, through: Option<Hour>) -> Result<Outcome, BatchError> {
        let outcome = self.roll_up(through).await?;
        if let Outcome::Published { from, to, .. } = &outcome
            && from.day() < to.day()
        {
            self.maintain().await?;
        }
        Ok(outcome)
    }

    /// The same without what is done once a day: for a past that is made at once.
    ///
    /// # Errors
    /// As [`Nightly::run`].
    pub async fn roll_up(&self, through: Option<Hour>) -> Result<Outcome, BatchError> {
        let Some(before) = self.lake.publications().latest().await? else {
            return Ok(Outcome::Nothing { why: NOTHING_ARCHIVED.to_owned() });
        };
        let worked = self.work(Wanted::Increment { through }).await?;
        self.work(Wanted::Compact).await?;
        self.work(Wanted::Delete).await?;
        let after = self.newest().await?;
        Ok(if before.watermark < after.watermark {
            let (number, from, to) = (after.number, before.watermark, after.watermark);
            Outcome::Published { number, from, to, clicks: worked.clicks }
        } else {
            Outcome::Nothing { why: worked.why }
        })
    }

    /// What [`Nightly::run`] would do now, a line a job.
    ///
    /// # Errors
    /// [`BatchError`] where the tables cannot be read.
    pub async fn foresee_run(&self, through: Option<Hour>) -> Result<Vec<String>, BatchError> {
        let Some(published) = self.lake.publications().latest().await? else {
            return Ok(vec![NOTHING_ARCHIVED.to_owned()]);
        };
        let mut lines = Vec::new();
        if let Ok(open) = plan::open(&self.lake, &published).await? {
            lines.push(format!("plan {} is open and would be finished first: {}", open.number, open.job));
        }
        for wanted in [Wanted::Increment { through }, Wanted::Compact, Wanted::Delete] {
            let raw = self.lake.table(click_event::definition()).await?;
            lines.push(match self.propose(wanted, &published, &raw, 0).await? {
                Ok(job) => job.to_string(),
                Err(why) => why,
            });
        }
        Ok(lines)
    }

    /// Corrects what is stored.
    ///
    /// # Errors
    /// [`BatchError`]; whatever was done stands, and the next job of any kind goes on from there.
    pub async fn correct(&self, correct: Correct) -> Result<Corrected, BatchError> {
        self.check_possible(correct)?;
        let worked = self.work(Wanted::Correct(correct)).await?;
        Ok(worked.changed.and_then(|changed| changed.corrected).unwrap_or_default())
    }

    /// What [`Nightly::correct`] would come to now.
    ///
    /// # Errors
    /// [`BatchError`] where the tables cannot be read.
    pub async fn foresee_correction(&self, correct: Correct) -> Result<Corrected, BatchError> {
        self.check_possible(correct)?;
        let Some(published) = self.lake.publications().latest().await? else { return Ok(Corrected::default()) };
        let raw = self.lake.table(click_event::definition()).await?;
        let correction = self.correction(correct, &published, &raw, 0).await?;
        Ok(self.foresee(&correction, &raw, &published).await?.0)
    }

    fn check_possible(&self, correct: Correct) -> Result<(), BatchError> {
        if correct == Correct::Geo && !self.rules.knows_places() { Err(BatchError::NoPlaces) } else { Ok(()) }
    }

    async fn newest(&self) -> Result<Arc<Publication>, BatchError> {
        let newest = self.lake.publications().latest().await?;
        newest.ok_or_else(|| BatchError::Unavailable("the publications are gone".to_owned()))
    }

    /// Finishes what is open, then plans what is wanted and does it.
    async fn work(&self, wanted: Wanted) -> Result<Worked, BatchError> {
        let mut worked = Worked::default();
        loop {
            let Some(published) = self.lake.publications().latest().await? else {
                worked.why = NOTHING_ARCHIVED.to_owned();
                return Ok(worked);
            };
            let number = match plan::open(&self.lake, &published).await? {
                Ok(open) => {
                    self.progress(Stage::Resume { plan: open.number });
                    worked.clicks += self.carry_out(&open, &published).await?.rolled_up(&open.job);
                    continue;
                }
                Err(number) => number,
            };
            let raw = self.lake.table(click_event::definition()).await?;
            let job = match self.propose(wanted, &published, &raw, number).await? {
                Ok(job) => job,
                Err(why) => {
                    worked.why = why;
                    return Ok(worked);
                }
            };
            let rules_version = self.rules.version();
            let (raw_version, repeats) = (raw.version()?, self.config.repeats.clone());
            let plan = Plan { format: plan::FORMAT, number, raw_version, rules_version, repeats, job };
            if !plan::create(&self.lake, &plan).await? {
                // Someone else has the turn: theirs is the open one now.
                continue;
            }
            let changed = self.carry_out(&plan, &published).await?;
            worked.clicks += changed.rolled_up(&plan.job);
            worked.changed = Some(changed);
            return Ok(worked);
        }
    }

    /// Does what a plan says, unless another process does, and publishes it.
    async fn carry_out(&self, plan: &Plan, published: &Publication) -> Result<Changed, BatchError> {
        self.reached("batch::plan::behind")?;
        let changed = match self.do_job(plan, published).await {
            // Another process was quicker, and is past it.
            Err(BatchError::Fenced { .. }) if self.newest().await?.plan_done >= Some(plan.number) => Changed::default(),
            done => done?,
        };
        self.progress(Stage::Publish);
        self.reached("batch::publish::before")?;
        self.publish(plan, &changed).await?;
        self.reached("batch::publish::behind")?;
        Ok(changed)
    }

    async fn do_job(&self, plan: &Plan, published: &Publication) -> Result<Changed, BatchError> {
        match &plan.job {
            Job::Increment { from, to, cut_from, cut_to, rate_bots } => {
                let increment = Increment { from: *from, to: *to, cut_from, cut_to, rate_bots: *rate_bots };
                self.increment(plan, increment, published).await
            }
            Job::Compact { days } => self.compact(plan, days, published).await,
            Job::Delete { through } => self.delete(plan, *through, published).await,
            Job::Correct { correction } => self.carry_out_correction(plan, correction, published).await,
        }
    }

    /// Publishes what a job changed, unless that is done.
    async fn publish(&self, plan: &Plan, changed: &Changed) -> Result<(), BatchError> {
        loop {
            let newest = self.newest().await?;
            if newest.plan_done >= Some(plan.number) {
                break;
            }
            let mut next = Publication {
                format: FORMAT,
                number: newest.number + 1,
                published_at: self.clock.now(),
                plan_done: Some(plan.number),
                deleted_through: newest.deleted_through.max(changed.deleted_through),
                ..newest.as_ref().clone()
            };
            next.tables.extend(changed.tables.clone());
            next.tombstones.extend(changed.tombstone);
            if let Job::Increment { to, cut_to, .. } = &plan.job {
                next.watermark = *to;
                next.cut = moved(&newest.cut, cut_to);
                next.rules_version.clone_from(&plan.rules_version);
            }
            if self.lake.publications().publish(next).await? == Announced::Published {
                break;
            }
        }
        Ok(())
    }

    /// Whether there is a table of marks: the first increment that marks anyone makes it.
    fn has_marks(&self, published: &Publication) -> bool {
        published.tables.contains_key(RateBots::definition().name)
    }

    fn progress(&self, stage: Stage) {
        (self.progress)(stage);
    }

    /// A place between two steps, where tests let the process die, or this run end.
    fn reached(&self, place: &'static str) -> Result<(), BatchError> {
        // A build without failpoints asks nobody where it is.
        let _ = place;
        fail_point!(place, |_| std::process::abort());
        #[cfg(test)]
        if self.stop_at == Some(place) {
            return Err(BatchError::Unavailable(format!("stopped at {place} on purpose")));
        }
        Ok(())
    }
}

const NOTHING_ARCHIVED: &str = "nothing was archived yet";

/// A cut that moved on; partitions that were named since it was planned stay named.
fn moved(newest: &[CutEntry], planned: &[CutEntry]) -> Vec<CutEntry> {
    let is_planned =
        |entry: &&CutEntry| planned.iter().any(|cut| (cut.epoch, cut.partition) == (entry.epoch, entry.partition));
    planned.iter().chain(newest.iter().filter(|entry| !is_planned(entry))).copied().collect()
}

impl Changed {
    /// Clicks that an increment added.
    fn rolled_up(&self, job: &Job) -> u64 {
        if matches!(job, Job::Increment { .. }) { self.rows } else { 0 }
    }
}

#[cfg(test)]
mod tests;
