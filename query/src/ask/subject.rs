//! Asking of one subject.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;
use linktide_batch::reader::{BatchError, Snapshot};
use linktide_common::bucket::{Quarter, Range};
use linktide_common::id::Subject;
use linktide_common::problem::Problem;
use linktide_common::publication::Publication;
use linktide_speed::reader::{Slice, ViewError, Want};

use super::At;
use crate::answer::{Answer, History};
use crate::freshness::Away;
use crate::merge::Totals;
use crate::needs::Needs;
use crate::state::Query;

impl Query {
    /// What both layers have of a subject.
    pub(super) async fn subject(
        &self,
        at: &At,
        publication: &Arc<Publication>,
        subject: Subject,
        needs: &Needs,
    ) -> Result<Answer, Problem> {
        let history = self.in_turn(Box::pin(self.history(publication, subject, needs)));
        let (history, recent) = match at {
            At::Past(_) => (history.await, Err(Away::NotAsked)),
            At::Newest => {
                let (history, recent) = tokio::join!(history, self.in_time(self.recent(publication, subject, needs)));
                (history, recent.map_err(Away::Failed))
            }
        };
        Ok(Answer::of(Arc::clone(publication), needs, history?, recent))
    }

    /// What the speed layer has of a subject, apart from what was erased: an old cell may still be there.
    async fn recent(&self, publication: &Publication, subject: Subject, needs: &Needs) -> Result<Slice, ViewError> {
        let range = needs.span().unwrap_or_else(|| Range::new(Quarter(0), Quarter(0)));
        let want = Want {
            range,
            dimensions: needs.dimensions(),
            visitors: !needs.visitors.is_empty(),
            repeats: needs.repeats,
        };
        self.read(publication, subject, &want).await
    }

    /// What history has of a subject: all parts are read side by side.
    async fn history(
        &self,
        publication: &Arc<Publication>,
        subject: Subject,
        needs: &Needs,
    ) -> Result<History, BatchError> {
        let snapshot: Arc<Snapshot> = self.tables.at(publication).await?;
        let snapshot = &*snapshot;
        // In each other's wake: where an owner's rows are, which days find out, is not looked for again.
        let days = async {
            let days = match needs.days() {
                Some(days) => snapshot.days(subject, days).await?,
                None => Vec::new(),
            };
            let visitors = needs.visitors.iter().map(async |range| {
                Ok::<_, BatchError>((*range, snapshot.visitors(subject, range.hours_touched()).await?))
            });
            Ok((days, try_join_all(visitors).await?))
        };
        let edges = needs.edges();
        let hours = try_join_all(edges.hours.into_iter().map(|hours| snapshot.hours(subject, hours)));
        let quarters = try_join_all(edges.quarters.into_iter().map(|edge| snapshot.quarters(subject, edge)));
        let values = needs.ranges_by_value().into_iter();
        let values = try_join_all(values.map(async |range| Ok((range, snapshot.values(subject, range).await?))));
        let filtered = try_join_all(needs.filters().into_iter().map(async |(filter, ranges)| {
            let ranges = ranges.into_iter().map(|range| snapshot.filtered(subject, filter, range));
            Ok((filter, try_join_all(ranges).await?))
        }));
        let labels = async {
            match subject.link().filter(|_| needs.label) {
                Some(link) => snapshot.labels(subject.tenant(), Some(link)).await,
                None => Ok(HashMap::new()),
            }
        };
        let ((days, visitors), hours, quarters, values, filtered, labels) =
            tokio::try_join!(days, hours, quarters, values, filtered, labels)?;
        let mut history = History {
            values: values.into_iter().collect(),
            visitors: visitors.into_iter().collect(),
            label: labels.into_values().next(),
            ..History::default()
        };
        for row in days {
            history.first = [history.first, row.first].into_iter().flatten().min();
            history.last = history.last.max(row.last);
            *history.totals.days.entry(row.day).or_default() += row.counts;
        }
        let hours = hours.into_iter().flatten().map(|(hour, counts)| (hour.first_quarter(), counts));
        history.totals.quarters = quarters.into_iter().flatten().chain(hours).collect();
        for (filter, found) in filtered {
            let mut totals = Totals::default();
            for (quarter, counts) in found.into_iter().flatten() {
                *totals.days.entry(quarter.day()).or_default() += counts;
                *totals.quarters.entry(quarter).or_default() += counts;
            }
            history.filtered.push((filter.clone(), totals));
        }
        Ok(history)
    }
}
