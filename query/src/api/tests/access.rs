//! Who may ask what: the API behind a gate, with two tenants' links of the same numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::StreamExt as _;
use linktide_batch::reader::Tables;
use linktide_common::access::{
    AccessStore, Allowance, ApiKey, Gate, GateConfig, KeyRecord, LimitConfig, NewKey, Scope, Scopes, Share,
    TokenConfig, Tokens,
};
use linktide_common::id::{LinkId, TenantId};
use linktide_common::rate::Rate;
use linktide_servers::Issuer;
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::View;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::description::{check, description};
use super::stage::{Stage, click, minute, post as post_to, stage};
use crate::{Query, QueryConfig, openapi, router};

/// The stage behind a gate; link 7 of tenant 1 has three clicks, that of tenant 2 one, and tenant 2's link 8 two.
struct Guarded {
    stage: Stage,
    router: Router,
    store: AccessStore,
    gate: Gate,
    issuer: Issuer,
}

async fn guarded() -> Guarded {
    let (stage, issuer) = (stage().await, Issuer::new());
    let store = AccessStore::new(stage.lake.objects());
    let tokens = Tokens::new(TokenConfig {
        issuer: "https://id.example".into(),
        audience: vec!["linktide".into()],
        tenant_claim: "tenant_id".into(),
        scope_claim: "scope".into(),
        scopes: [Scope::Read, Scope::Export].into_iter().collect(),
        leeway: Duration::ZERO,
    });
    tokens.replace(issuer.jwks().to_string().as_bytes()).unwrap();
    let much = Allowance { rate: Rate { per_second: 10_000, burst: 10_000 }, concurrent: 100 };
    let gate = Gate::required(GateConfig {
        clock: stage.clock.clone(),
        limits: LimitConfig { tenant: much, caller: much, address: much.rate, remembered: 100 },
        trusted_proxies: 0,
        store: Some(store.clone()),
        share_secret: None,
        tokens: Some(Arc::new(tokens)),
    });
    gate.look().await.unwrap();
    let reader = SpeedReader::new(Arc::clone(&stage.view) as Arc<dyn View>);
    let tables = Arc::new(Tables::new(stage.lake.clone(), 1 << 24));
    let kept = stage.lake.publications().clone();
    let stop = CancellationToken::new();
    let query =
        Query::new(tables, reader, kept, stage.clock.clone(), QueryConfig::default(), stop).behind(gate.clone());
    let of = |tenant, link| {
        let mut click = click(link, minute(1), minute(1));
        click.tenant_id = TenantId(tenant);
        click
    };
    stage.count(&[of(1, 7), of(1, 7), of(1, 7), of(2, 7), of(2, 8), of(2, 8)]).await;
    Guarded { router: router(query), stage, store, gate, issuer }
}

impl Guarded {
    async fn key(&self, tenant: u64, scopes: impl Into<Scopes>) -> ApiKey {
        let (key, now) = (ApiKey::generate(), self.stage.clock.now());
        let new = NewKey { tenant: TenantId(tenant), scopes: scopes.into(), name: None, expires_at: None };
        self.store.add_key(&KeyRecord::new(&key, new, now)).await.unwrap();
        self.gate.look().await.unwrap();
        key
    }

    fn token(&self, tenant: u64, scope: &str) -> String {
        let expires = self.stage.clock.now().as_millis() / 1000 + 600;
        let claims = json!({ "iss": "https://id.example", "aud": "linktide", "sub": "ada", "exp": expires, "tenant_id": tenant, "scope": scope });
        self.issuer.token("ES256", &claims)
    }

    async fn send(&self, method: &str, place: &str, credential: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(place);
        if let Some(credential) = credential {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json", "{method} {place}");
        }
        let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, place: &str, credential: &str) -> (u16, Value) {
        self.send("GET", place, Some(credential), "").await
    }

    /// Asks for a share link as whoever has a credential.
    async fn share(&self, credential: &str, link: u64, hours: i64) -> (u16, Value) {
        let expires = self.stage.clock.now().plus_millis(hours * 3_600_000);
        let body = json!({ "link_id": link.to_string(), "expires_at": expires.to_string() });
        self.send("POST", "/v1/share-links", Some(credential), &body.to_string()).await
    }
}

const QUESTIONS: [&str; 4] = [
    "/v1/links/7/summary",
    "/v1/links/7/timeseries?interval=24h&unit=hour",
    "/v1/links/7/breakdown?by=country",
    "/v1/freshness",
];
const OF_THE_ACCOUNT: [&str; 6] = [
    "/v1/account/summary",
    "/v1/account/timeseries",
    "/v1/account/breakdown?by=country",
    "/v1/account/heatmap",
    "/v1/links",
    "/v1/compare?links=7",
];

#[tokio::test]
async fn every_documented_place_below_v1_needs_a_credential_and_says_so() {
    let guarded = guarded().await;
    let about = serde_json::to_value(openapi()).unwrap();
    assert_eq!(about["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(about["components"]["securitySchemes"]["share"]["in"], "query");
    for (path, item) in about["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = path.replace("{link_id}", "7").replace("{id}", "x");
            let (status, _) = guarded.send(&method.to_uppercase(), &place, None, "").await;
            let needs = path.starts_with("/v1/");
            assert_eq!(status == 401, needs, "{method} {path}: {status}");
            assert_eq!(operation.get("security").is_some(), needs, "{method} {path}");
            assert_eq!(operation["responses"].get("401").is_some(), needs, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn exports_and_webhooks_take_scopes_of_their_own() {
    let guarded = guarded().await;
    let id = "0199f5c2-7c3e-7b43-9f6e-3c1d5b0a8e21";
    let places = [
        ("GET", "/v1/account/export".to_owned(), Scope::Export),
        ("GET", "/v1/links/7/export".to_owned(), Scope::Export),
        ("GET", "/v1/exports".to_owned(), Scope::Export),
        ("POST", "/v1/exports".to_owned(), Scope::Export),
        ("GET", format!("/v1/exports/{id}"), Scope::Export),
        ("DELETE", format!("/v1/exports/{id}"), Scope::Export),
        ("GET", format!("/v1/exports/{id}/parts/0"), Scope::Export),
        ("GET", "/v1/webhooks".to_owned(), Scope::Admin),
        ("POST", "/v1/webhooks".to_owned(), Scope::Admin),
        ("GET", format!("/v1/webhooks/{id}"), Scope::Admin),
        ("DELETE", format!("/v1/webhooks/{id}"), Scope::Admin),
        ("GET", format!("/v1/webhooks/{id}/deliveries"), Scope::Admin),
        ("POST", format!("/v1/webhooks/{id}/test"), Scope::Admin),
    ];
    for scope in Scope::ALL {
        let key = guarded.key(1, scope).await.expose();
        for (method, place, needs) in &places {
            let (status, problem) = guarded.send(method, place, Some(&key), "").await;
            // This stage has neither, so that whoever may is told that.
            let expected = if scope == *needs { 404 } else { 403 };
            assert_eq!(status, expected, "{scope} {method} {place}: {problem}");
        }
    }
}

#[tokio::test]
async fn scope_is_required_by_place_and_none_includes_another() {
    let guarded = guarded().await;
    let share = json!({ "link_id": "7", "expires_at": "2026-11-25T00:00:00Z" }).to_string();
    for scope in Scope::ALL {
        let key = guarded.key(1, scope).await.expose();
        for place in QUESTIONS.into_iter().chain(OF_THE_ACCOUNT) {
            let (status, problem) = guarded.get(place, &key).await;
            let expected = if scope == Scope::Read { 200 } else { 403 };
            assert_eq!(status, expected, "{scope} {place}");
            assert!(status == 200 || problem["scope"] == "read", "{problem}");
        }
        for (method, place) in
            [("POST", "/v1/share-links"), ("GET", "/v1/share-links"), ("DELETE", "/v1/share-links/x")]
        {
            let (status, problem) = guarded.send(method, place, Some(&key), &share).await;
            assert_eq!(status == 403, scope != Scope::Admin, "{scope} {method} {place}: {problem}");
        }
    }
    // What a token claims beyond what tokens may give is nothing.
    let token = guarded.token(1, "read admin ingest");
    assert_eq!(guarded.get("/v1/links/7/summary", &token).await.0, 200);
    assert_eq!(guarded.share(&token, 7, 1).await.0, 403);
    assert_eq!(guarded.get("/v1/links/7/summary", &guarded.token(1, "openid")).await.0, 403);
}

#[tokio::test]
async fn tenant_sees_its_own_links_and_learns_nothing_of_others() {
    let guarded = guarded().await;
    let one = guarded.key(1, Scope::Read).await.expose();
    let two = guarded.token(2, "read");
    let clicks =
        async |place: &str, credential: &str| guarded.get(place, credential).await.1["results"]["clicks"].clone();
    assert_eq!(
        (clicks("/v1/links/7/summary", &one).await, clicks("/v1/links/7/summary", &two).await),
        (json!(3), json!(1))
    );
    assert_eq!(
        (clicks("/v1/account/summary", &one).await, clicks("/v1/account/summary", &two).await),
        (json!(3), json!(3))
    );
    let links = guarded.get("/v1/links", &one).await.1["results"].clone();
    assert_eq!((&links["total"], links["links"].as_array().unwrap().len()), (&json!(3), 1));
    // Another tenant's link is a link that nobody clicked, to the letter.
    for question in ["summary?traffic=all", "timeseries?interval=24h&unit=hour", "breakdown?by=country,language"] {
        let theirs = guarded.get(&format!("/v1/links/8/{question}"), &one).await;
        let nobodys = guarded.get(&format!("/v1/links/9/{question}"), &one).await;
        assert_eq!(theirs.0, 200);
        let as_of = |answer: &Value| answer.to_string().replace("\"link_id\":\"8\"", "\"link_id\":\"9\"");
        assert_eq!(as_of(&theirs.1), as_of(&nobodys.1), "{question}");
    }
}

#[tokio::test]
async fn share_link_shows_one_link_until_it_is_revoked() {
    let guarded = guarded().await;
    let admin = guarded.key(1, Scope::Admin).await.expose();
    let (status, made) = guarded.share(&admin, 7, 24).await;
    let about = description();
    let (links, one) = (&about["paths"]["/v1/share-links"], &about["paths"]["/v1/share-links/{id}"]);
    check(&about, &links["post"], "POST", (status, made.clone()));
    assert_eq!((status, &made["link_id"]), (201, &json!("7")));
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    for place in QUESTIONS {
        let and = if place.contains('?') { '&' } else { '?' };
        for answer in [
            guarded.get(place, token).await,
            guarded.send("GET", &format!("{place}{and}share={token}"), None, "").await,
        ] {
            assert_eq!(answer.0, 200, "{place}: {}", answer.1);
            assert!(!answer.1.to_string().contains("lts_"), "{place}");
        }
    }
    assert_eq!(guarded.get("/v1/links/7/summary", token).await.1["results"]["clicks"], 3);
    for place in OF_THE_ACCOUNT.into_iter().chain(["/v1/links/8/summary", "/v1/links/07/summary?share=x"]) {
        let (status, problem) = guarded.get(place, token).await;
        let expected = if place.contains("share=") { 401 } else { 403 };
        assert_eq!(status, expected, "{place}: {problem}");
    }
    for (method, place) in [("POST", "/v1/share-links"), ("GET", "/v1/share-links"), ("DELETE", "/v1/share-links/x")] {
        assert_eq!(guarded.send(method, place, Some(token), "{}").await.0, 403, "{method} {place}");
    }
    // Signed with another secret, for another tenant: it is told as the tampered one that it is.
    let forged = Share::new(TenantId(2), LinkId(8), guarded.stage.clock.now().plus_millis(1000));
    let forged = forged.token(&linktide_common::secret::Secret::new(vec![0; 32]));
    assert_eq!(guarded.get("/v1/links/8/summary", &forged).await.0, 401);

    let listed = guarded.get("/v1/share-links", &admin).await.1;
    check(&about, &links["get"], "GET", (200, listed.clone()));
    assert_eq!(listed["share_links"], json!([{ "id": id, "link_id": "7", "expires_at": made["expires_at"] }]));
    let other = guarded.key(2, Scope::Admin).await.expose();
    assert_eq!(guarded.get("/v1/share-links", &other).await.1["share_links"], json!([]));
    let place = format!("/v1/share-links/{id}");
    let (foreign, unknown) = (
        guarded.send("DELETE", &place, Some(&other), "").await,
        guarded.send("DELETE", "/v1/share-links/aaaaaaaaaaaa", Some(&other), "").await,
    );
    check(&about, &one["delete"], "DELETE", foreign.clone());
    assert_eq!((foreign.0, unknown.0), (404, 404), "another tenant's is one that never was");
    assert_eq!(guarded.get("/v1/links/7/summary", token).await.0, 200);
    assert_eq!(guarded.send("DELETE", &place, Some(&admin), "").await.0, 204);
    let (status, problem) = guarded.get("/v1/links/7/summary", token).await;
    assert_eq!((status, &problem["detail"]), (401, &json!("the credential was revoked")));
    assert_eq!(guarded.get("/v1/share-links", &admin).await.1["share_links"], json!([]));
}

#[tokio::test]
async fn share_link_that_cannot_be_made_is_told_why() {
    let guarded = guarded().await;
    let admin = guarded.key(1, Scope::Admin).await.expose();
    let post = async |body: &str| guarded.send("POST", "/v1/share-links", Some(&admin), body).await;
    for body in
        ["", "[]", "{}", r#"{"link_id":"x","expires_at":"2026-12-01T00:00:00Z"}"#, r#"{"link_id":1,"tenant_id":2}"#]
    {
        let (status, problem) = post(body).await;
        assert_eq!((status, &problem["type"]), (400, &json!("/problems/malformed-body")), "{body}");
    }
    for expires in ["tomorrow", "2026-11-24T10:10:00Z", "2028-11-24T10:10:00Z", "2026-12-01"] {
        let (status, problem) = post(&json!({ "link_id": 1, "expires_at": expires }).to_string()).await;
        assert_eq!((status, &problem["parameter"], &problem["value"]), (400, &json!("expires_at"), &json!(expires)));
    }
    assert_eq!(post(&format!("{{\"link_id\":1,\"expires_at\":\"{}\"}}", "x".repeat(5000))).await.0, 413);
    // Where no keys are asked for there are none, and none can be made.
    assert_eq!(guarded.stage.get("/v1/share-links").await, json!({ "share_links": [] }));
    let wanted = json!({ "link_id": 1, "expires_at": "2026-12-01T00:00:00Z" });
    assert_eq!(post_to(&guarded.stage.router, "/v1/share-links", &wanted).await.0, 404);
}

#[tokio::test]
async fn body_of_questions_asks_about_what_its_sender_may() {
    let guarded = guarded().await;
    let one = guarded.key(1, Scope::Read).await.expose();
    let admin = guarded.key(1, Scope::Admin).await.expose();
    let made = guarded.share(&admin, 7, 24).await.1;
    let shared = made["token"].as_str().unwrap();
    let ask = async |credential: &str, questions: Value| {
        let body = json!({ "questions": questions }).to_string();
        guarded.send("POST", "/v1/query", Some(credential), &body).await
    };
    let own = json!([{ "ask": "summary", "link_id": "7" }, { "ask": "breakdown", "link_id": "7", "by": "country" }]);
    for credential in [one.as_str(), shared] {
        let (status, answer) = ask(credential, own.clone()).await;
        assert_eq!((status, &answer["results"][0]["results"]["clicks"]), (200, &json!(3)), "{answer}");
    }
    for other in [json!({ "ask": "summary", "link_id": "8" }), json!({ "ask": "summary" }), json!({ "ask": "links" })] {
        let (status, problem) = ask(shared, json!([{ "ask": "summary", "link_id": "7" }, other])).await;
        assert_eq!((status, &problem["question"]), (403, &json!(1)), "{other}: {problem}");
        assert_eq!(ask(&one, json!([other])).await.0, 200, "{other}");
    }
    let theirs = ask(&one, json!([{ "ask": "summary", "link_id": "8" }])).await.1;
    assert_eq!(theirs["results"][0]["results"]["clicks"], 0);
    assert_eq!(ask(&admin, own).await.0, 403);
}

#[tokio::test]
async fn cursor_of_another_tenant_leads_to_ones_own_links() {
    let guarded = guarded().await;
    let (one, two) = (guarded.token(1, "read"), guarded.token(2, "read"));
    let first = guarded.get("/v1/links?limit=1", &two).await.1["results"].clone();
    assert_eq!(first["links"][0]["link_id"], "8");
    let next = format!("/v1/links?limit=10&cursor={}", first["next"].as_str().unwrap());
    let listed = guarded.get(&next, &two).await.1["results"]["links"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["link_id"]), (1, &json!("7")));
    let (status, answer) = guarded.get(&next, &one).await;
    assert_eq!(status, 200);
    let links = answer["results"]["links"].as_array().unwrap();
    assert!(links.iter().all(|link| link["link_id"] == "7" && link["clicks"] == 3), "{answer}");
}

#[tokio::test]
async fn stream_ends_when_its_credential_does() {
    let guarded = guarded().await;
    let (key, other) = (guarded.key(1, Scope::Read).await, guarded.key(1, Scope::Read).await);
    let open = async |key: &ApiKey| {
        let request = Request::get("/v1/links/7/live").header("authorization", format!("Bearer {}", key.expose()));
        let response = guarded.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = response.into_body().into_data_stream();
        let first = stream.next().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("event: counts"));
        stream
    };
    let (mut revoked, mut kept) = (open(&key).await, open(&other).await);
    guarded.store.revoke(key.id(), guarded.stage.clock.now()).await.unwrap();
    guarded.gate.look().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), revoked.next()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
    let goes_on = tokio::time::timeout(Duration::from_millis(10), kept.next()).await;
    assert!(goes_on.is_err(), "the other one is open");
}
