//! The files of the newest version of a table, from its log, as whoever reads it without Linktide finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use linktide_common::bucket::{Day, Timestamp};
use serde_json::Value;

pub(crate) const TABLES: [&str; 3] = ["link_stats_hourly", "link_stats_daily", "link_stats_dimension"];

/// A file with the event days it holds.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) days: std::ops::Range<Day>,
}

/// The commits of a table's log, the oldest first.
pub(crate) fn commits(lake: &Path, table: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut commits = Vec::new();
    for entry in std::fs::read_dir(lake.join("tables").join(table).join("_delta_log"))? {
        let path = entry?.path();
        let whole = path.extension().is_some_and(|extension| extension == "json");
        commits.extend(whole.then_some(path));
    }
    commits.sort_unstable();
    Ok(commits)
}

/// The files of a table.
pub(crate) fn files(lake: &Path, table: &str) -> anyhow::Result<Vec<File>> {
    let mut names = BTreeSet::new();
    for commit in commits(lake, table)? {
        for line in std::fs::read_to_string(&commit)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            let path = |kind: &str| action.get(kind)?.get("path")?.as_str().map(str::to_owned);
            names.extend(path("add"));
            if let Some(removed) = path("remove") {
                names.remove(&removed);
            }
        }
    }
    let folder = lake.join("tables").join(table);
    let file = |name: String| {
        let days = days(&name).with_context(|| format!("{name} does not say which days it holds"))?;
        Ok(File { path: folder.join(name), days })
    };
    names.into_iter().map(file).collect()
}

/// The days that a file holds, by its name: a day, a run or a third of a month, or a month.
fn days(name: &str) -> Option<std::ops::Range<Day>> {
    let name = name.rsplit('/').next()?.split('.').next()?;
    let (first, last) = match (name.len(), name.split_once('_')) {
        (7, None) => (date(&format!("{name}-01"))?, None),
        (10, None) => (date(name)?, Some(date(name)?)),
        (_, Some((first, last))) => (date(first)?, Some(date(&format!("{}{last}", &first[..8]))?)),
        _ => return None,
    };
    let end = last.map_or_else(|| month_behind(first), |last| Some(last.next()))?;
    Some(first..end)
}

fn month_behind(first: Day) -> Option<Day> {
    (28..=31).map(|days| Day(first.0 + days)).find(|day| &day.start().to_string()[8..10] == "01")
}

fn date(date: &str) -> Option<Day> {
    let start: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
    Timestamp::from_millis(start.as_millisecond()).map(Day::of)
}
