//! Tasks of one process: none of them ends before it is told to, or it is an outage.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::{JoinError, JoinSet};

type Ended = Result<anyhow::Result<&'static str>, JoinError>;

/// The tasks; each ends with its name.
#[derive(Default)]
pub(super) struct Tasks(JoinSet<anyhow::Result<&'static str>>);

impl Tasks {
    pub(super) fn spawn(&mut self, task: impl Future<Output = anyhow::Result<&'static str>> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Returns when `told` to, or with an error when a task ends on its own.
    pub(super) async fn until(&mut self, told: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = told => Ok(()),
            Some(ended) = self.0.join_next() => match outcome(ended) {
                Ok(name) => anyhow::bail!("the task {name} ended on its own"),
                Err(error) => Err(error),
            },
        }
    }

    /// Waits until all have ended; the first error that one ended with.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        let mut all = Ok(());
        while let Some(ended) = self.0.join_next().await {
            all = all.and(outcome(ended).map(|_| ()));
        }
        all
    }

    /// The same within a time.
    pub(super) async fn end_within(&mut self, budget: Duration) -> anyhow::Result<()> {
        tokio::time::timeout(budget, self.end()).await.context("a task did not end in time").flatten()
    }
}

fn outcome(ended: Ended) -> anyhow::Result<&'static str> {
    ended.map_err(anyhow::Error::from).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_ends_on_its_own_is_an_outage_and_one_that_is_told_to_is_not() {
        let mut tasks = Tasks::default();
        tasks.spawn(std::future::pending());
        tasks.spawn(async { Ok("short") });
        let outage = tasks.until(std::future::pending()).await.unwrap_err().to_string();
        assert!(outage.contains("short"), "{outage}");
        tasks.until(std::future::ready(())).await.unwrap();
        assert!(tasks.end_within(Duration::ZERO).await.is_err(), "one goes on");

        let mut tasks = Tasks::default();
        tasks.spawn(async { Ok("fine") });
        tasks.spawn(async { anyhow::bail!("broken") });
        assert_eq!(tasks.end().await.unwrap_err().to_string(), "broken");
    }
}
