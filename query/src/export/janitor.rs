//! What becomes of results: they go by age, and as soon as clicks that may be in them are erased.
//!
//! Whoever asks for a result is told at once that it lapsed, whether its files are deleted yet or not. The job stays listed
//! for some time, with the reason; then all of it goes.

use std::sync::Arc;

use linktide_common::bucket::Timestamp;
use tokio_util::sync::CancellationToken;

use super::job::{self, END, End, GONE, Gone, Manifest, Outcome, REQUEST, Request};
use super::shelf::JobKey;
use super::spec::Spec;
use super::{ExportError, Exports};
use crate::state::Query;

/// How often results are looked through.
const LOOK: std::time::Duration = std::time::Duration::from_secs(60);
/// A job is forgotten after so many times as long as results are kept.
const FORGET_AFTER: u32 = 4;

/// What is known of a job that is over.
pub(super) struct Known {
    spec: Spec,
    end: End,
    /// Whether its files are gone.
    cleared: bool,
}

/// Looks through results until told to stop.
pub(crate) async fn run(exports: Arc<Exports>, query: Query, stop: CancellationToken) {
    loop {
        if let Err(error) = look(&exports, &query).await {
            tracing::warn!(%error, "old exports cannot be looked through now");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Looks through all results once.
pub(crate) async fn look(exports: &Exports, query: &Query) -> Result<(), ExportError> {
    let mut seen = std::collections::HashSet::new();
    for tenant in exports.shelf.tenants().await? {
        for key in exports.shelf.jobs(tenant).await? {
            seen.insert(key.id);
            // One that cannot be read keeps no other from being looked at.
            if let Err(error) = exports.look_at(query, &key).await {
                tracing::warn!(%error, job = %key.id, "an export cannot be looked at");
            }
        }
    }
    exports.results.lock().retain(|id, _| seen.contains(id));
    Ok(())
}

impl Exports {
    async fn look_at(&self, query: &Query, key: &JobKey) -> Result<(), ExportError> {
        let known = |known: &Known| (known.spec.clone(), known.end.clone(), known.cleared);
        let known = self.results.lock().get(&key.id).map(known);
        let (spec, end, cleared) = match known {
            Some(known) => known,
            None => {
                let (Some(end), Some(request)) =
                    (self.shelf.read::<End>(key, END).await?, self.shelf.read::<Request>(key, REQUEST).await?)
                else {
                    return Ok(());
                };
                let spec = request.spec(key.tenant)?;
                self.results.lock().insert(key.id, Known { spec: spec.clone(), end: end.clone(), cleared: false });
                (spec, end, false)
            }
        };
        if age_ms(query, end.at) > ms(self.config.keep) * i64::from(FORGET_AFTER) {
            // What says what it is goes last: half a deletion is gone on with.
            self.shelf.delete(key, |name| name != END && name != REQUEST).await?;
            self.shelf.delete(key, |_| true).await?;
            return Ok(());
        }
        if let (Outcome::Done(manifest), false) = (&end.outcome, cleared)
            && self.lapse(query, key, &spec, manifest, end.at).await?.is_some()
            && let Some(known) = self.results.lock().get_mut(&key.id)
        {
            known.cleared = true;
        }
        Ok(())
    }

    /// Whether a result may be read no more; if so its files go.
    pub(super) async fn lapse(
        &self,
        query: &Query,
        key: &JobKey,
        spec: &Spec,
        manifest: &Manifest,
        ended: Timestamp,
    ) -> Result<Option<Gone>, ExportError> {
        let newest = query.publications.borrow().clone();
        let erased = newest.is_some_and(|newest| manifest.holds_erased(spec, &newest.tombstones));
        let why = if erased {
            Gone::Erased
        } else if age_ms(query, ended) > ms(self.config.keep) {
            Gone::Expired
        } else {
            return Ok(None);
        };
        if self.shelf.create(key, GONE, &why).await? {
            tracing::info!(job = %key.id, ?why, "the result of an export is deleted");
        }
        self.shelf.delete(key, job::is_working_object).await?;
        Ok(Some(why))
    }
}

fn age_ms(query: &Query, at: Timestamp) -> i64 {
    query.clock.now().millis_since(at)
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
