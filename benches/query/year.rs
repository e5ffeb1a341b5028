//! What a year of history costs a question about thirty days.
//!
//! The history is taken a night further, so that its month turns into one file a table, as every month does. Eleven months
//! before it are that month again: the files that hold hours and dimensions under other names, since nobody reads their
//! rows, and the file of days with its days moved, since everybody does.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use linktide_common::bucket::Day;
use linktide_servers::Redis;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};

use crate::ask::{Links, dashboard};
use crate::data::{Data, LIVE, link_all};
use crate::figures::{Figures, Latencies};
use crate::lake::{TABLES, commits, files};
use crate::load::in_turn;
use crate::servers::{Server, dashboard_range};

const ASKED: usize = 100;
const ROUNDS: usize = 6;
const MONTHS: i32 = 11;
const DAY_US: i64 = 86_400_000_000;

pub(crate) async fn measure(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    let month = data.turned().await?;
    let year = data.folder().join("lake-year");
    if !year.join("whole").exists() {
        make(&month, &year)?;
        std::fs::write(year.join("whole"), "")?;
    }
    let servers = [Server::start(&month, None, redis).await?, Server::start(&year, None, redis).await?];
    let mut links = Links::by_clicks(6);
    let asked: Vec<Vec<u8>> = (0..ASKED).map(|_| dashboard(links.next(), dashboard_range())).collect();
    let (mut first, mut again) = (Vec::new(), [Vec::new(), Vec::new()]);
    for server in &servers {
        first.push(in_turn(server.address, &asked).await?);
    }
    // In turn, so that both see the same machine.
    for _ in 0..ROUNDS {
        for (server, found) in servers.iter().zip(&mut again) {
            found.push(in_turn(server.address, &asked).await?);
        }
    }
    let names = ["a month of history", "a year of history"];
    let medians: Vec<f64> = again.iter().map(|rounds| median(rounds)).collect();
    for (name, (first, again)) in names.into_iter().zip(first.iter().zip(&medians)) {
        figures.latencies("year", &format!("{name}, first time"), first, [None, None]);
        figures.note("year", &format!("{name}, again: p50"), *again, "ms", None);
    }
    figures.note("year", "first time: p50, times", first[1].p50() / first[0].p50(), "", Some(1.3));
    figures.note("year", "again: p50, times", medians[1] / medians[0], "", Some(1.3));
    figures.note("year", "a year of history: memory at most", servers[1].memory(), "MiB", Some(512.0));
    Ok(())
}

fn median(rounds: &[Latencies]) -> f64 {
    let mut medians: Vec<f64> = rounds.iter().map(Latencies::p50).collect();
    medians.sort_by(f64::total_cmp);
    medians[medians.len() / 2]
}

/// The lake of a year, of the lake of a month.
fn make(month: &Path, year: &Path) -> anyhow::Result<()> {
    link_all(month, year)?;
    for table in TABLES {
        let newest = files(month, table)?.into_iter().find(|file| file.days.contains(&Day(LIVE.0 - 1)));
        let newest = newest.context("the month has a file")?;
        let log = commits(year, table)?;
        let add = added(&log, &newest.path)?;
        let mut actions = String::new();
        let mut first = newest.days.start;
        for _ in 0..=MONTHS {
            first = month_before(first);
            // The one before has a day of its own.
            if first.0 + 31 >= newest.days.start.0 {
                continue;
            }
            let name = first.start().to_string()[..7].to_owned();
            let place = PathBuf::from(format!("event_month={name}/{name}.again.parquet"));
            let path = year.join("tables").join(table).join(&place);
            std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            if table == "link_stats_daily" {
                moved(&newest.path, &path, newest.days.start.0 - first.0)?;
            } else {
                std::fs::hard_link(&newest.path, &path)?;
            }
            let mut action = add.clone();
            action["add"]["path"] = json!(place);
            action["add"]["size"] = json!(std::fs::metadata(&path)?.len());
            action["add"]["partitionValues"]["event_month"] = json!(name);
            actions.push_str(&format!("{action}\n"));
        }
        let folder = log.last().and_then(|last| last.parent()).context("a table has a log")?;
        std::fs::write(folder.join(format!("{:020}.json", log.len())), actions)?;
    }
    publish(year)
}

/// The newest publication again, with the next version of each table.
fn publish(lake: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(lake.join("pub"))?.map(|entry| Ok(entry?.path()));
    let newest = entries.collect::<std::io::Result<Vec<_>>>()?.into_iter().max().context("nothing is published")?;
    let mut publication: Value = serde_json::from_slice(&std::fs::read(newest)?)?;
    let next = |number: &Value| json!(number.as_u64().unwrap_or_default() + 1);
    publication["number"] = next(&publication["number"]);
    for table in TABLES {
        publication["tables"][table] = next(&publication["tables"][table]);
    }
    let name = format!("{:020}.json", publication["number"].as_u64().unwrap_or_default());
    Ok(std::fs::write(lake.join("pub").join(name), publication.to_string())?)
}

/// The action of a log that added a file.
fn added(log: &[PathBuf], file: &Path) -> anyhow::Result<Value> {
    for commit in log.iter().rev() {
        for line in std::fs::read_to_string(commit)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            if action["add"]["path"].as_str().is_some_and(|path| file.ends_with(path)) {
                return Ok(action);
            }
        }
    }
    anyhow::bail!("{} is in no commit", file.display())
}

fn month_before(first: Day) -> Day {
    let last = Day(first.0 - 1);
    let of_month = last.start().to_string()[8..10].parse().unwrap_or(1);
    Day(first.0 - of_month)
}

/// Writes the rows of days so many days earlier, laid out as they were.
fn moved(from: &Path, to: &Path, days: i32) -> anyhow::Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from)?)?;
    let schema = Arc::clone(reader.schema());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(1 << 16))
        .set_data_page_row_count_limit(1000)
        .set_write_batch_size(1000)
        .set_column_dictionary_enabled(ColumnPath::from("sketch"), false)
        .set_column_data_page_size_limit(ColumnPath::from("sketch"), 32 << 10);
    for name in ["tenant_id", "link_id", "day_bucket"] {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Page);
    }
    let numbers = schema.fields().iter().filter(|field| !field.data_type().is_nested() && field.name() != "sketch");
    for name in numbers.map(|field| field.name().as_str()) {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    let mut writer = ArrowWriter::try_new(File::create(to)?, Arc::clone(&schema), Some(properties.build()))?;
    for rows in reader.build()? {
        let rows = rows?;
        let column = |(at, column): (usize, &ArrayRef)| -> ArrayRef {
            match schema.field(at).name().as_str() {
                "day_bucket" => Arc::new(column.as_primitive::<Date32Type>().unary::<_, Date32Type>(|day| day - days)),
                "first_click" | "last_click" => {
                    let earlier = |us| us - i64::from(days) * DAY_US;
                    let times = column.as_primitive::<TimestampMicrosecondType>();
                    Arc::new(
                        times.unary::<_, TimestampMicrosecondType>(earlier).with_data_type(column.data_type().clone()),
                    )
                }
                _ => Arc::clone(column),
            }
        };
        let columns = rows.columns().iter().enumerate().map(column).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(())
}
