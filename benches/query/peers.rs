//! The same dashboards by MariaDB, DuckDB and ClickHouse, and whether all of them say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use linktide_common::bucket::Hour;
use linktide_servers::{Redis, python};
use serde_json::{Value, json};

use crate::ask::{BY, Links, whole_dashboard};
use crate::client::Client;
use crate::data::{Data, LIVE};
use crate::figures::{Figures, Latencies};
use crate::lake::{TABLES, files};
use crate::load::in_turn;
use crate::say;
use crate::servers::{Server, dashboard_range};

const ASKED: usize = 100;
const COMPARED: usize = 25;
const ROUNDS: usize = 4;

/// A dashboard without what one engine alone can tell.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    /// By hour: clicks, those of bots, previews.
    hours: BTreeMap<i64, [u64; 3]>,
    by: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What batch alone knows of the dashboard's range: that is what others are given.
fn history() -> (Hour, Hour) {
    (dashboard_range().0, LIVE.first_hour())
}

pub(crate) async fn measure(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    let mut links = Links::by_clicks(5);
    let asked: Vec<u64> = (0..ASKED).map(|_| links.next()).collect();
    let compared: BTreeSet<u64> = asked.iter().take(COMPARED).copied().collect();
    let server = Server::start(&data.lake(), None, redis).await?;
    let requests: Vec<Vec<u8>> = asked.iter().map(|link| whole_dashboard(*link, history())).collect();
    in_turn(server.address, &requests).await?;
    let again = in_turn(server.address, &requests).await?;
    figures.latencies("peers", "linktide over HTTP, again", &again, [None, None]);
    let mut ours = BTreeMap::new();
    let mut client = Client::to(server.address).await?;
    for link in &compared {
        ours.insert(*link, counted(client.ask(&whole_dashboard(*link, history())).await?)?);
    }
    drop(server);
    let questions = data.folder().join("questions.json");
    std::fs::write(&questions, question(data, &asked, &compared)?)?;
    for engine in ["mariadb", "duckdb", "clickhouse"] {
        ask(engine, &questions, &ours, figures)?;
    }
    Ok(())
}

fn question(data: &Data, asked: &[u64], compared: &BTreeSet<u64>) -> anyhow::Result<String> {
    let (first, last) = history();
    let mut of_tables = BTreeMap::new();
    for table in TABLES {
        let lines = files(&data.lake(), table)?
            .into_iter()
            .map(|file| format!("{}\t{}\t{}", file.path.display(), file.days.start.0, file.days.end.0));
        of_tables.insert(table, lines.collect::<Vec<_>>());
    }
    let question = json!({
        "folder": data.folder(), "tenant": 0, "hours": [first.0, last.0], "by": BY, "links": asked, "compared": compared,
        "rounds": ROUNDS, "files": of_tables,
    });
    Ok(question.to_string())
}

fn ask(engine: &str, questions: &Path, ours: &BTreeMap<u64, Counted>, figures: &mut Figures) -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/query/peers.py");
    let answered = Command::new(python("python")).arg(&script).arg(engine).arg(questions).output()?;
    if !answered.status.success() {
        say(&format!("{engine} failed: {}", String::from_utf8_lossy(&answered.stderr)));
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(&answered.stdout)?;
    for (round, name) in [("first", "first time"), ("again", "again")] {
        let took = answer[round].as_array().context("latencies")?.iter().filter_map(Value::as_f64);
        let took = Latencies::of(took.map(|ms| Duration::from_secs_f64(ms / 1e3)).collect())?;
        figures.latencies("peers", &format!("{engine}, {name}"), &took, [None, None]);
    }
    let differing =
        ours.iter().filter(|(link, ours)| theirs(&answer["answers"][link.to_string()]).as_ref() != Some(*ours));
    figures.note(
        "peers",
        &format!("{engine}: answers that differ, of {}", ours.len()),
        count(differing.count()),
        "",
        Some(0.0),
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures are for people")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Ours, from the body of an answer.
fn counted(body: &[u8]) -> anyhow::Result<Counted> {
    let body: Value = serde_json::from_slice(body)?;
    let results = body["results"].as_array().context("results")?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let buckets = results[0]["results"].as_array().context("buckets")?;
    let hours = (i64::from(history().0.0)..).zip(buckets).map(|(hour, bucket)| {
        (hour, [number(&bucket["clicks"]), number(&bucket["bots"]), number(&bucket["previews"])])
    });
    let breakdowns = results[1..=BY.len()].iter().filter_map(|one| one["results"].get(0));
    let by = breakdowns.map(|breakdown| {
        let values = breakdown["values"].as_array().into_iter().flatten();
        let values =
            values.map(|value| (value["value"].as_str().unwrap_or_default().to_owned(), number(&value["clicks"])));
        (breakdown["dimension"].as_str().unwrap_or_default().to_owned(), values.collect())
    });
    Ok(Counted { hours: hours.filter(|(_, counts)| *counts != [0; 3]).collect(), by: by.collect() })
}

fn theirs(answer: &Value) -> Option<Counted> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let hours = answer["hours"]
        .as_array()?
        .iter()
        .filter_map(|row| Some((row[0].as_i64()?, [number(&row[1]), number(&row[2]), number(&row[3])])));
    let by = answer["by"].as_object()?.iter().map(|(name, rows)| {
        let values = rows.as_array().into_iter().flatten();
        let values = values.map(|row| (row[0].as_str().unwrap_or_default().to_owned(), number(&row[1])));
        (name.clone(), values.filter(|(_, clicks)| *clicks > 0).collect())
    });
    Some(Counted { hours: hours.filter(|(_, counts)| *counts != [0; 3]).collect(), by: by.collect() })
}
