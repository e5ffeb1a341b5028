//! Real layers in a temporary folder with exports over them, beside all clicks that were sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use linktide_batch::reader::Tables;
use linktide_batch::reader::raw::RawClicks;
use linktide_batch::{ArchiveConfig, Archiver, Flusher, Lake, Nightly, NightlyConfig};
use linktide_common::bucket::{Hour, Quarter, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, Rules, VisitorIdentity};
use linktide_common::id::ClickId;
use linktide_common::intake::Intake;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogReader as _, LogWriter as _};
use linktide_common::secret::Secret;
use linktide_speed::reader::SpeedReader;
use linktide_speed::view::{MemoryView, View};
use linktide_speed::{SpeedConfig, SpeedWorker};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::export::{ExportConfig, Exports, Presign};
use crate::{Query, QueryConfig, router};

/// 2026-11-24T10:00:00Z
pub(in crate::export) const W: Hour = Hour(498_754);
pub(in crate::export) const PATIENCE: Duration = Duration::from_secs(120);
/// Clicks of one address in one minute above which they are a bot's.
const RATE: u32 = 5;

/// A click that was sent, as an export must show it.
#[derive(Debug, Clone)]
pub(in crate::export) struct Plain {
    pub(in crate::export) tenant: u64,
    pub(in crate::export) link: u64,
    pub(in crate::export) id: Uuid,
    pub(in crate::export) at: Timestamp,
    received: Timestamp,
    host: u8,
    pub(in crate::export) preview: bool,
    pub(in crate::export) agent_is_bot: bool,
    pub(in crate::export) language: Option<&'static str>,
    pub(in crate::export) campaign: Option<&'static str>,
    pub(in crate::export) qr: bool,
}

/// Texts that break a format where it is written carelessly.
const CAMPAIGNS: [Option<&str>; 5] = [None, Some("spring"), Some("it's \"5,5\""), Some("-off"), Some("=1+1")];

pub(in crate::export) struct World {
    log: Arc<EmbeddedLog>,
    pub(in crate::export) clock: Clock,
    pub(in crate::export) lake: Lake,
    flusher: Flusher,
    view: Arc<MemoryView>,
    pub(in crate::export) query: Query,
    pub(in crate::export) exports: Arc<Exports>,
    pub(in crate::export) router: Router,
    pub(in crate::export) random: StdRng,
    pub(in crate::export) plain: Vec<Plain>,
    _stop: DropGuard,
    folder: tempfile::TempDir,
}

/// Small steps and small files, and no patience with other attempts.
pub(in crate::export) fn config() -> ExportConfig {
    ExportConfig {
        part_bytes: 2000,
        slice_rows: 60,
        lease: Duration::ZERO,
        look_every: Duration::from_millis(20),
        ..ExportConfig::default()
    }
}

impl World {
    pub(in crate::export) async fn new(seed: u64, config: ExportConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::in_folder(&folder.path().join("lake")).unwrap();
        Self::over(lake, folder, seed, config).await
    }

    /// The same over a lake that is anywhere.
    pub(in crate::export) async fn over(
        lake: Lake,
        folder: tempfile::TempDir,
        seed: u64,
        config: ExportConfig,
    ) -> Self {
        let clock = Clock::manual(W.start());
        let log_config = EmbeddedConfig { partitions: 2, sync: false, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(&folder.path().join("log"), &log_config, clock.clone()).unwrap();
        let enrich = EnrichConfig {
            salt_secret: Secret::new(vec![1]),
            visitor: VisitorIdentity::Ip,
            geo: GeoFiles::default(),
            floor_days: 36_530,
        };
        let enricher = Arc::new(Enricher::new(enrich).unwrap());
        let intake = |layer| Intake::new(layer, Box::new(log.reader()), Arc::clone(&enricher), clock.clone(), 1_000);
        let archive = ArchiveConfig::default();
        let (archiver, flusher) =
            Archiver::open(lake.clone(), intake("archive"), clock.clone(), archive).await.unwrap();
        let view = Arc::new(MemoryView::new());
        let shared = Arc::clone(&view) as Arc<dyn View>;
        let speed = SpeedConfig { flush_interval: Duration::from_millis(1), ..SpeedConfig::default() };
        let worker = SpeedWorker::new(intake("speed"), Arc::clone(&shared), lake.publications().watch(), speed);
        let stop = CancellationToken::new();
        tokio::spawn(archiver.run(stop.clone()));
        tokio::spawn(worker.run(stop.clone()));
        // History begins where the first publication does.
        let begun = lake.publications().watch().wait_for(Option::is_some).await.map(|_| ());
        begun.unwrap();
        let tables = Arc::new(Tables::new(lake.clone(), 1 << 26));
        let publications = lake.publications().clone();
        let reader = SpeedReader::new(shared);
        let query = Query::new(tables, reader, publications, clock.clone(), QueryConfig::default(), stop.clone());
        let raw = RawClicks::new(lake.clone(), 64 << 20).unwrap();
        let presign = lake.presigner().map(|presigner| -> Presign {
            Arc::new(move |objects, valid_for| {
                let presigner = presigner.clone();
                Box::pin(async move { presigner.addresses(&objects, valid_for).await })
            })
        });
        let exports = Arc::new(Exports::new(raw, lake.objects(), presign, config).unwrap());
        let query = query.exporting(Arc::clone(&exports));
        Self {
            log,
            clock,
            lake,
            flusher,
            view,
            router: router(query.clone()),
            query,
            exports,
            random: StdRng::seed_from_u64(seed),
            plain: Vec::new(),
            _stop: stop.drop_guard(),
            folder,
        }
    }

    /// Clicks of now, early ones, late ones and some of years ago, of two tenants; some of them in bursts.
    pub(in crate::export) async fn send(&mut self, clicks: usize) {
        let mut records = Vec::new();
        for _ in 0..clicks {
            let first = self.click();
            let burst = if self.random.random_bool(0.03) { RATE as usize } else { 0 };
            for _ in 0..burst {
                let again = Plain { id: Uuid::from_u128(self.random.random()), ..first.clone() };
                records.push(record(&again));
                self.plain.push(again);
            }
            records.push(record(&first));
            self.plain.push(first);
        }
        self.log.append(records).await.unwrap();
    }

    fn click(&mut self) -> Plain {
        let now = self.clock.now();
        let random = &mut self.random;
        let ago = [600_000i64, 90_000_000, 2_000_000_000, 90_000_000_000][random.random_range(0..4)];
        let ahead = if random.random_bool(0.1) { 240_000 } else { -random.random_range(0..ago) };
        Plain {
            tenant: if random.random_bool(0.2) { 7 } else { 0 },
            link: [1, 2, 3, u64::MAX][random.random_range(0..4)],
            id: Uuid::from_u128(random.random()),
            at: now.plus_millis(ahead),
            received: now,
            host: random.random_range(0..40),
            preview: random.random_bool(0.1),
            agent_is_bot: random.random_bool(0.2),
            language: [None, Some("en"), Some("hi")][random.random_range(0..3)],
            campaign: CAMPAIGNS[random.random_range(0..CAMPAIGNS.len())],
            qr: random.random_bool(0.3),
        }
    }

    pub(in crate::export) fn nightly(&self) -> Nightly {
        self.nightly_of(NightlyConfig { rate_bots: Some(RATE), ..NightlyConfig::default() })
    }

    pub(in crate::export) fn nightly_of(&self, config: NightlyConfig) -> Nightly {
        let rules = Arc::new(Rules::load(GeoFiles::default()).unwrap());
        Nightly::new(self.lake.clone(), self.clock.clone(), rules, config)
    }

    /// Moves time on to `hour`, and history up to it.
    pub(in crate::export) async fn roll_up(&self, hour: Hour) {
        self.archive_through(hour).await;
        self.nightly().run(Some(hour)).await.unwrap();
    }

    /// Moves time on to `hour`, and the archive up to it.
    pub(in crate::export) async fn archive_through(&self, hour: Hour) {
        self.clock.set(hour.start());
        assert!(tokio::time::timeout(PATIENCE, self.flusher.archived_through(hour.start())).await.unwrap());
    }

    /// Waits until the view stands at the end of the log.
    pub(in crate::export) async fn until_counted(&self) {
        let counted = async {
            while !self.counted().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.unwrap();
    }

    async fn counted(&self) -> bool {
        let reader = self.log.reader();
        let held = self.view.held().await.unwrap().positions;
        for partition in self.log.partitions() {
            let high = reader.bounds(partition).await.unwrap().high;
            if held.get(&(self.log.epoch(), partition)).map(|position| position.offset) != Some(high) {
                return false;
            }
        }
        true
    }

    /// Where the lake is.
    pub(in crate::export) fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("lake")
    }

    pub(in crate::export) fn watermark(&self) -> Hour {
        self.query.publications.borrow().as_ref().unwrap().watermark
    }

    /// The clicks that were received before the watermark, each with the reason that makes it a bot's.
    pub(in crate::export) fn archived(&self) -> Vec<(Plain, bool)> {
        let watermark = self.watermark().start();
        let received: Vec<&Plain> = self.plain.iter().filter(|click| click.received < watermark).collect();
        let mut often: HashMap<(u8, i64, Hour), u32> = HashMap::new();
        let minute = |click: &Plain| (click.host, click.at.as_millis().div_euclid(60_000), Hour::of(click.received));
        for click in received.iter().filter(|click| !click.preview) {
            *often.entry(minute(click)).or_default() += 1;
        }
        let judge = |click: &&Plain| {
            let too_often = !click.preview && often.get(&minute(click)).is_some_and(|count| *count > RATE);
            ((*click).clone(), click.agent_is_bot || too_often)
        };
        received.iter().map(judge).collect()
    }

    pub(in crate::export) async fn send_request(&self, method: Method, place: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(place);
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 26).await.map_err(|error| error.to_string());
        Answer { status, headers, body }
    }

    pub(in crate::export) async fn get(&self, place: &str) -> Answer {
        self.send_request(Method::GET, place, None).await
    }
}

/// What a request came to.
pub(in crate::export) struct Answer {
    pub(in crate::export) status: u16,
    pub(in crate::export) headers: HeaderMap,
    /// Or why the body ended too early.
    pub(in crate::export) body: Result<Bytes, String>,
}

impl Answer {
    pub(in crate::export) fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    pub(in crate::export) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

fn record(click: &Plain) -> Append {
    let agent = if click.agent_is_bot {
        "curl/8.5.0"
    } else {
        "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"
    };
    let destination = click.campaign.map(|campaign| {
        let mut url = url::Url::parse("https://shop.example/").unwrap();
        url.query_pairs_mut().append_pair("utm_campaign", campaign);
        url.to_string()
    });
    let json = json!({
        "tenant_id": click.tenant.to_string(), "link_id": click.link.to_string(), "click_id": click.id.to_string(),
        "clicked_at": click.at.as_millis(), "language": click.language, "ip": format!("203.0.113.{}", click.host),
        "user_agent": agent, "destination": destination, "method": if click.preview { "HEAD" } else { "GET" },
        "trigger": if click.qr { "qr" } else { "link" }, "imported": true,
    });
    Append { key: ClickId(click.id), payload: Bytes::from(json.to_string()) }
}

/// Rows by the name of their columns, as texts; what is null is not there.
pub(in crate::export) type Row = BTreeMap<String, String>;

pub(in crate::export) fn quarter_text(quarter: Quarter) -> String {
    quarter.start().to_string()
}
