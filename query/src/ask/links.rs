//! Asking of all links of a tenant: their clicks first, and then, of those of which more is told, labels and repeats.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use linktide_batch::reader::BatchError;
use linktide_common::count::Counts;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::problem::Problem;
use linktide_common::publication::Publication;
use linktide_speed::reader::{LinksSlice, Slice, ViewError, Want};

use super::At;
use crate::answer::{LinkRows, LinksAnswer};
use crate::freshness::Away;
use crate::needs::LinksNeeds;
use crate::state::Query;

/// Links of which more is read at once.
const IN_FLIGHT: usize = 16;
/// The most links whose recent repeats are read where all links are told: each costs the view some commands.
const MOST_READ: usize = 2_000;

impl Query {
    /// Clicks of each link of a tenant.
    pub(super) async fn links(
        &self,
        at: &At,
        publication: &Arc<Publication>,
        needs: &LinksNeeds,
    ) -> Result<LinksAnswer, Problem> {
        let deadline = tokio::time::Instant::now() + self.config.deadline;
        let history = self.in_turn(Box::pin(self.links_of(publication, needs)));
        let (history, recent) = match at {
            At::Past(_) => (history.await, Err(Away::NotAsked)),
            At::Newest => {
                let (history, recent) = tokio::join!(history, self.in_time(self.recent_links(publication, needs)));
                (history, recent.map_err(Away::Failed))
            }
        };
        // There may be many links: this is never asked on the runtime of the requests.
        let mut answer = LinksAnswer::of(Arc::clone(publication), history?, recent);
        self.tell(publication, needs, deadline, &mut answer).await;
        Ok(answer)
    }

    /// Adds labels and repeats of the links of which more is told than their clicks. Clicks are told without them where a layer
    /// fails, or takes longer than one answer may.
    async fn tell(
        &self,
        publication: &Arc<Publication>,
        needs: &LinksNeeds,
        deadline: tokio::time::Instant,
        answer: &mut LinksAnswer,
    ) {
        let listed = answer.listed(&needs.told);
        let stored = async {
            match answer.basis.batch {
                Ok(()) if !needs.all_labels() => self.labels(publication, needs.tenant, &listed).await,
                _ => Ok(HashMap::new()),
            }
        };
        let recent = async {
            if answer.basis.speed.is_err() {
                return Ok(Vec::new());
            }
            let links = listed.iter().copied().chain(answer.beside_pages(&needs.told, MOST_READ)).collect();
            self.recent_of_each(publication, needs, links).await
        };
        let (stored, recent) = tokio::join!(told_by(deadline, stored), told_by(deadline, recent));
        match stored {
            Ok(labels) => answer.add_labels(labels),
            Err(why) => answer.untold.push(format!("labels of links are not told as the batch layer has them: {why}")),
        }
        match recent {
            Ok(slices) => answer.add_recent(slices),
            Err(why) => answer.untold.push(format!(
                "recent labels and repeats of links are not told, so `unique_clicks` may be null: {why}"
            )),
        }
    }

    /// What the speed layer has of some links one by one, with their labels and repeats.
    async fn recent_of_each(
        &self,
        publication: &Publication,
        needs: &LinksNeeds,
        links: BTreeSet<LinkId>,
    ) -> Result<Vec<(LinkId, Slice)>, ViewError> {
        let want = Want { range: needs.range, dimensions: Vec::new(), visitors: false, repeats: true };
        let read = async |link| Ok((link, self.read(publication, Subject::Link(needs.tenant, link), &want).await?));
        stream::iter(links.into_iter().map(read)).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    /// What history has of each link of a tenant, with all labels where they are needed.
    async fn links_of(&self, publication: &Arc<Publication>, needs: &LinksNeeds) -> Result<LinkRows, BatchError> {
        let snapshot = self.tables.at(publication).await?;
        let labels = match needs.all_labels() {
            true => snapshot.labels(needs.tenant, None).await?,
            false => HashMap::new(),
        };
        Ok((snapshot.links(needs.tenant, needs.range).await?, labels))
    }

    /// What history calls some links.
    async fn labels(
        &self,
        publication: &Arc<Publication>,
        tenant: TenantId,
        links: &BTreeSet<LinkId>,
    ) -> Result<HashMap<LinkId, Label>, BatchError> {
        let snapshot = self.tables.at(publication).await?;
        let label = |link: &LinkId| {
            let (snapshot, link) = (Arc::clone(&snapshot), *link);
            async move { snapshot.labels(tenant, Some(link)).await }
        };
        let labels: Vec<HashMap<LinkId, Label>> =
            stream::iter(links.iter().map(label)).buffer_unordered(IN_FLIGHT).try_collect().await?;
        Ok(labels.into_iter().flatten().collect())
    }

    /// What the speed layer has of each link of a tenant, apart from what was erased.
    async fn recent_links(&self, publication: &Publication, needs: &LinksNeeds) -> Result<LinksSlice, ViewError> {
        let (tenant, range) = (needs.tenant, needs.range);
        let from = publication.held_from(Subject::Tenant(tenant));
        let mut slice = self.speed.links(tenant, from, range, needs.all_labels()).await?;
        let of_tenant = publication.tombstones.iter().filter(|tombstone| tombstone.tenant_id == tenant);
        for link in of_tenant.filter(|tombstone| tombstone.received_before > from).filter_map(|erased| erased.link_id) {
            slice.links.retain(|(listed, _)| *listed != link);
            slice.labels.retain(|(listed, _)| *listed != link);
            let want = Want { range, dimensions: Vec::new(), visitors: false, repeats: false };
            let left = self.read(publication, Subject::Link(tenant, link), &want).await?;
            let counts = left.totals.iter().fold(Counts::default(), |sum, (_, counts)| sum + *counts);
            slice.links.extend((!counts.is_zero()).then_some((link, counts)));
        }
        Ok(slice)
    }
}

/// What a layer tells by then, or in words why not.
async fn told_by<T, E: std::fmt::Display>(
    deadline: tokio::time::Instant,
    told: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout_at(deadline, told).await {
        Ok(told) => told.map_err(|error| error.to_string()),
        Err(_) => Err("there was no time left".to_owned()),
    }
}
