//! What judging stored clicks again changes: by reason, how many clicks have it before and how many behind it.
//!
//! 1. It is counted before anything is written, from the planned version of `click_event`: all clicks of the event days on
//!    which one changes, each with its stored reason and with the one it is to have. Clicks whose address clicked too often
//!    are a bot's for that on either side, as in the rollups.
//! 2. It is kept as `reclassified/<n>.json`, by the number of the plan, before the raw clicks are written anew. So whoever
//!    finishes the plan after that knows what was written, by whatever rules, and tells all of it.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::arrow::array::{Array as _, StringArray};
use futures::TryStreamExt as _;
use linktide_common::bucket::Day;
use linktide_common::dimension::NONE;
use linktide_common::enrich::{RATE, SUSPECTED};
use linktide_common::publication::Publication;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};

use super::correct::{Corrected, JUDGED};
use super::plan::Plan;
use super::session::{Session, may_hold_days};
use super::{Nightly, clicks};
use crate::error::BatchError;
use crate::table::Table;
use crate::tables::Lake;
use crate::tables::columns::{Columns, counted};

const FOLDER: &str = "reclassified";
/// Of what is written.
const FORMAT: u32 = 1;

/// A reason that makes a click a bot's or a suspected person's, with its clicks before and behind a correction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `(none)` of a person whom nothing speaks against.
    pub reason: String,
    /// Clicks that had it; HEAD requests are none.
    pub before: u64,
    /// Clicks that have it now.
    pub after: u64,
}

/// The reasons of the clicks of an event day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayReasons {
    /// Which day.
    #[serde(with = "date")]
    pub day: Day,
    /// Whether its rollups stay as they are, since raw clicks of it were deleted: these are what is left.
    pub sealed: bool,
    /// Each reason once, in order of their names.
    pub reasons: Vec<Reason>,
}

/// What a plan that judged clicks again came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reclassified {
    format: u32,
    /// The number of the plan.
    pub plan: u64,
    /// The rules that it judged by.
    pub rules_version: String,
    /// The reasons of all days together.
    pub reasons: Vec<Reason>,
    /// What it changed, day by day.
    #[serde(flatten)]
    pub corrected: Corrected,
}

impl Reclassified {
    /// Where it lies in the lake.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.plan).to_string()
    }
}

/// Days as texts: 2026-11-24.
pub(super) mod date {
    use linktide_common::bucket::Day;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::nightly::raw;

    pub(crate) fn serialize<S: Serializer>(day: &Day, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&raw::date(*day))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        let text = String::deserialize(deserializer)?;
        raw::parse_date(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is no date")))
    }
}

/// Lists of them.
pub(super) mod dates {
    use linktide_common::bucket::Day;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Date(#[serde(with = "super::date")] Day);

    pub(crate) fn serialize<S: Serializer>(days: &[Day], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(days.iter().map(|day| Date(*day)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Day>, D::Error> {
        let dates = Vec::<Date>::deserialize(deserializer)?;
        Ok(dates.into_iter().map(|Date(day)| day).collect())
    }
}

/// The reasons of all days together, each once, in order of their names.
#[must_use]
pub fn overall(days: &[DayReasons]) -> Vec<Reason> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Reason { reason, before, after } in days.iter().flat_map(|day| &day.reasons) {
        let sum = sums.entry(reason).or_default();
        *sum = (sum.0 + before, sum.1 + after);
    }
    listed(sums)
}

fn listed<T: Into<String>>(sums: BTreeMap<T, (u64, u64)>) -> Vec<Reason> {
    let reason = |(reason, (before, after)): (T, (u64, u64))| Reason { reason: reason.into(), before, after };
    sums.into_iter().map(reason).collect()
}

/// The reason that answers show of a click.
fn shown(reason: Option<&str>, too_often: bool) -> &str {
    let person = reason.is_none_or(|reason| reason.starts_with(SUSPECTED));
    if too_often && person { RATE } else { reason.unwrap_or(NONE) }
}

impl Nightly {
    /// The reasons of all clicks of these event days, as they are stored in `raw` and as they are judged now.
    pub(super) async fn reclassify(
        &self,
        raw: &Table,
        days: &BTreeSet<Day>,
        published: &Publication,
    ) -> Result<Vec<DayReasons>, BatchError> {
        let session = Session::new(&self.rules)?;
        if days.is_empty() || session.read_raw(raw, |file| may_hold_days(file, days)).await?.is_none() {
            return Ok(Vec::new());
        }
        let marked = self.has_marks(published) && self.read_marks(&session, &clicks::on_days("minute", days)).await?;
        // Behind an outer join a condition is not to be trusted: all of them stand before it.
        let condition = format!(
            "NOT preview AND {}{}",
            clicks::on_days("clicked_at", days),
            clicks::not_erased(&published.tombstones)
        );
        let query = format!(
            "SELECT day, often, before, after, count(*) AS clicks
             FROM (SELECT {} AS day, CASE WHEN too_often THEN 1 ELSE 0 END AS often, bot_reason AS before,
                          {JUDGED}['bot'] AS after FROM ({}))
             GROUP BY day, often, before, after",
            clicks::day_number("clicked_at"),
            clicks::judged(&condition, marked)
        );
        let mut found: BTreeMap<Day, BTreeMap<String, (u64, u64)>> = BTreeMap::new();
        for rows in session.query(&query).await? {
            let columns = Columns::new(&rows);
            let (numbers, often) = (columns.numbers("day")?, columns.numbers("often")?);
            let (before, after) = (columns.texts("before")?, columns.texts("after")?);
            let counts = columns.numbers("clicks")?;
            for row in 0..rows.num_rows() {
                let Ok(day) = i32::try_from(numbers.value(row)).map(Day) else { continue };
                let (reasons, clicks) = (found.entry(day).or_default(), counted(counts.value(row)));
                let reason = |texts: &StringArray| {
                    let stored = texts.is_valid(row).then(|| texts.value(row));
                    shown(stored, often.value(row) > 0).to_owned()
                };
                reasons.entry(reason(before)).or_default().0 += clicks;
                reasons.entry(reason(after)).or_default().1 += clicks;
            }
        }
        let is_sealed = |day: Day| published.sealed_through().is_some_and(|sealed| day <= sealed);
        let days = found.into_iter();
        Ok(days.map(|(day, reasons)| DayReasons { day, sealed: is_sealed(day), reasons: listed(reasons) }).collect())
    }

    /// Keeps what a plan is about to write, in place of what an attempt before it was about to.
    pub(super) async fn keep_reclassified(&self, plan: &Plan, corrected: &Corrected) -> Result<(), BatchError> {
        let reclassified = Reclassified {
            format: FORMAT,
            plan: plan.number,
            rules_version: self.rules.version(),
            reasons: overall(&corrected.reasons),
            corrected: corrected.clone(),
        };
        let json = serde_json::to_vec_pretty(&reclassified).expect("a report is plain values");
        self.lake.objects().put(&place(plan.number), PutPayload::from(json)).await?;
        Ok(())
    }

    /// What a plan has written; none where it was kept by a Linktide that kept no such thing.
    pub(super) async fn kept_reclassified(&self, plan: &Plan) -> Result<Option<Corrected>, BatchError> {
        let place = place(plan.number);
        match self.lake.objects().head(&place).await {
            Ok(_) => Ok(Some(read(&self.lake, &place).await?.corrected)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What plans that judged clicks again came to, as far as they are done, the oldest first.
///
/// # Errors
/// [`BatchError`] where they cannot be read.
pub async fn reclassifications(lake: &Lake) -> Result<Vec<Reclassified>, BatchError> {
    let Some(newest) = lake.publications().latest().await? else { return Ok(Vec::new()) };
    let folder = Path::from(FOLDER);
    let mut places: Vec<Path> =
        lake.objects().list(Some(&folder)).map_ok(|object| object.location).try_collect().await?;
    places.sort_unstable();
    let mut found = Vec::new();
    for place in places {
        let reclassified = read(lake, &place).await?;
        // Of an attempt whose rules another one that knew none of them took the place of, nothing was written.
        let is_done = newest.plan_done >= Some(reclassified.plan) && reclassified.corrected.clicks > 0;
        found.extend(is_done.then_some(reclassified));
    }
    Ok(found)
}

fn place(plan: u64) -> Path {
    Path::from(format!("{FOLDER}/{plan:020}.json"))
}

async fn read(lake: &Lake, place: &Path) -> Result<Reclassified, BatchError> {
    let bytes = lake.objects().get(place).await?.bytes().await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| BatchError::Corrupt { what: place.to_string(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_clicks_too_often_is_a_bot_for_that_unless_another_reason_says_so() {
        let reasons = [None, Some("suspected:ua:bare"), Some("ua:isbot")];
        assert_eq!(reasons.map(|reason| shown(reason, false)), ["(none)", "suspected:ua:bare", "ua:isbot"]);
        assert_eq!(reasons.map(|reason| shown(reason, true)), ["rate", "rate", "ua:isbot"]);
    }

    #[test]
    fn report_is_read_as_it_is_written() {
        let reasons = vec![Reason { reason: "ua:isbot".into(), before: 0, after: 2 }];
        let days = [20_000, 20_001].map(|day| DayReasons { day: Day(day), sealed: false, reasons: reasons.clone() });
        let corrected = Corrected {
            clicks: 4,
            received: vec![Day(20_002)],
            days: vec![Day(20_000), Day(20_001)],
            sealed: vec![],
            reasons: days.to_vec(),
        };
        let reasons = overall(&corrected.reasons);
        assert_eq!(reasons, [Reason { reason: "ua:isbot".into(), before: 0, after: 4 }]);
        let whole = Reclassified { format: FORMAT, plan: 3, rules_version: "r".into(), reasons, corrected };
        let json = serde_json::to_string(&whole).unwrap();
        assert!(json.contains(r#""received":["2024-10-06"]"#) && json.contains(r#""day":"2024-10-04""#), "{json}");
        assert_eq!(serde_json::from_str::<Reclassified>(&json).unwrap(), whole);
    }
}
