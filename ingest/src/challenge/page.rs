//! The page that puts a challenge, and the one that refuses an answer. They load nothing from elsewhere, unless a provider
//! of CAPTCHAs is set; without scripts the button is there.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::captcha::Widget;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");

/// Lets the page's own script run, by its hash, and no other.
static OWN_SCRIPT: LazyLock<String> = LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(SCRIPT))));

/// The page for a token.
pub(super) fn challenge(token: &str, bits: u32, widget: Option<Widget<'_>>) -> Response {
    let shown = |widget: &Widget<'_>| {
        let (class, key) = (widget.class, escaped(widget.site_key));
        format!("<div class=\"{class}\" data-sitekey=\"{key}\" data-callback=\"linktideAnswered\"></div>\n")
    };
    let loaded = |widget: &Widget<'_>| format!("<script src=\"{}\" async defer></script>\n", escaped(widget.script));
    let page = PAGE
        .replace("{script}", SCRIPT)
        .replace("{bits}", &bits.to_string())
        .replace("{widget}", &widget.as_ref().map(shown).unwrap_or_default())
        .replace("{loader}", &widget.as_ref().map(loaded).unwrap_or_default())
        // Of letters, digits, dots and hyphens alone.
        .replace("{token}", token);
    answer(StatusCode::OK, page, &policy(widget.as_ref()))
}

/// The page for an answer that is not taken, with the way back to the link.
pub(super) fn refused() -> Response {
    let page = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Not led on</title><p>This answer is not valid, or no longer. <a href=\"\">Try again</a>.</p></html>";
    answer(StatusCode::FORBIDDEN, page.to_owned(), &policy(None))
}

/// What the browser may load. Where a form leads is left open: browsers hold redirects behind it to that, too.
fn policy(widget: Option<&Widget<'_>>) -> String {
    let own = &*OWN_SCRIPT;
    let Some(widget) = widget else {
        return format!(
            "default-src 'none'; script-src {own}; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
        );
    };
    let (script, sources) = (widget.script, widget.sources);
    format!(
        "default-src 'none'; script-src {own} {script} {sources}; frame-src {sources}; connect-src {sources}; style-src 'unsafe-inline' {sources}; img-src {sources}; base-uri 'none'; frame-ancestors 'none'"
    )
}

fn answer(status: StatusCode, page: String, policy: &str) -> Response {
    let mut response = (status, Html(page)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
