//! The reference redirector: `GET /r/{slug}` answers 302 and emits a click on the way.
//!
//! `/q/{slug}` is the same link behind a QR code. A HEAD request is recorded as a preview. A link may put a
//! [challenge](crate::challenge) first; its answer is posted to the same place.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use linktide_common::click::{Kind, Trigger, edge};
use linktide_common::problem::{Problem, ProblemKind};

use crate::links::Link;
use crate::router::Ingest;
use crate::sighting::Sighting;

/// Leads to where a link leads.
#[utoipa::path(
    get,
    path = "/r/{slug}",
    tag = "redirect",
    params(("slug" = String, Path, description = "what the link is called")),
    responses(
        (status = 302, description = "the destination is in Location"),
        (status = 200, description = "a page with a challenge, where the link puts one"),
        (status = 404, description = "no link is called so")
    )
)]
pub(crate) async fn link(
    state: State<Arc<Ingest>>,
    slug: Path<String>,
    peer: Peer,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow(&state, &slug, peer, &method, &headers, Trigger::Link)
}

/// Leads to where a link leads, from its QR code.
#[utoipa::path(
    get,
    path = "/q/{slug}",
    tag = "redirect",
    params(("slug" = String, Path, description = "what the link is called")),
    responses(
        (status = 302, description = "the destination is in Location"),
        (status = 200, description = "a page with a challenge, where the link puts one"),
        (status = 404, description = "no link is called so")
    )
)]
pub(crate) async fn code(
    state: State<Arc<Ingest>>,
    slug: Path<String>,
    peer: Peer,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow(&state, &slug, peer, &method, &headers, Trigger::Qr)
}

/// Takes the answer to a challenge, and leads on.
#[utoipa::path(
    post,
    path = "/r/{slug}",
    tag = "redirect",
    params(("slug" = String, Path, description = "what the link is called")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "the page's form"),
    responses(
        (status = 303, description = "the destination is in Location"),
        (status = 403, description = "the answer is not taken"),
        (status = 404, description = "no link is called so")
    )
)]
pub(crate) async fn answer_link(
    state: State<Arc<Ingest>>,
    slug: Path<String>,
    peer: Peer,
    headers: HeaderMap,
    form: Bytes,
) -> Result<Response, Problem> {
    answer(&state, &slug, peer, &headers, &form, Trigger::Link).await
}

/// Takes the answer to a challenge of a QR code, and leads on.
#[utoipa::path(
    post,
    path = "/q/{slug}",
    tag = "redirect",
    params(("slug" = String, Path, description = "what the link is called")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "the page's form"),
    responses(
        (status = 303, description = "the destination is in Location"),
        (status = 403, description = "the answer is not taken"),
        (status = 404, description = "no link is called so")
    )
)]
pub(crate) async fn answer_code(
    state: State<Arc<Ingest>>,
    slug: Path<String>,
    peer: Peer,
    headers: HeaderMap,
    form: Bytes,
) -> Result<Response, Problem> {
    answer(&state, &slug, peer, &headers, &form, Trigger::Qr).await
}

/// The other end of the connection, where it is known.
pub(crate) type Peer = Option<axum::Extension<ConnectInfo<SocketAddr>>>;

fn follow(
    ingest: &Ingest,
    slug: &str,
    peer: Peer,
    method: &Method,
    headers: &HeaderMap,
    trigger: Trigger,
) -> Result<Response, Problem> {
    let link = find(ingest, slug)?;
    let answer = lead_on(&link);
    if !ingest.config.track {
        return Ok(answer);
    }
    let kind = if method == Method::HEAD { Kind::Preview } else { Kind::Click };
    let seen = Sighting::of(headers, peer, ingest.config.trusted_proxies, kind, trigger);
    let Some(when) = link.challenge.filter(|_| kind == Kind::Click) else {
        track(ingest, link, seen);
        return Ok(answer);
    };
    let mut click = seen.into_click(&link);
    edge::resolve(&mut click, ingest.config.edge.as_deref(), ingest.clock.now());
    match ingest.challenges.put(&link, when, click) {
        Ok(page) => Ok(page),
        Err(click) => {
            ingest.emitter.emit(*click);
            Ok(answer)
        }
    }
}

async fn answer(
    ingest: &Ingest,
    slug: &str,
    peer: Peer,
    headers: &HeaderMap,
    form: &[u8],
    trigger: Trigger,
) -> Result<Response, Problem> {
    let link = find(ingest, slug)?;
    let seen = Sighting::of(headers, peer, ingest.config.trusted_proxies, Kind::Click, trigger);
    let lead_on = lead_on(&link);
    Ok(ingest.challenges.answer(&link, seen, form, lead_on).await)
}

fn find(ingest: &Ingest, slug: &str) -> Result<Arc<Link>, Problem> {
    ingest.links.find(slug).ok_or_else(|| {
        Problem::new(
            ProblemKind::NotFound,
            format!("no link is called `{}`", slug.chars().take(80).collect::<String>()),
        )
    })
}

/// The redirect. Nothing on the way may keep it: a click that is not seen is not counted.
fn lead_on(link: &Link) -> Response {
    let headers = [(header::LOCATION, link.destination.as_str()), (header::CACHE_CONTROL, "private, no-store")];
    (StatusCode::FOUND, headers).into_response()
}

/// Emits the click. Here only what the request has is taken; the click is made of it on the emitter's thread.
fn track(ingest: &Ingest, link: Arc<Link>, seen: Sighting) {
    let (size, edge, now) = (seen.size() + link.texts(), ingest.config.edge.clone(), ingest.clock.now());
    ingest.emitter.emit_later(size, move || {
        let mut click = seen.into_click(&link);
        edge::resolve(&mut click, edge.as_deref(), now);
        click
    });
}
