//! How the commands that ask a running Linktide say who they are: with the key in the environment. It is no flag, because
//! whoever lists processes sees flags.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// The variable that holds an API key or a token.
pub(crate) const KEY: &str = "LINKTIDE_KEY";

/// A client that sends the key, where there is one.
///
/// # Errors
/// Where the key cannot be sent.
pub(crate) fn http(patience: Duration) -> anyhow::Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Ok(key) = std::env::var(KEY) {
        // The error is left out: it may repeat what it is about.
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.trim()))
            .ok()
            .with_context(|| format!("{KEY} holds what cannot be sent: a key has letters and digits alone"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(reqwest::Client::builder().timeout(patience).default_headers(headers).build()?)
}
