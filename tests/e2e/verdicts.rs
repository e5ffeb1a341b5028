//! Who is taken for a bot, through all layers: what speaks against a click decides where it counts, and is shown.

use linktide::services::Services;
use linktide_common::clock::Clock;
use linktide_common::enrich::{AgentList, NetworkList, Points};
use serde_json::{Value, json};

use crate::harness::{Linktide, NOW, config};

const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36";

/// What is counted of all traffic and of people, by reason.
async fn by_reason(linktide: &Linktide, traffic: &str) -> Vec<(String, u64)> {
    let place = format!("/v1/account/breakdown?by=bot_reason&interval=24h&traffic={traffic}");
    let answer = linktide.get(&place).await;
    let values = answer["results"][0]["values"].as_array().unwrap().clone();
    let mut counted: Vec<(String, u64)> = values
        .iter()
        .map(|value| (value["value"].as_str().unwrap().to_owned(), value["clicks"].as_u64().unwrap()))
        .collect();
    counted.sort();
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn suspected_clicks_count_as_peoples_and_are_shown_before_and_after_the_night() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut settings = config();
    settings.bots.agents = vec![AgentList {
        name: "own".into(),
        file: file("own.txt", "bot: HarbourFetch\n"),
        weight: Points::new(100).unwrap(),
    }];
    settings.bots.networks = vec![NetworkList {
        name: "cloud".into(),
        file: file("cloud.txt", "198.51.100.0/24\n"),
        weight: Points::new(60).unwrap(),
    }];
    let clock = Clock::manual(NOW.start());
    let linktide = Linktide::start_with(&settings, &folder.path().join("data"), clock).await;
    let click = |user_agent: &str, ip: &str, signals: Value| json!({"link_id": 1, "user_agent": user_agent, "ip": ip, "signals": signals});
    let clicks = [
        click(CHROME, "192.0.2.1", json!({})),
        click(CHROME, "198.51.100.7", json!({})),
        click(CHROME, "198.51.100.7", json!({"challenge": "passed"})),
        click(CHROME, "198.51.100.8", json!({"bot_score": 50})),
        click("HarbourFetch/1", "192.0.2.2", json!({})),
        click(CHROME, "192.0.2.3", json!({"challenge": "unanswered"})),
    ];
    let place = format!("{}/v1/clicks", linktide.url);
    let answer = reqwest::Client::new().post(place).json(&clicks).send().await.unwrap();
    assert_eq!(answer.status(), 202);

    let people = [
        ("(none)".to_owned(), 2),
        ("suspected:challenge:unanswered".to_owned(), 1),
        ("suspected:network:cloud".to_owned(), 1),
    ];
    let bots = [("several:network:cloud".to_owned(), 1), ("ua:own".to_owned(), 1)];
    linktide.until_counted(6).await;
    assert_eq!(by_reason(&linktide, "human").await, people);
    assert_eq!(by_reason(&linktide, "bot").await, bots);

    assert_eq!(by_reason(&linktide, "suspected").await, people[1..]);

    linktide.roll_up(NOW.next()).await;
    assert_eq!(by_reason(&linktide, "human").await, people);
    assert_eq!(by_reason(&linktide, "suspected").await, people[1..]);
    assert_eq!(by_reason(&linktide, "bot").await, bots);
    let summary = linktide.get("/v1/account/summary?interval=24h").await;
    assert_eq!((&summary["results"]["clicks"], &summary["results"]["bots"]), (&json!(4), &json!(2)));
    let suspected = linktide.get("/v1/account/summary?interval=24h&traffic=suspected").await;
    assert_eq!(suspected["results"]["clicks"], 2);
    assert_eq!(suspected["query"]["filters"], json!({"bot_reason": "suspected:*"}));
    let export = format!("{}/v1/account/export?interval=24h&traffic=suspected&format=ndjson", linktide.url);
    let export = reqwest::get(export).await.unwrap().text().await.unwrap();
    assert_eq!(export.lines().count(), 2, "{export}");
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_clicks_too_often_is_suspected_until_the_night_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW.start());
    let linktide = Linktide::start_with(&config(), &folder.path().join("data"), clock).await;
    let click = |ip: &str| json!({"link_id": 1, "user_agent": CHROME, "ip": ip});
    let hasty = (0..1000).map(|_| click("192.0.2.1"));
    let others = (0..40).map(|number| click(&format!("198.51.100.{number}")));
    let clicks: Vec<Value> = hasty.chain(others).collect();
    let place = format!("{}/v1/clicks", linktide.url);
    let answer = reqwest::Client::new().post(place).json(&clicks).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    linktide.until_counted(1040).await;
    let suspected = by_reason(&linktide, "suspected").await;
    let [(reason, count)] = &suspected[..] else { panic!("{suspected:?}") };
    assert_eq!(reason, "suspected:rate");
    assert!((300..=1000).contains(count), "at least what made it suspected, at most all: {count}");
    let people = [("(none)".to_owned(), 1040 - count), (reason.clone(), *count)];
    assert_eq!(by_reason(&linktide, "human").await, people, "nothing is taken from people yet");
    let link = linktide.get("/v1/links/1/summary?interval=24h&traffic=suspected").await;
    assert_eq!(link["results"]["clicks"], *count, "one link is all there is: {link}");

    linktide.roll_up(NOW.next()).await;
    assert_eq!(by_reason(&linktide, "human").await, [("(none)".to_owned(), 40)]);
    assert_eq!(by_reason(&linktide, "bot").await, [("rate".to_owned(), 1000)]);
    assert_eq!(by_reason(&linktide, "suspected").await, []);
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_list_ends_the_start_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.txt");
    std::fs::write(&path, "bot: x\nnonsense\n").unwrap();
    let mut settings = config();
    settings.bots.agents = vec![AgentList { name: "own".into(), file: path, weight: Points::new(100).unwrap() }];
    match Services::spawn(&settings, &folder.path().join("data"), Clock::manual(NOW.start())).await {
        Ok(_) => panic!("it started"),
        Err(error) => assert!(format!("{error:#}").contains("own.txt, line 2: write `bot: PATTERN`"), "{error:#}"),
    }
}
