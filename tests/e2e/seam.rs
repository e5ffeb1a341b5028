//! The seam: clicks late, early, copied and out of order, received on either side of a watermark that moves; any zone
//! and range. Timeseries = total = complete breakdown = a plain count in memory.

use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Linktide, NOW, instant};

const ZONES: [&str; 6] =
    ["UTC", "Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"];

struct Sent {
    link: u64,
    at: Timestamp,
    language: &'static str,
    bot: bool,
}

/// Sends some clicks, copies among them, and remembers what must be counted.
async fn send(linktide: &Linktide, random: &mut StdRng, sent: &mut Vec<Sent>, chunk: &mut u64) {
    let mut lines = Vec::new();
    for _ in 0..random.random_range(20..60) {
        let now = linktide.services.clock.now();
        let spread = [600_000i64, 86_400_000, 20 * 86_400_000, 300 * 86_400_000][random.random_range(0..4)];
        let early = random.random_bool(0.1);
        let at = if early { now.plus_millis(240_000) } else { now.plus_millis(-random.random_range(0..spread)) };
        let click = Sent {
            link: random.random_range(1..4),
            at,
            language: ["en", "hi", "ne"][random.random_range(0..3)],
            bot: random.random_bool(0.3),
        };
        let id = uuid::Uuid::from_u128(random.random());
        let agent = if click.bot {
            "curl/8.5.0"
        } else {
            "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"
        };
        let line = format!(
            r#"{{"link_id":{},"click_id":"{id}","clicked_at":{},"language":"{}","user_agent":"{agent}"}}"#,
            click.link,
            click.at.as_millis(),
            click.language
        );
        lines.push(line.clone());
        if random.random_bool(0.15) {
            lines.push(line);
        }
        sent.push(click);
    }
    for at in (1..lines.len()).rev() {
        lines.swap(at, random.random_range(0..=at));
    }
    let place = format!("{}/v1/imports/{}/chunks/{chunk}", linktide.url, "0d".repeat(32));
    *chunk += 1;
    let answer = reqwest::Client::new().put(place).body(lines.join("\n")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn check(linktide: &Linktide, random: &mut StdRng, sent: &[Sent]) {
    linktide.until_counted(sent.len() as u64).await;
    for _ in 0..12 {
        let zone = ZONES[random.random_range(0..ZONES.len())];
        let unit = ["hour", "day", "week", "month"][random.random_range(0..4)];
        let start = Quarter(NOW.first_quarter().0 - random.random_range(1..9000));
        let end = Quarter(start.0 + random.random_range(1..9000));
        let (traffic, link) = (["human", "bot", "all"][random.random_range(0..3)], random.random_range(0..5u64));
        let subject = if link == 0 { "account".to_owned() } else { format!("links/{link}") };
        let common = format!("start={}&end={}&timezone={zone}&traffic={traffic}", start.start(), end.start());
        let within = |click: &&Sent| {
            let of_link = link == 0 || click.link == link;
            let of_traffic = traffic == "all" || click.bot == (traffic == "bot");
            of_link && of_traffic && (start..end).contains(&Quarter::of(click.at))
        };
        let expected = sent.iter().filter(within).count() as u64;
        let summary = linktide.get(&format!("/v1/{subject}/summary?{common}")).await;
        assert_eq!(summary["results"]["clicks"], expected, "{subject} {common}");
        let series = linktide.get(&format!("/v1/{subject}/timeseries?{common}&unit={unit}")).await;
        let buckets = series["results"].as_array().unwrap();
        assert_eq!(
            buckets.iter().map(|bucket| bucket["clicks"].as_u64().unwrap()).sum::<u64>(),
            expected,
            "{unit} {common}"
        );
        for bucket in buckets {
            let (from, to) = (instant(bucket["start"].as_str().unwrap()), instant(bucket["end"].as_str().unwrap()));
            let clicks =
                sent.iter().filter(within).filter(|click| (from..to).contains(&Quarter::of(click.at).start())).count();
            assert_eq!(bucket["clicks"], clicks, "{bucket} {common}");
        }
        for pair in buckets.windows(2) {
            assert_eq!(pair[0]["end"], pair[1]["start"]);
        }
        let breakdown = linktide.get(&format!("/v1/{subject}/breakdown?{common}&by=language,country&limit=2")).await;
        for dimension in breakdown["results"].as_array().unwrap() {
            let values = dimension["values"].as_array().unwrap();
            assert_eq!(values.iter().map(|value| value["clicks"].as_u64().unwrap()).sum::<u64>(), expected);
            for value in values.iter().filter(|value| ["en", "hi", "ne"].contains(&value["value"].as_str().unwrap())) {
                let clicks = sent.iter().filter(within).filter(|click| value["value"] == click.language).count();
                assert_eq!(value["clicks"], clicks);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_agree_over_a_watermark_that_moves() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut linktide = Linktide::start(&folder.path().join("data"), Clock::manual(NOW.start())).await;
        let (mut sent, mut chunk, mut hour) = (Vec::new(), 0, NOW);
        for round in 0..5 {
            send(&linktide, &mut random, &mut sent, &mut chunk).await;
            check(&linktide, &mut random, &sent).await;
            hour = Hour(hour.0 + random.random_range(1..30));
            linktide.roll_up(hour).await;
            check(&linktide, &mut random, &sent).await;
            if round == 2 {
                linktide = linktide.restart().await;
                check(&linktide, &mut random, &sent).await;
            }
        }
        linktide.services.stop().await.unwrap();
    }
}
