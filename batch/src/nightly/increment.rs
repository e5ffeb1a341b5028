//! The increment: the clicks between two cuts, added to the rollups.
//!
//! 1. Addresses that clicked too often in a minute are marked. A mark goes by the hour of receipt, which never lies in two
//!    increments, so that parts add up.
//! 2. One commit a rollup table adds the clicks, fenced by the plan's number and the new watermark.

use std::collections::{BTreeMap, BTreeSet};

use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::id::Offset;
use linktide_common::log::Position;
use linktide_common::publication::{CutEntry, Publication};
use object_store::path::Path;

use super::clicks::{self, Judgement};
use super::merge::{Change, merge};
use super::parts::Sample;
use super::plan::Plan;
use super::session::{Session, may_hold_received};
use super::survey::Survey;
use super::{Changed, Nightly, Stage};
use crate::error::BatchError;
use crate::rewrite::Fence;
use crate::table::Table;
use crate::tables::click_event;
use crate::tables::columns::{Columns, counted};
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::rate_bot::RateBots;
use crate::tables::rollup::Rollup;

/// The hours and cuts of an increment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Increment<'a> {
    pub(super) from: Hour,
    pub(super) to: Hour,
    pub(super) cut_from: &'a [CutEntry],
    pub(super) cut_to: &'a [CutEntry],
    pub(super) rate_bots: Option<u32>,
}

/// The cut of `to`: for each partition, behind the last click that was received before it.
///
/// Every later click of a closed partition was received from `to` on, so that is what received time starts from.
pub(super) async fn cut(
    session: &Session,
    raw: &Table,
    from: &[CutEntry],
    to: Hour,
) -> Result<Vec<CutEntry>, BatchError> {
    let mut cut = from.to_vec();
    let since = received_since(from);
    if session.read_raw(raw, |file| may_hold_received(file, since, to.start())).await?.is_some() {
        let query = format!(
            "SELECT epoch, partition, max(\"offset\") AS last FROM raw
             WHERE CAST(received_at AS BIGINT) < {} GROUP BY epoch, partition",
            to.start().as_millis() * 1000
        );
        for rows in session.query(&query).await? {
            let columns = Columns::new(&rows);
            let (epochs, partitions) = (columns.numbers("epoch")?, columns.numbers("partition")?);
            let last = columns.numbers("last")?;
            for row in 0..rows.num_rows() {
                let place = (epochs.value(row), partitions.value(row));
                let same = |entry: &&mut CutEntry| (i64::from(entry.epoch.0), i64::from(entry.partition.0)) == place;
                if let Some(entry) = cut.iter_mut().find(same) {
                    entry.position.offset = entry.position.offset.max(Offset(counted(last.value(row))).next());
                }
            }
        }
    }
    for entry in &mut cut {
        entry.position = Position { received_at: entry.position.received_at.max(to.start()), ..entry.position };
    }
    Ok(cut)
}

/// No click behind a cut was received before this.
fn received_since(cut: &[CutEntry]) -> Timestamp {
    cut.iter().map(|entry| entry.position.received_at).min().unwrap_or(Timestamp::MIN)
}

impl Nightly {
    /// Adds the clicks of an increment to the tables.
    pub(super) async fn increment(
        &self,
        plan: &Plan,
        increment: Increment<'_>,
        published: &Publication,
    ) -> Result<Changed, BatchError> {
        self.progress(Stage::Increment { from: increment.from, to: increment.to });
        let fence = Fence { plan: plan.number, watermark: Some(increment.to) };
        let session = Session::new(&self.rules)?;
        let mut raw = self.lake.table(click_event::definition()).await?;
        raw.load_version(plan.raw_version).await?;
        let mut tables = BTreeMap::from([(click_event::NAME.to_owned(), plan.raw_version)]);
        let mut survey = Survey::default();
        let since = received_since(increment.cut_from);
        let held = session.read_raw(&raw, |file| may_hold_received(file, since, increment.to.start())).await?;
        if let Some(most) = held {
            let planned =
                clicks::between(increment.cut_from, increment.cut_to) + &clicks::not_erased(&published.tombstones);
            survey = Survey::of(&session, &planned, most).await?;
            survey.register(&session, increment.rate_bots.unwrap_or(u32::MAX));
            let marks = self.mark(&session, &planned, &survey, increment, fence).await?;
            tables.extend(marks.map(|version| (RateBots::definition().name.to_owned(), version)));
            clicks::open(&session, &planned, self.judgement(marks.is_some()), &plan.repeats, &survey.sample).await?;
            survey.forget_hashes(&session);
        }
        self.reached("batch::increment::rolled")?;
        self.progress(Stage::Merge { clicks: survey.clicks });
        let (days, sample) = (Change::Add(&survey.days), &survey.sample);
        let labelled = Change::Add(&survey.labelled);
        tables.extend([self.add::<Hourly>(&session, days, sample, increment.to, fence).await?]);
        self.reached("batch::increment::merged_hourly")?;
        tables.extend([self.add::<Daily>(&session, days, sample, increment.to, fence).await?]);
        self.reached("batch::increment::merged_daily")?;
        tables.extend([self.add::<Dimensions>(&session, days, sample, increment.to, fence).await?]);
        self.reached("batch::increment::merged_dimensions")?;
        tables.extend([self.add::<Links>(&session, labelled, sample, increment.to, fence).await?]);
        self.reached("batch::increment::merged_links")?;
        self.audit(&session, plan.number, increment, published).await?;
        Ok(Changed { tables, rows: survey.clicks, ..Changed::default() })
    }

    /// Marks rate bots, and makes the view `marks`; the version of their table, where there are any.
    async fn mark(
        &self,
        session: &Session,
        planned: &str,
        survey: &Survey,
        increment: Increment<'_>,
        fence: Fence,
    ) -> Result<Option<u64>, BatchError> {
        let Some(most) = increment.rate_bots else { return Ok(None) };
        if !survey.any_often(most) || !clicks::rate(session, planned, most).await? {
            return Ok(None);
        }
        let rated = session.query("SELECT DISTINCT CAST(minute AS DATE) AS day FROM rated").await?;
        let mut days = BTreeSet::new();
        for rows in rated {
            days.extend(Columns::new(&rows).dates("day")?.iter().flatten().map(Day));
        }
        let (_, version) =
            self.add::<RateBots>(session, Change::Add(&days), &Sample::default(), increment.to, fence).await?;
        self.reached("batch::increment::marked")?;
        self.read_marks(session, &clicks::received_in(increment.from..increment.to)).await?;
        Ok(Some(version))
    }

    /// What is to be asked about each click.
    pub(super) fn judgement(&self, marked: bool) -> Judgement {
        Judgement { marked, places: self.rules.knows_places() }
    }

    /// Makes the view `marks` of those marks that `condition` takes; tells whether there can be any.
    pub(super) async fn read_marks(&self, session: &Session, condition: &str) -> Result<bool, BatchError> {
        let table = self.lake.table(RateBots::definition()).await?;
        let files: Vec<Path> = table.files()?.into_iter().map(|file| file.path).collect();
        if files.is_empty() {
            return Ok(false);
        }
        session.read("stored", &table, &files).await?;
        session.view("marks", &format!("SELECT * FROM stored WHERE {condition}")).await?;
        Ok(true)
    }

    /// Changes a rollup; its name with its new version. `clicks` is a sample of those that come to it.
    pub(super) async fn add<R: Rollup>(
        &self,
        session: &Session,
        change: Change<'_>,
        clicks: &Sample,
        watermark: Hour,
        fence: Fence,
    ) -> Result<(String, u64), BatchError> {
        let version = merge::<R>(&self.lake, session, change, clicks, watermark, fence, self.clock.now()).await?;
        Ok((R::definition().name.to_owned(), version))
    }
}
