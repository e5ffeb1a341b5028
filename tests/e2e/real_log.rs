//! A real access log, where the project's data folder has it: 10,000 requests of a public site, years late.
//!
//! The counts are made here by other means than the import's: lines split at quotes, days from the calendar.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, Stamp, VisitorIdentity};
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::secret::Secret;

use crate::harness::{Linktide, NOW, program};

fn log() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/access.log");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[derive(Debug, Default, Clone)]
struct Counted {
    /// By zone and local day: people, machines.
    days: BTreeMap<(&'static str, String), (u64, u64)>,
    /// By path: people, machines.
    paths: BTreeMap<String, (u64, u64)>,
    previews: u64,
    total: u64,
}

const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "America/St_Johns"];

fn count(lines: &[&str]) -> Counted {
    let config = EnrichConfig {
        salt_secret: Secret::new(vec![1]),
        visitor: VisitorIdentity::Ip,
        geo: GeoFiles::default(),
        floor_days: 100_000,
    };
    let enricher = Enricher::new(config).unwrap();
    let zones = ZONES.map(|name| (name, TimeZone::get(name).unwrap()));
    let mut counted = Counted::default();
    for line in lines {
        let quoted: Vec<&str> = line.split('"').collect();
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The request is between the first quotes, the agent between the last; a line without its last quote is cut off.
        let (request, status) = (quoted[1], quoted[2].trim().split(' ').next().unwrap());
        let method = request.split(' ').next().unwrap();
        if !line.ends_with('"') || !matches!(method, "GET" | "HEAD") || status.starts_with(['4', '5']) {
            continue;
        }
        counted.total += 1;
        if method == "HEAD" {
            counted.previews += 1;
            continue;
        }
        let agent = quoted[quoted.len() - 2];
        let click =
            serde_json::json!({ "link_id": 1, "imported": true, "user_agent": if agent == "-" { "" } else { agent } });
        let stamp = Stamp { epoch: Epoch(0), partition: PartitionId(0), offset: Offset(0), received_at: NOW.start() };
        let bot = enricher.enrich(Click::parse(click.to_string().as_bytes()).unwrap(), stamp).unwrap().bot.is_some();
        let time = jiff::fmt::strtime::parse("[%d/%b/%Y:%H:%M:%S", fields[3]).unwrap().to_datetime().unwrap();
        let at = TimeZone::UTC.to_timestamp(time).unwrap();
        let add = |counts: &mut (u64, u64)| if bot { counts.1 += 1 } else { counts.0 += 1 };
        for (name, zone) in &zones {
            let day = zone.to_datetime(at).date().to_string();
            add(counted.days.entry((name, day)).or_default());
        }
        let path = request.split(' ').nth(1).unwrap().split('?').next().unwrap();
        add(counted.paths.entry(path.to_owned()).or_default());
    }
    counted
}

async fn check(linktide: &Linktide, counted: &Counted) {
    linktide.until_counted(counted.total).await;
    for zone in ZONES {
        for (traffic, of) in [("human", (1, 0)), ("bot", (0, 1)), ("all", (1, 1))] {
            let place = format!(
                "/v1/account/timeseries?start=2015-05-16&end=2015-05-22&unit=day&timezone={zone}&traffic={traffic}"
            );
            let answer = linktide.get(&place).await;
            for bucket in answer["results"].as_array().unwrap() {
                let day = bucket["start"].as_str().unwrap()[..10].to_owned();
                let (people, machines) = counted.days.get(&(zone, day.clone())).copied().unwrap_or_default();
                assert_eq!(bucket["clicks"], people * of.0 + machines * of.1, "{zone} {day} {traffic}");
                assert_eq!(bucket["bots"], machines);
            }
        }
    }
    let answer = linktide.get("/v1/links?start=2015-05-01&end=2015-05-31&limit=1000&traffic=all").await;
    let found: BTreeMap<String, u64> = answer["results"]["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| (link["label"]["slug"].as_str().unwrap().to_owned(), link["clicks"].as_u64().unwrap()))
        .collect();
    assert_eq!(found.len(), 1000.min(counted.paths.len()));
    for (path, clicks) in &found {
        let (people, machines) = counted.paths[path];
        assert_eq!(*clicks, people + machines, "{path}");
    }
    let summary = linktide.get("/v1/account/summary?start=2015-05-01&end=2015-05-31").await;
    assert_eq!(summary["results"]["previews"], counted.previews);
    assert_eq!(summary["meta"]["freshness"]["stale"], false, "{}", summary["meta"]["freshness"]);
}

/// Imports by the program, and returns what it said.
async fn import(linktide: &Linktide, file: &std::path::Path) -> String {
    let mut command = program();
    command.args(["import", "--to", &linktide.url]).arg(file);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn real_log_counts_the_same_in_speed_in_batch_on_both_sides_and_after_a_restart() {
    let Some(path) = log() else { return };
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let whole = count(&lines);
    assert_eq!(lines.len(), 10_000);
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(&folder.path().join("data"), Clock::manual(NOW.start())).await;

    let said = import(&linktide, &path).await;
    assert!(said.contains(&format!("taken    {}", whole.total)), "{said}");
    assert!(said.contains("cut_off  1") && said.contains("line 8899"), "{said}");
    check(&linktide, &whole).await;
    let speed = linktide.get("/v1/account/timeseries?start=2015-05-18&end=2015-05-18").await;
    assert_eq!(speed["results"][0]["layers"], serde_json::json!(["batch", "speed"]));

    // A second import of the same content counts nothing, packed or not.
    let packed = folder.path().join("again.log.zst");
    std::fs::write(&packed, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let said = import(&linktide, &packed).await;
    assert!(said.contains("taken    0") && said.contains(&format!("already  {}", whole.total)), "{said}");

    linktide.roll_up(NOW.next()).await;
    check(&linktide, &whole).await;
    let batch = linktide.get("/v1/account/timeseries?start=2015-05-18&end=2015-05-18").await;
    assert_eq!(batch["results"][0]["layers"], serde_json::json!(["batch"]));
    let linktide = linktide.restart().await;
    check(&linktide, &whole).await;
    let said = import(&linktide, &path).await;
    assert!(said.contains("taken    0"), "{said}");
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_real_log_on_each_side_of_the_watermark() {
    let Some(path) = log() else { return };
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let folder = tempfile::tempdir().unwrap();
    let linktide = Linktide::start(&folder.path().join("data"), Clock::manual(NOW.start())).await;
    let halves = [&lines[..5000], &lines[5000..]].map(|half| {
        let file = folder.path().join(format!("from-{}.log", half[0].len()));
        std::fs::write(&file, half.join("\n")).unwrap();
        file
    });
    import(&linktide, &halves[0]).await;
    check(&linktide, &count(&lines[..5000])).await;
    linktide.roll_up(NOW.next()).await;
    import(&linktide, &halves[1]).await;
    check(&linktide, &count(&lines)).await;
    let linktide = linktide.restart().await;
    check(&linktide, &count(&lines)).await;
    linktide.roll_up(linktide_common::bucket::Hour(NOW.0 + 2)).await;
    check(&linktide, &count(&lines)).await;
    linktide.services.stop().await.unwrap();
}
