//! The routes of the front door.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use linktide_common::access::{Gate, guard};
use linktide_common::click::edge::EdgeKey;
use linktide_common::clock::Clock;
use linktide_common::log::LogWriter;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::challenge::{Challenges, LARGEST_ANSWER};
use crate::emitter::Emitter;
use crate::links::LinkFile;
use crate::quota::{QuotaConfig, Quotas};
use crate::{collector, import, redirect};

/// What the front door takes.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Bytes a body may have, as sent.
    pub body_bytes: usize,
    /// A click further back is refused, unless an import sends it.
    pub floor_days: i64,
    /// How many proxies of our own stand in front, each adding to `X-Forwarded-For`.
    pub trusted_proxies: usize,
    /// Whether a record may name any tenant, where nobody is asked who sends; otherwise only tenant 0 sends.
    pub any_tenant: bool,
    /// What a tenant may send to the collector.
    pub quotas: QuotaConfig,
    /// How long the log may take to acknowledge what the collector got.
    pub ack_within: Duration,
    /// Whether redirects are emitted as clicks.
    pub track: bool,
    /// Whose signature under signals is believed.
    pub edge: Option<Arc<EdgeKey>>,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            floor_days: 3653,
            trusted_proxies: 0,
            any_tenant: false,
            quotas: QuotaConfig::default(),
            ack_within: Duration::from_secs(10),
            track: true,
            edge: None,
        }
    }
}

/// What every handler needs.
pub(crate) struct Ingest {
    pub(crate) log: Arc<dyn LogWriter>,
    pub(crate) emitter: Arc<Emitter>,
    pub(crate) links: Arc<LinkFile>,
    pub(crate) quotas: Quotas,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) clock: Clock,
    pub(crate) config: IngestConfig,
}

/// The front door over a log, with an emitter and challenges for the redirector.
pub fn router(
    log: Arc<dyn LogWriter>,
    emitter: Arc<Emitter>,
    links: Arc<LinkFile>,
    challenges: Arc<Challenges>,
    clock: Clock,
    gate: Gate,
    config: IngestConfig,
) -> Router {
    let limit = DefaultBodyLimit::max(config.body_bytes);
    let answers = DefaultBodyLimit::max(LARGEST_ANSWER);
    let quotas = Quotas::new(config.quotas.clone(), clock.clone());
    Router::new()
        .route("/v1/clicks", post(collector::collect))
        .route("/v1/imports/{digest}/chunks/{number}", put(import::put_chunk))
        // Those below are open: whoever clicks a link has no key.
        .route_layer(from_fn_with_state(gate, guard))
        // The layer stands on answers alone: a redirect does not pass it.
        .route("/r/{slug}", get(redirect::link).merge(post(redirect::answer_link).layer(answers)))
        .route("/q/{slug}", get(redirect::code).merge(post(redirect::answer_code).layer(answers)))
        .layer(limit)
        .with_state(Arc::new(Ingest { log, emitter, links, quotas, challenges, clock, config }))
}

/// What the front door says of itself.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(
        collector::collect,
        import::put_chunk,
        redirect::link,
        redirect::code,
        redirect::answer_link,
        redirect::answer_code
    ))]
    struct Paths;
    let mut about = Paths::openapi();
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let key = key.description(Some("An API key (`lt_…`) or a token of the identity provider (a JWT)")).build();
    about.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(key));
    about
}

#[cfg(test)]
mod tests;
