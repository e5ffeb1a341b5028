//! Who may send: the door behind a gate.

use linktide_common::access::{
    AccessStore, Allowance, ApiKey, GateConfig, KeyRecord, LimitConfig, NewKey, Scope, Scopes,
};
use linktide_common::id::TenantId;
use linktide_common::rate::Rate;
use object_store::local::LocalFileSystem;

use super::*;

struct Guarded {
    door: Door,
    store: AccessStore,
    gate: Gate,
    clock: Clock,
    _keys: tempfile::TempDir,
}

impl Guarded {
    /// A door that would let anyone name any tenant, were it open.
    async fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let store = AccessStore::new(Arc::new(LocalFileSystem::new_with_prefix(keys.path()).unwrap()));
        let much = Allowance { rate: Rate { per_second: 1000, burst: 1000 }, concurrent: 100 };
        let clock = Clock::manual(Day(20_000).start());
        let gate = Gate::required(GateConfig {
            clock: clock.clone(),
            limits: LimitConfig { tenant: much, caller: much, address: much.rate, remembered: 100 },
            trusted_proxies: 0,
            store: Some(store.clone()),
            share_secret: None,
            tokens: None,
        });
        gate.look().await.unwrap();
        let config = IngestConfig { any_tenant: true, ..IngestConfig::default() };
        let door = Door::behind(gate.clone(), 0, EmitterConfig::default(), config);
        Self { door, store, gate, clock, _keys: keys }
    }

    async fn key(&self, tenant: u64, scopes: impl Into<Scopes>) -> String {
        let (key, now) = (ApiKey::generate(), self.clock.now());
        let new = NewKey { tenant: TenantId(tenant), scopes: scopes.into(), name: None, expires_at: None };
        self.store.add_key(&KeyRecord::new(&key, new, now)).await.unwrap();
        self.gate.look().await.unwrap();
        key.expose()
    }

    async fn send(&self, method: &str, place: &str, key: Option<&str>, body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(place);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        answer(self.door.send(request.body(Body::from(body.to_owned())).unwrap()).await).await
    }
}

fn chunk() -> String {
    format!("/v1/imports/{}/chunks/0", "ab".repeat(32))
}

#[tokio::test]
async fn key_sends_the_clicks_of_its_tenant_alone() {
    let guarded = Guarded::new().await;
    let key = guarded.key(7, Scope::Ingest).await;
    let body = "{\"link_id\":1}\n{\"link_id\":2,\"tenant_id\":7}\n{\"link_id\":3,\"tenant_id\":8}\n{\"link_id\":4,\"tenant_id\":0}\n";
    let (status, told) = guarded.send("POST", "/v1/clicks", Some(&key), body).await;
    assert_eq!((status, &told["taken"], &told["refused"]), (StatusCode::ACCEPTED, &json!(3), &json!(1)));
    assert_eq!(told["records"][2]["reason"], "foreign_tenant");
    let (status, told) = guarded.send("PUT", &chunk(), Some(&key), "{\"link_id\":5,\"tenant_id\":8}\n").await;
    assert_eq!((status, &told["taken"]), (StatusCode::OK, &json!(1)), "an import is its sender's");
    let clicks = guarded.door.clicks().await;
    assert_eq!(clicks.len(), 4);
    assert!(clicks.iter().all(|click| click.tenant_id == TenantId(7)), "{clicks:?}");
    // The same content from another tenant is another import.
    let other = guarded.key(8, Scope::Ingest).await;
    let (_, told) = guarded.send("PUT", &chunk(), Some(&other), "{\"link_id\":5}\n").await;
    assert_eq!(told["already"], json!(false));
}

#[tokio::test]
async fn nobody_else_sends_and_everybody_is_led_on() {
    let guarded = Guarded::new().await;
    let reader = guarded.key(7, [Scope::Read, Scope::Export, Scope::Admin].into_iter().collect::<Scopes>()).await;
    let unknown = ApiKey::generate().expose();
    for (method, place) in [("POST", "/v1/clicks".to_owned()), ("PUT", chunk())] {
        for (key, expected) in [(None, 401), (Some(&unknown), 401), (Some(&reader), 403)] {
            let (status, problem) = guarded.send(method, &place, key.map(String::as_str), "{\"link_id\":1}").await;
            assert_eq!((status.as_u16(), &problem["status"]), (expected, &json!(expected)), "{method} {place}");
        }
    }
    assert!(guarded.door.clicks().await.is_empty());
    assert_eq!(guarded.send("GET", "/r/spring", None, "").await.0, StatusCode::FOUND);
    assert_eq!(guarded.send("GET", "/q/spring", Some("nonsense"), "").await.0, StatusCode::FOUND);
}

#[tokio::test]
async fn answer_tells_of_quotas_and_of_limits() {
    let guarded = Guarded::new().await;
    let key = guarded.key(7, Scope::Ingest).await;
    let request = Request::post("/v1/clicks").header("authorization", format!("Bearer {key}"));
    let response = guarded.door.send(request.body(Body::from("{\"link_id\":1}")).unwrap()).await;
    let told: Vec<&str> = response.headers().get_all("ratelimit").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("\"clicks\";r=99999;")
            && told[0].contains("pk=:Nw==:")
            && told[1].starts_with("\"tenant\";r=999;")
    );
}
