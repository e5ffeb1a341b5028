//! Asking both layers at one watermark.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use linktide_batch::reader::{BatchError, Snapshot};
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::sketch::Sketch;
use linktide_speed::reader::{Held, LinksSlice, Slice, ViewError, Want};

use crate::freshness::{Away, Basis};
use crate::merge::{self, Totals};
use crate::metrics;
use crate::state::Query;

/// How often a question starts again because the watermark moved under it.
const ATTEMPTS: usize = 4;

/// Which publication a question is asked at.
#[derive(Debug, Clone)]
pub(crate) enum At {
    /// The newest, and what came in since.
    Newest,
    /// A past one alone: the same question gives the same answer.
    Past(Arc<Publication>),
}

/// What a question needs of a subject beside its counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// The buckets the counts are summed in.
    pub(crate) buckets: Vec<Range>,
    pub(crate) dimensions: Vec<Dimension>,
    pub(crate) visitors: bool,
    pub(crate) label: bool,
}

/// What both layers gave.
pub(crate) struct Answer {
    pub(crate) basis: Basis,
    pub(crate) totals: Totals,
    pub(crate) values: HashMap<(Dimension, Text), Counts>,
    pub(crate) visitors: Sketch,
    pub(crate) label: Option<Label>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    /// Whether the speed layer left out values or visitors, because there were too many.
    pub(crate) guarded: bool,
}

/// Clicks by link, of both layers.
pub(crate) struct LinksAnswer {
    pub(crate) basis: Basis,
    pub(crate) links: HashMap<LinkId, Counts>,
    pub(crate) labels: HashMap<LinkId, Label>,
}

/// What history gave of links.
type LinkRows = (HashMap<LinkId, Counts>, HashMap<LinkId, Label>);

/// What history gave.
#[derive(Default)]
struct History {
    totals: Totals,
    values: Vec<(Dimension, Text, Counts)>,
    visitors: Sketch,
    label: Option<Label>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Answer {
    /// Adds what both layers gave at one publication.
    fn of(publication: Arc<Publication>, history: Result<History, String>, recent: Result<Slice, Away>) -> Self {
        let batch = history.as_ref().map(|_| ()).map_err(Clone::clone);
        let mut history = history.unwrap_or_default();
        let mut guarded = false;
        let speed = recent.map(|slice| {
            guarded = slice.guarded;
            history.totals.recent = slice.totals.into_iter().collect();
            history.values.extend(slice.values);
            slice.visitors.iter().for_each(|(_, sketch)| history.visitors.merge(sketch));
            history.first = [history.first, slice.first].into_iter().flatten().min();
            history.last = history.last.max(slice.last);
            history.label = later(history.label.take(), slice.label);
            slice.held
        });
        let values = history.values.into_iter().map(|(dimension, value, counts)| ((dimension, value), counts));
        Self {
            basis: Basis { publication, speed, batch },
            totals: history.totals,
            values: merge::add(values, []),
            visitors: history.visitors,
            label: history.label,
            first: history.first,
            last: history.last,
            guarded,
        }
    }
}

impl LinksAnswer {
    /// Adds what both layers gave at one publication.
    fn of(publication: Arc<Publication>, history: Result<LinkRows, String>, recent: Result<LinksSlice, Away>) -> Self {
        let batch = history.as_ref().map(|_| ()).map_err(Clone::clone);
        let (links, mut labels) = history.unwrap_or_default();
        let mut newer = Vec::new();
        let speed = recent.map(|slice| {
            newer = slice.links;
            for (link, label) in slice.labels {
                let known = labels.remove(&link);
                labels.extend(later(known, Some(label)).map(|label| (link, label)));
            }
            slice.held
        });
        Self { basis: Basis { publication, speed, batch }, links: merge::add(links, newer), labels }
    }
}

impl Query {
    /// The newest publication.
    pub(crate) fn pinned(&self) -> Result<Arc<Publication>, Problem> {
        let newest = self.publications.borrow().clone();
        newest.ok_or_else(|| {
            Problem::new(ProblemKind::NotReady, "nothing is published yet; the service has just begun").retry_after(1)
        })
    }

    /// The publication that a question about a subject names, if it names one.
    ///
    /// Its versions hold what was erased since; a question whose answer would show of it is refused.
    pub(crate) async fn at(&self, number: Option<u64>, subject: Subject) -> Result<At, Problem> {
        let Some(number) = number else { return Ok(At::Newest) };
        let newest = self.pinned()?;
        let past = self.in_time(self.kept.numbered(number)).await.map_err(|error| {
            Problem::new(ProblemKind::NotReady, format!("publication {number} cannot be read now: {error}"))
                .retry_after(1)
        })?;
        let past = past.ok_or_else(|| {
            Problem::parameter(
                "publication",
                &number.to_string(),
                format!("no publication {number} is kept; the newest is {}", newest.number),
            )
        })?;
        let erased_since = newest.tombstones.iter().filter(|tombstone| !past.tombstones.contains(tombstone));
        let shows = |tombstone: &Tombstone| tombstone.is_of(subject) || subject == Subject::Tenant(tombstone.tenant_id);
        if erased_since.into_iter().any(shows) {
            return Err(Problem::new(
                ProblemKind::Gone,
                format!("publication {number} holds clicks that were erased since; ask as of a newer one"),
            ));
        }
        Ok(At::Past(past))
    }

    /// Where everything begins, for `interval=all`, and what is not known of it because a layer is away.
    pub(crate) async fn earliest(
        &self,
        at: &At,
        subject: Subject,
        now: Timestamp,
    ) -> Result<(Quarter, Vec<String>), Problem> {
        let range = Range::new(Quarter(0), Quarter::of(now).next());
        let want = Want { range, dimensions: Vec::new(), visitors: false };
        let (publication, history, recent) = match at {
            At::Past(past) => (Arc::clone(past), self.in_time(self.tables.at(past)).await, Ok(Slice::default())),
            At::Newest => {
                let newest = self.pinned()?;
                let (history, recent) = tokio::join!(
                    self.in_time(self.tables.at(&newest)),
                    self.in_time(self.speed.read(subject, newest.held_from(subject), &want)),
                );
                (newest, history, recent)
            }
        };
        let unknown = |layer, error: &String| {
            format!("the {layer} layer did not say where its clicks begin ({error}): `all` may begin too late")
        };
        let reasons = [
            history.as_ref().err().map(|error| unknown("batch", error)),
            recent.as_ref().err().map(|error| unknown("speed", error)),
        ];
        let history = history.ok().and_then(|snapshot| snapshot.earliest()).map(Day::first_quarter);
        let recent = recent.ok().and_then(|slice| slice.totals.first().map(|(quarter, _)| *quarter));
        let earliest = [history, recent].into_iter().flatten().min();
        let earliest = earliest.unwrap_or_else(|| publication.watermark.first_quarter());
        Ok((earliest, reasons.into_iter().flatten().collect()))
    }

    /// Everything a question needs of a subject, from both layers at one watermark.
    pub(crate) async fn ask(&self, at: &At, subject: Subject, range: Range, needs: &Needs) -> Result<Answer, Problem> {
        if let At::Past(past) = at {
            let history = self.in_time(self.history(past, subject, range, needs)).await;
            return Ok(Answer::of(Arc::clone(past), history, Err(Away::NotAsked)));
        }
        let want = Want { range, dimensions: needs.dimensions.clone(), visitors: needs.visitors };
        let mut attempts = 1;
        loop {
            let publication = self.pinned()?;
            let (history, recent) = tokio::join!(
                self.in_time(self.history(&publication, subject, range, needs)),
                self.in_time(self.recent(&publication, subject, &want)),
            );
            if attempts < ATTEMPTS && self.moved_on(&publication, recent.as_ref().map(|slice| &slice.held)) {
                attempts += 1;
                continue;
            }
            return Ok(Answer::of(publication, history, recent.map_err(Away::Failed)));
        }
    }

    /// Clicks of each link of a tenant, from both layers at one watermark.
    pub(crate) async fn ask_links(&self, at: &At, tenant: TenantId, range: Range) -> Result<LinksAnswer, Problem> {
        if let At::Past(past) = at {
            let history = self.in_time(self.links_of(past, tenant, range)).await;
            return add_up(Arc::clone(past), history, Err(Away::NotAsked)).await;
        }
        let mut attempts = 1;
        loop {
            let publication = self.pinned()?;
            let (history, recent) = tokio::join!(
                self.in_time(self.links_of(&publication, tenant, range)),
                self.in_time(self.recent_links(&publication, tenant, range))
            );
            if attempts < ATTEMPTS && self.moved_on(&publication, recent.as_ref().map(|slice| &slice.held)) {
                attempts += 1;
                continue;
            }
            return add_up(publication, history, recent.map_err(Away::Failed)).await;
        }
    }

    /// What history has of each link of a tenant.
    async fn links_of(
        &self,
        publication: &Arc<Publication>,
        tenant: TenantId,
        range: Range,
    ) -> Result<LinkRows, BatchError> {
        let snapshot = self.tables.at(publication).await?;
        Ok((snapshot.links(tenant, range).await?, snapshot.labels(tenant, None).await?))
    }

    /// What the speed layer has of a subject, apart from what was erased: an old cell may still be there.
    async fn recent(&self, publication: &Publication, subject: Subject, want: &Want) -> Result<Slice, ViewError> {
        let from = publication.held_from(subject);
        let mut slice = self.speed.read(subject, from, want).await?;
        if from > publication.watermark {
            // A label does not tell when it was received.
            slice.label = None;
        }
        Ok(slice)
    }

    /// The same of each link of a tenant.
    async fn recent_links(
        &self,
        publication: &Publication,
        tenant: TenantId,
        range: Range,
    ) -> Result<LinksSlice, ViewError> {
        let from = publication.held_from(Subject::Tenant(tenant));
        let mut slice = self.speed.links(tenant, from, range).await?;
        let of_tenant = publication.tombstones.iter().filter(|tombstone| tombstone.tenant_id == tenant);
        for link in of_tenant.filter(|tombstone| tombstone.received_before > from).filter_map(|erased| erased.link_id) {
            slice.links.retain(|(listed, _)| *listed != link);
            slice.labels.retain(|(listed, _)| *listed != link);
            let want = Want { range, dimensions: Vec::new(), visitors: false };
            let left = self.recent(publication, Subject::Link(tenant, link), &want).await?;
            let counts = left.totals.iter().fold(Counts::default(), |sum, (_, counts)| sum + *counts);
            slice.links.extend((!counts.is_zero()).then_some((link, counts)));
        }
        Ok(slice)
    }

    /// What the layers are like, without a question.
    pub(crate) async fn basis(&self) -> Result<Basis, Problem> {
        let publication = self.pinned()?;
        let (snapshot, held) =
            tokio::join!(self.in_time(self.tables.at(&publication)), self.in_time(self.speed.held()));
        Ok(Basis { publication, speed: held.map_err(Away::Failed), batch: snapshot.map(|_| ()) })
    }

    /// Whether the view has let go of what the pinned publication leaves to it, and a newer publication is there.
    fn moved_on(&self, pinned: &Publication, held: Result<&Held, &String>) -> bool {
        let let_go = held.is_ok_and(|held| held.from.is_some_and(|from: Hour| from > pinned.watermark));
        let newest = self.publications.borrow().as_ref().map(|newest| newest.number);
        let moved_on = let_go && newest.is_some_and(|newest| newest > pinned.number);
        if moved_on {
            metrics::RESTARTS.inc();
        }
        moved_on
    }

    /// A layer's answer, or in words why there is none in time.
    async fn in_time<T, E: std::fmt::Display>(&self, layer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
        match tokio::time::timeout(self.config.deadline, layer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a layer did not answer");
                Err(error.to_string())
            }
            Err(_) => Err(format!("no answer within {:?}", self.config.deadline)),
        }
    }

    async fn history(
        &self,
        publication: &Arc<Publication>,
        subject: Subject,
        range: Range,
        needs: &Needs,
    ) -> Result<History, BatchError> {
        let snapshot: Arc<Snapshot> = self.tables.at(publication).await?;
        let mut history = History::default();
        if !needs.buckets.is_empty() {
            for row in snapshot.days(subject).await? {
                history.first = [history.first, row.first].into_iter().flatten().min();
                history.last = history.last.max(row.last);
                *history.totals.days.entry(row.day).or_default() += row.counts;
            }
            for edge in merge::edges(&needs.buckets) {
                history.totals.quarters.extend(snapshot.quarters(subject, edge).await?);
            }
        }
        if !needs.dimensions.is_empty() {
            history.values = snapshot.values(subject, &needs.dimensions, range).await?;
        }
        if needs.visitors {
            history.visitors = snapshot.visitors(subject, range.hours_touched()).await?;
        }
        if let (true, Some(link)) = (needs.label, subject.link()) {
            history.label = snapshot.labels(subject.tenant(), Some(link)).await?.remove(&link);
        }
        Ok(history)
    }
}

/// There may be many links: adding them up is no work for the runtime of the requests.
async fn add_up(
    publication: Arc<Publication>,
    history: Result<LinkRows, String>,
    recent: Result<LinksSlice, Away>,
) -> Result<LinksAnswer, Problem> {
    let answer = tokio::task::spawn_blocking(move || LinksAnswer::of(publication, history, recent));
    answer.await.map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))
}

fn later(one: Option<Label>, other: Option<Label>) -> Option<Label> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.is_later_than(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}
