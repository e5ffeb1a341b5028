//! Merge: what becomes of the files of a rollup that hold the event days in question, in one commit.
//!
//! Old rows and clicks are grouped together by one query for each part of the owners, which yields the rows of each file in
//! the order of its key. An increment keeps every old row (`new = old + increment`); a correction keeps those of the days it does not make
//! anew; an erasure keeps what is not the subject's, and sums a tenant's own rows up again from those of its other links,
//! which is exact for counts and sketches alike, because every click of a tenant is a click of one of its links.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::arrow::array::{AsArray as _, Date32Array};
use deltalake::arrow::datatypes::{DataType, Date32Type};
use deltalake::datafusion::error::DataFusionError;
use deltalake::datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use deltalake::kernel::Add;
use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::id::Subject;
use object_store::path::Path;

use super::clicks::DAY_US;
use super::files::Files;
use super::order::in_order;
use super::parts::{Cut, Part, Row, Sample, parts};
use super::session::Session;
use crate::error::BatchError;
use crate::rewrite::{Fence, rewrite};
use crate::table::{File, Rows, Table};
use crate::tables::Lake;
use crate::tables::columns::{Columns, signed};
use crate::tables::rollup::Rollup;
use crate::tables::slot::{Slot, run_of};

/// What a click costs, and a row that is there, when parts are cut: a click becomes some four rows of its link. Most of
/// its tenant's have a row already.
const A_CLICK: usize = 4;
const A_CLICK_OF_TENANT: usize = 1;
const A_ROW: usize = 1;

/// What is done to a rollup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// Clicks of these event days are added.
    Add(&'a BTreeSet<Day>),
    /// The rows of these event days are made anew from clicks.
    Recompute(&'a BTreeSet<Day>),
    /// A subject's rows go; they are on these event days.
    Erase(Subject, &'a BTreeSet<Day>),
    /// Rows of clicks received before the hour go, whatever their event day.
    Expire(Hour),
}

impl Change<'_> {
    /// The slots it touches.
    fn slots<R: Rollup>(self, files: &[(File, Slot)], young: Day) -> BTreeSet<Slot> {
        let days = match self {
            Self::Add(days) | Self::Recompute(days) | Self::Erase(_, days) => days,
            Self::Expire(_) => return files.iter().map(|(_, slot)| *slot).collect(),
        };
        match R::DAY {
            Some(_) => days.iter().map(|day| Slot::of(*day, young)).collect(),
            None => (!days.is_empty()).then_some(Slot::All).into_iter().collect(),
        }
    }

    fn has_clicks(self) -> bool {
        matches!(self, Self::Add(days) | Self::Recompute(days) if !days.is_empty())
    }

    /// The rows that stay, as a query over `stored`.
    fn kept<R: Rollup>(self) -> String {
        match self {
            Self::Add(_) => "SELECT * FROM stored".to_owned(),
            Self::Recompute(days) => {
                let days = days.iter().map(|day| day.0.to_string()).collect::<Vec<_>>().join(", ");
                format!("SELECT * FROM stored WHERE CAST({} AS INT) NOT IN ({days})", event_day::<R>())
            }
            Self::Erase(subject, _) => without::<R>(subject),
            Self::Expire(hour) => format!(
                "SELECT * FROM stored WHERE CAST(received_hour AS BIGINT) >= {}",
                hour.start().as_millis() * 1000
            ),
        }
    }
}

/// The rows that are not a subject's, with its tenant's own ones from those of its other links.
fn without<R: Rollup>(subject: Subject) -> String {
    let tenant = signed(subject.tenant().0);
    let Some(link) = subject.link().map(|link| signed(link.0)) else {
        return format!("SELECT * FROM stored WHERE tenant_id <> {tenant}");
    };
    if !R::HAS_TENANTS {
        return format!("SELECT * FROM stored WHERE NOT (tenant_id = {tenant} AND link_id = {link})");
    }
    let schema = R::definition().file_schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = names.filter(|name| !matches!(*name, "tenant_id" | "link_id")).collect();
    let columns = columns.join(", ");
    format!(
        "SELECT tenant_id, link_id, {columns} FROM stored
         WHERE NOT (tenant_id = {tenant} AND (link_id IS NULL OR link_id = {link}))
         UNION ALL SELECT tenant_id, CAST(NULL AS BIGINT) AS link_id, {columns} FROM stored
         WHERE tenant_id = {tenant} AND link_id <> {link}"
    )
}

/// Changes a rollup, once; the table's version with it. `clicks` is a sample of those that come to it.
pub(super) async fn merge<R: Rollup>(
    lake: &Lake,
    session: &Session,
    change: Change<'_>,
    clicks: &Sample,
    watermark: Hour,
    fence: Fence,
    now: Timestamp,
) -> Result<u64, BatchError> {
    let mut table = lake.table(R::definition()).await?;
    if !fence.has_landed(&table).await? {
        let (added, removed) = write::<R>(&table, session, change, clicks, run_of(watermark.day()), now).await?;
        rewrite(&mut table, &removed, &added, Rows::Changed, fence).await?;
    }
    table.version()
}

/// Writes the files that come, and tells those that go.
async fn write<R: Rollup>(
    table: &Table,
    session: &Session,
    change: Change<'_>,
    clicks: &Sample,
    young: Day,
    now: Timestamp,
) -> Result<(Vec<Add>, Vec<File>), BatchError> {
    let files = slotted(table, young)?;
    let mut slots = change.slots::<R>(&files, young);
    // Days of a run, a third or a month that is over go into one file, whether anything new came for them or not.
    slots.extend(turned(&files));
    let replaced: Vec<File> =
        files.into_iter().filter(|(_, slot)| slots.contains(slot)).map(|(file, _)| file).collect();
    let (mut rows, mut kept) = (Vec::new(), Sample::default());
    if change.has_clicks() {
        rows.push(R::clicks());
    }
    if !replaced.is_empty() {
        let paths: Vec<Path> = replaced.iter().map(|file| file.path.clone()).collect();
        session.read("stored", table, &paths).await?;
        session.view("kept", &change.kept::<R>()).await?;
        rows.push(R::kept());
        kept = session.or_damage(sample::<R>(session)).await?;
    }
    if rows.is_empty() {
        return Ok((Vec::new(), replaced));
    }
    session.context().register_udf(slot_start(young));
    let mut written = Files::of(table, young, now);
    let own = if R::HAS_TENANTS { clicks.of_tenants() } else { Sample::default() };
    let parts = parts(&[(clicks, A_CLICK), (&own, A_CLICK_OF_TENANT), (&kept, A_ROW)], &cuts::<R>());
    let queries = parts.into_iter().map(|part| query::<R>(&rows, &part));
    let order: Vec<&str> = std::iter::once("slot").chain(R::KEY.iter().copied()).collect();
    let write = async {
        let mut answers = std::pin::pin!(session.answers(queries));
        while let Some(groups) = answers.try_next().await? {
            for groups in in_order(&groups, &order)? {
                for rows in R::rows(groups?)? {
                    written.take(&rows).await?;
                }
            }
        }
        written.finish().await
    };
    Ok((session.or_damage(write).await?, replaced))
}

/// What parts are cut by: of one owner, by day, in the order of its rows.
fn cuts<R: Rollup>() -> Vec<Cut> {
    let schema = R::definition().file_schema();
    let is_date = |column| schema.field_with_name(column).is_ok_and(|field| *field.data_type() == DataType::Date32);
    let by_day = |column| if is_date(column) { Cut::Day(column) } else { Cut::Clicked(column, DAY_US) };
    [Cut::Tenant, Cut::Link].into_iter().chain(R::DAY.map(by_day)).collect()
}

/// A row's event day, null in a table that has none.
fn event_day<R: Rollup>() -> String {
    format!("CAST({} AS DATE)", R::DAY.unwrap_or("NULL"))
}

/// Whose rows are stored, of which days.
async fn sample<R: Rollup>(session: &Session) -> Result<Sample, BatchError> {
    let mut sample = Sample::default();
    let weight = format!("arrow_cast({}, 'Int64') AS weight", R::WEIGHT);
    let query = format!("SELECT tenant_id, link_id, {} AS day, {weight} FROM stored", event_day::<R>());
    let mut rows = session.stream(&query).await?;
    while let Some(rows) = rows.try_next().await? {
        let columns = Columns::new(&rows);
        let (owners, days, weights) = (columns.owners()?, columns.dates("day")?, columns.numbers("weight")?);
        for at in 0..rows.num_rows() {
            let row = Row { owner: owners.at(at), clicked: i64::from(days.value(at)) * DAY_US, received: 0 };
            sample.add_many(row, usize::try_from(weights.value(at)).unwrap_or(1));
        }
    }
    Ok(sample)
}

/// The files of a rollup with where their rows belong now. One that Linktide did not write would be counted beside its own.
fn slotted(table: &Table, young: Day) -> Result<Vec<(File, Slot)>, BatchError> {
    let slotted = |file: File| match Slot::named(&file.path) {
        Some(named) => Ok((file, named.now(young))),
        None => Err(BatchError::Corrupt {
            what: format!("table {}", table.definition.name),
            reason: format!(
                "linktide did not write its file {}; set the table back to the newest publication's version of it",
                file.path
            ),
        }),
    };
    table.files()?.into_iter().map(slotted).collect()
}

/// What is over and still has files of less.
fn turned(files: &[(File, Slot)]) -> impl Iterator<Item = Slot> {
    files.iter().filter(|(file, slot)| Slot::named(&file.path) != Some(*slot)).map(|(_, slot)| *slot)
}

fn query<R: Rollup>(rows: &[String], part: &Part) -> String {
    let day = event_day::<R>();
    let slot = if R::DAY.is_some() { format!("slot_start({day})") } else { day };
    let condition = part.condition();
    let rows: Vec<String> = rows.iter().map(|rows| format!("SELECT * FROM ({rows}) WHERE {condition}")).collect();
    format!(
        "SELECT {slot} AS slot, {columns} FROM (SELECT {key}, {sums} FROM ({rows}) GROUP BY {key})",
        columns = R::columns(),
        key = R::KEY.join(", "),
        sums = R::sums(),
        rows = rows.join(" UNION ALL ")
    )
}

/// `slot_start(day)`: the first day that is in one file with it.
fn slot_start(young: Day) -> ScalarUDF {
    let start = move |arguments: &[ColumnarValue]| {
        let days = ColumnarValue::values_to_arrays(arguments)?;
        let first = |day| Slot::of(Day(day), young).first_day().map_or(day, |first| first.0);
        let starts: Date32Array = days[0].as_primitive::<Date32Type>().unary(first);
        Ok::<_, DataFusionError>(ColumnarValue::Array(Arc::new(starts)))
    };
    create_udf("slot_start", vec![DataType::Date32], DataType::Date32, Volatility::Immutable, Arc::new(start))
}
