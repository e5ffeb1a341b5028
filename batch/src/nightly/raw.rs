//! Raw clicks: what jobs do to the files of `click_event`, by day of receipt.
//!
//! - **compact**: a day wholly below the watermark takes no more appends. Once, its clicks are sorted by event day, tenant,
//!   link and time into few files. No row changes, but what a tombstone covers goes.
//! - **delete**: days up to one go; counts and sketches stay.
//!
//! A sorted day is known by the names of its files: `received_date=2026-03-01/sorted.<id>.parquet`.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::Add;
use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::publication::Publication;
use object_store::path::Path;

use super::files::RawFiles;
use super::merge::Change;
use super::order::in_order;
use super::parts::{BY_EVENT_DAY, Row, Sample, parts};
use super::plan::Plan;
use super::session::Session;
use super::{Changed, Nightly, Stage, clicks};
use crate::error::BatchError;
use crate::rewrite::{Fence, rewrite};
use crate::table::{File, Rows, Table};
use crate::tables::click_event;
use crate::tables::columns::{Columns, counted};
use crate::tables::rate_bot::RateBots;

/// How the name of a file begins that was sorted once its day took no more clicks.
pub(super) const SORTED: &str = "sorted";
/// What a raw click costs when its day is sorted: it has many columns.
const A_ROW: usize = 8;
/// What a day's clicks are sorted by: their event day, whose they are, when they were, and which of those they are.
const ORDER: [&str; 7] = ["event_day", "tenant_id", "link_id", "clicked_at", "epoch", "partition", "offset"];
/// How the name of a file begins that a correction wrote before that.
const CORRECTED: &str = "corrected";

/// The files of each day of receipt.
pub(super) fn by_day(raw: &Table) -> Result<BTreeMap<Day, Vec<File>>, BatchError> {
    let mut days: BTreeMap<Day, Vec<File>> = BTreeMap::new();
    for file in raw.files()? {
        let day = day_of(&file.path).ok_or_else(|| BatchError::Corrupt {
            what: format!("{}/{}", click_event::NAME, file.path),
            reason: "its folder names no day of receipt".to_owned(),
        })?;
        days.entry(day).or_default().push(file);
    }
    Ok(days)
}

/// The day of receipt that a file is of, by its folder.
pub(super) fn day_of(path: &Path) -> Option<Day> {
    parse_date(path.as_ref().split('/').find_map(|part| part.strip_prefix("received_date="))?)
}

/// The day that [`date`] wrote.
pub(super) fn parse_date(date: &str) -> Option<Day> {
    let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
    Timestamp::from_millis(start.as_millisecond()).map(Day::of)
}

pub(super) fn is_sorted(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.split('.').next() == Some(SORTED))
}

/// The days that take no more clicks and are not sorted yet.
pub(super) fn unsorted(raw: &Table, watermark: Hour) -> Result<Vec<Day>, BatchError> {
    let closed = by_day(raw)?.into_iter().filter(|(day, _)| *day < watermark.day());
    let unsorted = closed.filter(|(_, files)| files.iter().any(|file| !is_sorted(&file.path)));
    Ok(unsorted.map(|(day, _)| day).collect())
}

pub(super) fn date(day: Day) -> String {
    day.start().to_string()[..10].to_owned()
}

/// How raw clicks are written anew.
pub(super) struct Rewriting<'a> {
    /// What each column becomes, where it is not what it was.
    pub(super) columns: &'a [(&'a str, String)],
    /// The conditions of those that go; whatever meets none of them stays.
    pub(super) go: &'a [String],
}

/// Writes the clicks of a day anew, sorted; tells the files, and how many clicks are gone.
pub(super) async fn rewrite_day(
    raw: &Table,
    day: Day,
    files: &[File],
    rewriting: &Rewriting<'_>,
    closed: bool,
    session: &Session,
    now: Timestamp,
) -> Result<(Vec<Add>, u64), BatchError> {
    let paths: Vec<Path> = files.iter().map(|file| file.path.clone()).collect();
    session.read("raw", raw, &paths).await?;
    let column = |name: &String| match rewriting.columns.iter().find(|(column, _)| column == name) {
        Some((_, expression)) => format!("{expression} AS {name}"),
        None => format!("\"{name}\""),
    };
    let schema = raw.definition.file_schema();
    let columns: Vec<String> = schema.fields().iter().map(|field| column(field.name())).collect();
    let (columns, event_day) = (columns.join(", "), clicks::day_number("raw.clicked_at"));
    let gone = match rewriting.go {
        [] => 0,
        go => count(session, &format!("SELECT count(*) AS rows FROM raw WHERE {}", go.join(" OR "))).await?,
    };
    let stay: String = rewriting.go.iter().map(|go| format!(" AND NOT {go}")).collect();
    let clicks_of = |part: String| format!("SELECT {columns}, {event_day} AS event_day FROM raw WHERE {part}{stay}");
    let (name, date) = (if closed { SORTED } else { CORRECTED }, date(day));
    let mut written = RawFiles::of(raw, &date, name, now);
    let write = async {
        let parts = parts(&[(&sample(session).await?, A_ROW)], BY_EVENT_DAY);
        let queries = parts.into_iter().map(|part| clicks_of(part.condition()));
        let mut answers = std::pin::pin!(session.answers(queries));
        while let Some(clicks) = answers.try_next().await? {
            for clicks in in_order(&clicks, &ORDER)? {
                written.take(&clicks?).await?;
            }
        }
        written.finish().await
    };
    let added = session.or_damage(write).await?;
    Ok((added, gone))
}

/// Whose the clicks are, and when they were.
async fn sample(session: &Session) -> Result<Sample, BatchError> {
    let mut sample = Sample::default();
    let query = "SELECT tenant_id, link_id, CAST(clicked_at AS BIGINT) AS at FROM raw";
    let mut rows = session.stream(query).await?;
    while let Some(rows) = rows.try_next().await? {
        let columns = Columns::new(&rows);
        let (owners, times) = (columns.owners()?, columns.numbers("at")?);
        let row = |row| Row { owner: owners.at(row), clicked: times.value(row), received: 0 };
        (0..rows.num_rows()).for_each(|at| sample.add(row(at)));
    }
    Ok(sample)
}

/// The one number that a query answers.
async fn count(session: &Session, query: &str) -> Result<u64, BatchError> {
    let mut sum = 0;
    for rows in session.query(query).await? {
        sum += Columns::new(&rows).numbers("rows")?.iter().flatten().map(counted).sum::<u64>();
    }
    Ok(sum)
}

impl Nightly {
    /// Sorts days of receipt.
    pub(super) async fn compact(
        &self,
        plan: &Plan,
        days: &[Day],
        published: &Publication,
    ) -> Result<Changed, BatchError> {
        self.progress(Stage::Compact { days: days.len() });
        let fence = Fence { plan: plan.number, watermark: None };
        let mut raw = self.lake.table(click_event::definition()).await?;
        if !fence.has_landed(&raw).await? {
            let (session, files) = (Session::new(&self.rules)?, by_day(&raw)?);
            let erased: Vec<String> = published.tombstones.iter().map(clicks::erased).collect();
            let rewriting = Rewriting { columns: &[], go: &erased };
            let (mut added, mut removed, mut gone) = (Vec::new(), Vec::new(), 0);
            for day in days {
                let Some(files) = files.get(day) else { continue };
                let now = self.clock.now();
                let (sorted, erased) = rewrite_day(&raw, *day, files, &rewriting, true, &session, now).await?;
                added.extend(sorted);
                removed.extend_from_slice(files);
                gone += erased;
            }
            self.reached("batch::compact::sorted")?;
            let rows = if gone == 0 { Rows::Moved } else { Rows::Changed };
            rewrite(&mut raw, &removed, &added, rows, fence).await?;
        }
        self.reached("batch::compact::rewritten")?;
        Ok(Changed { tables: BTreeMap::from([(click_event::NAME.to_owned(), raw.version()?)]), ..Changed::default() })
    }

    /// Deletes days of receipt, and the marks that only they needed.
    pub(super) async fn delete(
        &self,
        plan: &Plan,
        through: Day,
        published: &Publication,
    ) -> Result<Changed, BatchError> {
        self.progress(Stage::Delete { through });
        let fence = Fence { plan: plan.number, watermark: None };
        let mut raw = self.lake.table(click_event::definition()).await?;
        let days = by_day(&raw)?;
        let removed: Vec<File> = days.range(..=through).flat_map(|(_, files)| files.clone()).collect();
        rewrite(&mut raw, &removed, &[], Rows::Changed, fence).await?;
        self.reached("batch::delete::rewritten")?;
        let mut tables = BTreeMap::from([(click_event::NAME.to_owned(), raw.version()?)]);
        if self.has_marks(published) {
            let expired = Change::Expire(through.next().first_hour());
            let session = Session::new(&self.rules)?;
            tables.extend([self
                .add::<RateBots>(&session, expired, &Sample::default(), published.watermark, fence)
                .await?]);
            self.reached("batch::delete::unmarked")?;
        }
        Ok(Changed { tables, deleted_through: Some(through), ..Changed::default() })
    }
}

/// How many rows of the days of receipt in question, and their event days.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    /// Days of receipt.
    pub(super) received: BTreeSet<Day>,
    /// Event days.
    pub(super) days: BTreeSet<Day>,
}

/// The clicks that `condition` takes, by their days.
pub(super) async fn find(session: &Session, raw: &Table, condition: &str) -> Result<Found, BatchError> {
    let mut found = Found::default();
    if session.read_raw(raw, |_| true).await?.is_none() {
        return Ok(found);
    }
    let (received, day) = (clicks::day_number("received_at"), clicks::day_number("clicked_at"));
    let query = format!(
        "SELECT {received} AS received, {day} AS day, count(*) AS rows FROM raw WHERE {condition} GROUP BY {received}, {day}"
    );
    for rows in session.query(&query).await? {
        let columns = Columns::new(&rows);
        let (received, days, counts) =
            (columns.numbers("received")?, columns.numbers("day")?, columns.numbers("rows")?);
        for row in 0..rows.num_rows() {
            found.rows += counted(counts.value(row));
            found.received.extend(i32::try_from(received.value(row)).map(Day));
            found.days.extend(i32::try_from(days.value(row)).map(Day));
        }
    }
    Ok(found)
}
