//! What the door refuses, and how it says so.

use super::*;
use crate::{QuotaConfig, Rate, Readiness};

/// Two clicks a second and three at once; a thousand bytes.
fn limited(any_tenant: bool) -> Door {
    let quotas = QuotaConfig {
        clicks: Rate { per_second: 2, burst: 3 },
        bytes: Rate { per_second: 100, burst: 1000 },
        tenants: 100,
    };
    Door::with(0, EmitterConfig::default(), IngestConfig { any_tenant, quotas, ..IngestConfig::default() })
}

fn clicks(tenant: u64, count: usize) -> String {
    format!("{{\"link_id\":1,\"tenant_id\":{tenant}}}\n").repeat(count)
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

fn field(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn records_over_the_quota_are_refused_one_by_one() {
    let door = limited(false);
    let response = door.send(post("/v1/clicks", clicks(0, 5))).await;
    assert_eq!(field(&response, "retry-after").as_deref(), Some("1"));
    assert_eq!(
        field(&response, "ratelimit-policy").as_deref(),
        Some(r#""clicks";q=3;w=2;pk=:MA==:, "bytes";q=1000;qu="content-bytes";w=10;pk=:MA==:"#)
    );
    assert!(field(&response, "ratelimit").unwrap().starts_with(r#""clicks";r=0;t=2;pk=:MA==:, "bytes";r="#));
    let (status, told) = answer(response).await;
    assert_eq!((status, &told["taken"], &told["refused"]), (StatusCode::ACCEPTED, &json!(3), &json!(2)));
    assert_eq!(told["records"][4]["reason"], "over_quota");
    assert_eq!(door.clicks().await.len(), 3);
}

#[tokio::test]
async fn nothing_but_records_over_the_quota_is_too_many_requests() {
    let door = limited(false);
    assert_eq!(door.post(clicks(0, 3)).await.0, StatusCode::ACCEPTED);
    let response = door.send(post("/v1/clicks", clicks(0, 2))).await;
    assert_eq!(field(&response, "retry-after").as_deref(), Some("1"));
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let (status, problem) = answer(response).await;
    assert_eq!((status, &problem["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!(429)));
    assert_eq!(
        (&problem["type"], &problem["tenant_id"], &problem["limit"], &problem["retry_after"]),
        (&json!("/problems/over-quota"), &json!("0"), &json!("clicks"), &json!(1))
    );
    assert_eq!(problem["detail"], "tenant 0 may send 2 clicks a second, and 3 at once; send it again in 1 s");
    door.clock.set(door.clock.now().plus_millis(1000));
    assert_eq!(door.post(clicks(0, 2)).await.0, StatusCode::ACCEPTED, "it keeps its word");
    assert_eq!(door.clicks().await.len(), 5);
}

#[tokio::test]
async fn bytes_have_a_quota_of_their_own() {
    let door = limited(false);
    let long = format!("{{\"link_id\":1,\"title\":\"{}\"}}", "x".repeat(500));
    assert_eq!(door.post(long.clone()).await.0, StatusCode::ACCEPTED);
    let (status, problem) = door.post(long).await;
    assert_eq!((status, &problem["limit"]), (StatusCode::TOO_MANY_REQUESTS, &json!("bytes")));
}

#[tokio::test]
async fn quotas_are_those_of_the_tenant_a_record_names() {
    let door = limited(true);
    let (status, told) = door.post(clicks(7, 4) + &clicks(8, 3)).await;
    assert_eq!((status, &told["taken"], &told["refused"]), (StatusCode::ACCEPTED, &json!(6), &json!(1)));
    let response = door.send(post("/v1/clicks", clicks(7, 1))).await;
    assert!(field(&response, "ratelimit").unwrap().contains("pk=:Nw==:"), "it tells of tenant 7");
    assert_eq!(answer(response).await.1["tenant_id"], "7");
    assert_eq!(door.clicks().await.iter().filter(|click| click.tenant_id.0 == 7).count(), 3);
}

#[tokio::test]
async fn every_answer_of_the_collector_tells_what_is_left() {
    let door = limited(false);
    for (path, body) in [
        ("/v1/clicks", "{\"link_id\":1}".to_owned()),
        ("/v1/clicks", "{\"link_id\":-1}".to_owned()),
        ("/v1/clicks", String::new()),
        ("/v1/clicks?ack=never", "{\"link_id\":1}".to_owned()),
        ("/v1/clicks", " ".repeat(13 << 20)),
    ] {
        let response = door.send(post(path, body)).await;
        assert!(field(&response, "ratelimit").is_some() && field(&response, "ratelimit-policy").is_some(), "{path}");
    }
}

#[tokio::test]
async fn full_buffer_is_told_and_what_found_room_is_taken() {
    let buffer = EmitterConfig { buffer_clicks: 4, ..EmitterConfig::default() };
    // The log takes nothing, so the buffer stays full.
    let door = Door::with(u64::MAX, buffer, IngestConfig::default());
    let (status, told) = answer(door.send(post("/v1/clicks?ack=buffer", clicks(0, 6))).await).await;
    assert_eq!((status, &told["taken"], &told["refused"]), (StatusCode::ACCEPTED, &json!(4), &json!(2)));
    assert_eq!(told["records"][5]["reason"], "buffer_full");
    let response = door.send(post("/v1/clicks?ack=buffer", clicks(0, 2))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, "retry-after").as_deref(), Some("5"));
    assert_eq!(door.emitter.tally().dropped(), 0, "the sender was told: nothing is lost");
}

#[tokio::test]
async fn redirect_without_tracking_leads_on_and_records_nothing() {
    let door = Door::with(0, EmitterConfig::default(), IngestConfig { track: false, ..IngestConfig::default() });
    let response = door.send(Request::get("/r/spring").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    door.emitter.shutdown(Duration::from_secs(20)).await;
    assert_eq!(door.emitter.tally(), crate::Tally::default());
}

#[tokio::test]
async fn process_that_ends_is_alive_and_not_ready() {
    let ready = Readiness::default();
    let router = crate::health(ready.clone());
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(get("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    ready.set(true);
    assert_eq!((get("/readyz").await, get("/metrics").await), (StatusCode::OK, StatusCode::OK));
    ready.set(false);
    assert_eq!((get("/healthz").await, get("/readyz").await), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(get("/elsewhere").await, StatusCode::NOT_FOUND);
}
