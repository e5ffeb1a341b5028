//! The gate in front of a route that tells who passed, over keys in a folder.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use futures::StreamExt as _;
use linktide_servers::Issuer;
use object_store::local::LocalFileSystem;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt as _;

use super::*;
use crate::access::{Allowance, KeyRecord, NewKey, Scopes, TokenConfig};
use crate::bucket::Day;
use crate::id::{LinkId, TenantId};
use crate::rate::Rate;

struct Door {
    gate: Gate,
    router: Router,
    store: AccessStore,
    clock: Clock,
    folder: tempfile::TempDir,
}

fn generous() -> LimitConfig {
    let much = Allowance { rate: Rate { per_second: 1000, burst: 1000 }, concurrent: 100 };
    LimitConfig { tenant: much, caller: much, address: much.rate, remembered: 100 }
}

impl Door {
    fn new(limits: LimitConfig) -> Self {
        Self::with(limits, None)
    }

    fn with(limits: LimitConfig, tokens: Option<Arc<Tokens>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = AccessStore::new(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()));
        let clock = Clock::manual(Day(20_000).start());
        let gate = Gate::required(GateConfig {
            clock: clock.clone(),
            limits,
            trusted_proxies: 1,
            store: Some(store.clone()),
            share_secret: None,
            tokens,
        });
        let tell = async |request: Request| {
            let caller = request.extensions().get::<Principal>().unwrap();
            let headers = format!("{:?}", request.headers());
            json!({
                "tenant": caller.tenant, "scopes": caller.scopes, "id": &*caller.id, "link": caller.link,
                "place": request.uri().to_string(), "headers": headers,
            })
            .to_string()
        };
        let slow = async || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let router = Router::new()
            .route("/v1/who", get(tell))
            .route("/v1/slow", get(slow))
            .route_layer(from_fn_with_state(gate.clone(), guard));
        Self { gate, router, store, clock, folder }
    }

    async fn key(&self, tenant: u64, expires_in_ms: Option<i64>) -> ApiKey {
        let (key, now) = (ApiKey::generate(), self.clock.now());
        let expires_at = expires_in_ms.map(|ms| now.plus_millis(ms));
        let new = NewKey { tenant: TenantId(tenant), scopes: Scope::Read.into(), name: None, expires_at };
        self.store.add_key(&KeyRecord::new(&key, new, now)).await.unwrap();
        key
    }

    async fn send(&self, place: &str, authorization: &[&str]) -> Response {
        let mut request = Request::get(place).header("x-forwarded-for", "203.0.113.7");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn ask(&self, place: &str, authorization: &[&str]) -> (u16, Value) {
        let response = self.send(place, authorization).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(headers["content-type"], "application/problem+json");
        }
        assert_eq!(status == StatusCode::UNAUTHORIZED, headers.contains_key("www-authenticate"), "{status}");
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    async fn bearer(&self, credential: &str) -> (u16, Value) {
        self.ask("/v1/who", &[&format!("Bearer {credential}")]).await
    }

    fn wait(&self, ms: i64) {
        self.clock.set(self.clock.now().plus_millis(ms));
    }
}

#[tokio::test]
async fn open_gate_lets_everyone_pass_as_tenant_0() {
    let tell = async |request: Request| request.extensions().get::<Principal>().unwrap().tenant.to_string();
    let router = Router::new().route("/", get(tell)).route_layer(from_fn_with_state(Gate::open(), guard));
    for authorization in ["Bearer lt_whatever", "nonsense"] {
        let request = Request::get("/?share=x").header("authorization", authorization).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "0");
    }
    assert!(Gate::open().shares().is_none() && Gate::open().holds(&Principal::open()) && !Gate::open().is_required());
}

#[tokio::test]
async fn request_without_its_one_credential_is_asked_for_it() {
    let door = Door::new(generous());
    door.gate.look().await.unwrap();
    let key = door.key(7, None).await.expose();
    door.gate.look().await.unwrap();
    let bearer = format!("Bearer {key}");
    for (place, authorization, says) in [
        ("/v1/who", vec![], "who asks?"),
        ("/v1/who", vec![""], "no credential"),
        ("/v1/who", vec!["Bearer"], "no credential"),
        ("/v1/who", vec!["Bearer "], "no credential"),
        ("/v1/who", vec!["Basic bHQ6"], "no credential"),
        ("/v1/who", vec![key.as_str()], "no credential"),
        ("/v1/who", vec!["Bearer lt_", ""], "several"),
        ("/v1/who", vec![bearer.as_str(), bearer.as_str()], "several"),
        ("/v1/who?share=lts_x", vec![bearer.as_str()], "several"),
        ("/v1/who?share=lts_x&share=lts_y", vec![], "several"),
        ("/v1/who?share=", vec![], "share link is none"),
    ] {
        let (status, problem) = door.ask(place, &authorization).await;
        assert_eq!((status, &problem["type"]), (401, &json!("/problems/unauthorized")), "{place} {authorization:?}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    // A key is no parameter: addresses are written down everywhere.
    assert_eq!(door.ask(&format!("/v1/who?share={key}"), &[]).await.0, 401);
    let missing = door.send("/v1/who", &[]).await;
    assert_eq!(missing.headers()["www-authenticate"], r#"Bearer realm="linktide""#);
    let wrong = door.send("/v1/who", &["Bearer x"]).await;
    assert_eq!(wrong.headers()["www-authenticate"], r#"Bearer realm="linktide", error="invalid_token""#);
    assert_eq!(door.ask("/v1/who", &[&format!("bEARER   {key}")]).await.0, 200);
    assert_eq!(door.bearer(&"x".repeat(LARGEST)).await.0, 401);
}

#[tokio::test]
async fn key_is_known_once_it_is_read_and_until_it_is_revoked() {
    let door = Door::new(generous());
    let key = door.key(7, None).await;
    let (status, problem) = door.bearer(&key.expose()).await;
    assert_eq!((status, &problem["type"]), (503, &json!("/problems/not-ready")), "nobody has looked yet");
    door.gate.look().await.unwrap();
    let (status, told) = door.bearer(&key.expose()).await;
    assert_eq!(
        (status, &told["tenant"], &told["scopes"], &told["link"]),
        (200, &json!("7"), &json!(["read"]), &json!(null))
    );
    assert_eq!(told["id"], key.id());
    assert!(!told.to_string().contains(&key.expose()), "nobody behind the gate sees it: {told}");

    let caller = door.gate.0.required.as_ref().unwrap().check(&key.expose(), door.clock.now()).await.unwrap();
    assert!(door.gate.holds(&caller));
    // The folder goes: what is known goes on.
    let away = door.folder.path().with_extension("away");
    std::fs::rename(door.folder.path(), &away).unwrap();
    let _ = door.gate.look().await;
    std::fs::rename(&away, door.folder.path()).unwrap();
    door.gate.look().await.unwrap();
    assert_eq!(door.bearer(&key.expose()).await.0, 200);

    door.store.revoke(key.id(), door.clock.now()).await.unwrap();
    door.store.revoke(key.id(), door.clock.now()).await.unwrap();
    door.gate.look().await.unwrap();
    let (status, problem) = door.bearer(&key.expose()).await;
    assert_eq!((status, &problem["detail"]), (401, &json!("the credential was revoked")));
    assert!(!door.gate.holds(&caller));
    let listed = door.store.keys().await.unwrap();
    assert_eq!((listed.len(), listed[0].1), (1, true));
}

#[tokio::test]
async fn wrong_secret_and_unknown_id_are_told_alike() {
    let door = Door::new(generous());
    let (mine, other) = (door.key(7, Some(60_000)).await, ApiKey::generate());
    door.gate.look().await.unwrap();
    // Another secret under a known id, with the right checksum.
    let secret = &other.expose().split('_').nth(2).unwrap()[..43].to_owned();
    let start = format!("lt_{}_{secret}", mine.id());
    let forged = format!("{start}{}", crate::access::code::checksum(&start));
    let (unknown, wrong) = (door.bearer(&other.expose()).await, door.bearer(&forged).await);
    assert_eq!((&unknown, unknown.0), (&wrong, 401));
    // Another last letter, whichever it has.
    let key = mine.expose();
    let slip = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { 'y' } else { 'x' });
    assert!(door.bearer(&slip).await.1["detail"].as_str().unwrap().contains("checksum"));
    door.wait(60_000);
    assert_eq!(door.bearer(&mine.expose()).await.1["detail"], "the credential has expired");
}

#[tokio::test]
async fn object_that_cannot_be_read_opens_nothing_and_costs_no_other() {
    let door = Door::new(generous());
    let key = door.key(7, None).await;
    let keys = door.folder.path().join("access/key");
    for (name, content) in [
        ("aaaaaaaaaaaa.json", "no json".to_owned()),
        ("bbbbbbbbbbbb.json", "{}".to_owned()),
        ("cccccccccccc.json", json!({"format": 9}).to_string()),
        ("..json", "{}".to_owned()),
        ("short.json", "{}".to_owned()),
    ] {
        std::fs::write(keys.join(name), content).unwrap();
    }
    door.gate.look().await.unwrap();
    assert_eq!(door.bearer(&key.expose()).await.0, 200);
    let error = door.store.keys().await.unwrap_err();
    assert!(error.to_string().contains("access/key/"), "{error}");
    // A key whose object is gone is one no longer.
    std::fs::remove_file(keys.join(format!("{}.json", key.id()))).unwrap();
    door.gate.look().await.unwrap();
    assert_eq!(door.bearer(&key.expose()).await.0, 401);
}

#[tokio::test]
async fn share_token_opens_its_link_until_it_expires_or_is_revoked() {
    let door = Door::new(generous());
    door.gate.look().await.unwrap();
    let shares = door.gate.shares().unwrap();
    let expires = door.clock.now().plus_millis(60_000);
    let (share, token) = shares.create(TenantId(7), LinkId(42), expires).await.unwrap();
    assert_eq!(door.ask(&format!("/v1/who?share={token}"), &[]).await.0, 401, "its secret is not known yet");
    door.gate.look().await.unwrap();
    let (status, told) = door.ask(&format!("/v1/who?a=1&share={token}&b=2"), &[]).await;
    assert_eq!(
        (status, &told["tenant"], &told["link"], &told["scopes"]),
        (200, &json!("7"), &json!("42"), &json!(["read"]))
    );
    assert_eq!(told["place"], "/v1/who?a=1&b=2", "nobody behind the gate sees it");
    assert_eq!(door.ask(&format!("/v1/who?share={token}"), &[]).await.1["place"], "/v1/who");
    assert_eq!(door.bearer(&token).await.0, 200);
    for other in ["_42_", "_7_"] {
        let tampered = token.replace(other, "_8_");
        let (status, problem) = door.bearer(&tampered).await;
        assert_eq!((status, &problem["detail"]), (401, &json!("the share link is none, or was changed")));
    }
    let elsewhere = Door::new(generous());
    elsewhere.gate.shares().unwrap().create(TenantId(7), LinkId(42), expires).await.unwrap();
    elsewhere.gate.look().await.unwrap();
    assert_eq!(elsewhere.bearer(&token).await.0, 401, "another lake has another secret");

    let (second, revoked) = shares.create(TenantId(7), LinkId(42), expires).await.unwrap();
    assert_eq!(shares.list(TenantId(7)).await.unwrap().len(), 2);
    assert!(shares.list(TenantId(8)).await.unwrap().is_empty());
    assert!(!shares.revoke(TenantId(8), &second.id).await.unwrap(), "another tenant's is nobody's");
    assert!(!shares.revoke(TenantId(7), "../../key/x").await.unwrap());
    assert!(shares.revoke(TenantId(7), &second.id).await.unwrap());
    door.gate.look().await.unwrap();
    assert_eq!(door.bearer(&revoked).await.1["detail"], "the credential was revoked");
    assert_eq!(shares.list(TenantId(7)).await.unwrap(), [share]);
    door.wait(60_000);
    assert_eq!(door.bearer(&token).await.1["detail"], "the credential has expired");
    assert!(shares.list(TenantId(7)).await.unwrap().is_empty());
    // What expired a day ago is forgotten with the next one, and its revocation too.
    door.wait(86_400_000);
    shares.create(TenantId(7), LinkId(1), door.clock.now().plus_millis(1000)).await.unwrap();
    let count = |place: &str| std::fs::read_dir(door.folder.path().join(place)).unwrap().count();
    assert_eq!((count("share/7"), count("access/revoked")), (1, 0));
}

#[tokio::test]
async fn tokens_are_taken_where_there_is_an_issuer_and_nowhere_else() {
    let issuer = Issuer::new();
    let tokens = Arc::new(Tokens::new(TokenConfig {
        issuer: "https://id.example".into(),
        audience: vec!["linktide".into()],
        tenant_claim: "tenant_id".into(),
        scope_claim: "scope".into(),
        scopes: Scopes::ALL,
        leeway: Duration::ZERO,
    }));
    tokens.replace(issuer.jwks().to_string().as_bytes()).unwrap();
    let door = Door::with(generous(), Some(tokens));
    let expires = door.clock.now().as_millis() / 1000 + 60;
    let claims = json!({ "iss": "https://id.example", "aud": "linktide", "sub": "ada", "exp": expires, "tenant_id": 9, "scope": "read" });
    let token = issuer.token("ES256", &claims);
    let (status, told) = door.bearer(&token).await;
    assert_eq!((status, &told["tenant"], &told["id"]), (200, &json!("9"), &json!("ada")), "it needs no lake");
    let without = Door::new(generous()).bearer(&token).await;
    assert_eq!((without.0, &without.1["detail"]), (401, &json!("tokens of an identity provider are not taken here")));
    door.wait(60_000);
    assert_eq!(door.bearer(&token).await.1["detail"], "the credential has expired");
}

#[tokio::test]
async fn tenant_and_caller_have_limits_of_their_own_and_are_told_of_them() {
    let rate = |per_second, burst| Rate { per_second, burst };
    let limits = LimitConfig {
        tenant: Allowance { rate: rate(10, 5), concurrent: 9 },
        caller: Allowance { rate: rate(1, 3), concurrent: 9 },
        ..generous()
    };
    let door = Door::new(limits);
    let (one, two, other) = (door.key(7, None).await, door.key(7, None).await, door.key(8, None).await);
    door.gate.look().await.unwrap();
    let bearer = format!("Bearer {}", one.expose());
    let response = door.send("/v1/who", &[&bearer]).await;
    let whose = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let own = whose(one.id());
    assert_eq!(
        response.headers()["ratelimit-policy"],
        format!(
            "\"tenant\";q=5;w=1;pk=:Nw==:, \"tenant-running\";q=9;qu=\"concurrent-requests\";pk=:Nw==:, \"caller\";q=3;w=3;pk=:{own}:, \"caller-running\";q=9;qu=\"concurrent-requests\";pk=:{own}:"
        )
    );
    assert_eq!(
        response.headers()["ratelimit"],
        format!(
            "\"tenant\";r=4;t=1;pk=:Nw==:, \"tenant-running\";r=8;pk=:Nw==:, \"caller\";r=2;t=1;pk=:{own}:, \"caller-running\";r=8;pk=:{own}:"
        )
    );
    drop(response);
    for _ in 0..2 {
        assert_eq!(door.bearer(&one.expose()).await.0, 200);
    }
    let response = door.send("/v1/who", &[&bearer]).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let (status, problem) = door.bearer(&one.expose()).await;
    assert_eq!(
        (status, &problem["type"], &problem["whose"]),
        (429, &json!("/problems/too-many-requests"), &json!("caller"))
    );
    assert_eq!((door.bearer(&two.expose()).await.0, door.bearer(&two.expose()).await.0), (200, 200));
    assert_eq!(door.bearer(&two.expose()).await.1["whose"], "tenant", "both together have used it up");
    assert_eq!(door.bearer(&other.expose()).await.0, 200, "and another tenant has not");
    door.wait(1000);
    assert_eq!(door.bearer(&one.expose()).await.0, 200, "it keeps its word");
}

#[tokio::test]
async fn answer_that_is_not_read_holds_its_place_until_it_is_given_up() {
    let limits = LimitConfig { caller: Allowance { concurrent: 2, ..generous().caller }, ..generous() };
    let door = Door::new(limits);
    let (key, other) = (door.key(7, None).await, door.key(7, None).await);
    door.gate.look().await.unwrap();
    let bearer = format!("Bearer {}", key.expose());
    let (one, two) = (door.send("/v1/slow", &[&bearer]).await, door.send("/v1/slow", &[&bearer]).await);
    let (status, problem) = door.bearer(&key.expose()).await;
    assert_eq!((status, &problem["limit"], &problem["burst"]), (429, &json!("concurrent-requests"), &json!(2)));
    assert_eq!(door.bearer(&other.expose()).await.0, 200);
    drop(one);
    assert_eq!(door.bearer(&key.expose()).await.0, 200);
    let mut read = two.into_body().into_data_stream();
    assert!(tokio::time::timeout(Duration::from_millis(1), read.next()).await.is_err(), "it goes on");
    drop(read);
    let all = [door.send("/v1/slow", &[&bearer]).await, door.send("/v1/slow", &[&bearer]).await];
    assert!(all.iter().all(|response| response.status() == 200));
}

#[tokio::test]
async fn address_is_limited_in_what_it_tries_and_shares_but_not_in_what_its_keys_ask() {
    let door = Door::new(LimitConfig { address: Rate { per_second: 1, burst: 5 }, ..generous() });
    let key = door.key(7, None).await;
    let shares = door.gate.shares().unwrap();
    let (_, token) = shares.create(TenantId(7), LinkId(42), door.clock.now().plus_millis(3_600_000)).await.unwrap();
    door.gate.look().await.unwrap();
    for _ in 0..3 {
        assert_eq!(door.bearer("guess").await.0, 401);
    }
    assert_eq!((door.bearer(&token).await.0, door.bearer(&token).await.0), (200, 200));
    for credential in ["guess", &token] {
        let (status, problem) = door.bearer(credential).await;
        assert_eq!((status, &problem["whose"]), (429, &json!("address")));
    }
    for _ in 0..20 {
        assert_eq!(door.bearer(&key.expose()).await.0, 200, "others behind the address go on");
    }
    let elsewhere = Request::get("/v1/who").header("x-forwarded-for", "203.0.113.8").body(Body::empty()).unwrap();
    assert_eq!(door.router.clone().oneshot(elsewhere).await.unwrap().status(), 401);
    door.wait(1000);
    assert_eq!(door.bearer(&token).await.0, 200);
}
