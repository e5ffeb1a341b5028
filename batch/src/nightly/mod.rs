//! The nightly run: close, plan, increment, merge, publish.
//!
//! 1. **close**: the new watermark `W'` is the latest hour that every archived partition has passed by its own received time.
//! 2. **plan**: `plan/<n>` says what will be done. Whoever creates it, or finds it open, does exactly that before anything else.
//! 3. **increment**: the clicks between the cuts of `W` and `W'`, from the planned version of `click_event`.
//! 4. **merge**: one commit a rollup table adds them to what is there, fenced by the `txn` `increment` = `W'`.
//! 5. **publish**: `pub/<n+1>` names the new watermark, its cut and the tables' versions. Before it, nobody sees any of it.
//!
//! A run that ends anywhere is finished by the next one. Two at once do the same work, and each step lands once.

mod damage;
mod functions;
mod increment;
mod merge;
mod plan;

use std::collections::BTreeMap;

use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_common::publication::{Announced, FORMAT, Publication};

use crate::error::BatchError;
use crate::metrics;
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::{Lake, click_event};
use increment::Session;
use plan::Plan;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It rolls up the clicks received in these hours.
    Increment {
        /// The old watermark.
        from: Hour,
        /// The new one.
        to: Hour,
    },
    /// It adds that many clicks to the tables.
    Merge {
        /// How many.
        clicks: u64,
    },
    /// It publishes.
    Publish,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to roll up yet.
    Nothing {
        /// Why not.
        why: String,
    },
    /// The watermark moved.
    Published {
        /// The number of the publication.
        number: u64,
        /// The old watermark.
        from: Hour,
        /// The new one.
        to: Hour,
        /// Clicks between them.
        clicks: u64,
    },
}

/// Where a test may stop a run, as a crash would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Planned,
    Rolled,
    MergedHourly,
    MergedDaily,
    MergedDimensions,
    MergedLinks,
}

/// Runs over one lake.
pub struct Nightly {
    lake: Lake,
    clock: Clock,
    rules_version: String,
    #[cfg(test)]
    pub(crate) crash_after: Option<Step>,
}

impl Nightly {
    /// Runs over `lake`, naming the rules in force.
    #[must_use]
    pub fn new(lake: Lake, clock: Clock, rules_version: String) -> Self {
        Self {
            lake,
            clock,
            rules_version,
            #[cfg(test)]
            crash_after: None,
        }
    }

    /// Rolls up what can be closed, up to `through` where it is given.
    ///
    /// # Errors
    /// [`BatchError`]; whatever was done stands, and the next run goes on from there.
    pub async fn run(
        &self,
        through: Option<Hour>,
        progress: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Outcome, BatchError> {
        loop {
            let Some(published) = self.lake.publications().latest().await? else {
                return Ok(Outcome::Nothing { why: "nothing was archived yet".to_owned() });
            };
            let open = plan::newest(&self.lake).await?.filter(|plan| plan.to > published.watermark);
            let plan = match open {
                Some(plan) => plan,
                None => match self.close(&published, through).await? {
                    Ok(plan) => plan,
                    Err(why) => return Ok(Outcome::Nothing { why }),
                },
            };
            if !plan::create(&self.lake, &plan).await? {
                continue;
            }
            return self.carry_out(&plan, &published, progress).await;
        }
    }

    /// Plans the next increment, or says why there is none.
    async fn close(&self, published: &Publication, through: Option<Hour>) -> Result<Result<Plan, String>, BatchError> {
        let raw = self.lake.table(click_event::definition()).await?;
        let mut to = through;
        // A life of the log that another one followed is closed: what is archived of it is all of it.
        let living = published.cut.iter().map(|entry| entry.epoch).max();
        for entry in published.cut.iter().filter(|entry| Some(entry.epoch) == living) {
            let Some(position) = crate::archive::archived(&raw, entry.epoch, entry.partition).await? else {
                return Ok(Err(format!("partition {} was not archived yet", entry.partition)));
            };
            let closed = Hour::of(position.received_at);
            to = Some(to.map_or(closed, |to| to.min(closed)));
        }
        let Some(to) = to.filter(|to| *to > published.watermark) else {
            return Ok(Err(format!(
                "{} is published, and the hour behind it is not archived to its end",
                published.watermark.start()
            )));
        };
        let number = plan::newest(&self.lake).await?.map_or(0, |newest| newest.number + 1);
        let raw_version = raw.version()?;
        let cut_to = increment::cut(&raw, &published.cut, to).await?;
        Ok(Ok(Plan {
            format: plan::FORMAT,
            number,
            from: published.watermark,
            to,
            cut_from: published.cut.clone(),
            cut_to,
            raw_version,
            rules_version: self.rules_version.clone(),
        }))
    }

    async fn carry_out(
        &self,
        plan: &Plan,
        published: &Publication,
        progress: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Outcome, BatchError> {
        self.reached(Step::Planned)?;
        progress(Stage::Increment { from: plan.from, to: plan.to });
        let (session, touched) = Session::open(&self.lake, plan).await?;
        let clicks = touched.days.values().sum();
        self.reached(Step::Rolled)?;
        progress(Stage::Merge { clicks });
        let (lake, to, now) = (&self.lake, plan.to, self.clock.now());
        let mut tables = BTreeMap::from([(click_event::NAME.to_owned(), plan.raw_version)]);
        let mut merged = |name: &'static str, version| {
            tables.insert(name.to_owned(), version);
        };
        merged("link_stats_hourly", merge::merge::<Hourly>(lake, &session, &touched, to, now).await?);
        self.reached(Step::MergedHourly)?;
        merged("link_stats_daily", merge::merge::<Daily>(lake, &session, &touched, to, now).await?);
        self.reached(Step::MergedDaily)?;
        merged("link_stats_dimension", merge::merge::<Dimensions>(lake, &session, &touched, to, now).await?);
        self.reached(Step::MergedDimensions)?;
        merged("link", merge::merge::<Links>(lake, &session, &touched, to, now).await?);
        self.reached(Step::MergedLinks)?;
        progress(Stage::Publish);
        self.publish(plan, published, tables, clicks).await
    }

    async fn publish(
        &self,
        plan: &Plan,
        published: &Publication,
        tables: BTreeMap<String, u64>,
        clicks: u64,
    ) -> Result<Outcome, BatchError> {
        let mut newest = published.clone();
        loop {
            // Partitions that were named since the plan stay named.
            let planned = |entry: &&linktide_common::publication::CutEntry| {
                plan.cut_to.iter().any(|cut| (cut.epoch, cut.partition) == (entry.epoch, entry.partition))
            };
            let mut cut = plan.cut_to.clone();
            cut.extend(newest.cut.iter().filter(|entry| !planned(entry)));
            let next = Publication {
                format: FORMAT,
                number: newest.number + 1,
                watermark: plan.to,
                cut,
                tables: tables.clone(),
                rules_version: plan.rules_version.clone(),
                published_at: self.clock.now(),
            };
            let number = next.number;
            if newest.watermark < plan.to && self.lake.publications().publish(next).await? == Announced::Taken {
                newest = self.lake.publications().latest().await?.map_or(newest, |newest| newest.as_ref().clone());
                continue;
            }
            metrics::WATERMARK.set(plan.to.start().as_millis() / 1000);
            return Ok(Outcome::Published { number, from: plan.from, to: plan.to, clicks });
        }
    }

    #[cfg(test)]
    fn reached(&self, step: Step) -> Result<(), BatchError> {
        if self.crash_after == Some(step) {
            return Err(BatchError::Unavailable(format!("stopped after {step:?} on purpose")));
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests stop a run on purpose")]
    fn reached(&self, _step: Step) -> Result<(), BatchError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
