//! Which job is next, from what is published and from the newest raw clicks.

use linktide_common::bucket::{Day, Hour};
use linktide_common::publication::{Publication, Tombstone};

use super::plan::{Correction, Job};
use super::session::Session;
use super::{Correct, Nightly, increment, raw};
use crate::error::BatchError;
use crate::table::Table;

/// What is asked for next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    Increment { through: Option<Hour> },
    Compact,
    Delete,
    Correct(Correct),
}

impl Nightly {
    /// The job that is wanted, or why there is none to do.
    pub(super) async fn propose(
        &self,
        wanted: Wanted,
        published: &Publication,
        raw: &Table,
        number: u64,
    ) -> Result<Result<Job, String>, BatchError> {
        Ok(match wanted {
            Wanted::Increment { through } => self.close(published, raw, through).await?,
            Wanted::Compact => match raw::unsorted(raw, published.watermark)? {
                days if days.is_empty() => Err("every raw day below the watermark is sorted".to_owned()),
                days => Ok(Job::Compact { days }),
            },
            Wanted::Delete => self.expired(published, raw)?,
            Wanted::Correct(correct) => {
                Ok(Job::Correct { correction: self.correction(correct, published, raw, number).await? })
            }
        })
    }

    /// The next increment, or why there is none.
    async fn close(
        &self,
        published: &Publication,
        raw: &Table,
        through: Option<Hour>,
    ) -> Result<Result<Job, String>, BatchError> {
        let mut to = through;
        // A life of the log that another one followed is closed: what is archived of it is all of it.
        let living = published.cut.iter().map(|entry| entry.epoch).max();
        for entry in published.cut.iter().filter(|entry| Some(entry.epoch) == living) {
            let Some(position) = crate::archive::archived(raw, entry.epoch, entry.partition).await? else {
                return Ok(Err(format!("partition {} was not archived yet", entry.partition)));
            };
            let closed = Hour::of(position.received_at);
            to = Some(to.map_or(closed, |to| to.min(closed)));
        }
        let Some(to) = to.filter(|to| *to > published.watermark) else {
            return Ok(Err(format!(
                "{} is published, and the hour behind it is not archived to its end",
                published.watermark.start()
            )));
        };
        let session = Session::new(&self.rules)?;
        let cut_to = increment::cut(&session, raw, &published.cut, to).await?;
        let (from, cut_from, rate_bots) = (published.watermark, published.cut.clone(), self.config.rate_bots);
        Ok(Ok(Job::Increment { from, to, cut_from, cut_to, rate_bots }))
    }

    /// The raw days that are too old, or why there are none.
    fn expired(&self, published: &Publication, raw: &Table) -> Result<Result<Job, String>, BatchError> {
        let Some(kept) = self.config.raw_days else {
            return Ok(Err("raw clicks are kept without end".to_owned()));
        };
        let first = Day(published.watermark.day().0.saturating_sub(i32::try_from(kept).unwrap_or(i32::MAX)));
        let newest = raw::by_day(raw)?.into_keys().rfind(|day| *day < first);
        Ok(newest.map_or_else(
            || Err(format!("no raw click was received before {}", raw::date(first))),
            |through| Ok(Job::Delete { through }),
        ))
    }

    pub(super) async fn correction(
        &self,
        correct: Correct,
        published: &Publication,
        raw: &Table,
        number: u64,
    ) -> Result<Correction, BatchError> {
        let subject = match correct {
            Correct::Geo => return Ok(Correction::Geo),
            Correct::Bots => return Ok(Correction::Bots),
            Correct::Erase(subject) => subject,
        };
        // Behind everything that is there, whatever this clock thinks of the log's.
        let mut last = Hour::of(self.clock.now()).max(published.watermark);
        for entry in &published.cut {
            let archived = crate::archive::archived(raw, entry.epoch, entry.partition).await?;
            last = last.max(archived.map_or(last, |position| Hour::of(position.received_at)));
        }
        Ok(Correction::Erase { tombstone: Tombstone::new(subject, last.next(), number) })
    }
}
