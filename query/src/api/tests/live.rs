//! Live streams: each click is told once, over reconnects and outages.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::stage::{Fault, LIVE_STREAMS, ask, click, minute, stage};

const PATIENCE: Duration = Duration::from_secs(30);

/// A stream as a browser reads it.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(router: &Router, place: &str, last: Option<&str>) -> Self {
        let request = Request::get(place);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event: its id and its data. None where the stream is over.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let found = field("id: ").zip(field("data: "));
                self.text = rest.to_owned();
                if let Some((id, data)) = found {
                    return Some((id, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.body.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&more.unwrap()).unwrap());
        }
    }
}

/// What it tells of clicks without repeats, and of those that are new.
fn unique(event: &(String, Value)) -> (Option<u64>, Option<u64>) {
    (event.1["unique_clicks"].as_u64(), event.1["new"]["unique_clicks"].as_u64())
}

fn told(event: &(String, Value)) -> (u64, u64) {
    (event.1["clicks"].as_u64().unwrap(), event.1["new"]["clicks"].as_u64().unwrap())
}

#[tokio::test]
async fn stream_tells_each_click_once_and_goes_on_where_it_broke_off() {
    let stage = stage().await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    let mut events = Events::open(&stage.router, "/v1/links/7/live", None).await;
    let first = events.next().await.unwrap();
    assert_eq!((told(&first), &first.1["since"]), ((1, 1), &json!("2026-11-24T00:00:00Z")));
    // Of yesterday, and of another link.
    stage.count(&[click(7, minute(2), minute(-600 - 1)), click(8, minute(2), minute(2))]).await;
    stage.count(&[click(7, minute(3), minute(3)), click(7, minute(3), minute(-100))]).await;
    let second = events.next().await.unwrap();
    assert_eq!(told(&second), (3, 2));
    drop(events);

    stage.count(&[click(7, minute(4), minute(4))]).await;
    let mut resumed = Events::open(&stage.router, "/v1/links/7/live", Some(&second.0)).await;
    assert_eq!(told(&resumed.next().await.unwrap()), (4, 1));
    let mut everyone = Events::open(&stage.router, "/v1/account/live?timezone=Asia/Kolkata&traffic=all", None).await;
    let all = everyone.next().await.unwrap();
    // It was the 24th in Kolkata when the click of the 23rd was made.
    assert_eq!((told(&all), &all.1["since"]), ((6, 6), &json!("2026-11-24T00:00:00+05:30")));
}

#[tokio::test]
async fn stream_of_a_link_tells_clicks_without_repeats() {
    let stage = stage().await;
    let at = |seconds: i64| click(7, minute(1), minute(1).plus_millis(seconds * 1000));
    stage.count(&[at(0), at(10)]).await;
    let mut events = Events::open(&stage.router, "/v1/links/7/live", None).await;
    let first = events.next().await.unwrap();
    assert_eq!((told(&first), unique(&first)), ((2, 2), (Some(1), Some(1))));
    stage.count(&[at(20), at(100)]).await;
    let second = events.next().await.unwrap();
    assert_eq!((told(&second), unique(&second)), ((4, 2), (Some(2), Some(1))));
    drop(events);

    stage.count(&[at(110), at(300)]).await;
    let resumed = Events::open(&stage.router, "/v1/links/7/live", Some(&second.0)).await.next().await.unwrap();
    assert_eq!((told(&resumed), unique(&resumed)), ((6, 2), (Some(3), Some(1))));
    // An id from before repeats were told: what is new is known of clicks alone.
    let (older, _) = second.0.rsplit_once('-').unwrap();
    let resumed = Events::open(&stage.router, "/v1/links/7/live", Some(older)).await.next().await.unwrap();
    assert_eq!((told(&resumed), unique(&resumed)), ((6, 2), (Some(3), None)));
    for place in ["/v1/account/live", "/v1/links/7/live?traffic=all"] {
        let event = Events::open(&stage.router, place, None).await.next().await.unwrap();
        assert_eq!((told(&event).0, unique(&event)), (6, (None, None)), "{place}");
    }
}

#[tokio::test]
async fn without_a_layer_a_stream_tells_no_smaller_sum() {
    let stage = stage().await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    let mut events = Events::open(&stage.router, "/v1/links/7/live", None).await;
    let first = events.next().await.unwrap();
    stage.meets(Fault::Away);
    let mut during = Events::open(&stage.router, "/v1/links/7/live", Some(&first.0)).await;
    let stale = during.next().await.unwrap();
    assert_eq!((told(&stale), &stale.1["stale"], &stale.0), ((1, 0), &json!(true), &first.0));
    assert!(stale.1["reasons"][0].as_str().unwrap().contains("speed layer is unavailable"));
    stage.meets(Fault::None);
    stage.count(&[click(7, minute(2), minute(2))]).await;
    assert_eq!(told(&events.next().await.unwrap()), (2, 1), "it went on by itself");
    assert_eq!(told(&during.next().await.unwrap()), (2, 1));
}

#[tokio::test]
async fn streams_end_with_the_process_and_are_not_without_number() {
    let stage = stage().await;
    let mut open = Vec::new();
    for _ in 0..LIVE_STREAMS {
        let mut events = Events::open(&stage.router, "/v1/account/live", None).await;
        assert!(events.next().await.is_some());
        open.push(events);
    }
    let (status, problem) = ask(&stage.router, "/v1/account/live").await;
    assert_eq!((status, &problem["type"]), (429, &json!("/problems/too-many-requests")), "{problem}");
    open.pop();
    let mut again = Events::open(&stage.router, "/v1/account/live", None).await;
    assert!(again.next().await.is_some());
    stage.stop.cancel();
    for events in open.iter_mut().chain([&mut again]) {
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn id_that_no_event_has_is_refused() {
    let stage = stage().await;
    let request = Request::get("/v1/account/live").header("last-event-id", "12-x").body(Body::empty()).unwrap();
    let response = stage.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(ask(&stage.router, "/v1/account/live?unit=day").await.0, 400);
}
