//! What the service answers from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linktide_batch::reader::Tables;
use linktide_common::access::Gate;
use linktide_common::background::Background;
use linktide_common::clock::Clock;
use linktide_common::count::Traffic;
use linktide_common::enrich::VisitorIdentity;
use linktide_common::id::TenantId;
use linktide_common::pool::{Pool, PoolConfig};
use linktide_common::publication::{Publication, PublicationStore};
use linktide_common::repeat::Windows;
use linktide_common::turns::Turns;
use linktide_common::visitors::MOST;
use linktide_speed::reader::SpeedReader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::export::{Exports, janitor, worker};
use crate::webhook::{self, Webhooks};

/// Questions about all its links that a tenant may have under way, and that may wait: each has some hundred thousand rows to
/// read from a server that does one thing at a time.
const LISTS: usize = 2;
const LISTS_WAITING: usize = 32;
/// Other questions that may wait of a tenant whose questions go behind those of others.
const BEHIND_WAITING: usize = 1024;

/// How the service answers.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// How long a layer may take before the answer goes without it.
    pub deadline: Duration,
    /// How far an answer may lie behind before it is called stale.
    pub stale_after: Duration,
    /// What uniques count.
    pub visitor: VisitorIdentity,
    /// Visitors of a subject on a UTC day up to which they are counted one by one, as far as [`MOST`] are known; none: always
    /// by sketches.
    ///
    /// [`MOST`]: linktide_common::visitors::MOST
    pub exact_visitors: Option<usize>,
    /// When a click is a repeat: the windows that the layers count by.
    pub repeats: Windows,
    /// How often a live stream looks for new counts.
    pub live_every: Duration,
    /// The most live streams of this process.
    pub live_streams: usize,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            stale_after: Duration::from_secs(60),
            visitor: VisitorIdentity::Ip,
            exact_visitors: Some(MOST),
            repeats: Windows::new(Some(Duration::from_secs(30)), []),
            live_every: Duration::from_secs(1),
            live_streams: 1_000,
        }
    }
}

/// The service's state; clones share it.
#[derive(Clone)]
pub struct Query {
    pub(crate) tables: Arc<Tables>,
    pub(crate) speed: SpeedReader,
    /// The newest publication that this process knows of.
    pub(crate) publications: watch::Receiver<Option<Arc<Publication>>>,
    /// Those that are kept for reports.
    pub(crate) kept: PublicationStore,
    pub(crate) clock: Clock,
    pub(crate) config: Arc<QueryConfig>,
    /// None where this process makes none.
    pub(crate) exports: Option<Arc<Exports>>,
    /// None where this process has none.
    pub(crate) webhooks: Option<Arc<Webhooks>>,
    /// Who passes.
    pub(crate) gate: Gate,
    /// Where answers are made: beside the runtime of the requests, in turn for each tenant.
    pub(crate) answering: Arc<Pool>,
    /// Where questions are asked that take much, or whose tenant does.
    pub(crate) background: Arc<Background>,
    /// For questions about all links of a tenant.
    pub(crate) turns_of_lists: Arc<Turns>,
    /// For other questions there of a tenant that takes much: beside others that do, too, its share is not what it asks at once.
    pub(crate) turns_behind: Arc<Turns>,
    /// Told when the process ends: live streams would never end by themselves.
    pub(crate) stop: CancellationToken,
    live: Arc<Semaphore>,
    caught_up: Arc<AtomicBool>,
}

impl Query {
    /// A service over the readers of both layers, until `stop`.
    #[must_use]
    pub fn new(
        tables: Arc<Tables>,
        speed: SpeedReader,
        kept: PublicationStore,
        clock: Clock,
        config: QueryConfig,
        stop: CancellationToken,
    ) -> Self {
        let (live, caught_up) = (Arc::new(Semaphore::new(config.live_streams)), Arc::new(AtomicBool::new(false)));
        let (publications, config, gate) = (kept.watch(), Arc::new(config), Gate::open());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let background = Background::start("behind", cores).expect("the system gives threads");
        Self {
            tables,
            speed,
            publications,
            kept,
            clock,
            config,
            exports: None,
            webhooks: None,
            gate,
            answering: Arc::new(Pool::start(PoolConfig::of_the_machine("answers"))),
            background: Arc::new(background),
            turns_of_lists: Arc::new(Turns::new(LISTS, LISTS_WAITING)),
            // One waits for a store while another has its core.
            turns_behind: Arc::new(Turns::new(cores.max(2), BEHIND_WAITING)),
            stop,
            live,
            caught_up,
        }
    }

    /// The same for work on the threads that stand back.
    pub(crate) fn apart(&self) -> Self {
        Self { speed: self.speed.apart(), ..self.clone() }
    }

    /// The same behind a gate; without one everyone is tenant 0.
    #[must_use]
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Whether clicks of such traffic are told without repeats, too: of people alone, and where the tenant has a window.
    pub(crate) fn tells_repeats(&self, tenant: TenantId, traffic: Traffic) -> bool {
        traffic == Traffic::Human && self.config.repeats.of(tenant).is_some()
    }

    /// Room for one live stream more, if there is any.
    pub(crate) fn live_room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.live).try_acquire_owned().ok()
    }

    /// The same, which makes exports too.
    #[must_use]
    pub fn exporting(self, exports: Arc<Exports>) -> Self {
        Self { exports: Some(exports), ..self }
    }

    /// The same, which has webhooks too.
    #[must_use]
    pub fn telling(self, webhooks: Arc<Webhooks>) -> Self {
        Self { webhooks: Some(webhooks), ..self }
    }

    /// Makes export jobs, deletes old results, and tells webhooks what came, until told to stop.
    pub async fn work(self) {
        let stop = self.stop.clone();
        let exporting = async {
            if let Some(exports) = self.exports.clone() {
                tokio::join!(
                    worker::run(Arc::clone(&exports), self.clone(), stop.clone()),
                    janitor::run(exports, self.clone(), stop.clone())
                );
            }
        };
        let telling = async {
            if let Some(webhooks) = self.webhooks.clone() {
                webhook::run(webhooks, self.clone(), stop.clone()).await;
            }
        };
        tokio::join!(exporting, telling, stop.cancelled());
    }

    /// Whether the speed layer has once been as fresh as it should be; `fresh` says whether it is now.
    pub(crate) fn has_caught_up(&self, fresh: bool) -> bool {
        self.caught_up.fetch_or(fresh, Ordering::AcqRel) || fresh
    }
}
