//! Raw clicks of one tenant for exports: what is in `click_event` at a publication's version, up to its watermark, without
//! what was erased, and with the verdict on rate bots that rollups have.
//!
//! 1. Files are chosen by the log's statistics alone: of event time, of receipt, of tenants and links. A late or imported
//!    click lies in a file of its day of receipt, which no event day names; its file's bounds of event time do.
//! 2. A chosen file is asked for before it is read: the engine takes a file that is gone for one with no rows.
//! 3. Rows are read file by file in one stream, filtered where they are decoded, in the order of the files: nothing is sorted,
//!    so nothing but the batch in hand and the marks of rate bots is held. Those are charged to a pool of their own; where they
//!    exceed it, the query fails and says so. Nothing is spilled.
//!
//! Values of callers never become text of a query.

mod columns;

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::datafusion::error::DataFusionError;
use deltalake::datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use deltalake::datafusion::execution::memory_pool::GreedyMemoryPool;
use deltalake::datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use deltalake::datafusion::functions::expr_fn::{coalesce, starts_with};
use deltalake::datafusion::prelude::{DataFrame, Expr, ParquetReadOptions, SessionConfig, SessionContext, col, lit};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use linktide_common::bucket::{Range, Timestamp};
use linktide_common::count::Traffic;
use linktide_common::dimension::NONE;
use linktide_common::enrich::SUSPECTED;
use linktide_common::filter::Filter;
use linktide_common::id::{LinkId, TenantId};
use linktide_common::publication::{Publication, Tombstone};
use object_store::path::Path;
use url::Url;

use crate::error::BatchError;
use crate::nightly::clicks::{between, judged, not_erased, reason};
use crate::nightly::damage::Reading;
use crate::nightly::session::{bounds, may_hold_received};
use crate::table::{File, Table};
use crate::tables::columns::{micros, signed};
use crate::tables::rate_bot::RateBots;
use crate::tables::rollup::Rollup as _;
use crate::tables::{Lake, click_event};
pub use columns::columns;
use columns::{selected, shown};

/// Rows that are decoded at once: a millisecond or two, which requests of others may have to wait for.
const ROWS_A_BATCH: usize = 512;

/// Rows of clicks, as they come.
pub type Clicks = BoxStream<'static, Result<RecordBatch, BatchError>>;

/// Which clicks are wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose.
    pub tenant: TenantId,
    /// Of which links; none: of all.
    pub links: Vec<LinkId>,
    /// Of which event time.
    pub range: Range,
    /// Made by whom.
    pub traffic: Traffic,
    /// Whether previews are wanted, too, whoever made them.
    pub previews: bool,
    /// Each of these lets them through.
    pub filters: Vec<Filter>,
    /// Whether visitors are told apart, by a hash that is salted anew each day.
    pub visitors: bool,
}

/// Reads raw clicks, all of its queries together within one budget of memory.
pub struct RawClicks {
    lake: Lake,
    runtime: Arc<RuntimeEnv>,
}

/// Raw clicks at one publication.
pub struct RawSnapshot {
    runtime: Arc<RuntimeEnv>,
    publication: Arc<Publication>,
    /// None where nothing was rolled up yet.
    clicks: Option<Table>,
    /// None where no increment marked anyone.
    marks: Option<Table>,
}

/// A file that may hold wanted clicks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// Its place below the table's folder.
    pub path: String,
    /// How many rows it has, wanted or not; none where the log does not say.
    pub rows: Option<u64>,
}

impl RawClicks {
    /// A reader of `lake` whose queries hold up to `memory` bytes beside the rows in hand.
    ///
    /// # Errors
    /// [`BatchError::Unavailable`] where the engine refuses to begin.
    pub fn new(lake: Lake, memory: usize) -> Result<Self, BatchError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        Ok(Self { lake, runtime })
    }

    /// Bytes that running queries hold.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.runtime.memory_pool.reserved()
    }

    /// The clicks as `publication` names them.
    ///
    /// # Errors
    /// [`BatchError`] where a table cannot be read at that version.
    pub async fn at(&self, publication: &Arc<Publication>) -> Result<RawSnapshot, BatchError> {
        let mut tables = [None, None];
        for (table, definition) in tables.iter_mut().zip([click_event::definition(), RateBots::definition()]) {
            if let Some(version) = publication.tables.get(definition.name) {
                let mut opened = self.lake.table(definition).await?;
                opened.load_version(*version).await?;
                *table = Some(opened);
            }
        }
        let [clicks, marks] = tables;
        Ok(RawSnapshot { runtime: Arc::clone(&self.runtime), publication: Arc::clone(publication), clicks, marks })
    }
}

impl RawSnapshot {
    /// The files that may hold wanted clicks, in the order of their names.
    ///
    /// # Errors
    /// [`BatchError`] where the table's log cannot be read.
    pub fn files(&self, wanted: &Wanted) -> Result<Vec<RawFile>, BatchError> {
        let Some(clicks) = &self.clicks else { return Ok(Vec::new()) };
        let watermark = self.publication.watermark.start();
        let holds = |file: &File| {
            let statistics = Statistics::of(file);
            may_hold_received(file, Timestamp::MIN, watermark)
                && may_hold_clicked(file, wanted.range)
                && statistics.may_hold("tenant_id", &[signed(wanted.tenant.0)])
                && (wanted.links.is_empty() || statistics.may_hold("link_id", &stored(&wanted.links)))
        };
        let chosen = clicks.files()?.into_iter().filter(holds);
        let mut chosen: Vec<RawFile> =
            chosen.map(|file| RawFile { rows: Statistics::of(&file).rows(), path: file.path.to_string() }).collect();
        chosen.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(chosen)
    }

    /// The wanted clicks of files that [`RawSnapshot::files`] told, but for what `erased` covers; see [`columns`].
    ///
    /// # Errors
    /// [`BatchError`] where a file is gone or cannot be read; the stream, too, may end in one.
    pub async fn clicks(&self, wanted: &Wanted, files: &[String], erased: &[Tombstone]) -> Result<Clicks, BatchError> {
        let Some(rows) = self.query(wanted, files, erased).await? else {
            return Ok(futures::stream::empty().boxed());
        };
        let visitors = wanted.visitors;
        let rows = rows.execute_stream().await.map_err(told)?;
        Ok(rows.map_err(told).and_then(move |rows| std::future::ready(shown(&rows, visitors))).boxed())
    }

    /// How many wanted clicks files have, counted up to `most`.
    ///
    /// # Errors
    /// As [`RawSnapshot::clicks`].
    pub async fn count(
        &self,
        wanted: &Wanted,
        files: &[String],
        erased: &[Tombstone],
        most: usize,
    ) -> Result<usize, BatchError> {
        let Some(rows) = self.query(wanted, files, erased).await? else { return Ok(0) };
        let rows = rows.select(vec![col("link_id")])?.limit(0, Some(most))?;
        rows.count().await.map_err(told)
    }

    async fn query(
        &self,
        wanted: &Wanted,
        files: &[String],
        erased: &[Tombstone],
    ) -> Result<Option<DataFrame>, BatchError> {
        let Some(clicks) = self.clicks.as_ref().filter(|_| !files.is_empty()) else { return Ok(None) };
        let context = self.context();
        let paths: Vec<Path> = files.iter().map(|file| Path::from(file.as_str())).collect();
        read(&context, "raw", clicks, &paths).await?;
        let marked = self.read_marks(&context, wanted).await?;
        let condition = self.condition(wanted, erased);
        let judged = format!(
            "SELECT * EXCEPT (bot_reason, too_often),
                    {} AS bot_reason,
                    coalesce(visitor, ip_hash) AS visitor_hash
             FROM ({})",
            reason("too_often AND NOT preview"),
            judged(&condition, marked)
        );
        let mut rows = context.sql(&judged).await?;
        if let Some(expression) = of_traffic(wanted.traffic, wanted.previews) {
            rows = rows.filter(expression)?;
        }
        for filter in &wanted.filters {
            rows = rows.filter(through(filter))?;
        }
        Ok(Some(rows.select(selected(wanted.visitors))?))
    }

    /// One thread reads, file by file: an export is slow on purpose, and its rows come in the same order each time.
    fn context(&self) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_information_schema(false)
            .with_collect_statistics(false)
            .with_target_partitions(1)
            .with_batch_size(ROWS_A_BATCH);
        config.options_mut().execution.parquet.schema_force_view_types = false;
        SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime))
    }

    /// The condition on what is stored. All in it are numbers of ours.
    fn condition(&self, wanted: &Wanted, erased: &[Tombstone]) -> String {
        let instant = |at: Timestamp| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", micros(at));
        let links = match &*stored(&wanted.links) {
            [] => String::new(),
            [link] => format!(" AND link_id = {link}"),
            links => {
                let links: Vec<String> = links.iter().map(i64::to_string).collect();
                format!(" AND link_id IN ({})", links.join(", "))
            }
        };
        format!(
            "tenant_id = {}{links} AND clicked_at >= {} AND clicked_at < {} AND {}{}{}",
            signed(wanted.tenant.0),
            instant(wanted.range.start.start()),
            instant(wanted.range.end.start()),
            between(&[], &self.publication.cut),
            not_erased(&self.publication.tombstones),
            not_erased(erased),
        )
    }

    /// Makes the view `marks` of the tenant's marks in the range; tells whether there can be any.
    async fn read_marks(&self, context: &SessionContext, wanted: &Wanted) -> Result<bool, BatchError> {
        let Some(marks) = &self.marks else { return Ok(false) };
        let holds = |file: &File| Statistics::of(file).may_hold("tenant_id", &[signed(wanted.tenant.0)]);
        let files: Vec<Path> = marks.files()?.into_iter().filter(holds).map(|file| file.path).collect();
        if files.is_empty() {
            return Ok(false);
        }
        read(context, "stored", marks, &files).await?;
        let range = wanted.range;
        let query = format!(
            "SELECT tenant_id, link_id, minute, received_hour, ip_hash FROM stored
             WHERE tenant_id = {} AND CAST(minute AS BIGINT) >= {} AND CAST(minute AS BIGINT) < {}",
            signed(wanted.tenant.0),
            micros(range.start.start()),
            micros(range.end.start()),
        );
        let marks = context.sql(&query).await?;
        context.register_table("marks", marks.into_view())?;
        Ok(true)
    }
}

async fn read(context: &SessionContext, name: &str, table: &Table, files: &[Path]) -> Result<(), BatchError> {
    Reading::of(table, files).check().await?;
    let (store, folder) = table.root();
    let place = Url::parse(&format!("linktide://{}", table.definition.name.replace('_', "-")))
        .expect("names of tables are hosts");
    context.runtime_env().register_object_store(&place, store);
    let paths: Vec<String> = files.iter().map(|file| format!("{place}{folder}{file}")).collect();
    let schema = table.definition.file_schema();
    let rows = context.read_parquet(paths, ParquetReadOptions::default().schema(&schema)).await?;
    context.register_table(name, rows.into_view())?;
    Ok(())
}

/// What the engine says, and where it lacks memory, the way out.
fn told(error: DataFusionError) -> BatchError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(why) => BatchError::Refused(format!(
            "the export needs more memory than export.memory allows ({why}); ask for a shorter range, or raise it"
        )),
        _ => error.into(),
    }
}

fn of_traffic(traffic: Traffic, previews: bool) -> Option<Expr> {
    let suspected = || starts_with(col("bot_reason"), lit(SUSPECTED));
    let bot = || col("bot_reason").is_not_null().and(!suspected());
    let clicks = !col("preview");
    let clicks = match traffic {
        Traffic::All if previews => return None,
        Traffic::All => clicks,
        Traffic::Human => clicks.and(!bot()),
        Traffic::Bot => clicks.and(bot()),
    };
    Some(if previews { clicks.or(col("preview")) } else { clicks })
}

/// A click that has no value in a dimension has [`NONE`] there; it is stored as null.
fn through(filter: &Filter) -> Expr {
    let column = || col(filter.dimension().name());
    let values: Vec<Expr> = filter.values().map(lit).collect();
    if filter.beginnings().next().is_some() {
        let value = || coalesce(vec![column(), lit(NONE)]);
        let begin = filter.beginnings().map(|beginning| starts_with(value(), lit(beginning)));
        let named = begin.fold(value().in_list(values, false), Expr::or);
        return if filter.excludes() { !named } else { named };
    }
    if filter.excludes() || filter.values().any(|value| value == NONE) {
        return coalesce(vec![column(), lit(NONE)]).in_list(values, filter.excludes());
    }
    // Where null is not wanted, the column's own statistics can leave pages out.
    column().in_list(values, false)
}

fn stored(links: &[LinkId]) -> Vec<i64> {
    links.iter().map(|link| signed(link.0)).collect::<BTreeSet<i64>>().into_iter().collect()
}

/// Whether a file can hold clicks of this event time, whatever day they were received on.
fn may_hold_clicked(file: &File, range: Range) -> bool {
    let (least, greatest) = bounds(file, "clicked_at");
    least.is_none_or(|least| least < range.end.start()) && greatest.is_none_or(|most| most >= range.start.start())
}

/// What the table's log says of the numbers in a file.
struct Statistics(Option<serde_json::Value>);

impl Statistics {
    fn of(file: &File) -> Self {
        Self(file.statistics.as_deref().and_then(|text| serde_json::from_str(text).ok()))
    }

    fn rows(&self) -> Option<u64> {
        self.0.as_ref()?.get("numRecords")?.as_u64()
    }

    /// Whether the file can hold any of these numbers, as far as anyone knows.
    fn may_hold(&self, column: &str, any: &[i64]) -> bool {
        let bound = |which: &str| self.0.as_ref()?.get(which)?.get(column)?.as_i64();
        let (least, most) = (bound("minValues"), bound("maxValues"));
        any.iter().any(|one| least.is_none_or(|least| least <= *one) && most.is_none_or(|most| most >= *one))
    }
}
