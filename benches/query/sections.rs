//! What is measured, section by section.

use linktide_servers::Redis;

use crate::ask::{Links, dashboard};
use crate::data::Data;
use crate::figures::{Figures, Latencies};
use crate::load::{at_rate, in_turn};
use crate::servers::{self, Server, dashboard_range};
use crate::{isolation, peers, say, year};

const ALL: [&str; 6] = ["warm", "cold", "year", "load", "isolation", "peers"];
/// Links that are asked about.
const WARM: usize = 200;
const COLD: usize = 150;
const RATE: u32 = 500;
const SECONDS: u32 = 30;

/// Measures the named sections, or all.
pub(crate) async fn measure(data: &Data, named: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = named.iter().find(|name| !ALL.contains(name)) {
        anyhow::bail!("there is no section `{unknown}`: there are {}", ALL.join(", "));
    }
    data.make().await?;
    let redis = servers::redis(data).await?;
    let mut figures = Figures::default();
    for section in ALL.into_iter().filter(|section| named.is_empty() || named.contains(section)) {
        say(&format!("== {section}"));
        match section {
            "warm" => warm(data, &redis, &mut figures).await?,
            "cold" => cold(data, &redis, &mut figures).await?,
            "year" => year::measure(data, &redis, &mut figures).await?,
            "isolation" => isolation::measure(data, &redis, &mut figures).await?,
            "peers" => peers::measure(data, &redis, &mut figures).await?,
            _ => load(data, &redis, &mut figures).await?,
        }
    }
    figures.report()
}

/// Milliseconds a question, of seconds for all.
#[expect(clippy::cast_precision_loss, reason = "figures are for people")]
fn each(seconds: f64, questions: usize) -> f64 {
    seconds * 1e3 / questions as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures are for people")]
fn count(number: usize) -> f64 {
    number as f64
}

fn requests(mut links: Links, count: usize) -> Vec<Vec<u8>> {
    let range = dashboard_range();
    (0..count).map(|_| dashboard(links.next(), range)).collect()
}

/// The same links again and again, one question after the other.
async fn warm(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    for (name, links) in [("links as they are clicked", Links::by_clicks(1)), ("links alike", Links::alike(1))] {
        let server = Server::start(&data.lake(), None, redis).await?;
        let asked = requests(links, WARM);
        let begun = server.processor();
        let first = in_turn(server.address, &asked).await?;
        figures.note(
            "warm",
            &format!("{name}, first time: processor time"),
            each(server.processor() - begun, asked.len()),
            "ms",
            None,
        );
        figures.latencies("warm", &format!("{name}, first time, from a folder"), &first, [None, None]);
        in_turn(server.address, &asked).await?;
        let again: Vec<Vec<u8>> = (0..5).flat_map(|_| asked.clone()).collect();
        let begun = server.processor();
        let found = in_turn(server.address, &again).await?;
        figures.note(
            "warm",
            &format!("{name}: processor time"),
            each(server.processor() - begun, again.len()),
            "ms",
            None,
        );
        figures.latencies("warm", name, &found, [Some(2.0), Some(8.0)]);
        figures.note("warm", &format!("{name}: memory at most"), server.memory(), "MiB", Some(512.0));
    }
    Ok(())
}

/// Links that nobody asked about, from a bucket.
async fn cold(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    let s3 = servers::s3(&data.lake())?;
    for (name, links) in [("links as they are clicked", Links::by_clicks(2)), ("links alike", Links::alike(2))] {
        let server = Server::start(&data.lake(), Some(&s3), redis).await?;
        let mut asked = requests(links, COLD);
        asked.sort();
        asked.dedup();
        let found = in_turn(server.address, &asked).await?;
        figures.latencies("cold", &format!("{name}, from S3"), &found, [Some(60.0), None]);
        figures.note("cold", &format!("{name}: memory at most"), server.memory(), "MiB", Some(512.0));
    }
    Ok(())
}

/// Many questions a second.
async fn load(data: &Data, redis: &Redis, figures: &mut Figures) -> anyhow::Result<()> {
    let server = Server::start(&data.lake(), None, redis).await?;
    // A service that runs has been asked before.
    at_rate(server.address, RATE / 5, requests(Links::by_clicks(3), (RATE * 2) as usize), || Ok(())).await?;
    let before = server.processor();
    let asked = requests(Links::by_clicks(4), (RATE * SECONDS) as usize);
    let found = at_rate(server.address, RATE, asked, || Ok(())).await?;
    let used = server.processor() - before;
    let from_due = Latencies::of(found.iter().map(|asked| asked.from_due).collect())?;
    figures.latencies("load", &format!("{RATE} a second"), &from_due, [None, Some(100.0)]);
    let refused = found.iter().filter(|asked| asked.refused).count();
    figures.note("load", "refused", count(refused), "", Some(0.0));
    figures.note("load", "processor time", each(used, (RATE * SECONDS) as usize), "ms", None);
    figures.note("load", "memory at most", server.memory(), "MiB", Some(512.0));
    Ok(())
}
