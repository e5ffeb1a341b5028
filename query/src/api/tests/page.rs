//! The web page's files: open to all, packed, kept as long as they may be; and what is said where they were not built.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use tower::ServiceExt as _;

use super::stage::{Stage, stage};
use crate::api::page::{assets, is_built};

async fn get(stage: &Stage, place: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let request = headers.iter().fold(Request::get(place), |request, (name, value)| request.header(*name, *value));
    let response = stage.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec())
}

#[tokio::test]
async fn page_is_served_or_says_how_it_is_built() {
    let stage = stage().await;
    let (status, headers, body) = get(&stage, "/", &[]).await;
    let text = String::from_utf8(body).unwrap();
    if !is_built() {
        assert!(status == 404 && text.contains("npm run build"), "{text}");
        return;
    }
    assert!(status == 200 && text.starts_with("<!doctype html>"), "{text}");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["cache-control"], "no-cache");
    let etag = headers["etag"].to_str().unwrap();
    let (status, _, body) = get(&stage, "/", &[("if-none-match", etag)]).await;
    assert_eq!((status, body.len()), (304, 0));
    assert!(assets().all(|name| text.contains(name) || name.starts_with("part-")), "every file is named by the page");
}

#[tokio::test]
async fn files_are_packed_for_whoever_reads_that_and_kept_for_good() {
    let stage = stage().await;
    for name in assets() {
        let place = format!("/assets/{name}");
        let (status, headers, plain) = get(&stage, &place, &[("accept-encoding", "br;q=0, gzip;q=0")]).await;
        assert!(status == 200 && !headers.contains_key("content-encoding"), "{place}");
        assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable", "{place}");
        for (asked, encoding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
            let (_, headers, packed) = get(&stage, &place, &[("accept-encoding", asked)]).await;
            assert_eq!(headers["content-encoding"], encoding);
            // What is hardly anything does not become less by packing.
            assert!(packed.len() < plain.len().max(400), "{place}: {} of {} bytes", packed.len(), plain.len());
        }
    }
    assert_eq!(get(&stage, "/assets/none-1234.js", &[]).await.0, 404);
    assert_eq!(get(&stage, "/assets/index.html", &[]).await.0, 404);
}
