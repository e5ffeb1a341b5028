//! The reference redirector: `GET /r/{slug}` answers 302 and emits a click on the way.
//!
//! `/q/{slug}` is the same link behind a QR code. A HEAD request is recorded as a preview.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use linktide_common::address;
use linktide_common::click::{Click, Kind, Trigger};
use linktide_common::id::TenantId;
use linktide_common::problem::{Problem, ProblemKind};

use crate::links::Link;
use crate::router::Ingest;

/// Leads to where a link leads.
#[utoipa::path(
    get,
    path = "/r/{slug}",
    tag = "redirect",
    params(("slug" = String, Path, description = "what the link is called")),
    responses((status = 302, description = "the destination is in Location"), (status = 404, description = "no link is called so"))
)]
pub(crate) async fn link(
    state: State<Ingest>,
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
    responses((status = 302, description = "the destination is in Location"), (status = 404, description = "no link is called so"))
)]
pub(crate) async fn code(
    state: State<Ingest>,
    slug: Path<String>,
    peer: Peer,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    follow(&state, &slug, peer, &method, &headers, Trigger::Qr)
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
    let link = ingest.links.find(slug).ok_or_else(|| {
        Problem::new(
            ProblemKind::NotFound,
            format!("no link is called `{}`", slug.chars().take(80).collect::<String>()),
        )
    })?;
    if ingest.config.track {
        track(ingest, &link, peer, method, headers, trigger);
    }
    // Nothing on the way may keep the answer: a click that is not seen is not counted.
    let headers = [(header::LOCATION, link.destination.as_str()), (header::CACHE_CONTROL, "private, no-store")];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// Emits the click. Here only what the request has is taken, in one piece; the click is made of it on the emitter's thread.
fn track(ingest: &Ingest, link: &Arc<Link>, peer: Peer, method: &Method, headers: &HeaderMap, trigger: Trigger) {
    let told = [header::USER_AGENT, header::REFERER, header::ACCEPT_LANGUAGE];
    let told = told.map(|name| headers.get(name).map(HeaderValue::as_bytes));
    let lengths = told.map(|text| text.map(<[u8]>::len));
    let texts: Vec<u8> = told.map(Option::unwrap_or_default).concat();
    let ip = address::seen(headers, peer.map(|peer| peer.0.0.ip()), ingest.config.trusted_proxies);
    let kind = if method == Method::HEAD { Kind::Preview } else { Kind::Click };
    let (link, size) = (Arc::clone(link), texts.len() + link.texts());
    ingest.emitter.emit_later(size, move || {
        let mut rest = texts.as_slice();
        let [user_agent, referrer, language] = lengths.map(|length| {
            let (text, others) = rest.split_at(length?);
            rest = others;
            Some(String::from_utf8_lossy(text).into_owned())
        });
        Click {
            tenant_id: TenantId(0),
            link_id: link.link_id,
            click_id: None,
            clicked_at: None,
            ip,
            user_agent,
            referrer,
            language,
            destination: Some(link.destination.clone()),
            slug: Some(link.slug.clone()),
            title: link.title.clone(),
            kind,
            trigger,
            imported: false,
        }
    });
}
