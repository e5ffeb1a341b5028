//! Live counts of a link or of all links, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use linktide_common::access::Principal;
use linktide_common::bucket::today;
use linktide_common::id::Subject;
use linktide_common::problem::{Problem, ProblemKind};
use tokio::sync::OwnedSemaphorePermit;

use super::caller::{Account, Link, Reader};
use crate::live::{Live, Mark, Told, too_many};
use crate::params::Parameters;
use crate::state::Query;

/// What a stream takes.
pub(crate) const PARAMETERS: &[&str] = &["timezone", "traffic"];
/// A comment is sent where nothing has happened for so long, so that nobody in between closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A link's clicks since midnight of the zone, as they come.
#[utoipa::path(get, path = "/v1/links/{link_id}/live", tag = "links",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen: the stream goes on behind it")),
    responses((status = 200, body = Told, content_type = "text/event-stream", description = "Events named `counts`; data as told here")))]
pub(super) async fn link(
    State(query): State<Query>,
    Reader(caller): Reader,
    Link(link): Link,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    open(query, caller, link, &parameters, &headers).await
}

/// All links' clicks since midnight of the zone, as they come.
#[utoipa::path(get, path = "/v1/account/live", tag = "account",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen: the stream goes on behind it")),
    responses((status = 200, body = Told, content_type = "text/event-stream", description = "Events named `counts`; data as told here")))]
pub(super) async fn account(
    State(query): State<Query>,
    Reader(caller): Reader,
    Account(all): Account,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    open(query, caller, all, &parameters, &headers).await
}

/// A stream that is open.
struct Open {
    query: Query,
    caller: Principal,
    live: Live,
    told: Mark,
    first: bool,
    _room: OwnedSemaphorePermit,
}

async fn open(
    query: Query,
    caller: Principal,
    subject: Subject,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (zone, traffic) = parameters.live(PARAMETERS)?;
    // An account's repeats lie in every shard of the view: too dear to look for every second.
    let unique = subject.link().is_some() && query.tells_repeats(subject.tenant(), traffic);
    let live = Live { subject, traffic, zone, unique };
    let told = match headers.get("last-event-id") {
        Some(id) => resumed(id)?,
        None => Mark::nothing(today(query.clock.now(), &live.zone)),
    };
    let room = query.live_room().ok_or_else(|| too_many(query.config.live_streams))?;
    // What cannot be answered at all is refused before the stream begins.
    query.pinned()?;
    let events = events(Open { query, caller, live, told, first: true, _room: room });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather bodies would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn resumed(id: &HeaderValue) -> Result<Mark, Problem> {
    let text = String::from_utf8_lossy(id.as_bytes()).into_owned();
    text.parse().map_err(|()| {
        let detail = format!(
            "`Last-Event-ID` is `{}`, which no event of a stream has",
            text.chars().take(60).collect::<String>()
        );
        Problem::new(ProblemKind::InvalidParameter, detail).with("parameter", serde_json::json!("Last-Event-ID"))
    })
}

/// An event at once, then one whenever counts have changed, until the process ends, or its caller's credential does.
fn events(open: Open) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(open, async move |mut open: Open| {
        loop {
            if !open.first {
                let stop = open.query.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(open.query.config.live_every) => {}
                }
                // Whose credential was revoked meanwhile is told nothing more.
                if !open.query.gate.holds(&open.caller) {
                    return None;
                }
            }
            let Ok((mark, basis)) = open.live.count(&open.query, open.told.since).await else { continue };
            // Without a layer the sum is not the sum: what was told stands until the layer is back.
            let whole = basis.answered().batch && basis.answered().speed;
            if !open.first && (!whole || mark == open.told) {
                continue;
            }
            let mark = if whole { mark } else { open.told };
            let told = open.live.tell(&open.query, open.told, mark, &basis);
            (open.told, open.first) = (mark, false);
            let event = Event::default().event("counts").id(mark.to_string()).json_data(&told);
            return Some((Ok(event.unwrap_or_default()), open));
        }
    })
}
