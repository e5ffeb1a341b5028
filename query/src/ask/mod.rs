//! Asking both layers at one watermark.

mod links;
mod subject;

use std::future::Future;
use std::sync::Arc;

use futures::future::join_all;
use linktide_batch::reader::BatchError;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::headroom::Headroom;
use linktide_common::id::{Subject, TenantId};
use linktide_common::pool::PoolError;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::{Publication, Tombstone};
use linktide_common::turns::Turn;
use linktide_speed::reader::{Slice, ViewError, Want};

use crate::answer::Answers;
use crate::freshness::{Away, Basis};
use crate::metrics;
use crate::needs::Wanted;
use crate::state::Query;

/// How often questions start again because the watermark moved under them.
const ATTEMPTS: usize = 4;

/// Which publication a question is asked at.
#[derive(Debug, Clone)]
pub(crate) enum At {
    /// The newest, and what came in since.
    Newest,
    /// A past one alone: the same question gives the same answer.
    Past(Arc<Publication>),
}

/// Where questions are asked and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Where requests are served.
    Here,
    /// Behind all others, for a tenant: questions about all its links, and all of its questions where it has lately taken
    /// much or asks much at once, while there are others.
    Behind(TenantId),
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
        let want = Want { range, dimensions: Vec::new(), visitors: false, repeats: false };
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

    /// All that questions want, from both layers at one watermark.
    pub(crate) async fn ask(&self, at: &At, wanted: &Wanted) -> Result<Answers, Problem> {
        self.ask_in(self.lane(wanted), at, wanted).await
    }

    /// The same where it was decided already who goes first.
    pub(crate) async fn ask_in(&self, lane: Lane, at: &At, wanted: &Wanted) -> Result<Answers, Problem> {
        let Lane::Behind(tenant) = lane else { return self.ask_here(at, wanted).await };
        let turn = self.turn(tenant, wanted).await?;
        let (query, at, wanted) = (self.apart(), at.clone(), wanted.clone());
        let asked = self.background.run(tenant, async move { query.ask_here(&at, &wanted).await });
        let answers = asked.await.unwrap_or_else(|| Err(refused(PoolError::Broken)));
        drop(turn);
        answers
    }

    /// Where questions are asked and answered.
    pub(crate) fn lane(&self, wanted: &Wanted) -> Lane {
        let takes_much = |tenant| {
            self.tables.is_behind(tenant) || self.answering.is_behind(tenant) || Headroom::here().is_crowded_by(tenant)
        };
        let behind = |tenant: &TenantId| !wanted.links.is_empty() || takes_much(*tenant);
        wanted.tenant().filter(behind).map_or(Lane::Here, Lane::Behind)
    }

    /// A turn to ask behind others.
    async fn turn(&self, tenant: TenantId, wanted: &Wanted) -> Result<Turn, Problem> {
        let (turns, of_what) = match wanted.links[..] {
            [] => (&self.turns_behind, ""),
            [..] => (&self.turns_of_lists, " about all links"),
        };
        match tokio::time::timeout(self.config.deadline, turns.turn(tenant)).await {
            Ok(turn) => turn.map_err(refused),
            Err(_) => {
                let detail = format!(
                    "other questions{of_what} of this tenant took {:?}; ask fewer of them at once",
                    self.config.deadline
                );
                Err(Problem::new(ProblemKind::TooManyRequests, detail).retry_after(1))
            }
        }
    }

    async fn ask_here(&self, at: &At, wanted: &Wanted) -> Result<Answers, Problem> {
        let mut attempts = 1;
        loop {
            let publication = match at {
                At::Past(past) => Arc::clone(past),
                At::Newest => self.pinned()?,
            };
            let subjects =
                wanted.subjects.iter().map(|(subject, needs)| self.subject(at, &publication, *subject, needs));
            let links = wanted.links.iter().map(|needs| self.links(at, &publication, needs));
            let (subjects, links) = tokio::join!(join_all(subjects), join_all(links));
            let subjects = subjects.into_iter().collect::<Result<Vec<_>, _>>()?;
            let subjects = wanted.subjects.iter().map(|(subject, _)| *subject).zip(subjects).collect();
            let links = links.into_iter().collect::<Result<Vec<_>, _>>()?;
            let whose = wanted.links.iter().map(|needs| (needs.tenant, needs.range));
            let answers = Answers::new(subjects, whose.zip(links).collect());
            if attempts < ATTEMPTS && answers.bases().any(|basis| self.moved_on(basis)) {
                attempts += 1;
                metrics::RESTARTS.inc();
                continue;
            }
            return Ok(answers);
        }
    }

    /// What the speed layer has of a subject beside a publication.
    async fn read(&self, publication: &Publication, subject: Subject, want: &Want) -> Result<Slice, ViewError> {
        let from = publication.held_from(subject);
        let mut slice = self.speed.read(subject, from, want).await?;
        if from > publication.watermark {
            // A label does not tell when it was received.
            slice.label = None;
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
    fn moved_on(&self, basis: &Basis) -> bool {
        let from = basis.speed.as_ref().ok().and_then(|held| held.from);
        let let_go = from.is_some_and(|from: Hour| from > basis.publication.watermark);
        let newest = self.publications.borrow().as_ref().map(|newest| newest.number);
        let_go && newest.is_some_and(|newest| newest > basis.publication.number)
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

    /// History's part, or in words why there is none in time. What is refused because too much is asked is refused as a
    /// whole: an answer without history would only be asked for again.
    async fn in_turn<T>(
        &self,
        history: impl Future<Output = Result<T, BatchError>>,
    ) -> Result<Result<T, String>, Problem> {
        let mut busy = None;
        let history = async {
            history.await.inspect_err(|error| {
                if let BatchError::Busy(refused) = error {
                    busy = Some(*refused);
                }
            })
        };
        let outcome = self.in_time(history).await;
        match busy {
            Some(PoolError::Broken) | None => Ok(outcome),
            Some(error) => Err(refused(error)),
        }
    }
}

/// Why a question is not answered that too much work stands before.
pub(crate) fn refused(error: PoolError) -> Problem {
    let kind = match error {
        PoolError::OwnQueueFull(_) => ProblemKind::TooManyRequests,
        PoolError::Crowded(_) => ProblemKind::TooBusy,
        PoolError::Broken => return Problem::new(ProblemKind::Internal, error.to_string()),
    };
    Problem::new(kind, error.to_string()).retry_after(1)
}
