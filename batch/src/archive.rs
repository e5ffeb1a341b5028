//! The archive: every click of the log into `click_event`, with the positions it came from in the same commit.
//!
//! 1. At assignment each partition starts at the table's own `txn`, never at what the log's group committed. A partition
//!    that no publication names is published first (same watermark, same tables, the cut extended), then read.
//! 2. Clicks gather until there are enough, or the oldest has waited long enough, or an hour boundary has been crossed.
//! 3. Records that are no clicks are kept beside the log first, by their places: a crash before the commit keeps none twice.
//!    One commit adds the sorted files and sets `txn` for every owned partition, idle ones too: the next offset under
//!    `archive/<epoch>/<partition>` and received time under `received/<epoch>/<partition>`.
//! 4. When a commit fails, the table is read again. If it stands where this commit began, another job of the table came
//!    first, and the commit is tried again; if it stands where this commit ends, it landed all the same.
//! 5. Whatever else goes wrong, the rows are thrown away and each partition starts where the table says. A zombie's commit
//!    never lands on a newer version.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use deltalake::kernel::{Add, Transaction};
use linktide_common::bucket::{Day, Hour, Timestamp};
use linktide_common::clock::Clock;
use linktide_common::enrich::EnrichedClick;
use linktide_common::id::{Epoch, Offset, PartitionId};
use linktide_common::intake::{Intake, What};
use linktide_common::log::{Position, Positions, Rejected};
use linktide_common::publication::{Announced, Publication};
use object_store::path::Path;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::BatchError;
use crate::metrics;
use crate::table::{Rows, Table};
use crate::tables::click_event::{self, Row};
use crate::tables::parquet::Encoder;
use crate::tables::{Lake, columns};

/// Clicks that become columns at once: each column looks at all of them, and finds them in the processor's cache.
const ROWS_AT_ONCE: usize = 1000;
/// Times a commit is tried before the table is read anew.
const ATTEMPTS: usize = 5;

/// How the archive paces itself.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Clicks after which a commit is made.
    pub commit_clicks: usize,
    /// About how many bytes of clicks may gather before a commit is made.
    pub commit_bytes: usize,
    /// How long the oldest click waits for a commit.
    pub commit_age: Duration,
    /// Records read at once.
    pub poll_records: usize,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            commit_clicks: 200_000,
            commit_bytes: 128 << 20,
            commit_age: Duration::from_secs(60),
            poll_records: 20_000,
        }
    }
}

/// Asks the archive for a commit.
#[derive(Clone)]
pub struct Flusher {
    requests: mpsc::Sender<Request>,
}

struct Request {
    through: Timestamp,
    reply: oneshot::Sender<()>,
}

impl Flusher {
    /// Returns when all that the log received before `through` is in the table; tells whether it is. The clock must have
    /// reached `through`, or the archive waits for it.
    pub async fn archived_through(&self, through: Timestamp) -> bool {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { through, reply }).await.is_ok() && answer.await.is_ok()
    }
}

/// Archives clicks until told to stop.
pub struct Archiver {
    intake: Intake,
    lake: Lake,
    clock: Clock,
    config: ArchiveConfig,
    table: Table,
    assigned: Vec<PartitionId>,
    rows: Vec<Row>,
    /// Records that are no clicks, to be kept beside the log.
    rejected: Vec<Rejected>,
    bytes: usize,
    gathering_since: Instant,
    committed: Positions,
    requests: mpsc::Receiver<Request>,
    pending: Vec<Request>,
}

impl Archiver {
    /// An archive of `lake` over its own reader of the log, and the way to ask it for commits.
    ///
    /// # Errors
    /// [`BatchError`] where the table cannot be opened.
    pub async fn open(
        lake: Lake,
        intake: Intake,
        clock: Clock,
        config: ArchiveConfig,
    ) -> Result<(Self, Flusher), BatchError> {
        LazyLock::force(&metrics::CONFLICTS);
        let table = lake.table(click_event::definition()).await?;
        let (asked, requests) = mpsc::channel(16);
        let archiver = Self {
            intake,
            lake,
            clock,
            config,
            table,
            assigned: Vec::new(),
            rows: Vec::new(),
            rejected: Vec::new(),
            bytes: 0,
            gathering_since: Instant::now(),
            committed: Positions::new(),
            requests,
            pending: Vec::new(),
        };
        Ok((archiver, Flusher { requests: asked }))
    }

    /// Works until `stop`, then commits what was gathered.
    ///
    /// # Errors
    /// [`BatchError`] where the log cannot be read on or the table is not ours. A store that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BatchError> {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                stepped = self.step(Duration::from_millis(100)) => stepped?,
            }
        }
        self.commit().await
    }

    /// Reads once, and commits if it is time.
    pub(crate) async fn step(&mut self, wait: Duration) -> Result<(), BatchError> {
        while let Ok(request) = self.requests.try_recv() {
            self.pending.push(request);
        }
        let batch = match self.intake.next(self.config.poll_records, wait).await.map_err(BatchError::from) {
            Ok(batch) => batch,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the log cannot be read on from here; going on from where the table stands");
                return self.recover().await;
            }
            Err(error) => return Err(error),
        };
        if !batch.assigned.is_empty() || !batch.revoked.is_empty() {
            self.assigned.retain(|partition| !batch.revoked.contains(partition));
            self.assigned.extend(batch.assigned);
            return self.recover().await;
        }
        if self.rows.is_empty() {
            self.gathering_since = Instant::now();
        }
        let epoch = self.intake.epoch();
        for item in batch.items {
            match item.what {
                What::Click(click) => {
                    self.bytes += weight(&click);
                    self.rows.push(Row { epoch, partition: item.partition, offset: item.offset, click });
                }
                What::Reject(reject) => self.rejected.push(Rejected {
                    partition: item.partition,
                    offset: item.offset,
                    received_at: item.received_at,
                    reason: reject.reason.name(),
                    detail: reject.to_string(),
                }),
                What::Copy => {}
            }
        }
        if self.is_due() {
            self.commit().await?;
        }
        let _ = self.intake.tell_lag().await;
        self.answer();
        Ok(())
    }

    fn is_due(&self) -> bool {
        let positions = self.intake.positions();
        let full = self.rows.len() >= self.config.commit_clicks || self.bytes >= self.config.commit_bytes;
        let old = !self.rows.is_empty() && self.gathering_since.elapsed() >= self.config.commit_age;
        let hour = |positions: &Positions| positions.values().map(|position| Hour::of(position.received_at)).min();
        let turned = hour(&positions) > hour(&self.committed);
        let reached = |request: &Request| positions.values().all(|position| position.received_at >= request.through);
        full || old || turned || (self.pending.iter().any(reached) && positions != self.committed)
    }

    /// Whether all that was received before `through` is in the table. Without a partition nobody knows.
    pub(crate) fn has_committed(&self, through: Timestamp) -> bool {
        !self.committed.is_empty() && self.committed.values().all(|position| position.received_at >= through)
    }

    fn answer(&mut self) {
        let (reached, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|request| self.has_committed(request.through));
        self.pending = pending;
        for request in reached {
            // Whoever no longer waits for the answer does not need it.
            let _ = request.reply.send(());
        }
    }

    /// How many clicks wait for a commit.
    #[cfg(test)]
    pub(crate) fn gathered(&self) -> usize {
        self.rows.len()
    }

    pub(crate) async fn commit(&mut self) -> Result<(), BatchError> {
        let positions = self.intake.positions();
        if positions == self.committed {
            return Ok(());
        }
        match self.commit_to(&positions).await {
            Ok(()) => {
                metrics::ARCHIVED.inc_by(self.rows.len() as u64);
                self.clear();
                self.committed = positions;
                if let Err(error) = self.intake.commit(&self.committed).await {
                    tracing::debug!(%error, "the position was not told to the log");
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a commit to click_event failed; going on from where the table stands");
                self.recover().await
            }
        }
    }

    async fn commit_to(&mut self, positions: &Positions) -> Result<(), BatchError> {
        // Before the positions pass them; kept by their places, so that the next try keeps none twice.
        self.intake.keep_rejects(&self.rejected).await?;
        let now = self.clock.now();
        let rules = self.intake.rules_version();
        let mut added: Vec<Add> = Vec::new();
        for (day, rows) in by_day(in_order(&self.rows)) {
            let date = day.start().to_string()[..10].to_owned();
            let path = Path::from(format!("received_date={date}/{}.parquet", uuid::Uuid::new_v4()));
            let encoder = Encoder::start(self.table.definition.file_schema());
            for rows in rows.chunks(ROWS_AT_ONCE) {
                encoder.add(click_event::encode(rows, &rules)?).await;
            }
            added.push(self.table.put(&path, Some(&date), encoder.finish().await?, now).await?);
        }
        let epoch = self.intake.epoch();
        let transactions = positions.iter().flat_map(|(partition, position)| {
            let offset = columns::stored(position.offset.0);
            [
                Transaction::new(offset_key(epoch, *partition), offset),
                Transaction::new(received_key(epoch, *partition), position.received_at.as_millis()),
            ]
        });
        self.land(added, transactions.collect(), positions).await
    }

    /// Commits on top of whatever others did to the table, as long as they left our partitions alone.
    async fn land(
        &mut self,
        added: Vec<Add>,
        transactions: Vec<Transaction>,
        positions: &Positions,
    ) -> Result<(), BatchError> {
        let mut attempts = ATTEMPTS;
        loop {
            let Err(error) = self.table.commit(added.clone(), &[], Rows::Changed, transactions.clone()).await else {
                return Ok(());
            };
            self.table.reload().await?;
            let standing = self.standing().await?;
            attempts -= 1;
            if standing == *positions {
                return Ok(());
            }
            if attempts == 0 || standing != self.committed {
                return Err(error);
            }
        }
    }

    /// Where the table stands in each partition; where it says nothing, at the beginning.
    async fn standing(&self) -> Result<Positions, BatchError> {
        let mut standing = self.committed.clone();
        for (partition, position) in &mut standing {
            if let Some(archived) = archived(&self.table, self.intake.epoch(), *partition).await? {
                *position = archived;
            }
        }
        Ok(standing)
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.rejected.clear();
        self.bytes = 0;
    }

    /// The one recovery path.
    async fn recover(&mut self) -> Result<(), BatchError> {
        self.clear();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.start_again().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => tracing::warn!(%error, "the archive cannot go on; trying again"),
                Err(error) => return Err(error),
            }
            let _ = self.intake.tell_lag().await;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn start_again(&mut self) -> Result<(), BatchError> {
        self.table.reload().await?;
        let epoch = self.intake.epoch();
        let cut = self.named().await?.cut_of(epoch);
        self.committed.clear();
        for partition in self.assigned.clone() {
            self.intake.stop(partition);
            let begin = cut.get(&partition).copied();
            let Some(position) = archived(&self.table, epoch, partition).await?.or(begin) else { continue };
            if let Some(gap) = self.intake.start(partition, position).await? {
                tracing::error!(?gap, "clicks are gone from the log before they were archived");
            }
            self.committed.insert(partition, position);
        }
        Ok(())
    }

    /// The newest publication, after making sure that it names every partition that is ours.
    async fn named(&self) -> Result<Publication, BatchError> {
        let epoch = self.intake.epoch();
        loop {
            let newest = self.lake.publications().latest().await?;
            if let Some(later) = newest.as_ref().and_then(|newest| newest.cut.iter().map(|entry| entry.epoch).max())
                && later > epoch
            {
                return Err(BatchError::Refused(format!(
                    "this archive reads epoch {epoch} of the log, but epoch {later} has begun, and what is archived of epoch {epoch} was taken for all of it; end this process, or correct kafka.epoch"
                )));
            }
            let next = match newest {
                None => Publication::first(epoch, &self.assigned, self.intake.rules_version(), self.clock.now()),
                Some(newest) => match newest.unnamed(epoch, &self.assigned).as_slice() {
                    [] => return Ok(newest.as_ref().clone()),
                    unnamed => newest.extended(epoch, unnamed, self.clock.now()),
                },
            };
            if self.lake.publications().publish(next.clone()).await? == Announced::Published {
                return Ok(next);
            }
        }
    }
}

/// Rows in the order of the file. They are large, and stay where they are.
fn in_order(rows: &[Row]) -> impl Iterator<Item = &Row> {
    let keyed = rows.iter().map(|row| {
        let click = &row.click;
        let owner = (columns::signed(click.tenant_id.0), columns::signed(click.link_id.0));
        ((owner, click.clicked_at, row.partition, row.offset), row)
    });
    let mut order: Vec<_> = keyed.collect();
    order.sort_unstable_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, row)| row)
}

fn by_day<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeMap<Day, Vec<&'a Row>> {
    let mut days: BTreeMap<Day, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        days.entry(Day::of(row.click.received_at)).or_default().push(row);
    }
    days
}

/// About how much memory a click takes: itself, and those of its texts that nobody shares.
fn weight(click: &EnrichedClick) -> usize {
    let texts = [&click.user_agent, &click.destination, &click.slug, &click.title];
    size_of::<EnrichedClick>() + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
}

fn offset_key(epoch: Epoch, partition: PartitionId) -> String {
    format!("archive/{epoch}/{partition}")
}

fn received_key(epoch: Epoch, partition: PartitionId) -> String {
    format!("received/{epoch}/{partition}")
}

/// How far a partition is in the table, by the table's own word.
pub(crate) async fn archived(
    table: &Table,
    epoch: Epoch,
    partition: PartitionId,
) -> Result<Option<Position>, BatchError> {
    let offset = table.transaction(&offset_key(epoch, partition)).await?;
    let received = table.transaction(&received_key(epoch, partition)).await?;
    Ok(offset
        .zip(received.and_then(Timestamp::from_millis))
        .map(|(offset, received_at)| Position { offset: Offset(columns::counted(offset)), received_at }))
}
