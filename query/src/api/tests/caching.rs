//! What callers may keep, and for how long.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use tower::ServiceExt as _;

use super::stage::{Fault, Stage, click, minute, stage};

async fn get(stage: &Stage, place: &str, known: Option<&str>) -> (u16, HeaderMap, usize) {
    let request = Request::get(place);
    let request = match known {
        Some(known) => request.header("if-none-match", known),
        None => request,
    };
    let response = stage.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, to_bytes(response.into_body(), 1 << 20).await.unwrap().len())
}

async fn etag(stage: &Stage, place: &str) -> String {
    get(stage, place, None).await.1["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let stage = stage().await;
    stage.count(&[click(7, minute(1), minute(1))]).await;
    let place = "/v1/links/7/timeseries?interval=7d&unit=hour";
    let first = etag(&stage, place).await;
    // Time goes on, and with it `as_of` and `lag_seconds`; nothing else does.
    stage.clock.set(minute(10).plus_millis(1_000));
    for known in [first.clone(), format!("\"x\", {first}"), first.trim_start_matches("W/").to_owned(), "*".to_owned()] {
        let (status, headers, length) = get(&stage, place, Some(&known)).await;
        assert_eq!((status, headers["etag"].to_str().unwrap(), length), (304, first.as_str(), 0), "{known}");
        assert!(headers.contains_key("cache-control") && headers.contains_key("vary"));
    }
    let (status, _, length) = get(&stage, place, Some("W/\"0123456789abcdef\"")).await;
    assert!(status == 200 && length > 0);

    stage.count(&[click(7, minute(2), minute(2))]).await;
    let (status, headers, _) = get(&stage, place, Some(&first)).await;
    assert!(status == 200 && headers["etag"] != first.as_str(), "a click came in");
    let second = etag(&stage, place).await;
    stage.meets(Fault::Away);
    assert_eq!(get(&stage, place, Some(&second)).await.0, 200, "a layer is away, and the answer says so");
    assert_ne!(etag(&stage, "/v1/links/8/summary").await, etag(&stage, "/v1/links/8/summary?interval=7d").await);
}

#[tokio::test]
async fn answers_are_kept_as_long_as_what_they_rest_on_stands() {
    let stage = stage().await;
    let keep = async |place: &str| get(&stage, place, None).await.1["cache-control"].to_str().unwrap().to_owned();
    assert_eq!(keep("/v1/links/7/summary?interval=7d").await, "private, no-cache");
    assert_eq!(
        keep("/v1/links/7/summary?start=2026-11-01&end=2026-11-22").await,
        "private, no-cache",
        "not yet two days"
    );
    assert_eq!(keep("/v1/links/7/summary?start=2026-11-01&end=2026-11-21").await, "private, max-age=3600");
    assert_eq!(keep("/v1/links/7/summary?publication=0").await, "private, max-age=86400");
    stage.meets(Fault::Away);
    assert_eq!(keep("/v1/links/7/summary?start=2026-11-01&end=2026-11-21").await, "no-store");
}
