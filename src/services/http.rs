//! Listening and answering, as every process does that has an API, within bounds: whatever clients send, or do not send, a
//! connection ends in bounded time and takes bounded memory.
//!
//! - So many connections are open at once; further ones wait in the system's queue until one ends.
//! - The head of a request, the idle time before it included, must come within a time: what is slower is closed without an
//!   answer. It has so many bytes and headers at most: what is larger is answered with 431.
//! - A body must come without long pauses, and within a time as a whole. An answer must be read without long pauses. How
//!   large a body may be is for the route to say.
//!
//! It speaks HTTP/1.1: HTTP/2 and TLS are for the proxy in front, where there is one.
//!
//! At the end no more connections are taken, those that are idle are closed, and requests that are being answered are
//! answered, unless that takes too long.

mod patience;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use linktide_common::problem::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::docs;
use crate::config::Connections;
use patience::{Patient, PatientBody};

/// How long to wait where the system has no more files: they come back when connections end.
const BREATH: Duration = Duration::from_millis(100);
/// How long answers may go on at the end.
const GRACE: Duration = Duration::from_secs(8);
/// Bytes of a head, and headers in it, that are read to say that they are too many; beyond, the answer has no words.
const READ: (usize, usize) = (64 << 10, 256);

/// Listens, and tells where: a port of 0 is any that is free.
pub(super) async fn listen(at: SocketAddr) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
    Ok((listener.local_addr()?, listener))
}

/// Serves the routes, and what they are `about` under `/v1/openapi.json` and, for people, `/docs`, until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    about: impl Serialize,
    bounds: Connections,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    let about = serde_json::to_value(about).context("describing the API")?;
    let page = docs::page(&about);
    let router = router
        .route("/docs", get(move || std::future::ready(docs::response(page.clone()))))
        .route("/docs/style.css", get(docs::style))
        .route("/v1/openapi.json", get(move || std::future::ready(Json(about.clone()))));
    answer(listener, router, bounds, stop).await;
    Ok("api")
}

/// Answers until `stop`, and until all that was asked before is answered.
pub(super) async fn answer(listener: TcpListener, router: Router, bounds: Connections, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.most));
    let bounds = Arc::new(bounds);
    let mut open = JoinSet::new();
    loop {
        // A place first: who finds none waits in the system's queue.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the places");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), Arc::clone(&bounds), stop.clone());
                open.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    let answered = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, answered).await.is_err() {
        tracing::warn!(connections = open.len(), "answers that do not end are broken off");
        open.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    bounds: Arc<Connections>,
    stop: CancellationToken,
) {
    // An answer goes out when it is there; where the system refuses, it goes out a little later.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, bounds.stall.0));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.idle.0).max_buf_size(READ.0).max_headers(READ.1);
    let service = service_fn(move |request| {
        let (router, bounds) = (router.clone(), Arc::clone(&bounds));
        async move { Ok::<_, Infallible>(respond(request, peer, router, &bounds).await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // What clients do is no fault of ours, and what they sent is not repeated.
        tracing::debug!(kind = kind(&error), "a connection broke");
    }
}

async fn respond(request: Request<Incoming>, peer: SocketAddr, mut router: Router, bounds: &Connections) -> Response {
    if let Err(problem) = check_head(&request, bounds) {
        return problem.into_response();
    }
    let mut request = request.map(|body| Body::new(PatientBody::new(body, bounds.stall.0, bounds.body.0)));
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(response) = router.call(request).await;
    response
}

/// Whether the head of a request is within bounds.
fn check_head(request: &Request<Incoming>, bounds: &Connections) -> Result<(), Problem> {
    // As they are written: a line of the request, and lines with a colon, a space and an end.
    let place = request.uri().path_and_query().map_or(0, |place| place.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let bytes = (fields.sum::<usize>() + place + 20) as u64;
    let (most, count) = (bounds.head.0, request.headers().len());
    if bytes <= most && count <= bounds.headers {
        return Ok(());
    }
    let detail = format!("a request may have a head of {most} bytes with {} headers", bounds.headers);
    Err(Problem::new(ProblemKind::HeadTooLarge, detail)
        .with("limit", json!({ "bytes": most, "headers": bounds.headers })))
}

fn kind(error: &hyper::Error) -> &'static str {
    match error {
        error if error.is_timeout() => "too slow",
        error if error.is_parse_too_large() => "too large",
        error if error.is_parse() => "no HTTP",
        error if error.is_incomplete_message() => "ended early",
        _ => "broken",
    }
}
