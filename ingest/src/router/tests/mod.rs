//! The front door as a client sees it, over a real log.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use linktide_common::bucket::Day;
use linktide_common::click::{Click, Kind, Trigger};
use linktide_common::id::{Offset, PartitionId};
use linktide_common::log::LogReader as _;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tower::ServiceExt as _;

use super::*;
use crate::{ChallengeConfig, EmitterConfig};

mod access;
mod challenges;
mod limits;
mod signals;

struct Door {
    log: Arc<EmbeddedLog>,
    emitter: Arc<Emitter>,
    router: Router,
    clock: Clock,
    challenges: Arc<Challenges>,
    _folder: tempfile::TempDir,
}

impl Door {
    fn with_reserve(reserve: u64) -> Self {
        Self::with(reserve, EmitterConfig::default(), IngestConfig::default())
    }

    fn with(reserve: u64, buffer: EmitterConfig, config: IngestConfig) -> Self {
        Self::behind(Gate::open(), reserve, buffer, config)
    }

    fn behind(gate: Gate, reserve: u64, buffer: EmitterConfig, config: IngestConfig) -> Self {
        Self::challenging(gate, reserve, buffer, config, challenges::config())
    }

    fn challenging(
        gate: Gate,
        reserve: u64,
        buffer: EmitterConfig,
        config: IngestConfig,
        challenge: ChallengeConfig,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Day(20_000).start());
        let about = EmbeddedConfig { partitions: 1, reserve, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), &about, clock.clone()).unwrap();
        let csv = folder.path().join("links.csv");
        let text = "slug,link_id,destination,challenge\nspring,7,https://a.example/?utm_source=x,\nsummer,8,https://b.example/,always\nautumn,9,https://c.example/,suspects\n";
        std::fs::write(&csv, text).unwrap();
        let links = Arc::new(LinkFile::open(&csv).unwrap());
        let emitter = Arc::new(Emitter::new(Arc::clone(&log) as Arc<dyn LogWriter>, clock.clone(), buffer));
        let config = IngestConfig { body_bytes: 12 << 20, ..config };
        let challenges = Arc::new(Challenges::new(challenge, Arc::clone(&emitter), clock.clone()));
        let (writer, emitters) = (Arc::clone(&log) as Arc<dyn LogWriter>, Arc::clone(&emitter));
        let router = router(writer, emitters, links, Arc::clone(&challenges), clock.clone(), gate, config);
        Self { log, emitter, router, clock, challenges, _folder: folder }
    }

    fn new() -> Self {
        Self::with_reserve(0)
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        answer(self.send(Request::post("/v1/clicks").body(body.into()).unwrap()).await).await
    }

    async fn put(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        answer(self.send(Request::put(path).body(body.into()).unwrap()).await).await
    }

    async fn clicks(&self) -> Vec<Click> {
        let reader = self.log.reader();
        let end = reader.bounds(PartitionId(0)).await.unwrap().high;
        let records = reader.read(PartitionId(0), Offset(0), end).await.unwrap();
        records.iter().map(|record| Click::parse(record.payload.as_ref().unwrap()).unwrap()).collect()
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn good_records_are_taken_and_each_bad_one_is_told() {
    let door = Door::new();
    let body = "{\"link_id\":1}\n{\"link_id\":-1}\nbroken\n{\"link_id\":\"2\",\"clicked_at\":\"2100-01-01T00:00:00Z\"}\n{\"link_id\":3,\"ip\":\"a.host\"}\n{\"link_id\":4,\"clicked_at\":0}\n{\"link_id\":5,\"tenant_id\":9}\n";
    let (status, answer) = door.post(body).await;
    assert_eq!((status, &answer["taken"], &answer["refused"]), (StatusCode::ACCEPTED, &json!(2), &json!(5)));
    let reasons: Vec<_> = answer["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["reason"].as_str().unwrap_or("taken"))
        .collect();
    assert_eq!(reasons, ["taken", "bad_value", "syntax", "taken", "bad_value", "too_old", "foreign_tenant"]);
    assert!(answer["records"][3]["note"].is_string());
    assert_eq!(door.clicks().await.len(), 2);
    let (status, _) = door.post("{\"link_id\":-1}").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn line_of_ten_megabytes_costs_no_other() {
    let door = Door::new();
    let body =
        format!("{{\"link_id\":1}}\n{{\"link_id\":1,\"slug\":\"{}\"}}\n{{\"link_id\":2}}\n", "x".repeat(10 << 20));
    let (_, answer) = door.post(body).await;
    assert_eq!((&answer["taken"], &answer["records"][1]["reason"]), (&json!(2), &json!("too_large")));
}

#[tokio::test]
async fn packed_bodies_are_read_and_bombs_are_not() {
    let door = Door::new();
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let click = br#"[{"link_id":1},{"link_id":2}]"#;
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(300 << 20), 1).unwrap();
    for (encoding, body, expected) in [
        ("gzip", pack(click), StatusCode::ACCEPTED),
        ("zstd", zstd::encode_all(&click[..], 1).unwrap(), StatusCode::ACCEPTED),
        ("gzip", b"no gzip".to_vec(), StatusCode::BAD_REQUEST),
        ("br", click.to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("zstd", bomb, StatusCode::PAYLOAD_TOO_LARGE),
        ("identity", vec![b' '; 13 << 20], StatusCode::PAYLOAD_TOO_LARGE),
        ("identity", Vec::new(), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::post("/v1/clicks").header(header::CONTENT_ENCODING, encoding).body(body.into()).unwrap();
        let response = door.send(request).await;
        assert_eq!(response.status(), expected, "{encoding}");
        if expected != StatusCode::ACCEPTED {
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
    assert_eq!(door.clicks().await.len(), 4);
}

#[tokio::test]
async fn chunk_of_an_import_counts_once() {
    let door = Door::new();
    let path = format!("/v1/imports/{}/chunks/0", "ab".repeat(32));
    let body = "{\"link_id\":1,\"clicked_at\":0}\nbroken\n{\"link_id\":2}\n";
    for round in 0..3 {
        let (status, answer) = door.put(&path, body).await;
        assert_eq!((status, &answer["taken"], &answer["already"]), (StatusCode::OK, &json!(2), &json!(round > 0)));
        assert_eq!((&answer["refused"][0]["index"], &answer["refused"][0]["reason"]), (&json!(1), &json!("syntax")));
    }
    let clicks = door.clicks().await;
    assert_eq!(clicks.len(), 2);
    assert!(clicks.iter().all(|click| click.imported && click.click_id.is_some()));
    assert_eq!(door.put("/v1/imports/short/chunks/0", body).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(door.put(&path.replace("/0", "/x"), body).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn redirect_leads_on_and_is_recorded() {
    let door = Door::new();
    for (method, path) in [("GET", "/r/spring"), ("HEAD", "/r/spring"), ("GET", "/q/spring")] {
        let request =
            Request::builder().method(method).uri(path).header("user-agent", "Firefox").body(Body::empty()).unwrap();
        let response = door.send(request).await;
        assert_eq!(
            (response.status(), response.headers()[header::LOCATION].to_str().unwrap()),
            (StatusCode::FOUND, "https://a.example/?utm_source=x")
        );
    }
    let unknown = door.send(Request::get("/r/nowhere").body(Body::empty()).unwrap()).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    door.emitter.shutdown(Duration::from_secs(20)).await;
    let mut seen: Vec<_> =
        door.clicks().await.into_iter().map(|click| (click.kind, click.trigger, click.link_id.0)).collect();
    seen.sort_by_key(|(kind, trigger, _)| (*kind == Kind::Preview, *trigger == Trigger::Qr));
    assert_eq!(
        seen,
        [(Kind::Click, Trigger::Link, 7), (Kind::Click, Trigger::Qr, 7), (Kind::Preview, Trigger::Link, 7)]
    );
}

#[tokio::test]
async fn full_disk_is_told_and_nothing_hangs() {
    let door = Door::with_reserve(u64::MAX);
    let (status, problem) = door.post("{\"link_id\":1}").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem["detail"].as_str().unwrap().contains("reserve"), "{problem}");
    assert!(door.clicks().await.is_empty());
}
