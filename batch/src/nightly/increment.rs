//! The increment: the clicks between two cuts as rollup rows.
//!
//! DataFusion reads the files of the planned version that hold received times in question, filters by offset, and groups: counts
//! by quarter and by each dimension in one pass of grouping sets, visitors by hour, labels by link. Rows of whole tenants
//! are sums of rows of links, so they are added up here.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, RecordBatch};
use deltalake::datafusion::execution::memory_pool::FairSpillPool;
use deltalake::datafusion::execution::runtime_env::RuntimeEnvBuilder;
use deltalake::datafusion::logical_expr::AggregateUDF;
use deltalake::datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::{Dimension, NONE};
use linktide_common::enrich::Text;
use linktide_common::id::{ClickId, Offset};
use linktide_common::label::Label;
use linktide_common::log::Position;
use linktide_common::publication::{CutEntry, Publication};
use linktide_common::sketch::Sketch;
use url::Url;
use uuid::Uuid;

use super::plan::Plan;
use super::visitors::Visitors;
use crate::error::BatchError;
use crate::table::{File, Table};
use crate::tables::columns::{Columns, Owner, counted, from_micros};
use crate::tables::daily::{Daily, DayTotals};
use crate::tables::dimension::{ByQuarter, DimensionKey, Dimensions};
use crate::tables::hourly::{HourRow, Hourly, sketch_at};
use crate::tables::link::Links;
use crate::tables::rollup::{Rows, add_to};
use crate::tables::{Lake, click_event};

/// Memory the queries may take before they spill to disk.
const MEMORY: usize = 1 << 30;
const QUARTER_US: i64 = 900_000_000;

/// Rollup rows of the clicks between two cuts.
#[derive(Default)]
pub(crate) struct Increment {
    pub(crate) hourly: Rows<Hourly>,
    pub(crate) daily: Rows<Daily>,
    pub(crate) dimensions: Rows<Dimensions>,
    pub(crate) links: Rows<Links>,
    pub(crate) clicks: u64,
}

/// The cut of `to`: for each partition, behind the last click that was received before it.
pub(crate) async fn cut(
    lake: &Lake,
    raw: Table,
    published: &Publication,
    to: Hour,
) -> Result<Vec<CutEntry>, BatchError> {
    let mut cut = published.cut.clone();
    let Some(clicks) = Clicks::open(lake, &raw, published.watermark, to).await? else { return Ok(cut) };
    let limit = to.start().as_millis() * 1000;
    let query = format!(
        "SELECT epoch, partition, max(\"offset\") AS last, max(CAST(received_at AS BIGINT)) AS received
         FROM clicks WHERE CAST(received_at AS BIGINT) < {limit} GROUP BY epoch, partition"
    );
    for rows in clicks.query(&query).await? {
        let columns = Columns::new(&rows);
        let (epochs, partitions) = (columns.numbers("epoch")?, columns.numbers("partition")?);
        let (last, received) = (columns.numbers("last")?, columns.numbers("received")?);
        for row in 0..rows.num_rows() {
            let place = (epochs.value(row), partitions.value(row));
            let entry = cut.iter_mut().find(|entry| (i64::from(entry.epoch.0), i64::from(entry.partition.0)) == place);
            let (Some(entry), Some(received_at)) = (entry, from_micros(received.value(row))) else { continue };
            let offset = Offset(counted(last.value(row))).next();
            if offset > entry.position.offset {
                entry.position = Position { offset, received_at };
            }
        }
    }
    Ok(cut)
}

/// The rows of the planned increment.
pub(crate) async fn compute(lake: &Lake, plan: &Plan) -> Result<Increment, BatchError> {
    let mut raw = lake.table(click_event::definition()).await?;
    raw.load_version(plan.raw_version).await?;
    let mut increment = Increment::default();
    let Some(clicks) = Clicks::open(lake, &raw, plan.from, plan.to).await? else { return Ok(increment) };
    let planned = planned(plan);
    for rows in clicks.query(&counts_query(&planned)).await? {
        increment.take_counts(&rows)?;
    }
    for rows in clicks.query(&visitors_query(&planned)).await? {
        increment.take_visitors(&rows)?;
    }
    for rows in clicks.query(&labels_query(&planned)).await? {
        increment.take_labels(&rows)?;
    }
    increment.add_tenants();
    increment.add_days();
    Ok(increment)
}

/// `click_event` as a table of DataFusion.
struct Clicks {
    context: SessionContext,
}

impl Clicks {
    /// The files that can hold clicks received within the hours; none where no file can.
    async fn open(lake: &Lake, raw: &Table, from: Hour, to: Hour) -> Result<Option<Self>, BatchError> {
        let files: Vec<File> = raw.files()?.into_iter().filter(|file| may_hold(file, from, to)).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY))).build_arc()?;
        // The lake's own store: the table's would name files by their place on the disk, and they would not be found.
        let place = Url::parse("linktide://lake/").expect("the address is written here");
        runtime.register_object_store(&place, lake.objects());
        let mut config = SessionConfig::new().with_information_schema(false);
        // The clicks are found by the names of columns, and texts are compared as they are stored.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        config.options_mut().sql_parser.enable_ident_normalization = true;
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_udaf(AggregateUDF::from(Visitors::new()));
        let paths: Vec<String> =
            files.iter().map(|file| format!("{place}tables/{}/{}", click_event::NAME, file.path)).collect();
        let clicks = context.read_parquet(paths, ParquetReadOptions::default()).await?;
        context.register_table("clicks", clicks.into_view())?;
        Ok(Some(Self { context }))
    }

    async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, BatchError> {
        Ok(self.context.sql(sql).await?.collect().await?)
    }
}

/// Whether a file can hold clicks received in `[from, to)`, by its statistics.
fn may_hold(file: &File, from: Hour, to: Hour) -> bool {
    let statistics: Option<serde_json::Value> =
        file.statistics.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let at = |which: &str| {
        let text = statistics.as_ref()?.get(which)?.get("received_at")?.as_str()?;
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
    };
    // Statistics are cut to the millisecond, downwards.
    let before = at("minValues").is_some_and(|least| least >= to.start());
    let behind = at("maxValues").is_some_and(|greatest| greatest.plus_millis(1) <= from.start());
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

/// The first quarter of the bucket of `quarters` quarters that `clicked_at` lies in, rounded down before 1970, too.
fn start_of(quarters: i64) -> String {
    let (us, bucket) = ("CAST(clicked_at AS BIGINT)", quarters * QUARTER_US);
    format!("({us} - (({us} % {bucket}) + {bucket}) % {bucket}) / {QUARTER_US}")
}

/// Counts by link and quarter, and by link, quarter and each dimension. In a row of a dimension its column alone is not null.
fn counts_query(planned: &str) -> String {
    let names = || Dimension::ALL.iter().map(|dimension| dimension.name());
    let values: String = names().map(|name| format!(", coalesce({name}, '{NONE}') AS {name}")).collect();
    let sets: String = names().map(|name| format!(", (tenant_id, link_id, quarter, {name})")).collect();
    let columns = names().collect::<Vec<_>>().join(", ");
    format!(
        "SELECT tenant_id, link_id, quarter, {columns},
                sum(human) AS humans, sum(bot) AS bots, sum(preview) AS previews,
                min(at) AS first, max(at) AS last
         FROM (SELECT tenant_id, link_id, {quarter} AS quarter{values},
                      CASE WHEN NOT preview AND bot_reason IS NULL THEN 1 ELSE 0 END AS human,
                      CASE WHEN NOT preview AND bot_reason IS NOT NULL THEN 1 ELSE 0 END AS bot,
                      CASE WHEN preview THEN 1 ELSE 0 END AS preview,
                      CASE WHEN NOT preview THEN CAST(clicked_at AS BIGINT) END AS at
               FROM clicks WHERE {planned})
         GROUP BY GROUPING SETS ((tenant_id, link_id, quarter){sets})",
        quarter = start_of(1)
    )
}

fn visitors_query(planned: &str) -> String {
    format!(
        "SELECT tenant_id, link_id, {} AS quarter, visitors(coalesce(visitor, ip_hash)) AS sketch
         FROM clicks WHERE ({planned}) AND NOT preview AND bot_reason IS NULL AND ip_hash IS NOT NULL
         GROUP BY 1, 2, 3",
        start_of(4)
    )
}

fn labels_query(planned: &str) -> String {
    let latest = |column: &str| format!("first_value({column} ORDER BY clicked_at DESC, click_id DESC) AS {column}");
    format!(
        "SELECT tenant_id, link_id, {}, {}, {}, {}, max(CAST(clicked_at AS BIGINT)) AS at
         FROM clicks WHERE ({planned}) AND (slug IS NOT NULL OR title IS NOT NULL OR destination IS NOT NULL)
         GROUP BY tenant_id, link_id",
        latest("slug"),
        latest("title"),
        latest("destination"),
        latest("click_id")
    )
}

impl Increment {
    fn take_counts(&mut self, rows: &RecordBatch) -> Result<(), BatchError> {
        let columns = Columns::new(rows);
        let (owners, quarters) = (columns.owners()?, columns.numbers("quarter")?);
        let (humans, bots, previews) =
            (columns.numbers("humans")?, columns.numbers("bots")?, columns.numbers("previews")?);
        let (first, last) = (columns.numbers("first")?, columns.numbers("last")?);
        let values =
            Dimension::ALL.iter().map(|dimension| columns.texts(dimension.name())).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<Text> = Dimension::ALL.iter().map(|dimension| dimension.name().into()).collect();
        for row in 0..rows.num_rows() {
            let quarter = quarter_at(quarters.value(row))?;
            let counts = Counts {
                humans: counted(humans.value(row)),
                bots: counted(bots.value(row)),
                previews: counted(previews.value(row)),
            };
            let owner = owners.at(row);
            if let Some(dimension) = values.iter().position(|column| column.is_valid(row)) {
                let counts = Counts { previews: 0, ..counts };
                if !counts.is_zero() {
                    let value = values[dimension].value(row).into();
                    let key =
                        DimensionKey { owner, dimension: Text::clone(&names[dimension]), day: quarter.day(), value };
                    let by_quarter = ByQuarter::from([(i16::try_from(quarter.in_day()).unwrap_or_default(), counts)]);
                    add_to::<Dimensions>(&mut self.dimensions, key, by_quarter);
                }
                continue;
            }
            self.clicks += counts.humans + counts.bots + counts.previews;
            let mut hour = HourRow::default();
            hour.quarters[quarter.in_hour()] = counts;
            add_to::<Hourly>(&mut self.hourly, (owner, quarter.hour()), hour);
            let at = |column: &deltalake::arrow::array::Int64Array| {
                column.is_valid(row).then(|| column.value(row)).and_then(from_micros)
            };
            let totals = DayTotals { counts, first: at(first), last: at(last), sketch: Sketch::new() };
            add_to::<Daily>(&mut self.daily, (owner, quarter.day()), totals);
        }
        Ok(())
    }

    fn take_visitors(&mut self, rows: &RecordBatch) -> Result<(), BatchError> {
        let columns = Columns::new(rows);
        let (owners, quarters, sketches) =
            (columns.owners()?, columns.numbers("quarter")?, columns.binaries("sketch")?);
        for row in 0..rows.num_rows() {
            let hour = HourRow { sketch: sketch_at(sketches, row)?, ..HourRow::default() };
            add_to::<Hourly>(&mut self.hourly, (owners.at(row), quarter_at(quarters.value(row))?.hour()), hour);
        }
        Ok(())
    }

    fn take_labels(&mut self, rows: &RecordBatch) -> Result<(), BatchError> {
        let columns = Columns::new(rows);
        let (owners, ids, times) = (columns.owners()?, columns.binaries("click_id")?, columns.numbers("at")?);
        let (slugs, titles, destinations) =
            (columns.texts("slug")?, columns.texts("title")?, columns.texts("destination")?);
        for row in 0..rows.num_rows() {
            let text = |column: &deltalake::arrow::array::StringArray| {
                column.is_valid(row).then(|| Text::from(column.value(row)))
            };
            let (Some(clicked_at), Ok(id)) = (from_micros(times.value(row)), Uuid::from_slice(ids.value(row))) else {
                continue;
            };
            let label = Label {
                slug: text(slugs),
                title: text(titles),
                destination: text(destinations),
                clicked_at,
                click_id: ClickId(id),
            };
            add_to::<Links>(&mut self.links, owners.at(row), label);
        }
        Ok(())
    }

    /// A tenant's own rows are the sums of its links'.
    fn add_tenants(&mut self) {
        fn whole<K: Clone, V: Clone>(rows: &BTreeMap<K, V>, owner: impl Fn(&mut K) -> &mut Owner) -> Vec<(K, V)> {
            let own = |(key, row): (&K, &V)| {
                let mut key = key.clone();
                owner(&mut key).link = None;
                (key, row.clone())
            };
            rows.iter().map(own).collect()
        }
        for (key, row) in whole(&self.hourly, |key| &mut key.0) {
            add_to::<Hourly>(&mut self.hourly, key, row);
        }
        for (key, row) in whole(&self.daily, |key| &mut key.0) {
            add_to::<Daily>(&mut self.daily, key, row);
        }
        for (key, row) in whole(&self.dimensions, |key| &mut key.owner) {
            add_to::<Dimensions>(&mut self.dimensions, key, row);
        }
    }

    /// A day's sketch is the union of its hours'.
    fn add_days(&mut self) {
        for ((owner, hour), row) in &self.hourly {
            self.daily.entry((*owner, hour.day())).or_default().sketch.merge(&row.sketch);
        }
    }
}

fn quarter_at(number: i64) -> Result<Quarter, BatchError> {
    i32::try_from(number).map(Quarter).map_err(|_| BatchError::Corrupt {
        what: "table click_event".to_owned(),
        reason: format!("quarter {number} is outside the calendar"),
    })
}
