//! The increment: the clicks between two cuts, as the queries see them.
//!
//! DataFusion reads the files of the planned version that can hold them and takes those at the planned offsets. The views
//!
//! - `clicks`: one row a click, with its buckets, what it counts as, and its value in each dimension,
//! - `everyone`: the same, and each once more without its link, for its tenant,
//!
//! are what the tables' queries begin with. Memory is bounded: what does not fit is spilled to disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::datafusion::execution::memory_pool::FairSpillPool;
use deltalake::datafusion::execution::runtime_env::RuntimeEnvBuilder;
use deltalake::datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use linktide_common::bucket::{Day, Hour, QUARTERS_PER_DAY, QUARTERS_PER_HOUR, Timestamp};
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::id::Offset;
use linktide_common::log::Position;
use linktide_common::publication::CutEntry;
use object_store::path::Path;
use parking_lot::Mutex;
use url::Url;

use super::damage::Reading;
use super::functions;
use super::plan::Plan;
use crate::error::BatchError;
use crate::table::{File, Table};
use crate::tables::columns::{Columns, counted};
use crate::tables::{Lake, click_event};

/// Memory the queries may take before they spill to disk.
const MEMORY: usize = 1 << 30;
const QUARTER_US: i64 = 900_000_000;

/// The cut of `to`: for each partition, behind the last click that was received before it.
///
/// Every later click of a closed partition was received from `to` on, so that is what received time starts from.
pub(crate) async fn cut(raw: &Table, from: &[CutEntry], to: Hour) -> Result<Vec<CutEntry>, BatchError> {
    let session = Session::new()?;
    session.or_damage(cut_by(&session, raw, from, to)).await
}

async fn cut_by(session: &Session, raw: &Table, from: &[CutEntry], to: Hour) -> Result<Vec<CutEntry>, BatchError> {
    let mut cut = from.to_vec();
    if session.read_clicks(raw, from, to).await? {
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

/// What an increment touches.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// How many clicks and previews each event day gets.
    pub(crate) days: BTreeMap<Day, u64>,
    /// How many of them carry a label.
    pub(crate) labelled: u64,
}

/// Queries over the clicks of one plan.
pub(crate) struct Session {
    context: SessionContext,
    /// What was read, to find out which file it was when something fails.
    readings: Mutex<Vec<Arc<Reading>>>,
}

impl Session {
    fn new() -> Result<Self, BatchError> {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY))).build_arc()?;
        let mut config = SessionConfig::new().with_information_schema(false).with_collect_statistics(false);
        // Files say what they hold; texts are written as they are read.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let context = SessionContext::new_with_config_rt(config, runtime);
        functions::register(&context);
        Ok(Self { context, readings: Mutex::default() })
    }

    /// The views of the planned clicks.
    pub(crate) async fn open(lake: &Lake, plan: &Plan) -> Result<(Self, Touched), BatchError> {
        let mut raw = lake.table(click_event::definition()).await?;
        raw.load_version(plan.raw_version).await?;
        let session = Self::new()?;
        let touched = session.or_damage(session.touched(&raw, plan)).await?;
        Ok((session, touched))
    }

    async fn touched(&self, raw: &Table, plan: &Plan) -> Result<Touched, BatchError> {
        let mut touched = Touched::default();
        if !self.read_clicks(raw, &plan.cut_from, plan.to).await? {
            return Ok(touched);
        }
        self.view("clicks", &clicks(plan)).await?;
        self.view("everyone", &everyone()).await?;
        let query =
            "SELECT day, count(*) AS clicks, count(*) FILTER (WHERE labelled) AS labelled FROM clicks GROUP BY day";
        for rows in self.query(query).await? {
            let columns = Columns::new(&rows);
            let (days, clicks, labelled) =
                (columns.dates("day")?, columns.numbers("clicks")?, columns.numbers("labelled")?);
            for row in 0..days.len() {
                touched.days.insert(Day(days.value(row)), counted(clicks.value(row)));
                touched.labelled += counted(labelled.value(row));
            }
        }
        Ok(touched)
    }

    /// What comes of `work`; where it fails because of a file, that file.
    pub(crate) async fn or_damage<T>(
        &self,
        work: impl Future<Output = Result<T, BatchError>>,
    ) -> Result<T, BatchError> {
        let error = match work.await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let readings = self.readings.lock().clone();
        for reading in readings {
            if let Some(damaged) = reading.damaged().await {
                return Err(damaged);
            }
        }
        Err(error)
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Makes files of a table the table `name` of queries.
    pub(crate) async fn read(&self, name: &str, table: &Table, files: &[Path]) -> Result<(), BatchError> {
        let reading = Arc::new(Reading::of(table, files));
        reading.check().await?;
        self.readings.lock().push(reading);
        let (store, folder) = table.root();
        let place = Url::parse(&format!("linktide://{}", table.definition.name)).expect("names of tables are hosts");
        self.context.runtime_env().register_object_store(&place, store);
        let paths: Vec<String> = files.iter().map(|file| format!("{place}{folder}{file}")).collect();
        let schema = table.definition.file_schema();
        let rows = self.context.read_parquet(paths, ParquetReadOptions::default().schema(&schema)).await?;
        self.context.deregister_table(name)?;
        self.context.register_table(name, rows.into_view())?;
        Ok(())
    }

    /// Makes `raw` of the files that can hold clicks between `from` and the cut of `to`; tells whether any can.
    async fn read_clicks(&self, raw: &Table, from: &[CutEntry], to: Hour) -> Result<bool, BatchError> {
        // No click behind a position was received before it.
        let since = from.iter().map(|entry| entry.position.received_at).min().unwrap_or(Timestamp::MIN);
        let holding = raw.files()?.into_iter().filter(|file| may_hold(file, since, to.start()));
        let files: Vec<Path> = holding.map(|file| file.path).collect();
        if files.is_empty() {
            return Ok(false);
        }
        self.read("raw", raw, &files).await?;
        Ok(true)
    }

    async fn view(&self, name: &str, query: &str) -> Result<(), BatchError> {
        let view = self.context.sql(query).await?.into_view();
        self.context.register_table(name, view)?;
        Ok(())
    }

    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, BatchError> {
        Ok(self.context.sql(sql).await?.collect().await?)
    }
}

/// Whether a file can hold clicks received in `[from, to)`, by its statistics.
fn may_hold(file: &File, from: Timestamp, to: Timestamp) -> bool {
    let statistics: Option<serde_json::Value> =
        file.statistics.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let at = |which: &str| {
        let text = statistics.as_ref()?.get(which)?.get("received_at")?.as_str()?;
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
    };
    // Statistics are cut to the millisecond, downwards.
    let before = at("minValues").is_some_and(|least| least >= to);
    let behind = at("maxValues").is_some_and(|greatest| greatest.plus_millis(1) <= from);
    !before && !behind
}

/// The condition that a click lies between the plan's cuts.
fn planned(plan: &Plan) -> String {
    let between = |to: &CutEntry| {
        let same = |from: &&CutEntry| (from.epoch, from.partition) == (to.epoch, to.partition);
        let from = plan.cut_from.iter().find(same).map_or(0, |from| from.position.offset.0);
        format!(
            "(epoch = {} AND partition = {} AND \"offset\" >= {from} AND \"offset\" < {})",
            to.epoch, to.partition, to.position.offset
        )
    };
    plan.cut_to.iter().map(between).collect::<Vec<_>>().join(" OR ")
}

/// A division that rounds down, and its remainder: event times before 1970 are negative.
fn divided(number: &str, by: i64) -> (String, String) {
    let rest = format!("((({number}) % {by} + {by}) % {by})");
    (format!("((({number}) - {rest}) / {by})"), rest)
}

fn clicks(plan: &Plan) -> String {
    let (day, in_day) = divided("quarter", i64::from(QUARTERS_PER_DAY));
    let (hour, in_hour) = divided("quarter", i64::from(QUARTERS_PER_HOUR));
    let hour_us = i64::from(QUARTERS_PER_HOUR) * QUARTER_US;
    let values = Dimension::ALL.iter().map(|dimension| format!(", coalesce({0}, '{NONE}') AS {0}", dimension.name()));
    format!(
        "SELECT tenant_id, link_id, click_id, clicked_at, slug, title, destination,
                slug IS NOT NULL OR title IS NOT NULL OR destination IS NOT NULL AS labelled,
                arrow_cast(arrow_cast({day}, 'Int32'), 'Date32') AS day, arrow_cast({in_day}, 'Int16') AS in_day,
                arrow_cast({hour} * {hour_us}, 'Timestamp(Microsecond, Some(\"UTC\"))') AS hour, {in_hour} AS in_hour,
                CASE WHEN preview THEN 0 ELSE 1 END AS click, CASE WHEN preview THEN 1 ELSE 0 END AS preview,
                CASE WHEN NOT preview AND bot_reason IS NOT NULL THEN 1 ELSE 0 END AS bot,
                CASE WHEN NOT preview AND bot_reason IS NULL THEN coalesce(visitor, ip_hash) END AS visitor{values}
         FROM (SELECT *, {quarter} AS quarter FROM raw WHERE {planned})",
        values = values.collect::<String>(),
        quarter = divided("CAST(clicked_at AS BIGINT)", QUARTER_US).0,
        planned = planned(plan),
    )
}

fn everyone() -> String {
    let values: String = Dimension::ALL.iter().map(|dimension| format!(", {}", dimension.name())).collect();
    let columns = format!("clicked_at, day, in_day, hour, in_hour, click, preview, bot, visitor{values}");
    format!(
        "SELECT tenant_id, link_id, {columns} FROM clicks
         UNION ALL SELECT tenant_id, CAST(NULL AS BIGINT) AS link_id, {columns} FROM clicks"
    )
}
