//! Layers that are away, late, or move on: an answer is never a silent zero, and never a 500.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use futures::poll;
use insta::assert_json_snapshot;
use linktide_common::bucket::Hour;
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::intake::Gap;
use linktide_common::log::Positions;
use linktide_common::publication::Publication;
use linktide_speed::view::{Fold, View as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::stage::{Fault, Faulty, Stage, W, ask, click, first, minute, publish, stage, unpublished};
use crate::{QueryConfig, router};

const QUESTIONS: [&str; 5] = [
    "/v1/links/7/summary",
    "/v1/account/timeseries?unit=hour&interval=24h",
    "/v1/account/breakdown?by=country",
    "/v1/links",
    "/v1/account/summary?interval=all",
];

/// Tables that are not there at the version that is published.
async fn lose_history(stage: &Stage) {
    let tables = ["link_stats_hourly", "link_stats_daily"].map(|name| (name.to_owned(), 9)).into();
    publish(&stage.lake, Publication { number: 1, tables, ..first() }).await;
}

fn reasons(answer: &Value) -> String {
    answer["meta"]["freshness"]["reasons"].to_string()
}

#[tokio::test]
async fn without_the_view_history_answers_as_of_the_watermark() {
    let stage = stage().await;
    for fault in [Fault::Away, Fault::Hangs] {
        stage.meets(fault);
        for question in QUESTIONS {
            let answer = stage.get(question).await;
            let freshness = &answer["meta"]["freshness"];
            assert_eq!(freshness["as_of"], W.start().to_string(), "{question}");
            assert_eq!(freshness["layers"]["speed"]["state"], "unavailable");
            assert_eq!(freshness["layers"]["batch"]["state"], "ok");
            assert_eq!(freshness["stale"], true);
            assert!(reasons(&answer).contains("nothing received since complete_through"), "{answer}");
        }
    }
    let series = stage.get("/v1/account/timeseries?unit=hour&interval=24h").await;
    let now = series["results"].as_array().unwrap().last().unwrap();
    assert_eq!((&now["partial"], &now["layers"]), (&json!(true), &json!([])), "{now}");
}

#[tokio::test]
async fn without_history_the_view_answers() {
    let stage = stage().await;
    lose_history(&stage).await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    for question in QUESTIONS {
        let answer = stage.get(question).await;
        let freshness = &answer["meta"]["freshness"];
        assert_eq!(freshness["layers"]["batch"]["state"], "unavailable", "{question}");
        assert_eq!((&freshness["layers"]["speed"]["state"], &freshness["stale"]), (&json!("ok"), &json!(true)));
        assert!(reasons(&answer).contains("nothing received before complete_through"), "{answer}");
    }
    assert_eq!(stage.get("/v1/links/7/summary").await["results"]["clicks"], 1);
    let all = stage.get("/v1/account/summary?interval=all").await;
    assert!(reasons(&all).contains("`all` may begin too late"), "{all}");
    let series = stage.get("/v1/account/timeseries?unit=hour&interval=24h").await;
    let (last, before) = series["results"].as_array().unwrap().split_last().unwrap();
    assert!(before.iter().all(|bucket| bucket["layers"] == json!([]) && bucket["partial"] == true), "{series}");
    assert_eq!(last["layers"], json!(["speed"]));
}

#[tokio::test]
async fn without_either_layer_the_answer_says_so() {
    let stage = stage().await;
    lose_history(&stage).await;
    stage.meets(Fault::Away);
    for question in QUESTIONS {
        let reasons = reasons(&stage.get(question).await);
        assert!(reasons.contains("history is unavailable"), "{question}: {reasons}");
        assert!(reasons.contains("speed layer is unavailable"), "{question}: {reasons}");
    }
    assert_eq!(stage.get("/v1/freshness").await["layers"]["batch"]["state"], "unavailable");
}

#[tokio::test]
async fn lists_that_do_not_come_hold_no_other_question_up() {
    let stage = stage().await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    let mut query = stage.query.clone();
    query.speed = query.speed.with_apart(Arc::new(Faulty::hanging()));
    query.config = Arc::new(QueryConfig { deadline: Duration::from_secs(3_600), ..(*query.config).clone() });
    let router = router(query);
    let mut lists = pin!(join_all((0..8).map(|_| ask(&router, "/v1/links"))));
    assert!(poll!(lists.as_mut()).is_pending());
    let (status, answer) = ask(&router, "/v1/links/7/summary").await;
    assert_eq!((status, &answer["results"]["clicks"]), (200, &json!(1)), "{answer}");
    assert_eq!(answer["meta"]["freshness"]["layers"]["speed"]["state"], "ok");
    assert!(poll!(lists.as_mut()).is_pending());
}

#[tokio::test]
async fn question_takes_the_newer_publication_when_the_view_has_let_go() {
    let stage = stage().await;
    let mut watermark = W;
    for question in ["/v1/links/7/summary?interval=7d", "/v1/links?interval=7d"] {
        stage.meets(Fault::MovesOn(stage.lake.clone()));
        watermark = watermark.next();
        let freshness = stage.get(question).await["meta"]["freshness"].clone();
        assert_eq!(freshness["complete_through"], watermark.start().to_string(), "{question}");
        assert_eq!(freshness["gaps"], json!([]), "{question}");
    }
}

#[tokio::test]
async fn what_history_owns_is_not_counted_from_the_view_that_still_holds_it() {
    let stage = stage().await;
    let next = W.next().start();
    // Both of the same event time: only the received time tells whose they are.
    stage.count(&[click(7, minute(1), minute(1)), click(7, next, minute(1))]).await;
    assert_eq!(stage.get("/v1/links/7/summary").await["results"]["clicks"], 2);
    publish(&stage.lake, Publication { number: 1, watermark: W.next(), ..first() }).await;
    // These tables hold nothing, so that whatever is counted of the first click comes from the wrong layer.
    assert_eq!(stage.get("/v1/links/7/summary").await["results"]["clicks"], 1);
    assert_eq!(stage.get("/v1/account/breakdown?by=language").await["results"][0]["total"], 1);
    assert_eq!(stage.get("/v1/links").await["results"]["total"], 1);
}

#[tokio::test]
async fn what_the_view_let_go_of_and_nobody_published_is_a_gap() {
    let stage = unpublished();
    publish(&stage.lake, first()).await;
    stage.begin(minute(65), W.next()).await;
    stage.clock.set(minute(66));
    let freshness = stage.get("/v1/links/7/summary").await["meta"]["freshness"].clone();
    assert_eq!(freshness["stale"], true);
    assert_json_snapshot!(freshness["gaps"], @r#"
    [
      "clicks received from 2026-11-24T10:00:00Z to 2026-11-24T11:00:00Z are in neither layer"
    ]
    "#);
}

#[tokio::test]
async fn what_the_log_lost_is_a_gap() {
    let stage = unpublished();
    publish(&stage.lake, first()).await;
    let gap = Gap { partition: PartitionId(1), from: Offset(3), to: Offset(8) };
    stage.begin(minute(9), W).await;
    let mut fold = Fold::new(Epoch(0), stage.view.standing(Epoch(0)).await.unwrap(), Positions::new());
    fold.lost(gap);
    stage.view.flush(fold).await.unwrap();
    assert_json_snapshot!(stage.get("/v1/freshness").await["gaps"], @r#"
    [
      "partition 1: records 3 to 8 were gone from the log before they were counted"
    ]
    "#);
}

#[tokio::test]
async fn readiness_waits_for_the_first_publication_and_the_end_of_the_log_once() {
    let stage = unpublished();
    let (status, problem) = stage.ask("/readyz").await;
    assert_eq!((status, &problem["type"]), (503, &json!("/problems/not-ready")));
    for question in QUESTIONS {
        assert_eq!(stage.ask(question).await.0, 503, "{question}");
    }
    publish(&stage.lake, first()).await;
    assert_eq!(stage.ask("/readyz").await.0, 503, "the view has not begun");
    stage.begin(Hour(W.0 - 5).start(), W).await;
    let (status, problem) = stage.ask("/readyz").await;
    assert_eq!(status, 503, "the view is ten minutes behind");
    assert!(!problem["reasons"].as_array().unwrap().is_empty(), "{problem}");
    stage.clock.set(W.start().plus_millis(30_000));
    assert_eq!(stage.ask("/readyz").await.0, 200);
    stage.meets(Fault::Away);
    stage.clock.set(minute(99_999));
    assert_eq!(stage.ask("/readyz").await.0, 200, "it has caught up once: what it lacks now, its answers say");
    assert_eq!(stage.ask("/healthz").await.0, 200);
}

#[tokio::test]
async fn other_methods_are_told_what_there_is() {
    let stage = stage().await;
    let request = Request::post("/v1/links").body(Body::empty()).unwrap();
    let response = stage.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
