//! A query service over a view that the tests fill, publications that they write, and tables in a temporary folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use linktide_batch::Lake;
use linktide_batch::reader::Tables;
use linktide_common::bucket::{Hour, Range, Timestamp};
use linktide_common::click::{Kind, Trigger};
use linktide_common::clock::Clock;
use linktide_common::enrich::{Agent, EnrichedClick, Geo, Referrer, SaltedHash, Utm};
use linktide_common::id::{ClickId, Epoch, LinkId, Offset, PartitionId, Subject, TenantId};
use linktide_common::intake::Lag;
use linktide_common::log::{Position, Positions};
use linktide_common::publication::{Publication, Tombstone};
use linktide_speed::reader::{Held, LinksSlice, Slice, SpeedReader, ViewError, Want};
use linktide_speed::view::{Counted, Flushed, Fold, MemoryView, Relations, Standing, View};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{Query, QueryConfig, router};

/// 2026-11-24T10:00:00Z
pub(crate) const W: Hour = Hour(498_754);
const PARTITIONS: [PartitionId; 2] = [PartitionId(0), PartitionId(1)];

/// What a question meets instead of the view.
#[derive(Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The view cannot be reached.
    Away,
    /// The view never answers.
    Hangs,
    /// What this read does not meet, the next one does.
    Then(Box<Fault>),
    /// Between the pin and the read the watermark moves on, and the view lets go of what lies behind it.
    MovesOn(Lake),
}

/// A view with faults.
#[derive(Default)]
pub(crate) struct Faulty {
    inner: MemoryView,
    fault: parking_lot::Mutex<Fault>,
}

impl Faulty {
    /// One that never answers.
    pub(crate) fn hanging() -> Self {
        Self { fault: Fault::Hangs.into(), ..Self::default() }
    }

    async fn meet(&self) -> Result<(), ViewError> {
        let fault = std::mem::take(&mut *self.fault.lock());
        match fault {
            Fault::None => {}
            Fault::Then(next) => *self.fault.lock() = *next,
            Fault::Away => {
                *self.fault.lock() = Fault::Away;
                return Err(ViewError::Unavailable("connection refused".into()));
            }
            Fault::Hangs => {
                *self.fault.lock() = Fault::Hangs;
                std::future::pending::<()>().await;
            }
            Fault::MovesOn(lake) => {
                let newest = lake.publications().latest().await.unwrap().unwrap();
                let watermark = newest.watermark.next();
                let next = Publication { number: newest.number + 1, watermark, ..(*newest).clone() };
                publish(&lake, next.clone()).await;
                self.inner.forget_behind(&next).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl View for Faulty {
    async fn held(&self) -> Result<Held, ViewError> {
        self.meet().await?;
        self.inner.held().await
    }
    async fn standing(&self, epoch: Epoch) -> Result<Standing, ViewError> {
        self.inner.standing(epoch).await
    }
    async fn begin(&self, epoch: Epoch, positions: &Positions, from: Hour) -> Result<(), ViewError> {
        self.inner.begin(epoch, positions, from).await
    }
    async fn flush(&self, fold: Fold) -> Result<Flushed, ViewError> {
        self.inner.flush(fold).await
    }
    async fn tell(&self, epoch: Epoch, lags: &BTreeMap<PartitionId, Lag>) -> Result<(), ViewError> {
        self.inner.tell(epoch, lags).await
    }
    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        self.meet().await?;
        self.inner.read(subject, from, want).await
    }
    async fn links(&self, tenant: TenantId, from: Hour, range: Range, labels: bool) -> Result<LinksSlice, ViewError> {
        self.meet().await?;
        self.inner.links(tenant, from, range, labels).await
    }
    async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        self.inner.counted(received).await
    }
    async fn erase(&self, tombstone: &Tombstone) -> Result<(), ViewError> {
        self.inner.erase(tombstone).await
    }
    async fn forget_behind(&self, publication: &Publication) -> Result<(), ViewError> {
        self.inner.forget_behind(publication).await
    }
    async fn clear(&self) -> Result<(), ViewError> {
        self.inner.clear().await
    }
}

/// The most live streams of a stage.
pub(crate) const LIVE_STREAMS: usize = 3;

pub(crate) struct Stage {
    pub(crate) view: Arc<Faulty>,
    pub(crate) lake: Lake,
    pub(crate) clock: Clock,
    pub(crate) query: Query,
    pub(crate) router: Router,
    pub(crate) stop: CancellationToken,
    _folder: tempfile::TempDir,
}

/// A stage at ten past the watermark, whose view has read all but the last two seconds.
pub(crate) async fn stage() -> Stage {
    let stage = unpublished();
    publish(&stage.lake, first()).await;
    stage.begin(W.start().plus_millis(598_000), W).await;
    stage
}

/// A stage on which nothing has happened.
pub(crate) fn unpublished() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::in_folder(folder.path()).unwrap();
    let view = Arc::new(Faulty::default());
    let clock = Clock::manual(W.start().plus_millis(600_000));
    let tables = Arc::new(Tables::new(lake.clone(), 1 << 24));
    let config = QueryConfig {
        deadline: Duration::from_millis(500),
        live_every: Duration::from_millis(5),
        live_streams: LIVE_STREAMS,
        ..QueryConfig::default()
    };
    let stop = CancellationToken::new();
    let reader = SpeedReader::new(Arc::clone(&view) as Arc<dyn View>);
    let query = Query::new(tables, reader, lake.publications().clone(), clock.clone(), config, stop.clone());
    Stage { view, lake, clock, router: router(query.clone()), query, stop, _folder: folder }
}

pub(crate) fn first() -> Publication {
    let first = Publication::first(Epoch(0), &PARTITIONS, "r".into(), W.start());
    Publication { number: 0, ..first }
}

pub(crate) async fn publish(lake: &Lake, publication: Publication) {
    lake.publications().publish(publication).await.unwrap();
}

/// A person's click of tenant 0.
pub(crate) fn click(link: u64, received: Timestamp, clicked: Timestamp) -> EnrichedClick {
    EnrichedClick {
        tenant_id: TenantId(0),
        link_id: LinkId(link),
        click_id: ClickId(uuid::Uuid::from_u128(u128::from(link))),
        clicked_at: clicked,
        received_at: received,
        kind: Kind::Click,
        trigger: Trigger::Link,
        ip_hash: None,
        visitor: Some(SaltedHash([u8::try_from(link).unwrap(); 16])),
        geo: Geo::default().into(),
        agent: Agent::default(),
        referrer: Referrer::default(),
        utm: Utm::default(),
        language: Some("en".into()),
        bot: None,
        suspected: None,
        user_agent: None,
        destination: None,
        slug: Some(format!("s{link}").into()),
        title: None,
    }
}

/// The moment so many minutes behind the watermark.
pub(crate) fn minute(minutes: i64) -> Timestamp {
    W.start().plus_millis(minutes * 60_000)
}

impl Stage {
    /// The view begins both partitions, having read what was received before an instant.
    pub(crate) async fn begin(&self, received: Timestamp, from: Hour) {
        let position = Position { offset: Offset(9), received_at: received };
        let positions = PARTITIONS.map(|partition| (partition, position)).into();
        self.view.begin(Epoch(0), &positions, from).await.unwrap();
    }

    /// Folds clicks into the view, as if they had been read.
    pub(crate) async fn count(&self, clicks: &[EnrichedClick]) {
        let standing = self.view.inner.standing(Epoch(0)).await.unwrap();
        let relations = Relations { windows: QueryConfig::default().repeats, ..Relations::default() };
        let mut fold = Fold::with_relations(Epoch(0), standing, Positions::new(), relations.into());
        clicks.iter().for_each(|click| fold.add(PARTITIONS[0], Offset(9), click));
        assert_eq!(self.view.flush(fold).await.unwrap(), Flushed::Applied);
    }

    pub(crate) fn meets(&self, fault: Fault) {
        *self.view.fault.lock() = fault;
    }

    pub(crate) async fn ask(&self, place: &str) -> (u16, Value) {
        ask(&self.router, place).await
    }

    pub(crate) async fn get(&self, place: &str) -> Value {
        let (status, answer) = self.ask(place).await;
        assert_eq!(status, 200, "{place}: {answer}");
        answer
    }
}

/// Asks a router: the status, and the body as JSON, or as a string where it is none. A refusal is a problem document.
pub(crate) async fn ask(router: &Router, place: &str) -> (u16, Value) {
    send(router, Request::get(place).body(Body::empty()).unwrap()).await
}

/// The same with a body.
pub(crate) async fn post(router: &Router, place: &str, body: &Value) -> (u16, Value) {
    send(router, Request::post(place).body(Body::from(body.to_string())).unwrap()).await
}

async fn send(router: &Router, request: Request<Body>) -> (u16, Value) {
    let place = request.uri().to_string();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    if status >= 400 {
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{place}");
    }
    let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
}
