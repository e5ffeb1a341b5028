//! What the query service asks of history: rows of the versions that a publication names.
//!
//! A question about one link touches a few rows of a few files. No query is planned for it:
//!
//! 1. Footers of files stay in memory within a budget, each with from whom to whom its pages go. They are read when a
//!    publication is announced, before anybody asks.
//! 2. The pages that can hold an owner's rows are read by their places in the file, those of all files side by side.
//! 3. They are decoded on threads of their own, in turn for every tenant, and what the owner's rows say stays in memory within
//!    another budget. A tenant has a few turns at all this at once.
//!
//! A file that is missing, cannot be decoded or is out of order is an error that names it, never fewer rows. Pages have no
//! checksums: a bit that flips in one that stays readable is not noticed.

mod files;
mod footer;
mod kept;
mod open;
mod pages;
pub mod raw;
mod scan;
mod series;
mod unpack;
mod values;
mod visitors;

use std::collections::HashMap;
use std::ops;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::filter::Filter;
use linktide_common::headroom::giving_way;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::publication::Publication;

pub use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner};
use crate::tables::daily::COUNTS;
use crate::tables::hourly;
use crate::tables::link::Links;
use files::{File, Files};
use kept::{ByValue, Days, Hours, Kept, Labels, Quarters};
use open::Part;
pub use open::Tables;
pub use values::Values;
pub use visitors::Visitors;

/// The rollups at one publication.
pub struct Snapshot {
    publication: Arc<Publication>,
    hourly: Part,
    daily: Part,
    dimensions: Part,
    links: Part,
    files: Arc<Files>,
}

/// Names of columns that are read together.
type Names = &'static [&'static str];

/// A day of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct DayRow {
    /// Which day.
    pub day: Day,
    /// What was counted.
    pub counts: Counts,
    /// Event time of its first click.
    pub first: Option<Timestamp>,
    /// Event time of its last.
    pub last: Option<Timestamp>,
}

impl Snapshot {
    /// What it shows.
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// Days of a subject, in no order: all of these, and perhaps others.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn days(&self, subject: Subject, wanted: ops::Range<Day>) -> Result<Vec<DayRow>, BatchError> {
        let found = self.kept::<Days>(&self.daily, self.daily.holding(&wanted), subject).await?;
        Ok(found.iter().flat_map(|days| &days.0).cloned().collect())
    }

    /// Counts of a subject by quarter, in no order, without empty ones.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn quarters(&self, subject: Subject, range: Range) -> Result<Vec<(Quarter, Counts)>, BatchError> {
        let files = self.hourly.holding(&range.days_touched());
        let found = self.kept::<Quarters>(&self.hourly, files, subject).await?;
        let quarters = found.iter().flat_map(|quarters| quarters.0.iter());
        Ok(quarters.filter(|(quarter, _)| range.contains(*quarter)).collect())
    }

    /// Counts of a subject by hour, in no order, without empty ones: less is read than for quarters.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn hours(&self, subject: Subject, hours: ops::Range<Hour>) -> Result<Vec<(Hour, Counts)>, BatchError> {
        let touched = Range::new(hours.start.first_quarter(), hours.end.first_quarter()).days_touched();
        let found = self.kept::<Hours>(&self.hourly, self.hourly.holding(&touched), subject).await?;
        Ok(found.iter().flat_map(|hours| hours.0.iter()).filter(|(hour, _)| hours.contains(hour)).collect())
    }

    /// Counts of a subject's clicks that a filter lets through, by quarter, in no order; a quarter may come several times.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn filtered(
        &self,
        subject: Subject,
        filter: &Filter,
        range: Range,
    ) -> Result<Vec<(Quarter, Counts)>, BatchError> {
        let files = self.dimensions.holding(&range.days_touched());
        let found = self.kept::<ByValue<Quarter>>(&self.dimensions, files, subject).await?;
        let filter = filter.clone();
        let fold = move || {
            let values = found.iter().flat_map(|kept| kept.of_dimension(filter.dimension()));
            let passing = values.filter(|(text, _)| filter.matches(text)).flat_map(|(_, counts)| counts);
            passing.filter(|(quarter, _)| range.contains(*quarter)).collect()
        };
        Ok(self.files.lookups.run(subject.tenant(), fold).await?)
    }

    /// Counts of each link of a tenant, each link once.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn links(&self, tenant: TenantId, range: Range) -> Result<HashMap<LinkId, Counts>, BatchError> {
        let cut = range.cut();
        let days = cut.days.clone();
        let files = self.daily.holding(&days);
        let whole =
            self.scan(&self.daily, files, tenant, Days::COLUMNS, move |rows, sums: &mut HashMap<LinkId, Counts>| {
                let columns = Columns::new(rows);
                let (owners, buckets, counts) =
                    (columns.owners()?, columns.dates("day_bucket")?, hourly::count_columns(&columns, COUNTS)?);
                for row in 0..rows.num_rows() {
                    if let (true, Some(link)) = (days.contains(&Day(buckets.value(row))), owners.at(row).link_id()) {
                        *sums.entry(link).or_default() += hourly::counts_at(&counts, row);
                    }
                }
                Ok(())
            });
        let mut sums = whole.await?;
        for edge in [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty()) {
            let files = self.hourly.holding(&edge.days_touched());
            let part = self.scan(
                &self.hourly,
                files,
                tenant,
                Quarters::COLUMNS,
                move |rows, sums: &mut HashMap<_, Counts>| {
                    let owners = Columns::new(rows).owners()?;
                    hourly::each_quarter(rows, |row, quarter, counts| {
                        if let Some(link) = owners.at(row).link_id().filter(|_| edge.contains(quarter)) {
                            *sums.entry(link).or_default() += counts;
                        }
                    })
                },
            );
            let part = part.await?;
            // There may be a hundred thousand links: adding them up is no work for whoever answers requests.
            let add = move || {
                giving_way(part).for_each(|(link, counts)| *sums.entry(link).or_default() += counts);
                sums
            };
            sums = self.files.scans.run(tenant, add).await?;
        }
        Ok(sums)
    }

    /// Labels of links of a tenant: of one, or of all.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn labels(&self, tenant: TenantId, only: Option<LinkId>) -> Result<HashMap<LinkId, Label>, BatchError> {
        let files = self.links.files.clone();
        let Some(link) = only else {
            return self
                .scan(&self.links, files, tenant, Labels::COLUMNS, |rows, found: &mut HashMap<_, _>| {
                    let owners = Columns::new(rows).owners()?;
                    let labels = Links::labels(rows)?.into_iter().enumerate();
                    found.extend(labels.filter_map(|(row, label)| Some((owners.at(row).link_id()?, label))));
                    Ok(())
                })
                .await;
        };
        let found = self.kept::<Labels>(&self.links, files, Subject::Link(tenant, link)).await?;
        Ok(found.iter().flat_map(|labels| &labels.0).map(|label| (link, label.clone())).collect())
    }

    /// The first event day there are counts of.
    #[must_use]
    pub fn earliest(&self) -> Option<Day> {
        self.daily.files.iter().filter_map(|file| Some(file.days.as_ref()?.start)).min()
    }

    /// A subject's rows in each of some files.
    async fn kept<K: Kept>(
        &self,
        part: &Part,
        files: Vec<Arc<File>>,
        subject: Subject,
    ) -> Result<Vec<Arc<K>>, BatchError> {
        match part.objects.as_ref().filter(|_| !files.is_empty()) {
            Some(objects) => self.files.kept(objects, files, Owner::of(subject.tenant(), subject.link())).await,
            None => Ok(Vec::new()),
        }
    }

    /// What `take` makes of all rows of a tenant.
    async fn scan<T: Default + Send + 'static>(
        &self,
        part: &Part,
        files: Vec<Arc<File>>,
        tenant: TenantId,
        columns: Names,
        take: impl Fn(&RecordBatch, &mut T) -> Result<(), BatchError> + Send + 'static,
    ) -> Result<T, BatchError> {
        match part.objects.as_ref().filter(|_| !files.is_empty()) {
            Some(objects) => self.files.scan(objects, files, tenant.0.cast_signed(), columns, take).await,
            None => Ok(T::default()),
        }
    }
}

#[cfg(test)]
mod tests;
