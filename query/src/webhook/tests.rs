//! Webhooks against a receiver on this machine that answers what the test tells it to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use linktide_common::clock::Clock;
use linktide_common::enrich::EnrichedClick;
use linktide_common::secret::Secret;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt as _;

use super::{WebhookConfig, Webhooks, look};
use crate::api::tests::description::holds;
use crate::api::tests::stage::{Stage, W, click, minute, stage};
use crate::{Query, router};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver does with the next request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answers(u16),
    /// It never answers.
    Hangs,
    /// It points to a place that must not be asked.
    Redirects,
}

#[derive(Default)]
struct Script {
    does: Mutex<VecDeque<Does>>,
    heard: Mutex<Vec<(String, HeaderMap, Bytes)>>,
}

/// A receiver; what it is not told of it answers with 204.
struct Receiver {
    url: String,
    script: Arc<Script>,
}

impl Receiver {
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, script) = (listener.local_addr().unwrap(), Arc::new(Script::default()));
        let service = Router::new().fallback(hear).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url: format!("http://localhost:{}/hook?key=1", address.port()), script }
    }

    fn does(&self, does: &[Does]) {
        self.script.does.lock().extend(does);
    }

    fn heard(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.script.heard.lock().clone()
    }
}

async fn hear(State(script): State<Arc<Script>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    script.heard.lock().push((parts.uri.to_string(), parts.headers, body));
    let does = script.does.lock().pop_front().unwrap_or(Does::Answers(204));
    match does {
        Does::Answers(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Does::Redirects => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
        Does::Hangs => std::future::pending().await,
    }
}

struct World {
    stage: Stage,
    query: Query,
    webhooks: Arc<Webhooks>,
    router: Router,
    clock: Clock,
}

fn config() -> WebhookConfig {
    WebhookConfig {
        every: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        retries: vec![Duration::from_secs(60), Duration::from_secs(600)],
        disable_after: 2,
        per_tenant: 3,
        allow_private: true,
    }
}

fn webhooks(stage: &Stage, config: WebhookConfig) -> Arc<Webhooks> {
    Arc::new(Webhooks::new(stage.lake.objects(), Secret::new(vec![9; 32]), config))
}

impl World {
    async fn new(config: WebhookConfig) -> Self {
        let stage = stage().await;
        let webhooks = webhooks(&stage, config);
        let query = stage.query.clone().telling(Arc::clone(&webhooks));
        let (router, clock) = (router(query.clone()), stage.clock.clone());
        Self { stage, query, webhooks, router, clock }
    }

    async fn ask(&self, method: Method, place: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(method).uri(place).body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn subscribe(&self, receiver: &Receiver, event: Value) -> (String, String) {
        let body = json!({ "url": receiver.url, "link_id": "7", "event": event });
        let (status, answer) = self.ask(Method::POST, "/v1/webhooks", Some(body)).await;
        assert_eq!(status, 201, "{answer}");
        holds("/v1/webhooks", "post", 201, &answer);
        (answer["id"].as_str().unwrap().to_owned(), answer["secret"].as_str().unwrap().to_owned())
    }

    /// Looks once, and waits until what it began to send has an outcome.
    async fn look(&self) {
        look_by(&self.webhooks, &self.query).await;
    }

    async fn deliveries(&self, id: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, &format!("/v1/webhooks/{id}/deliveries"), None).await;
        assert_eq!(status, 200, "{answer}");
        holds("/v1/webhooks/{id}/deliveries", "get", 200, &answer);
        answer["results"].clone()
    }

    async fn state(&self, id: &str) -> Value {
        let (status, answer) = self.ask(Method::GET, &format!("/v1/webhooks/{id}"), None).await;
        assert_eq!(status, 200, "{answer}");
        holds("/v1/webhooks/{id}", "get", 200, &answer);
        assert!(answer.get("secret").is_none(), "a secret is told once");
        answer
    }

    fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus_millis(seconds * 1000));
    }

    /// Clicks on a link, of now.
    async fn clicks(&self, link: u64, many: usize) {
        let clicks: Vec<EnrichedClick> = (0..many).map(|_| click(link, minute(1), minute(1))).collect();
        self.stage.count(&clicks).await;
    }
}

async fn look_by(webhooks: &Arc<Webhooks>, query: &Query) {
    // What came is sent by the next look.
    for _ in 0..2 {
        look(webhooks, query).await.unwrap();
        let sent = async {
            while !webhooks.sending.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.unwrap();
    }
}

/// The signature as its receiver computes it.
fn verifies(secret: &str, headers: &HeaderMap, body: &Bytes) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed =
        format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), std::str::from_utf8(body).unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed.as_bytes());
    header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn milestone_is_told_once_signed_and_with_its_count() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    world.clicks(7, 3).await;
    let (id, secret) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [2, 5, 8] })).await;
    world.look().await;
    assert_eq!(receiver.heard().len(), 0, "2 had been reached before, and 5 has not");
    world.clicks(7, 3).await;
    world.clicks(8, 50).await;
    for _ in 0..3 {
        world.look().await;
    }
    let heard = receiver.heard();
    assert_eq!(heard.len(), 1);
    let (place, headers, body) = &heard[0];
    assert!(
        verifies(&secret, headers, body) && place == "/hook?key=1" && headers["content-type"] == "application/json"
    );
    assert_eq!(headers["webhook-timestamp"], (world.clock.now().as_millis() / 1000).to_string());
    let told: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["clicks"], &told["data"]["milestone"]),
        (&json!("link.milestone"), &json!(6), &json!(5))
    );
    assert_eq!((&told["data"]["link_id"], &told["data"]["webhook_id"]), (&json!("7"), &json!(id)));
    assert_eq!(told["data"]["as_of"], W.start().plus_millis(598_000).to_string());
    let deliveries = world.deliveries(&id).await;
    assert_eq!((&deliveries[0]["state"], &deliveries[0]["attempts"][0]["status"]), (&json!("delivered"), &json!(204)));
    assert_eq!(
        (&deliveries[0]["body"], deliveries[0]["id"].as_str().unwrap()),
        (&told, headers["webhook-id"].to_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn event_fires_once_across_processes_and_restarts() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1] })).await;
    world.subscribe(&receiver, json!({ "type": "threshold", "clicks": 1, "hours": 2 })).await;
    world.clicks(7, 4).await;
    let others: Vec<_> = (0..4).map(|_| webhooks(&world.stage, config())).collect();
    let looks: Vec<_> = others
        .into_iter()
        .map(|other| {
            let query = world.query.clone();
            tokio::spawn(async move {
                for _ in 0..3 {
                    look_by(&other, &query).await;
                }
            })
        })
        .collect();
    for look in looks {
        look.await.unwrap();
    }
    world.look().await;
    assert_eq!(receiver.heard().len(), 2, "one of each");
}

#[tokio::test(flavor = "multi_thread")]
async fn threshold_is_told_again_once_its_hours_are_over() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    world.subscribe(&receiver, json!({ "type": "threshold", "clicks": 3, "hours": 2 })).await;
    world.clicks(7, 3).await;
    world.look().await;
    assert_eq!(receiver.heard().len(), 0, "3 are not more than 3");
    world.clicks(7, 1).await;
    world.look().await;
    world.pass(3600);
    world.look().await;
    assert_eq!(receiver.heard().len(), 1);
    let told: Value = serde_json::from_slice(&receiver.heard()[0].2).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["clicks"], &told["data"]["threshold"]),
        (&json!("link.threshold"), &json!(4), &json!(3))
    );
    assert_eq!(told["data"]["window"]["hours"], 2);
    world.pass(2 * 3600);
    world.look().await;
    assert_eq!(receiver.heard().len(), 1, "nothing was clicked in the last two hours");
    let now = world.clock.now();
    let late: Vec<EnrichedClick> = (0..5).map(|_| click(7, now, now)).collect();
    world.stage.count(&late).await;
    world.look().await;
    assert_eq!(receiver.heard().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_that_fails_is_tried_again_with_the_same_id_until_it_hears() {
    let (world, receiver) =
        (World::new(WebhookConfig { timeout: Duration::from_millis(300), ..config() }).await, Receiver::new().await);
    let (id, secret) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1] })).await;
    receiver.does(&[Does::Hangs, Does::Redirects]);
    world.clicks(7, 1).await;
    world.look().await;
    assert_eq!(receiver.heard().len(), 1);
    let attempt = world.deliveries(&id).await[0]["attempts"][0].clone();
    assert!(attempt["error"].as_str().unwrap().contains("in time") && attempt["status"].is_null(), "{attempt}");
    world.look().await;
    assert_eq!(receiver.heard().len(), 1, "not before its time");
    // A fifth more than a minute at most.
    world.pass(73);
    world.look().await;
    world.pass(721);
    world.look().await;
    let heard = receiver.heard();
    assert_eq!(heard.iter().filter(|(place, ..)| place == "/hook?key=1").count(), 3, "a redirect is not followed");
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(
        |(_, headers, body)| headers["webhook-id"] == heard[0].1["webhook-id"] && verifies(&secret, headers, body)
    ));
    assert_ne!(heard[0].1["webhook-timestamp"], heard[1].1["webhook-timestamp"]);
    let delivery = world.deliveries(&id).await[0].clone();
    let statuses: Vec<&Value> =
        delivery["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!((statuses, &delivery["state"]), (vec![&Value::Null, &json!(307), &json!(204)], &json!("delivered")));
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_that_never_hears_is_given_up_and_disabled() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    receiver.does(&[Does::Answers(500); 20]);
    let (id, _) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1, 2] })).await;
    world.clicks(7, 2).await;
    for pause in [0, 73, 721, 1] {
        world.pass(pause);
        world.look().await;
    }
    assert_eq!(receiver.heard().len(), 6, "three tries of two events");
    let state = world.state(&id).await;
    assert!(state["state"] == "disabled" && state["reason"].as_str().unwrap().contains("2 events"), "{state}");
    assert!(world.deliveries(&id).await.as_array().unwrap().iter().all(|delivery| delivery["state"] == "given_up"));
    let (status, answer) = world.ask(Method::POST, &format!("/v1/webhooks/{id}/test"), None).await;
    assert_eq!(status, 410, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_that_answers_410_is_never_told_again() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    receiver.does(&[Does::Answers(410)]);
    let (id, _) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1, 2] })).await;
    world.clicks(7, 1).await;
    world.look().await;
    world.clicks(7, 5).await;
    world.pass(10_000);
    world.look().await;
    assert_eq!(receiver.heard().len(), 1);
    assert!(world.state(&id).await["reason"].as_str().unwrap().contains("410"));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_whose_sender_ended_is_sent_by_another() {
    use super::shelf::{HookKey, claim};
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    let (id, _) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1] })).await;
    world.clicks(7, 1).await;
    // What came is there, and somebody had begun to send it, who is no more.
    look(&world.webhooks, &world.query).await.unwrap();
    let key = HookKey { tenant: linktide_common::id::TenantId(0), id: id.parse().unwrap() };
    let begun = json!({ "at": world.clock.now() });
    assert!(world.webhooks.shelf.create(&key, &claim("milestone-1", 1), &begun).await.unwrap());
    let other = webhooks(&world.stage, config());
    look_by(&other, &world.query).await;
    assert_eq!(receiver.heard().len(), 0, "it may still be on its way");
    world.pass(16);
    look_by(&other, &world.query).await;
    assert_eq!(receiver.heard().len(), 1);
    assert_eq!(world.deliveries(&id).await[0]["state"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_the_last_request_is_told_by_another_where_its_sender_ended() {
    use super::shelf::{HookKey, attempt, claim};
    for (last, state) in [(Some(204), "delivered"), (Some(500), "given_up"), (None, "given_up")] {
        let (world, receiver) = (World::new(config()).await, Receiver::new().await);
        let (id, _) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1] })).await;
        world.clicks(7, 1).await;
        look(&world.webhooks, &world.query).await.unwrap();
        let key = HookKey { tenant: linktide_common::id::TenantId(0), id: id.parse().unwrap() };
        let (now, shelf) = (world.clock.now(), &world.webhooks.shelf);
        for (number, status) in [(1, Some(500)), (2, Some(500)), (3, last)] {
            assert!(shelf.create(&key, &claim("milestone-1", number), &json!({ "at": now })).await.unwrap());
            if let Some(status) = status {
                let came = json!({ "at": now, "status": status, "milliseconds": 1 });
                assert!(shelf.create(&key, &attempt("milestone-1", number), &came).await.unwrap());
            }
        }
        world.pass(16);
        look_by(&webhooks(&world.stage, config()), &world.query).await;
        assert_eq!(world.deliveries(&id).await[0]["state"], state, "{last:?}");
        assert_eq!(receiver.heard().len(), 0, "{last:?}: it was tried as often as it may be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_made_listed_tried_and_deleted_by_their_tenant_alone() {
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    let event = json!({ "type": "milestone", "clicks": [1000] });
    let (id, secret) = world.subscribe(&receiver, event.clone()).await;
    let (status, answer) = world.ask(Method::POST, &format!("/v1/webhooks/{id}/test"), None).await;
    assert_eq!(status, 202);
    world.look().await;
    let heard = receiver.heard();
    assert_eq!((heard.len(), heard[0].1["webhook-id"].to_str().unwrap()), (1, answer["id"].as_str().unwrap()));
    assert!(verifies(&secret, &heard[0].1, &heard[0].2));
    assert_eq!(serde_json::from_slice::<Value>(&heard[0].2).unwrap()["type"], "test");
    for status in [202, 202, 202, 429] {
        assert_eq!(world.ask(Method::POST, &format!("/v1/webhooks/{id}/test"), None).await.0, status);
    }

    let body = json!({ "url": receiver.url, "event": event });
    let theirs =
        world.webhooks.subscribe(&world.query, linktide_common::id::TenantId(7), &body).await.unwrap().0.key.id;
    let places = ["", "/deliveries"].map(|place| (Method::GET, format!("/v1/webhooks/{theirs}{place}")));
    let changes =
        [(Method::DELETE, format!("/v1/webhooks/{theirs}")), (Method::POST, format!("/v1/webhooks/{theirs}/test"))];
    for (method, place) in places.into_iter().chain(changes) {
        assert_eq!(world.ask(method, &place, None).await.0, 404, "{place}");
    }
    let listed = world.ask(Method::GET, "/v1/webhooks", None).await.1;
    holds("/v1/webhooks", "get", 200, &listed);
    assert_eq!((listed["results"].as_array().unwrap().len(), &listed["results"][0]["id"]), (1, &json!(id)));
    assert_eq!(world.ask(Method::DELETE, &format!("/v1/webhooks/{id}"), None).await.0, 204);
    assert_eq!(world.ask(Method::DELETE, &format!("/v1/webhooks/{id}"), None).await.0, 404);
    assert_eq!(world.ask(Method::GET, "/v1/webhooks", None).await.1["results"], json!([]));

    for _ in 0..3 {
        world.subscribe(&receiver, event.clone()).await;
    }
    assert_eq!(
        world.ask(Method::POST, "/v1/webhooks", Some(json!({ "url": receiver.url, "event": event }))).await.0,
        429
    );
    for body in [json!([]), json!({}), json!({ "url": "https://example.com", "event": event, "tenant_id": "7" })] {
        assert_eq!(world.ask(Method::POST, "/v1/webhooks", Some(body)).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_of_this_machine_is_not_reached_unless_that_is_allowed() {
    let receiver = Receiver::new().await;
    let careful = World::new(WebhookConfig { allow_private: false, ..config() }).await;
    for url in [receiver.url.clone(), receiver.url.replace("localhost", "127.0.0.1").replace("http:", "https:")] {
        let body = json!({ "url": url, "event": { "type": "milestone", "clicks": [1] } });
        let (status, answer) = careful.ask(Method::POST, "/v1/webhooks", Some(body)).await;
        assert_eq!((status, &answer["parameter"]), (400, &json!("url")), "{answer}");
    }
    // A name is judged by what it leads to, when it is sent.
    let body = json!({ "url": receiver.url.replace("http:", "https:"), "link_id": "7", "event": { "type": "milestone", "clicks": [1] } });
    let id = careful.ask(Method::POST, "/v1/webhooks", Some(body)).await.1["id"].as_str().unwrap().to_owned();
    careful.clicks(7, 1).await;
    careful.look().await;
    let attempt = careful.deliveries(&id).await[0]["attempts"][0].clone();
    assert!(attempt["error"].as_str().unwrap().contains("no public address"), "{attempt}");
    assert_eq!(receiver.heard().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn layer_that_is_away_makes_no_milestone_unknown_or_early() {
    use crate::api::tests::stage::Fault;
    let (world, receiver) = (World::new(config()).await, Receiver::new().await);
    world.stage.meets(Fault::Away);
    let body = json!({ "url": receiver.url, "link_id": "7", "event": { "type": "milestone", "clicks": [1] } });
    let (status, answer) = world.ask(Method::POST, "/v1/webhooks", Some(body)).await;
    assert_eq!(status, 503, "{answer}");
    world.stage.meets(Fault::None);
    let (_, _) = world.subscribe(&receiver, json!({ "type": "milestone", "clicks": [1] })).await;
    world.clicks(7, 1).await;
    world.stage.meets(Fault::Away);
    world.look().await;
    assert_eq!(receiver.heard().len(), 0);
    world.stage.meets(Fault::None);
    world.look().await;
    assert_eq!(receiver.heard().len(), 1);
}
