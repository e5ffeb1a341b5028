//! Queries over files of tables at pinned versions, with bounded memory: what does not fit is spilled to disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::datafusion::execution::memory_pool::FairSpillPool;
use deltalake::datafusion::execution::runtime_env::RuntimeEnvBuilder;
use deltalake::datafusion::physical_plan::SendableRecordBatchStream;
use deltalake::datafusion::physical_plan::common::spawn_buffered;
use deltalake::datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::{Stream, StreamExt as _, stream};
use linktide_common::bucket::{Day, Timestamp};
use linktide_common::enrich::Rules;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::damage::Reading;
use super::functions;
use crate::error::BatchError;
use crate::table::{File, Table};

/// Memory the queries may take before they spill to disk, of which a grouping may have a third: many times what parts take. A
/// grouping that spills sorts what it has first, for which it needs as much again, and fails where that is not left.
const MEMORY: usize = 1 << 30;

/// Memory for footers of files. Each part reads all files: where one's footer is no longer there when the next part wants it,
/// all are read anew each time.
const FOOTERS: usize = 128 << 20;

/// Queries that are worked at side by side: each has its part of the memory.
const SIDE_BY_SIDE: usize = 2;
/// Batches of an answer that may wait for whoever takes them.
const AHEAD: usize = 2;

/// A place for queries.
pub(super) struct Session {
    context: SessionContext,
    /// What was read, to find out which file it was when something fails.
    readings: Mutex<Vec<Arc<Reading>>>,
}

impl Session {
    /// One whose queries may ask `rules`.
    pub(super) fn new(rules: &Arc<Rules>) -> Result<Self, BatchError> {
        let memory = Arc::new(FairSpillPool::new(MEMORY));
        let runtime =
            RuntimeEnvBuilder::new().with_memory_pool(memory).with_metadata_cache_limit(FOOTERS).build_arc()?;
        // A query is one thread's: whoever has much to ask asks for parts of it side by side. Where rows go from thread to
        // thread within a query, they are held, and spilled, between two that wait for one another.
        let config = SessionConfig::new().with_information_schema(false).with_collect_statistics(false);
        let mut config = config.with_target_partitions(1);
        // Files say what they hold; texts are written as they are read.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let context = SessionContext::new_with_config_rt(config, runtime);
        functions::register(&context, rules);
        Ok(Self { context, readings: Mutex::default() })
    }

    pub(super) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Makes files of a table the table `name` of queries.
    pub(super) async fn read(&self, name: &str, table: &Table, files: &[Path]) -> Result<(), BatchError> {
        let reading = Arc::new(Reading::of(table, files));
        reading.check().await?;
        self.readings.lock().push(reading);
        let (store, folder) = table.root();
        let place = Url::parse(&format!("linktide://{}", table.definition.name.replace('_', "-")))
            .expect("names of tables are hosts");
        self.context.runtime_env().register_object_store(&place, store);
        let paths: Vec<String> = files.iter().map(|file| format!("{place}{folder}{file}")).collect();
        let schema = table.definition.file_schema();
        let rows = self.context.read_parquet(paths, ParquetReadOptions::default().schema(&schema)).await?;
        self.context.deregister_table(name)?;
        self.context.register_table(name, rows.into_view())?;
        Ok(())
    }

    /// What comes of `work`; where it fails because of a file, that file.
    pub(super) async fn or_damage<T>(
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

    /// Makes `raw` of those files of `click_event` that can hold what is asked; tells how many clicks they have, if any can.
    pub(super) async fn read_raw(
        &self,
        raw: &Table,
        holds: impl Fn(&File) -> bool,
    ) -> Result<Option<usize>, BatchError> {
        let files: Vec<File> = raw.files()?.into_iter().filter(holds).collect();
        if files.is_empty() {
            return Ok(None);
        }
        let clicks = files.iter().map(rows).sum();
        self.read("raw", raw, &files.into_iter().map(|file| file.path).collect::<Vec<_>>()).await?;
        Ok(Some(clicks))
    }

    /// Gives a query a name, in place of another that had it.
    pub(super) async fn view(&self, name: &str, query: &str) -> Result<(), BatchError> {
        let view = self.context.sql(query).await?.into_view();
        self.context.deregister_table(name)?;
        self.context.register_table(name, view)?;
        Ok(())
    }

    /// Makes rows the table `name` of queries.
    pub(super) fn table(&self, name: &str, rows: RecordBatch) -> Result<(), BatchError> {
        self.context.deregister_table(name)?;
        self.context.register_batch(name, rows)?;
        Ok(())
    }

    /// Whether a query has a table of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.context.table_exist(name).unwrap_or_default()
    }

    /// Keeps the answer of a query under a name; tells how many rows it has.
    pub(super) async fn keep(&self, name: &str, query: &str) -> Result<usize, BatchError> {
        let kept = async { Ok(self.context.sql(query).await?.cache().await?) };
        let kept = self.or_damage(kept).await?;
        let rows = kept.clone().count().await?;
        self.context.deregister_table(name)?;
        self.context.register_table(name, kept.into_view())?;
        Ok(rows)
    }

    pub(super) async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, BatchError> {
        self.or_damage(async { Ok(self.context.sql(sql).await?.collect().await?) }).await
    }

    /// The answers of queries in turn. A few are worked at side by side; what fails is the caller's to ask
    /// [`Session::or_damage`] about.
    pub(super) fn answers(
        &self,
        queries: impl IntoIterator<Item = String>,
    ) -> impl Stream<Item = Result<Vec<RecordBatch>, BatchError>> {
        let answer = |query: String| {
            let context = self.context.clone();
            let work = async move { Ok(context.sql(&query).await?.collect().await?) };
            let work = AbortOnDropHandle::new(tokio::spawn(work));
            async move { work.await.map_err(|error| BatchError::Unavailable(error.to_string()))? }
        };
        stream::iter(queries).map(answer).buffered(SIDE_BY_SIDE)
    }

    /// The answer of a query as it comes, worked at beside whoever takes it; what fails meanwhile is the caller's to ask
    /// [`Session::or_damage`] about.
    pub(super) async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, BatchError> {
        Ok(spawn_buffered(self.context.sql(sql).await?.execute_stream().await?, AHEAD))
    }
}

/// Whether a file can hold clicks received in `[from, to)`, by its statistics.
pub(crate) fn may_hold_received(file: &File, from: Timestamp, to: Timestamp) -> bool {
    let (least, greatest) = bounds(file, "received_at");
    least.is_none_or(|least| least < to) && greatest.is_none_or(|greatest| greatest >= from)
}

/// Whether a file can hold clicks of these event days, by its statistics.
pub(super) fn may_hold_days(file: &File, days: &BTreeSet<Day>) -> bool {
    let (least, greatest) = bounds(file, "clicked_at");
    let first = least.map_or(Day(i32::MIN), Day::of);
    let last = greatest.map_or(Day(i32::MAX), Day::of);
    days.range(first..=last).next().is_some()
}

fn statistics(file: &File) -> Option<serde_json::Value> {
    serde_json::from_str(file.statistics.as_deref()?).ok()
}

/// How many rows a file has, by its statistics.
fn rows(file: &File) -> usize {
    let rows = statistics(file).and_then(|statistics| statistics.get("numRecords")?.as_u64());
    rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or_default()
}

/// The least and the greatest value of an instant; statistics are cut to the millisecond, downwards.
pub(crate) fn bounds(file: &File, column: &str) -> (Option<Timestamp>, Option<Timestamp>) {
    let statistics = statistics(file);
    let at = |which: &str| {
        let text = statistics.as_ref()?.get(which)?.get(column)?.as_str()?;
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
    };
    (at("minValues"), at("maxValues").map(|greatest| greatest.plus_millis(1)))
}
