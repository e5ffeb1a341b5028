//! Webhooks while whoever sends them is killed between any two steps: each event is told at least once, always under the same
//! id and with the same body, so that a receiver can drop what it hears twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use linktide_common::bucket::Hour;
use linktide_common::clock::Clock;
use linktide_servers::Redis;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::harness::{Linktide, PATIENCE, program};

/// Each place where a process dies, and how often the receiver hears of the event in all: twice where it died between the
/// request and the object that tells what came of it.
const DEATHS: [(&str, usize); 4] = [
    ("query::webhook::fired", 1),
    ("query::webhook::claimed", 1),
    ("query::webhook::sent", 2),
    ("query::webhook::attempted", 1),
];

/// A receiver that remembers what it heard.
struct Receiver {
    url: String,
    ears: Arc<Ears>,
}

struct Ears {
    heard: Mutex<Vec<(String, String)>>,
    /// Told with each request.
    heard_more: Notify,
    /// Whoever has none to take waits with its answer.
    answers: Semaphore,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let ears = Ears { heard: Vec::new().into(), heard_more: Notify::new(), answers: Semaphore::new(1_000) };
        let ears = Arc::new(ears);
        let service = Router::new().fallback(hear).with_state(Arc::clone(&ears));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url, ears }
    }

    /// What it heard of a webhook: ids with bodies.
    fn heard_of(&self, webhook: &str) -> Vec<(String, String)> {
        let heard = self.ears.heard.lock().unwrap().clone();
        heard.into_iter().filter(|(_, body)| body.contains(webhook)).collect()
    }
}

async fn hear(State(ears): State<Arc<Ears>>, headers: HeaderMap, body: String) -> StatusCode {
    ears.heard.lock().unwrap().push((headers["webhook-id"].to_str().unwrap().to_owned(), body));
    ears.heard_more.notify_one();
    ears.answers.acquire().await.unwrap().forget();
    StatusCode::NO_CONTENT
}

/// `linktide query` over a lake.
struct Query {
    child: Child,
    url: String,
}

impl Query {
    fn start(lake: &Path, redis: &Redis, failpoints: &str) -> Self {
        let mut program = program();
        program.args(["query", "--listen", "127.0.0.1:0", "--lake"]).arg(lake);
        for setting in [
            format!("redis.url={}", redis.url()),
            format!("webhook.key={}", lake.join("webhook.key").display()),
            "webhook.every=100ms".to_owned(),
            // A claim that nobody tells the outcome of is taken for a crash after three times as long.
            "webhook.timeout=700ms".to_owned(),
            "webhook.retries=[\"1h\",\"1h\"]".to_owned(),
            "webhook.allow_private=true".to_owned(),
        ] {
            program.args(["--set", &setting]);
        }
        let mut child = program.env("FAILPOINTS", failpoints).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let told = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(told), &mut line).unwrap();
        let url = line.split([' ', ',']).find(|word| word.starts_with("http://"));
        Self { url: url.unwrap_or_else(|| panic!("it said `{line}`")).to_owned(), child }
    }

    /// Makes a webhook, unless the process dies of it; its id is in the lake then.
    async fn subscribe(&self, receiver: &Receiver, link: usize) {
        let event = json!({ "type": "threshold", "clicks": 2, "hours": 24 });
        let body = json!({ "url": receiver.url, "link_id": link.to_string(), "traffic": "all", "event": event });
        let sent = reqwest::Client::new().post(format!("{}/v1/webhooks", self.url)).body(body.to_string()).send();
        if let Ok(answer) = sent.await {
            assert_eq!(answer.status(), 201);
        }
    }

    async fn dies(mut self, place: &str) {
        let dead = async || self.child.try_wait().unwrap().is_some();
        until(&format!("it dies at {place}"), dead).await;
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The webhooks by the link that each is of.
    async fn webhooks(&self) -> BTreeMap<String, String> {
        let answer: Value = reqwest::get(format!("{}/v1/webhooks", self.url)).await.unwrap().json().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        answer["results"].as_array().unwrap().iter().map(|hook| (text(&hook["link_id"]), text(&hook["id"]))).collect()
    }

    /// Waits until there are so many webhooks, and the event of each is delivered.
    async fn delivers(&self, count: usize) {
        let delivered = async || {
            let webhooks = self.webhooks().await;
            let mut all = webhooks.len() == count;
            for webhook in webhooks.values() {
                all &= self.deliveries(webhook).await[0]["state"] == "delivered";
            }
            all
        };
        until(&format!("{count} events are delivered"), delivered).await;
    }

    async fn deliveries(&self, webhook: &str) -> Value {
        let place = format!("{}/v1/webhooks/{webhook}/deliveries", self.url);
        reqwest::get(place).await.unwrap().json::<Value>().await.unwrap()["results"].take()
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        look.tick().await;
    }
}

/// History with three clicks of now on each link.
async fn clicked(data: &Path, links: usize) {
    let clock = Clock::manual(Clock::system().now());
    let linktide = Linktide::start(data, clock.clone()).await;
    let click = |number: usize| format!(r#"{{"link_id":{},"ip":"203.0.113.{number}"}}"#, number % links);
    let body = (0..3 * links).map(click).collect::<Vec<_>>().join("\n");
    let sent = reqwest::Client::new().post(format!("{}/v1/clicks", linktide.url)).body(body).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    linktide.until_counted(3 * links as u64).await;
    linktide.roll_up(Hour::of(clock.now()).next()).await;
    linktide.services.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn process_killed_between_any_two_steps_tells_each_event_once_at_least_and_under_one_id() {
    let folder = tempfile::tempdir().unwrap();
    clicked(&folder.path().join("data"), DEATHS.len() + 1).await;
    let (lake, redis, receiver) = (folder.path().join("data/lake"), Redis::start(), Receiver::start().await);
    std::fs::write(lake.join("webhook.key"), [9; 32]).unwrap();
    for (link, (place, _)) in DEATHS.iter().enumerate() {
        let query = Query::start(&lake, &redis, &format!("{place}=return"));
        query.subscribe(&receiver, link).await;
        query.dies(place).await;
        // Another one goes on, before the next dies of what this one left.
        Query::start(&lake, &redis, "").delivers(link + 1).await;
    }
    // One that is killed from outside, while the receiver has heard and not answered.
    let last = DEATHS.len();
    let query = Query::start(&lake, &redis, "");
    receiver.ears.answers.forget_permits(1_000);
    query.subscribe(&receiver, last).await;
    let webhook = query.webhooks().await[&last.to_string()].clone();
    while receiver.heard_of(&webhook).is_empty() {
        tokio::time::timeout(PATIENCE, receiver.ears.heard_more.notified()).await.unwrap();
    }
    query.kill();
    receiver.ears.answers.add_permits(1_000);

    let query = Query::start(&lake, &redis, "");
    query.delivers(last + 1).await;
    let webhooks = query.webhooks().await;
    for (link, (place, times)) in DEATHS.into_iter().chain([("kill -9", 2)]).enumerate() {
        let webhook = &webhooks[&link.to_string()];
        let (heard, told) = (receiver.heard_of(webhook), query.deliveries(webhook).await);
        assert_eq!((heard.len(), told.as_array().unwrap().len()), (times, 1), "{place}: {heard:?}; {told}");
        assert!(heard.iter().all(|message| *message == heard[0]), "{place}: {heard:?}");
        assert_eq!((&told[0]["state"], &told[0]["id"]), (&json!("delivered"), &json!(heard[0].0)), "{place}: {told}");
        let body: Value = serde_json::from_str(&heard[0].1).unwrap();
        assert_eq!((&body["type"], &body["data"]["clicks"]), (&json!("link.threshold"), &json!(3)), "{place}");
    }
}
