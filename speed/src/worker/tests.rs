//! The worker against a plain count, while the view is rolled back, wiped, shared with a zombie, and its answers get lost.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::click::Click;
use linktide_common::clock::Clock;
use linktide_common::count::Counts;
use linktide_common::enrich::{EnrichConfig, Enricher, GeoFiles, VisitorIdentity};
use linktide_common::id::{ClickId, Epoch, LinkId, Subject, TenantId};
use linktide_common::intake::Lag;
use linktide_common::log::embedded::{EmbeddedConfig, EmbeddedLog};
use linktide_common::log::{Append, LogReader as _, LogWriter as _};
use linktide_common::secret::Secret;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::*;
use crate::view::{Counted, Held, LinksSlice, MemoryView, Slice, Want};

const W: Hour = Hour(480_000);
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

/// A view whose answers get lost and whose state can be set back, as a server's may be.
#[derive(Default)]
struct Faulty {
    state: Mutex<FaultyState>,
}

#[derive(Default)]
struct FaultyState {
    done: Vec<Step>,
    view: Arc<MemoryView>,
    lose_answer: bool,
    refuse: bool,
    /// The next flush reaches these shards only, and then fails.
    cut: Option<std::ops::Range<usize>>,
}

#[derive(Clone)]
enum Step {
    Begin(Epoch, Positions, Hour),
    Flush(Box<Fold>),
}

impl Faulty {
    fn view(&self) -> Arc<MemoryView> {
        Arc::clone(&self.state.lock().view)
    }

    /// Sets the view back to what it was after the first `steps` changes.
    async fn roll_back(&self, steps: usize) {
        let done: Vec<Step> = self.state.lock().done.iter().take(steps).cloned().collect();
        let view = Arc::new(MemoryView::new());
        for step in done.clone() {
            match step {
                Step::Begin(epoch, positions, from) => view.begin(epoch, &positions, from).await.unwrap(),
                Step::Flush(fold) => drop(view.flush(*fold).await.unwrap()),
            }
        }
        let mut state = self.state.lock();
        state.done = done;
        state.view = view;
    }
}

#[async_trait]
impl View for Faulty {
    async fn held(&self) -> Result<Held, ViewError> {
        self.view().held().await
    }

    async fn standing(&self, epoch: Epoch) -> Result<Standing, ViewError> {
        self.view().standing(epoch).await
    }

    async fn begin(&self, epoch: Epoch, positions: &Positions, from: Hour) -> Result<(), ViewError> {
        self.view().begin(epoch, positions, from).await?;
        self.state.lock().done.push(Step::Begin(epoch, positions.clone(), from));
        Ok(())
    }

    async fn flush(&self, mut fold: Fold) -> Result<Flushed, ViewError> {
        if std::mem::take(&mut self.state.lock().refuse) {
            return Err(ViewError::Unavailable("the connection was cut before".into()));
        }
        let cut = self.state.lock().cut.take();
        if let Some(reached) = &cut {
            for (place, shard) in fold.shards.iter_mut().enumerate() {
                if !reached.contains(&place) {
                    *shard = crate::fold::ShardFold::default();
                }
            }
        }
        let flushed = self.view().flush(fold.clone()).await?;
        let mut state = self.state.lock();
        // One that some shards refused may have changed others.
        state.done.push(Step::Flush(Box::new(fold)));
        if std::mem::take(&mut state.lose_answer) || cut.is_some() {
            return Err(ViewError::Unavailable("the connection was cut behind".into()));
        }
        Ok(flushed)
    }

    async fn tell(&self, epoch: Epoch, lags: &BTreeMap<PartitionId, Lag>) -> Result<(), ViewError> {
        self.view().tell(epoch, lags).await
    }

    async fn read(&self, subject: Subject, from: Hour, want: &Want) -> Result<Slice, ViewError> {
        self.view().read(subject, from, want).await
    }

    async fn links(&self, tenant: TenantId, from: Hour, range: Range, labels: bool) -> Result<LinksSlice, ViewError> {
        self.view().links(tenant, from, range, labels).await
    }

    async fn counted(&self, received: std::ops::Range<Hour>) -> Result<Counted, ViewError> {
        self.view().counted(received).await
    }

    async fn erase(&self, tombstone: &Tombstone) -> Result<(), ViewError> {
        self.view().erase(tombstone).await
    }

    async fn forget_behind(&self, publication: &Publication) -> Result<(), ViewError> {
        self.view().forget_behind(publication).await
    }

    async fn clear(&self) -> Result<(), ViewError> {
        self.view().clear().await
    }
}

struct World {
    log: Arc<EmbeddedLog>,
    clock: Clock,
    enricher: Arc<Enricher>,
    view: Arc<Faulty>,
    publications: watch::Receiver<Option<Arc<Publication>>>,
    announce: watch::Sender<Option<Arc<Publication>>>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(W.start());
        let config = EmbeddedConfig { partitions: 3, sync: false, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(folder.path(), &config, clock.clone()).unwrap();
        let publication = Publication::first(log.epoch(), &log.partitions(), "r".into(), W.start());
        let (announce, publications) = watch::channel(Some(Arc::new(publication)));
        let config = EnrichConfig {
            salt_secret: Secret::new(vec![1]),
            visitor: VisitorIdentity::Ip,
            geo: GeoFiles::default(),
            floor_days: 3653,
        };
        let enricher = Arc::new(Enricher::new(config).unwrap());
        let view = Arc::new(Faulty::default());
        Self { log, clock, enricher, view, publications, announce, _folder: folder }
    }

    fn worker(&self) -> SpeedWorker {
        let reader = Box::new(self.log.reader());
        let intake = Intake::new("speed", reader, Arc::clone(&self.enricher), self.clock.clone(), 40);
        let config = SpeedConfig { flush_interval: Duration::ZERO, poll_records: 9, ..SpeedConfig::default() };
        SpeedWorker::new(intake, Arc::clone(&self.view) as Arc<dyn View>, self.publications.clone(), config)
    }

    async fn at_end(&self) -> bool {
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

    /// By link and quarter: clicks, and repeats among them. What all links have of repeats their tenant has.
    async fn counted(&self) -> Plain {
        let range = Range::new(Quarter(0), Quarter(i32::MAX));
        let want = Want { range, dimensions: Vec::new(), visitors: false, repeats: true };
        let mut counted = BTreeMap::new();
        for link in 0..6 {
            let slice = self.view.read(Subject::Link(TenantId(0), LinkId(link)), W, &want).await.unwrap();
            let clicks = |counts: &Counts| [counts.bots + counts.humans, counts.repeats];
            counted.extend(slice.totals.iter().map(|(quarter, counts)| ((LinkId(link), *quarter), clicks(counts))));
        }
        let whole = self.view.read(Subject::Tenant(TenantId(0)), W, &want).await.unwrap();
        let repeats: u64 = whole.totals.iter().map(|(_, counts)| counts.repeats).sum();
        assert_eq!(repeats, counted.values().map(|[_, repeats]| repeats).sum::<u64>());
        counted
    }
}

type Plain = BTreeMap<(LinkId, Quarter), [u64; 2]>;

/// Adds to a plain count which clicks are repeats: all were received in one hour, and hashes are of a day.
fn count_repeats(plain: &mut Plain, people: BTreeMap<(u64, u8, Day), Vec<Timestamp>>) {
    for ((link, ..), mut clicks) in people {
        clicks.sort_unstable();
        for pair in clicks.windows(2).filter(|pair| pair[1].millis_since(pair[0]) <= 30_000) {
            plain.entry((LinkId(link), Quarter::of(pair[1]))).or_default()[1] += 1;
        }
    }
}

/// One seeded run; what it counted, and what a plain count of the same clicks says.
async fn run(seed: u64) -> (Plain, Plain) {
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    let mut workers = [world.worker(), world.worker()];
    let (mut plain, mut sent): (Plain, Vec<Append>) = (BTreeMap::new(), Vec::new());
    let mut people: BTreeMap<_, Vec<Timestamp>> = BTreeMap::new();
    for _ in 0..60 {
        let worker = random.random_range(0..workers.len());
        match random.random_range(0..13) {
            0..4 => {
                let mut records = Vec::new();
                for _ in 0..random.random_range(1..8) {
                    if let (true, Some(copy)) = (random.random_bool(0.2), sent.last()) {
                        records.push(copy.clone());
                        continue;
                    }
                    let (link, id) = (random.random_range(0..6u64), Uuid::from_u128(random.random()));
                    let ago = [90_000_000, 600_000][random.random_range(0..2)];
                    let clicked = W.start().plus_millis(-random.random_range(0..ago));
                    let mut who = String::new();
                    if random.random_bool(0.7) {
                        let host = random.random_range(0..3);
                        who = format!(r#","ip":"203.0.113.{host}","user_agent":"{BROWSER}""#);
                        people.entry((link, host, Day::of(clicked))).or_default().push(clicked);
                    }
                    let at = clicked.as_millis();
                    let json = format!(r#"{{"link_id":{link},"click_id":"{id}","clicked_at":{at}{who}}}"#);
                    Click::parse(json.as_bytes()).unwrap();
                    plain.entry((LinkId(link), Quarter::of(clicked))).or_default()[0] += 1;
                    records.push(Append { key: ClickId(id), payload: Bytes::from(json) });
                    sent.extend(records.last().cloned());
                }
                world.log.append(records).await.unwrap();
                world.clock.set(world.clock.now().plus_millis(random.random_range(0..2_000)));
            }
            4..8 => workers[worker].step(Duration::ZERO).await.unwrap(),
            8 => workers[worker] = world.worker(),
            9 => world.view.state.lock().lose_answer = true,
            10 => world.view.state.lock().refuse = true,
            11 => {
                let reached = random.random_range(0..SHARDS)..random.random_range(0..=SHARDS);
                world.view.state.lock().cut = Some(reached);
            }
            _ => {
                let steps = world.view.state.lock().done.len();
                world.view.roll_back(random.random_range(0..=steps)).await;
            }
        }
    }
    let mut last = world.worker();
    while !world.at_end().await {
        last.step(Duration::ZERO).await.unwrap();
    }
    count_repeats(&mut plain, people);
    (world.counted().await, plain)
}

#[tokio::test(start_paused = true)]
async fn every_click_is_counted_once_whatever_befalls_view_and_workers() {
    let mut repeats = 0;
    for seed in 0..60 {
        let (counted, plain) = run(seed).await;
        assert_eq!(counted, plain, "seed {seed}");
        repeats += plain.values().map(|[_, repeats]| repeats).sum::<u64>();
    }
    assert!(repeats > 50, "{repeats}");
}

#[tokio::test(start_paused = true)]
async fn simulation_gives_the_same_run_for_the_same_seed() {
    assert_eq!(run(3).await, run(3).await);
}

/// Sends a click on each of two links.
async fn send_both(world: &World) {
    let click = |link: u64| {
        let id = Uuid::from_u128(u128::from(link) << 64 | u128::try_from(world.clock.now().as_millis()).unwrap());
        let json = format!("{{\"link_id\":{link},\"click_id\":\"{id}\"}}");
        Append { key: ClickId(id), payload: Bytes::from(json) }
    };
    world.log.append([1, 2].map(click).to_vec()).await.unwrap();
}

async fn both_counted(world: &World) -> [u64; 2] {
    let counted = world.counted().await;
    [1, 2].map(|link| counted.iter().filter(|((of, _), _)| *of == LinkId(link)).map(|(_, [count, _])| count).sum())
}

#[tokio::test(start_paused = true)]
async fn erased_stays_erased_however_often_the_view_is_filled_again() {
    let world = World::new();
    let mut worker = world.worker();
    send_both(&world).await;
    while !world.at_end().await {
        worker.step(Duration::ZERO).await.unwrap();
    }
    assert_eq!(both_counted(&world).await, [1, 1]);
    // Folded and not flushed when the erasure is published: nothing of it may come behind.
    world.clock.set(W.start().plus_millis(1000));
    send_both(&world).await;
    let mut publication = world.publications.borrow().as_ref().unwrap().as_ref().clone();
    publication.tombstones.push(Tombstone::new(Subject::Link(TenantId(0), LinkId(1)), W.next(), 0));
    publication.number += 1;
    world.announce.send(Some(Arc::new(publication))).unwrap();
    // What comes in until the hour is over is erased, too.
    world.clock.set(W.start().plus_millis(2000));
    send_both(&world).await;
    worker.step(Duration::ZERO).await.unwrap();
    while !world.at_end().await {
        worker.step(Duration::ZERO).await.unwrap();
    }
    assert_eq!(both_counted(&world).await, [0, 3]);
    for _ in 0..2 {
        world.view.view().clear().await.unwrap();
        let mut worker = world.worker();
        while !world.at_end().await {
            worker.step(Duration::ZERO).await.unwrap();
        }
        assert_eq!(both_counted(&world).await, [0, 3]);
    }
    world.clock.set(W.next().start());
    send_both(&world).await;
    let mut worker = world.worker();
    while !world.at_end().await {
        worker.step(Duration::ZERO).await.unwrap();
    }
    assert_eq!(both_counted(&world).await, [1, 4], "from the hour on clicks count again");
}
