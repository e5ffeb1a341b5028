//! Plans: `plan/<n>.json`, one for each job that changes tables, each written once, before anything it says is done.
//!
//! A plan is open while its number is above the one that the newest publication says is done. Whoever finds one open
//! finishes it, exactly as planned, before anything else; so there is never more than one.

use std::fmt;

use bytes::Bytes;
use futures::TryStreamExt as _;
use linktide_common::bucket::{Day, Hour};
use linktide_common::publication::{CutEntry, Publication, Tombstone};
use linktide_common::repeat::Windows;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::error::BatchError;
use crate::tables::Lake;

/// Raised when an older Linktide could no longer do what a plan says. Format 1 knew increments alone, without a kind; format 2
/// no repeats.
pub(crate) const FORMAT: u32 = 3;

/// A job that is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) format: u32,
    pub(crate) number: u64,
    /// The version of `click_event` it reads.
    pub(crate) raw_version: u64,
    pub(crate) rules_version: String,
    /// When clicks that it rolls up are repeats.
    #[serde(default, skip_serializing_if = "Windows::is_off")]
    pub(crate) repeats: Windows,
    #[serde(flatten)]
    pub(crate) job: Job,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Job {
    /// The clicks between two cuts are added to the rollups.
    Increment {
        /// The watermark it starts at.
        from: Hour,
        /// The watermark it ends at.
        to: Hour,
        cut_from: Vec<CutEntry>,
        cut_to: Vec<CutEntry>,
        /// Clicks of one address in one minute of event time, received in one hour, above which they are a bot's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate_bots: Option<u32>,
    },
    /// Raw clicks received on these days are sorted into few files.
    Compact { days: Vec<Day> },
    /// Raw clicks received up to this day are deleted.
    Delete { through: Day },
    /// Raw clicks are corrected, and what they were rolled up to.
    Correct {
        #[serde(flatten)]
        correction: Correction,
    },
}

/// What is corrected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "correction", rename_all = "snake_case")]
pub(crate) enum Correction {
    /// Places that could not be looked up when the click came in.
    Geo,
    /// Who is a bot, by the rules of today.
    Bots,
    /// All clicks of a subject go.
    Erase { tombstone: Tombstone },
}

impl fmt::Display for Job {
    /// What is to be done, in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Increment { from, to, .. } => write!(f, "roll up {} to {}", from.start(), to.start()),
            Self::Compact { days } => write!(f, "sort {} days of raw clicks", days.len()),
            Self::Delete { through } => write!(f, "delete raw clicks received up to {}", super::raw::date(*through)),
            Self::Correct { correction: Correction::Geo } => f.write_str("look places up that are not known yet"),
            Self::Correct { correction: Correction::Bots } => f.write_str("judge user agents by today's rules"),
            Self::Correct { correction: Correction::Erase { tombstone } } => match tombstone.link_id {
                Some(link) => write!(f, "erase link {link} of tenant {}", tombstone.tenant_id),
                None => write!(f, "erase tenant {}", tombstone.tenant_id),
            },
        }
    }
}

fn place(number: u64) -> Path {
    Path::from(format!("plan/{number:020}.json"))
}

/// The open plan, and the number of the next one where there is none.
pub(crate) async fn open(lake: &Lake, published: &Publication) -> Result<Result<Plan, u64>, BatchError> {
    let Some(newest) = newest(lake, published.plan_done).await? else {
        return Ok(Err(published.plan_done.map_or(0, |done| done + 1)));
    };
    let is_open = match (&newest.job, published.plan_done) {
        // The publications of format 1 said by their watermark what was done.
        (Job::Increment { to, .. }, None) if newest.format == 1 => *to > published.watermark,
        _ => true,
    };
    Ok(if is_open { Ok(newest) } else { Err(newest.number + 1) })
}

/// The plan with the highest number behind the last one done.
async fn newest(lake: &Lake, done: Option<u64>) -> Result<Option<Plan>, BatchError> {
    let (objects, folder) = (lake.objects(), Path::from("plan"));
    let listed = match done {
        Some(done) => objects.list_with_offset(Some(&folder), &place(done)),
        None => objects.list(Some(&folder)),
    };
    let newest = listed
        .try_filter(|object| std::future::ready(object.location.as_ref().ends_with(".json")))
        .try_fold(None, |newest: Option<Path>, object| async move { Ok(newest.max(Some(object.location))) })
        .await?;
    let Some(path) = newest else { return Ok(None) };
    let bytes = objects.get(&path).await?.bytes().await?;
    read(&bytes).map(Some).map_err(|reason| BatchError::Corrupt { what: path.to_string(), reason })
}

fn read(bytes: &Bytes) -> Result<Plan, String> {
    let mut json: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let format = json.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if format > u64::from(FORMAT) {
        return Err(format!("format {format} is of a newer linktide, this one reads up to {FORMAT}"));
    }
    if format == 1 {
        json["kind"] = "increment".into();
    }
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// Writes the plan, unless its number is taken; tells whether it is written.
pub(crate) async fn create(lake: &Lake, plan: &Plan) -> Result<bool, BatchError> {
    let json = serde_json::to_vec_pretty(plan).expect("a plan is plain values");
    let options = PutOptions::from(PutMode::Create);
    match lake.objects().put_opts(&place(plan.number), json.into(), options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linktide_common::id::{LinkId, Subject, TenantId};

    use super::*;

    #[test]
    fn plan_of_format_1_is_an_increment() {
        let json = r#"{"format":1,"number":3,"from":10,"to":12,"cut_from":[],"cut_to":[],"raw_version":7,"rules_version":"r"}"#;
        let plan = read(&Bytes::from(json)).unwrap();
        let increment =
            Job::Increment { from: Hour(10), to: Hour(12), cut_from: Vec::new(), cut_to: Vec::new(), rate_bots: None };
        assert_eq!((plan.job, plan.raw_version), (increment, 7));
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let subject = Subject::Link(TenantId(u64::MAX), LinkId(2));
        let tombstone = Tombstone::new(subject, Hour(5), 9);
        let corrections = [Correction::Geo, Correction::Bots, Correction::Erase { tombstone }];
        let jobs = [Job::Compact { days: vec![Day(1), Day(2)] }, Job::Delete { through: Day(-1) }];
        for job in jobs.into_iter().chain(corrections.map(|correction| Job::Correct { correction })) {
            let repeats = Windows::new(Some(Duration::from_secs(30)), [(TenantId(3), None)]);
            let plan = Plan { format: FORMAT, number: 1, raw_version: 2, rules_version: "r".into(), repeats, job };
            assert_eq!(read(&serde_json::to_vec(&plan).unwrap().into()).unwrap(), plan);
        }
        let newer = format!(r#"{{"format":{}}}"#, FORMAT + 1);
        assert!(read(&newer.into()).unwrap_err().contains("newer linktide"));
    }
}
