//! The web page: files that were built before this crate was (`query/dashboard/`), and are part of it. They hold nothing of
//! anybody, so nobody is asked who they are: what the page shows, it asks for like any other caller.
//!
//! - `/` is looked for each time, and costs no body where it is the same.
//! - `/assets/…` have a name made of what is in them, and are kept for good.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use linktide_common::problem::{Problem, ProblemKind};

/// A file of the page, as it is and packed.
struct File {
    name: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

/// None where the page was not built.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

const INDEX: &str = "index.html";
/// What is said where the page was not built.
const MISSING: &str = "The page is not part of this build: run `npm ci && npm run build` in query/dashboard, and build Linktide again (./dev does both); the API is described at /docs.\n";
/// The page asks this service alone, and runs nothing that did not come with it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// What tells one build of the page from another.
static ETAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut says = DefaultHasher::new();
    FILES.iter().for_each(|file| (file.name, file.plain).hash(&mut says));
    HeaderValue::try_from(format!("W/\"{:016x}\"", says.finish())).expect("hexadecimal digits are a header's value")
});

/// The page itself.
pub(super) async fn index(headers: HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == INDEX) else {
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], MISSING).into_response();
    };
    let mut response = file.response(&headers, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(header::ETAG, ETAG.clone());
    response
}

/// What the page consists of.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name && file.name != INDEX).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        Problem::new(ProblemKind::NotFound, format!("the page has no file `{name}`; load it again"))
    })?;
    Ok(file.response(&headers, HeaderValue::from_static(FOR_GOOD)))
}

impl File {
    fn response(&self, asked: &HeaderMap, keep: HeaderValue) -> Response {
        let (encoding, body) = match asked {
            asked if accepts(asked, "br") => (Some("br"), self.brotli),
            asked if accepts(asked, "gzip") => (Some("gzip"), self.gzip),
            _ => (None, self.plain),
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type())),
            (header::CACHE_CONTROL, keep),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            // A place may tell which link somebody looks at.
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        let mut response = (headers, body).into_response();
        if let Some(encoding) = encoding {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }
}

/// Whether the caller reads an encoding (RFC 9110, 12.5.3). Only one that is named counts; a weight other than none is as good as another.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let none = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(encoding) && !none
    })
}

/// Whether the page is part of this build.
#[cfg(test)]
pub(super) fn is_built() -> bool {
    !FILES.is_empty()
}

/// The names of the files beside the page itself.
#[cfg(test)]
pub(super) fn assets() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name).filter(|name| *name != INDEX)
}
