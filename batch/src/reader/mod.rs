//! What the query service asks of history: rows of the versions that a publication names.
//!
//! A question about one link touches a few rows of a few files. No query is planned for it:
//!
//! 1. Footers of files stay in memory within a budget, each with from whom to whom its pages go. They are read when a
//!    publication is announced, before anybody asks.
//! 2. The pages that can hold an owner's rows are read by their places in the file, those of all files side by side.
//! 3. They are decoded on threads of their own, in turn for every tenant, and the owner's rows stay in memory within another
//!    budget. A tenant has a few turns at all this at once.
//!
//! A file that is missing, cannot be decoded or is out of order is an error that names it, never fewer rows. Pages have no
//! checksums: a bit that flips in one that stays readable is not noticed.

mod files;
mod footer;
mod open;
mod pages;
pub mod raw;
mod scan;
mod unpack;
mod visitors;

use std::collections::HashMap;
use std::ops;
use std::sync::{Arc, LazyLock};

use deltalake::arrow::array::{Array as _, RecordBatch};
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::filter::Filter;
use linktide_common::headroom::giving_way;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::publication::Publication;

pub use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner, counted, from_micros};
use crate::tables::daily::COUNTS;
use crate::tables::dimension::QuarterLists;
use crate::tables::hourly;
use crate::tables::link::Links;
use files::{File, Files};
use open::Part;
pub use open::Tables;
pub use visitors::Visitors;

const DAY: Names = &[
    "tenant_id",
    "link_id",
    "day_bucket",
    "total_clicks",
    "bot_clicks",
    "previews",
    "repeats",
    "first_click",
    "last_click",
];
const VALUE: Names = &["tenant_id", "link_id", "dimension", "day_bucket", "value", "click_count", "bot_count"];
const VALUE_BY_QUARTER: Names =
    &["tenant_id", "link_id", "dimension", "day_bucket", "value", "quarters", "quarter_clicks", "quarter_bots"];
const LABEL: Names = &["tenant_id", "link_id", "slug", "title", "destination", "labelled_at", "click_id"];
const HOUR: Names = &["tenant_id", "link_id", "hour_bucket", "total_clicks", "bot_clicks", "previews", "repeats"];
/// The columns that say how many were counted in each quarter.
static QUARTER: LazyLock<Vec<&str>> = LazyLock::new(|| {
    ["tenant_id", "link_id", "hour_bucket"].into_iter().chain(hourly::QUARTERS.into_iter().flatten()).collect()
});

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

/// Whose rows are wanted.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// One owner's.
    Owner(Owner),
    /// All of a tenant's links and its own.
    Tenant(i64),
}

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
        let files = self.daily.holding(&wanted);
        self.scan(&self.daily, files, whose(subject), DAY, |rows, days: &mut Vec<_>| {
            let columns = Columns::new(rows);
            let (buckets, counts) = (columns.dates("day_bucket")?, hourly::count_columns(&columns, COUNTS)?);
            let (first, last) = (columns.instants("first_click")?, columns.instants("last_click")?);
            for row in 0..rows.num_rows() {
                let at = |column: &deltalake::arrow::array::TimestampMicrosecondArray| {
                    column.is_valid(row).then(|| column.value(row)).and_then(from_micros)
                };
                let counts = hourly::counts_at(&counts, row);
                days.push(DayRow { day: Day(buckets.value(row)), counts, first: at(first), last: at(last) });
            }
            Ok(())
        })
        .await
    }

    /// Counts of a subject by quarter, in no order, without empty ones.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn quarters(&self, subject: Subject, range: Range) -> Result<Vec<(Quarter, Counts)>, BatchError> {
        let files = self.hourly.holding(&range.days_touched());
        self.scan(&self.hourly, files, whose(subject), &QUARTER, move |rows, found: &mut Vec<_>| {
            each_quarter(rows, range, |_, quarter, counts| found.push((quarter, counts)))
        })
        .await
    }

    /// Counts of a subject by hour, in no order, without empty ones: less is read than for quarters.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn hours(&self, subject: Subject, hours: ops::Range<Hour>) -> Result<Vec<(Hour, Counts)>, BatchError> {
        let touched = Range::new(hours.start.first_quarter(), hours.end.first_quarter()).days_touched();
        let files = self.hourly.holding(&touched);
        self.scan(&self.hourly, files, whose(subject), HOUR, move |rows, found: &mut Vec<_>| {
            let columns = Columns::new(rows);
            let (buckets, counts) = (columns.instants("hour_bucket")?, hourly::count_columns(&columns, COUNTS)?);
            for row in 0..rows.num_rows() {
                let (hour, counts) = (hourly::hour_at(buckets.value(row))?, hourly::counts_at(&counts, row));
                if hours.contains(&hour) && !counts.is_zero() {
                    found.push((hour, counts));
                }
            }
            Ok(())
        })
        .await
    }

    /// Counts of a subject by value of each dimension asked for, each value once.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn values(
        &self,
        subject: Subject,
        dimensions: &[Dimension],
        range: Range,
    ) -> Result<Vec<(Dimension, Text, Counts)>, BatchError> {
        let wanted: HashMap<&'static str, Dimension> =
            dimensions.iter().map(|dimension| (dimension.name(), *dimension)).collect();
        let cut = range.cut();
        let (days, in_days, names) = (self.dimensions.holding(&cut.days), cut.days, wanted.clone());
        let whole = self.scan(&self.dimensions, days, whose(subject), VALUE, move |rows, sums: &mut Sums| {
            let columns = Columns::new(rows);
            let (clicks, bots) = (columns.numbers("click_count")?, columns.numbers("bot_count")?);
            each_value(&columns, &names, sums, |row, day| {
                let bots = counted(bots.value(row));
                let humans = counted(clicks.value(row)).saturating_sub(bots);
                if in_days.contains(&day) {
                    Counts { humans, bots, previews: 0, repeats: 0 }
                } else {
                    Counts::default()
                }
            })
        });
        let mut sums = whole.await?;
        for edge in [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty()) {
            let (files, names) = (self.dimensions.holding(&edge.days_touched()), wanted.clone());
            let part = self.scan(&self.dimensions, files, whose(subject), VALUE_BY_QUARTER, move |rows, sums| {
                let columns = Columns::new(rows);
                let lists = QuarterLists::of(&columns)?;
                each_value(&columns, &names, sums, |row, day| {
                    if !edge.days_touched().contains(&day) {
                        return Counts::default();
                    }
                    let first = day.first_quarter().0;
                    let within =
                        lists.at(row).filter(|(quarter, _)| edge.contains(Quarter(first + i32::from(*quarter))));
                    within.fold(Counts::default(), |sum, (_, counts)| sum + counts)
                })
            });
            add(&mut sums, part.await?);
        }
        let each = |(dimension, values): (Dimension, HashMap<Text, Counts>)| {
            values.into_iter().map(move |(value, counts)| (dimension, value, counts))
        };
        Ok(sums.into_iter().flat_map(each).collect())
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
        let (files, filter) = (self.dimensions.holding(&range.days_touched()), filter.clone());
        self.scan(&self.dimensions, files, whose(subject), VALUE_BY_QUARTER, move |rows, found: &mut Vec<_>| {
            let columns = Columns::new(rows);
            let lists = QuarterLists::of(&columns)?;
            let (names, values, days) =
                (columns.texts("dimension")?, columns.texts("value")?, columns.dates("day_bucket")?);
            let passes =
                |row: &usize| names.value(*row) == filter.dimension().name() && filter.matches(values.value(*row));
            for row in (0..rows.num_rows()).filter(passes) {
                let first = Day(days.value(row)).first_quarter().0;
                let counts = lists.at(row).map(|(quarter, counts)| (Quarter(first + i32::from(quarter)), counts));
                found.extend(counts.filter(|(quarter, _)| range.contains(*quarter)));
            }
            Ok(())
        })
        .await
    }

    /// Counts of each link of a tenant, each link once.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn links(&self, tenant: TenantId, range: Range) -> Result<HashMap<LinkId, Counts>, BatchError> {
        let whose = Whose::Tenant(tenant.0.cast_signed());
        let cut = range.cut();
        let days = cut.days.clone();
        let files = self.daily.holding(&days);
        let whole = self.scan(&self.daily, files, whose, DAY, move |rows, sums: &mut HashMap<LinkId, Counts>| {
            let columns = Columns::new(rows);
            let (owners, buckets, counts) =
                (columns.owners()?, columns.dates("day_bucket")?, hourly::count_columns(&columns, COUNTS)?);
            for row in 0..rows.num_rows() {
                if let (true, Some(link)) = (days.contains(&Day(buckets.value(row))), owners.at(row).link) {
                    *sums.entry(LinkId(link.cast_unsigned())).or_default() += hourly::counts_at(&counts, row);
                }
            }
            Ok(())
        });
        let mut sums = whole.await?;
        for edge in [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty()) {
            let files = self.hourly.holding(&edge.days_touched());
            let part =
                self.scan(&self.hourly, files, whose, &QUARTER, move |rows, sums: &mut HashMap<LinkId, Counts>| {
                    each_quarter(rows, edge, |owner, _, counts| {
                        if let Some(link) = owner.link {
                            *sums.entry(LinkId(link.cast_unsigned())).or_default() += counts;
                        }
                    })
                });
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
        let whose = match only {
            Some(link) => Whose::Owner(Owner::of(tenant, Some(link))),
            None => Whose::Tenant(tenant.0.cast_signed()),
        };
        self.scan(&self.links, self.links.files.clone(), whose, LABEL, |rows, found: &mut HashMap<_, _>| {
            let labels = Links::decode(rows)?.into_iter();
            found.extend(labels.filter_map(|(owner, label)| Some((LinkId(owner.link?.cast_unsigned()), label))));
            Ok(())
        })
        .await
    }

    /// The first event day there are counts of.
    #[must_use]
    pub fn earliest(&self) -> Option<Day> {
        self.daily.files.iter().filter_map(|file| Some(file.days.as_ref()?.start)).min()
    }

    /// What `take` makes of the rows of the files that are `whose`.
    async fn scan<T: Default + Send + 'static>(
        &self,
        part: &Part,
        files: Vec<Arc<File>>,
        whose: Whose,
        columns: Names,
        take: impl Fn(&RecordBatch, &mut T) -> Result<(), BatchError> + Send + 'static,
    ) -> Result<T, BatchError> {
        match part.objects.as_ref().filter(|_| !files.is_empty()) {
            Some(objects) => self.files.scan(objects, files, whose, columns, take).await,
            None => Ok(T::default()),
        }
    }
}

/// Counts by value of each dimension.
type Sums = HashMap<Dimension, HashMap<Text, Counts>>;

fn add(sums: &mut Sums, part: Sums) {
    for (dimension, values) in part {
        let sums = sums.entry(dimension).or_default();
        for (value, counts) in values {
            *sums.entry(value).or_default() += counts;
        }
    }
}

/// Adds what `count` says of each row of a wanted dimension.
fn each_value(
    columns: &Columns<'_>,
    wanted: &HashMap<&'static str, Dimension>,
    sums: &mut Sums,
    count: impl Fn(usize, Day) -> Counts,
) -> Result<(), BatchError> {
    let (names, values, days) = (columns.texts("dimension")?, columns.texts("value")?, columns.dates("day_bucket")?);
    for row in 0..names.len() {
        let Some(dimension) = wanted.get(names.value(row)) else { continue };
        let counts = count(row, Day(days.value(row)));
        if counts.is_zero() {
            continue;
        }
        let (sums, value) = (sums.entry(*dimension).or_default(), values.value(row));
        match sums.get_mut(value) {
            Some(sum) => *sum += counts,
            None => {
                sums.insert(value.into(), counts);
            }
        }
    }
    Ok(())
}

fn whose(subject: Subject) -> Whose {
    Whose::Owner(Owner::of(subject.tenant(), subject.link()))
}

fn each_quarter(
    rows: &RecordBatch,
    range: Range,
    mut take: impl FnMut(Owner, Quarter, Counts),
) -> Result<(), BatchError> {
    let columns = Columns::new(rows);
    let (owners, hours, quarters) =
        (columns.owners()?, columns.instants("hour_bucket")?, hourly::quarter_columns(&columns)?);
    for row in 0..rows.num_rows() {
        let mut quarter = hourly::hour_at(hours.value(row))?.first_quarter();
        for columns in &quarters {
            let counts = hourly::counts_at(columns, row);
            if range.contains(quarter) && !counts.is_zero() {
                take(owners.at(row), quarter, counts);
            }
            quarter = quarter.next();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
