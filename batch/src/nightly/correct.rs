//! Corrections: raw clicks are written anew, and what they were rolled up to is made anew.
//!
//! 1. The clicks in question are found in the planned version of `click_event`, and the days of receipt that hold them are
//!    written anew.
//! 2. **geo** and **bots**: the event days of those clicks are rolled up anew from all raw clicks below the watermark's
//!    cut. A sealed day, one whose raw clicks are not all there any more, keeps its rollups.
//! 3. **erase**: rollups, labels and marks lose the subject's rows, sealed days included. A tombstone keeps away what is
//!    in the log or comes into the table until its hour.

use std::collections::{BTreeMap, BTreeSet};

use linktide_common::bucket::Day;
use linktide_common::id::Subject;
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::repeat::Windows;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::merge::Change;
use super::parts::Sample;
use super::plan::{Correction, Plan};
use super::raw::{Found, Rewriting, by_day, find, rewrite_day};
use super::reclassified::{DayReasons, dates};
use super::session::{Session, may_hold_days};
use super::survey::Survey;
use super::{Changed, Nightly, Stage, clicks};
use crate::error::BatchError;
use crate::rewrite::{Fence, rewrite};
use crate::table::{Rows, Table};
use crate::tables::click_event;
use crate::tables::columns::{Columns, signed};
use crate::tables::daily::Daily;
use crate::tables::dimension::Dimensions;
use crate::tables::hourly::Hourly;
use crate::tables::link::Links;
use crate::tables::rate_bot::RateBots;
use crate::tables::rollup::Rollup as _;

/// What a correction comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Corrected {
    /// Raw clicks that are corrected or erased.
    pub clicks: u64,
    /// The days they were received on, which are written anew.
    #[serde(with = "dates")]
    pub received: Vec<Day>,
    /// Event days whose rollups change.
    #[serde(with = "dates")]
    pub days: Vec<Day>,
    /// Event days whose rollups stay as they are: raw clicks of theirs were deleted.
    #[serde(with = "dates")]
    pub sealed: Vec<Day>,
    /// Where clicks are judged again, the reasons of all clicks of those event days before and after, in order.
    #[serde(rename = "by_day")]
    pub reasons: Vec<DayReasons>,
}

/// What today's rules say of a stored click. A reason that other signs gave than the user agent stays as it is.
pub(super) const JUDGED: &str = "judged(user_agent, clicked_at, bot_reason)";

impl Correction {
    /// The clicks that it touches.
    fn condition(&self) -> String {
        match self {
            Self::Geo => "geo_pending IS NOT NULL AND located(geo_pending)['known']".to_owned(),
            Self::Bots => {
                format!("((bot_reason IS DISTINCT FROM {JUDGED}['bot']) OR (device <> {JUDGED}['device']))")
            }
            Self::Erase { tombstone } => clicks::erased(tombstone),
        }
    }

    /// What each column of those clicks becomes.
    fn columns(&self, rules_version: &str) -> Vec<(&'static str, String)> {
        let condition = self.condition();
        let changed =
            |column: &'static str, to: String| (column, format!("CASE WHEN {condition} THEN {to} ELSE {column} END"));
        let located =
            |column: &'static str| changed(column, format!("coalesce({column}, located(geo_pending)['{column}'])"));
        let rules = changed("rules_version", format!("'{}'", rules_version.replace('\'', "''")));
        match self {
            Self::Geo => {
                let places = ["continent", "country", "region", "city", "asn", "network_owner"].map(located);
                places.into_iter().chain([changed("geo_pending", "NULL".to_owned()), rules]).collect()
            }
            Self::Bots => {
                let judged = |column, which| changed(column, format!("{JUDGED}['{which}']"));
                vec![judged("bot_reason", "bot"), judged("device", "device"), rules]
            }
            Self::Erase { .. } => Vec::new(),
        }
    }
}

impl Nightly {
    /// What a correction would come to now.
    pub(super) async fn foresee(
        &self,
        correction: &Correction,
        raw: &Table,
        published: &Publication,
    ) -> Result<(Corrected, Found), BatchError> {
        let session = Session::new(&self.rules)?;
        let found = find(&session, raw, &correction.condition()).await?;
        let days = match correction {
            Correction::Erase { tombstone } => self.days_of(&session, tombstone.subject(), published).await?,
            _ => found.days.clone(),
        };
        let is_sealed = |day: &Day| published.sealed_through().is_some_and(|sealed| *day <= sealed);
        let (sealed, open): (Vec<Day>, Vec<Day>) = days.into_iter().partition(is_sealed);
        let (days, sealed) = match correction {
            // Nothing has to be made anew, so nothing is beyond reach.
            Correction::Erase { .. } => (sealed.into_iter().chain(open).collect(), Vec::new()),
            _ => (open, sealed),
        };
        let reasons = match correction {
            Correction::Bots => self.reclassify(raw, &found.days, published).await?,
            _ => Vec::new(),
        };
        let received = found.received.iter().copied().collect();
        Ok((Corrected { clicks: found.rows, received, days, sealed, reasons }, found))
    }

    /// Does a correction.
    pub(super) async fn carry_out_correction(
        &self,
        plan: &Plan,
        correction: &Correction,
        published: &Publication,
    ) -> Result<Changed, BatchError> {
        let fence = Fence { plan: plan.number, watermark: None };
        let mut raw = self.lake.table(click_event::definition()).await?;
        raw.load_version(plan.raw_version).await?;
        let (mut corrected, found) = self.foresee(correction, &raw, published).await?;
        if *correction == Correction::Bots {
            let newest = self.lake.table(click_event::definition()).await?;
            match (fence.has_landed(&newest).await?, self.kept_reclassified(plan).await?) {
                // An attempt before this one wrote it, perhaps by other rules: its days are to be rolled up anew.
                (true, Some(written)) => corrected = written,
                (false, kept) if corrected.clicks > 0 || kept.is_some() => {
                    self.keep_reclassified(plan, &corrected).await?;
                    self.reached("batch::correct::reclassified")?;
                }
                _ => {}
            }
        }
        self.progress(Stage::Correct { clicks: corrected.clicks, days: corrected.days.len() });
        let raw_version = self.rewrite_raw(plan, correction, &raw, &found, published, fence).await?;
        self.reached("batch::correct::rewritten")?;
        let days: BTreeSet<Day> = corrected.days.iter().copied().collect();
        let mut tables = match correction {
            Correction::Erase { tombstone } => self.erase(tombstone, &days, published, fence).await?,
            _ => self.recompute(correction, &plan.repeats, raw_version, &days, published, fence).await?,
        };
        tables.insert(click_event::NAME.to_owned(), raw_version);
        let tombstone = match correction {
            Correction::Erase { tombstone } => Some(*tombstone),
            _ => None,
        };
        Ok(Changed { tables, rows: corrected.clicks, tombstone, corrected: Some(corrected), ..Changed::default() })
    }

    /// Writes the days of receipt anew; the version of `click_event` behind it.
    async fn rewrite_raw(
        &self,
        plan: &Plan,
        correction: &Correction,
        planned: &Table,
        found: &Found,
        published: &Publication,
        fence: Fence,
    ) -> Result<u64, BatchError> {
        let mut raw = self.lake.table(click_event::definition()).await?;
        if found.rows > 0 && !fence.has_landed(&raw).await? {
            let (session, files) = (Session::new(&self.rules)?, by_day(planned)?);
            let columns = correction.columns(&plan.rules_version);
            // A sorted day is never looked at again: nothing that was erased may hide in one.
            let mut erased: Vec<String> = published.tombstones.iter().map(clicks::erased).collect();
            if let Correction::Erase { tombstone } = correction {
                erased.push(clicks::erased(tombstone));
            }
            let rewriting = Rewriting { columns: &columns, go: &erased };
            let (mut added, mut removed) = (Vec::new(), Vec::new());
            for day in &found.received {
                let Some(files) = files.get(day) else { continue };
                let (closed, now) = (*day < published.watermark.day(), self.clock.now());
                added.extend(rewrite_day(planned, *day, files, &rewriting, closed, &session, now).await?.0);
                removed.extend_from_slice(files);
            }
            self.reached("batch::correct::written")?;
            rewrite(&mut raw, &removed, &added, Rows::Changed, fence).await?;
        }
        raw.version()
    }

    /// Rolls event days up anew from raw clicks.
    async fn recompute(
        &self,
        correction: &Correction,
        repeats: &Windows,
        raw_version: u64,
        days: &BTreeSet<Day>,
        published: &Publication,
        fence: Fence,
    ) -> Result<BTreeMap<String, u64>, BatchError> {
        let mut tables = BTreeMap::new();
        let session = Session::new(&self.rules)?;
        let mut raw = self.lake.table(click_event::definition()).await?;
        raw.load_version(raw_version).await?;
        if days.is_empty() {
            return Ok(tables);
        }
        let Some(most) = session.read_raw(&raw, |file| may_hold_days(file, days)).await? else {
            return Ok(tables);
        };
        let marked = self.has_marks(published) && self.read_marks(&session, &clicks::on_days("minute", days)).await?;
        let condition = format!(
            "{} AND {}{}",
            clicks::between(&[], &published.cut),
            clicks::on_days("clicked_at", days),
            clicks::not_erased(&published.tombstones)
        );
        let mut survey = Survey::of(&session, &condition, most).await?;
        survey.register(&session, u32::MAX);
        clicks::open(&session, &condition, self.judgement(marked), repeats, &survey.sample).await?;
        survey.forget_hashes(&session);
        let (anew, watermark) = (Change::Recompute(days), published.watermark);
        // Where a click came from changes neither counts nor visitors.
        if *correction != Correction::Geo {
            tables.extend([self.add::<Hourly>(&session, anew, &survey.sample, watermark, fence).await?]);
            self.reached("batch::correct::recomputed_hourly")?;
            tables.extend([self.add::<Daily>(&session, anew, &survey.sample, watermark, fence).await?]);
            self.reached("batch::correct::recomputed_daily")?;
        }
        tables.extend([self.add::<Dimensions>(&session, anew, &survey.sample, watermark, fence).await?]);
        self.reached("batch::correct::recomputed_dimensions")?;
        Ok(tables)
    }

    /// Takes a subject's rows out of rollups, labels and marks.
    async fn erase(
        &self,
        tombstone: &Tombstone,
        days: &BTreeSet<Day>,
        published: &Publication,
        fence: Fence,
    ) -> Result<BTreeMap<String, u64>, BatchError> {
        let mut tables = BTreeMap::new();
        if days.is_empty() {
            return Ok(tables);
        }
        let session = Session::new(&self.rules)?;
        let (gone, none, watermark) =
            (Change::Erase(tombstone.subject(), days), Sample::default(), published.watermark);
        tables.extend([self.add::<Hourly>(&session, gone, &none, watermark, fence).await?]);
        self.reached("batch::correct::erased_hourly")?;
        tables.extend([self.add::<Daily>(&session, gone, &none, watermark, fence).await?]);
        self.reached("batch::correct::erased_daily")?;
        tables.extend([self.add::<Dimensions>(&session, gone, &none, watermark, fence).await?]);
        self.reached("batch::correct::erased_dimensions")?;
        tables.extend([self.add::<Links>(&session, gone, &none, watermark, fence).await?]);
        self.reached("batch::correct::erased_links")?;
        if self.has_marks(published) {
            tables.extend([self.add::<RateBots>(&session, gone, &none, watermark, fence).await?]);
            self.reached("batch::correct::erased_marks")?;
        }
        Ok(tables)
    }

    /// The event days that a subject has rows of, in what is published: a job that goes on after a crash finds the same.
    async fn days_of(
        &self,
        session: &Session,
        subject: Subject,
        published: &Publication,
    ) -> Result<BTreeSet<Day>, BatchError> {
        let mut days = BTreeSet::new();
        let Some(version) = published.tables.get(Daily::definition().name) else { return Ok(days) };
        let mut table = self.lake.table(Daily::definition()).await?;
        table.load_version(*version).await?;
        let files: Vec<Path> = table.files()?.into_iter().map(|file| file.path).collect();
        if files.is_empty() {
            return Ok(days);
        }
        session.read("stored", &table, &files).await?;
        let tenant = signed(subject.tenant().0);
        let link = subject.link().map(|link| format!(" AND link_id = {}", signed(link.0))).unwrap_or_default();
        let query = format!("SELECT DISTINCT day_bucket FROM stored WHERE tenant_id = {tenant}{link}");
        for rows in session.query(&query).await? {
            days.extend(Columns::new(&rows).dates("day_bucket")?.iter().flatten().map(Day));
        }
        Ok(days)
    }
}
