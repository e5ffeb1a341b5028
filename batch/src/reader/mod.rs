//! What the query service asks of history: rows of the versions that a publication names.
//!
//! A question about one link touches a few pages of a few files. No query is planned for it: files stay in memory within
//! a budget, their footers parsed, and the page index tells which pages hold the link. Decoding runs beside the runtime.

mod file;

use std::collections::HashMap;
use std::ops;
use std::sync::Arc;

use deltalake::ObjectStore;
use deltalake::arrow::array::{Array as _, RecordBatch};
use linktide_common::bucket::{Day, Hour, Quarter, Range, Timestamp};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::enrich::Text;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::label::Label;
use linktide_common::publication::Publication;
use linktide_common::sketch::Sketch;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

pub use crate::error::BatchError;
use crate::table::Table;
use crate::tables::Lake;
use crate::tables::columns::{Columns, Owner, counted, from_micros};
use crate::tables::daily::{self, Daily};
use crate::tables::dimension::{Dimensions, QuarterLists};
use crate::tables::hourly::{self, Hourly};
use crate::tables::link::Links;
use crate::tables::rollup::Rollup;
use file::{Loaded, Whose};

/// Reads the rollups of a lake.
pub struct Tables {
    lake: Lake,
    files: Arc<Files>,
    newest: Mutex<Option<Arc<Snapshot>>>,
}

/// Files that stay in memory, within a budget.
struct Files {
    cache: Cache<String, Arc<Loaded>, BySize>,
}

#[derive(Clone)]
struct BySize;

impl Weighter<String, Arc<Loaded>> for BySize {
    fn weight(&self, _path: &String, file: &Arc<Loaded>) -> u64 {
        file.size() as u64
    }
}

/// The rollups at one publication.
pub struct Snapshot {
    publication: Arc<Publication>,
    hourly: Part,
    daily: Part,
    dimensions: Part,
    links: Part,
    files: Arc<Files>,
}

/// A table's files at one version.
struct Part {
    objects: Option<Arc<dyn ObjectStore>>,
    name: &'static str,
    files: Vec<Path>,
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

impl Tables {
    /// A reader that keeps up to `memory` bytes of files.
    #[must_use]
    pub fn new(lake: Lake, memory: u64) -> Self {
        let cache = Cache::with_weighter(4096, memory, BySize);
        Self { lake, files: Arc::new(Files { cache }), newest: Mutex::new(None) }
    }

    /// The rollups as `publication` names them.
    ///
    /// # Errors
    /// [`BatchError`] where a table cannot be read at that version.
    pub async fn at(&self, publication: &Arc<Publication>) -> Result<Arc<Snapshot>, BatchError> {
        let mut newest = self.newest.lock().await;
        if let Some(known) = newest.as_ref().filter(|known| known.publication.number == publication.number) {
            return Ok(Arc::clone(known));
        }
        let snapshot = Arc::new(Snapshot {
            publication: Arc::clone(publication),
            hourly: self.part::<Hourly>(publication).await?,
            daily: self.part::<Daily>(publication).await?,
            dimensions: self.part::<Dimensions>(publication).await?,
            links: self.part::<Links>(publication).await?,
            files: Arc::clone(&self.files),
        });
        *newest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    async fn part<R: Rollup>(&self, publication: &Publication) -> Result<Part, BatchError> {
        let definition = R::definition();
        let name = definition.name;
        let Some(version) = publication.tables.get(name) else {
            return Ok(Part { objects: None, name, files: Vec::new() });
        };
        let mut table: Table = self.lake.table(definition).await?;
        table.load_version(*version).await?;
        let files = table.files()?.into_iter().map(|file| file.path).collect();
        Ok(Part { objects: Some(table.objects()), name, files })
    }
}

impl Part {
    /// The files that can hold rows of these UTC days, by their names.
    fn holding(&self, days: &ops::Range<Day>) -> Vec<Path> {
        let (first, last) = (days.start.start().to_string(), days.end.start().to_string());
        let holds = |path: &&Path| {
            let held = path.filename().and_then(|name| name.split('.').next()).unwrap_or_default();
            // Dates sort as text; of a month's name only its own length is compared.
            let len = held.len().min(10);
            *held >= first[..len] && (*held < last[..len] || (len < 10 && *held == last[..len]))
        };
        self.files.iter().filter(holds).cloned().collect()
    }
}

impl Snapshot {
    /// What it shows.
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.publication
    }

    /// Every day of a subject, in no order.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn days(&self, subject: Subject) -> Result<Vec<DayRow>, BatchError> {
        let columns = [
            "tenant_id",
            "link_id",
            "day_bucket",
            "total_clicks",
            "bot_clicks",
            "previews",
            "first_click",
            "last_click",
        ];
        self.scan(&self.daily, self.daily.files.clone(), whose(subject), &columns, move |rows, whose, days| {
            let columns = Columns::new(rows);
            let (owners, buckets) = (columns.owners()?, columns.dates("day_bucket")?);
            let counts = hourly::count_columns(&columns, daily::COUNTS)?;
            let (first, last) = (columns.instants("first_click")?, columns.instants("last_click")?);
            for row in (0..rows.num_rows()).filter(|row| whose.takes(owners.at(*row))) {
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
        self.scan(&self.hourly, files, whose(subject), &hourly_columns(), move |rows, whose, found| {
            each_quarter(rows, whose, range, |_, quarter, counts| found.push((quarter, counts)))
        })
        .await
    }

    /// Visitors of a subject in whole UTC hours: days from their own sketches, the hours at the edges from theirs.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn visitors(&self, subject: Subject, hours: ops::Range<Hour>) -> Result<Sketch, BatchError> {
        let (head, days, tail) = Range::cut_hours(hours);
        let mut union = Sketch::new();
        let by_day = self.daily.holding(&days);
        let in_days = days.clone();
        let sketches = self.scan(
            &self.daily,
            by_day,
            whose(subject),
            &["tenant_id", "link_id", "day_bucket", "sketch"],
            move |rows, whose, found| {
                let columns = Columns::new(rows);
                let buckets = columns.dates("day_bucket")?;
                take_sketches(&columns, whose, |row| in_days.contains(&Day(buckets.value(row))), found)
            },
        );
        sketches.await?.iter().for_each(|sketch| union.merge(sketch));
        for edge in [head, tail].into_iter().filter(|edge| !edge.is_empty()) {
            let files = self.hourly.holding(&(edge.start.day()..Hour(edge.end.0 - 1).day().next()));
            let columns = ["tenant_id", "link_id", "hour_bucket", "sketch"];
            let sketches = self.scan(&self.hourly, files, whose(subject), &columns, move |rows, whose, found| {
                let columns = Columns::new(rows);
                let buckets = columns.instants("hour_bucket")?;
                let within = |row| hourly::hour_at(buckets.value(row)).is_ok_and(|hour| edge.contains(&hour));
                take_sketches(&columns, whose, within, found)
            });
            sketches.await?.iter().for_each(|sketch| union.merge(sketch));
        }
        Ok(union)
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
        let files = self.dimensions.holding(&range.days_touched());
        let whole = range.cut().days;
        let columns = [
            "tenant_id",
            "link_id",
            "dimension",
            "day_bucket",
            "value",
            "click_count",
            "bot_count",
            "quarters",
            "quarter_clicks",
            "quarter_bots",
        ];
        let found = self.scan(&self.dimensions, files, whose(subject), &columns, move |rows, whose, found| {
            let columns = Columns::new(rows);
            let (owners, days) = (columns.owners()?, columns.dates("day_bucket")?);
            let (names, values, lists) =
                (columns.texts("dimension")?, columns.texts("value")?, QuarterLists::of(&columns)?);
            let (clicks, bots) = (columns.numbers("click_count")?, columns.numbers("bot_count")?);
            for row in (0..rows.num_rows()).filter(|row| whose.takes(owners.at(*row))) {
                let Some(dimension) = wanted.get(names.value(row)) else { continue };
                let day = Day(days.value(row));
                let counts = if whole.contains(&day) {
                    let bots = counted(bots.value(row));
                    Counts { humans: counted(clicks.value(row)).saturating_sub(bots), bots, previews: 0 }
                } else {
                    let first = day.first_quarter().0;
                    let within =
                        lists.at(row).filter(|(quarter, _)| range.contains(Quarter(first + i32::from(*quarter))));
                    within.fold(Counts::default(), |sum, (_, counts)| sum + counts)
                };
                if !counts.is_zero() {
                    found.push((*dimension, Text::from(values.value(row)), counts));
                }
            }
            Ok(())
        });
        let mut sums: HashMap<(Dimension, Text), Counts> = HashMap::new();
        for (dimension, value, counts) in found.await? {
            *sums.entry((dimension, value)).or_default() += counts;
        }
        Ok(sums.into_iter().map(|((dimension, value), counts)| (dimension, value, counts)).collect())
    }

    /// Counts of each link of a tenant, each link once.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn links(&self, tenant: TenantId, range: Range) -> Result<HashMap<LinkId, Counts>, BatchError> {
        let mut sums: HashMap<LinkId, Counts> = HashMap::new();
        let whose = Whose::Tenant(tenant.0.cast_signed());
        let cut = range.cut();
        let days = cut.days.clone();
        let columns = ["tenant_id", "link_id", "day_bucket", "total_clicks", "bot_clicks", "previews"];
        let whole = self.scan(&self.daily, self.daily.holding(&days), whose, &columns, move |rows, whose, found| {
            let columns = Columns::new(rows);
            let (owners, buckets, counts) =
                (columns.owners()?, columns.dates("day_bucket")?, hourly::count_columns(&columns, daily::COUNTS)?);
            for row in 0..rows.num_rows() {
                let owner = owners.at(row);
                if let (true, true, Some(link)) =
                    (whose.takes(owner), days.contains(&Day(buckets.value(row))), owner.link)
                {
                    found.push((LinkId(link.cast_unsigned()), hourly::counts_at(&counts, row)));
                }
            }
            Ok(())
        });
        let mut found = whole.await?;
        let columns = hourly_columns();
        for edge in [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty()) {
            let files = self.hourly.holding(&edge.days_touched());
            let part = self.scan(&self.hourly, files, whose, &columns, move |rows, whose, found| {
                each_quarter(rows, whose, edge, |owner, _, counts| {
                    found.extend(owner.link.map(|link| (LinkId(link.cast_unsigned()), counts)));
                })
            });
            found.extend(part.await?);
        }
        for (link, counts) in found {
            *sums.entry(link).or_default() += counts;
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
        let columns = ["tenant_id", "link_id", "slug", "title", "destination", "labelled_at", "click_id"];
        let found = self.scan(&self.links, self.links.files.clone(), whose, &columns, |rows, whose, found| {
            let labels = Links::decode(rows)?.into_iter().filter(|(owner, _)| whose.takes(*owner));
            found.extend(labels.filter_map(|(owner, label)| Some((LinkId(owner.link?.cast_unsigned()), label))));
            Ok(())
        });
        Ok(found.await?.into_iter().collect())
    }

    /// The first event day there are counts of.
    #[must_use]
    pub fn earliest(&self) -> Option<Day> {
        let date = |path: &Path| {
            let held = path.filename()?.split('.').next()?.to_owned();
            let date = if held.len() == 7 { format!("{held}-01") } else { held };
            let instant: jiff::Timestamp = format!("{date}T00:00:00Z").parse().ok()?;
            Timestamp::from_millis(instant.as_millisecond()).map(Day::of)
        };
        self.daily.files.iter().filter_map(date).min()
    }

    /// Takes what `take` finds in each batch of rows of the files.
    async fn scan<T: Send + 'static>(
        &self,
        part: &Part,
        paths: Vec<Path>,
        whose: Whose,
        columns: &[&'static str],
        take: impl Fn(&RecordBatch, Whose, &mut Vec<T>) -> Result<(), BatchError> + Send + 'static,
    ) -> Result<Vec<T>, BatchError> {
        let Some(objects) = part.objects.as_ref().filter(|_| !paths.is_empty()) else { return Ok(Vec::new()) };
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            files.push(self.files.get(objects, part.name, &path).await?);
        }
        let columns = columns.to_vec();
        tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            for file in files {
                for rows in file.read(whose, &columns)? {
                    take(&rows, whose, &mut found)?;
                }
            }
            Ok(found)
        })
        .await
        .map_err(|error| BatchError::Unavailable(error.to_string()))?
    }
}

impl Files {
    async fn get(&self, objects: &Arc<dyn ObjectStore>, table: &str, path: &Path) -> Result<Arc<Loaded>, BatchError> {
        // Names of files are unique: a file is never changed.
        self.cache
            .get_or_insert_async(path.as_ref(), async {
                let bytes = objects.get(path).await?.bytes().await?;
                let named = |error: BatchError| BatchError::Corrupt {
                    what: format!("{table}/{path}"),
                    reason: error.to_string(),
                };
                Loaded::new(bytes).map(Arc::new).map_err(named)
            })
            .await
    }
}

fn whose(subject: Subject) -> Whose {
    Whose::Owner(Owner::of(subject.tenant(), subject.link()))
}

/// The columns that say how many were counted in each quarter.
fn hourly_columns() -> Vec<&'static str> {
    ["tenant_id", "link_id", "hour_bucket"].into_iter().chain(hourly::QUARTERS.into_iter().flatten()).collect()
}

fn each_quarter(
    rows: &RecordBatch,
    whose: Whose,
    range: Range,
    mut take: impl FnMut(Owner, Quarter, Counts),
) -> Result<(), BatchError> {
    let columns = Columns::new(rows);
    let (owners, hours, quarters) =
        (columns.owners()?, columns.instants("hour_bucket")?, hourly::quarter_columns(&columns)?);
    for row in (0..rows.num_rows()).filter(|row| whose.takes(owners.at(*row))) {
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

fn take_sketches(
    columns: &Columns<'_>,
    whose: Whose,
    within: impl Fn(usize) -> bool,
    found: &mut Vec<Sketch>,
) -> Result<(), BatchError> {
    let (owners, sketches) = (columns.owners()?, columns.binaries("sketch")?);
    for row in 0..sketches.len() {
        if whose.takes(owners.at(row)) && within(row) {
            found.push(hourly::sketch_at(sketches, row)?);
        }
    }
    Ok(())
}
