//! Plans: `plan/<n>.json`, each written once, before anything it says is done.

use bytes::Bytes;
use futures::TryStreamExt as _;
use linktide_common::bucket::Hour;
use linktide_common::publication::CutEntry;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::error::BatchError;
use crate::tables::Lake;

/// Raised when an older Linktide could no longer do what a plan says.
pub(crate) const FORMAT: u32 = 1;

/// An increment that is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) format: u32,
    pub(crate) number: u64,
    /// The watermark it starts at.
    pub(crate) from: Hour,
    /// The watermark it ends at.
    pub(crate) to: Hour,
    pub(crate) cut_from: Vec<CutEntry>,
    pub(crate) cut_to: Vec<CutEntry>,
    /// The version of `click_event` it reads.
    pub(crate) raw_version: u64,
    pub(crate) rules_version: String,
}

fn place(number: u64) -> Path {
    Path::from(format!("plan/{number:020}.json"))
}

/// The plan with the highest number.
pub(crate) async fn newest(lake: &Lake) -> Result<Option<Plan>, BatchError> {
    let objects = lake.objects();
    let listed = objects.list(Some(&Path::from("plan")));
    let newest = listed
        .try_filter(|object| std::future::ready(object.location.as_ref().ends_with(".json")))
        .try_fold(None, |newest: Option<Path>, object| async move { Ok(newest.max(Some(object.location))) })
        .await?;
    let Some(path) = newest else { return Ok(None) };
    let bytes = objects.get(&path).await?.bytes().await?;
    read(&bytes).map(Some).map_err(|reason| BatchError::Corrupt { what: path.to_string(), reason })
}

fn read(bytes: &Bytes) -> Result<Plan, String> {
    let plan: Plan = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if plan.format > FORMAT {
        return Err(format!("format {} is of a newer linktide, this one reads up to {FORMAT}", plan.format));
    }
    Ok(plan)
}

/// Writes the plan, unless it stands already; tells whether what stands under its number is this plan.
pub(crate) async fn create(lake: &Lake, plan: &Plan) -> Result<bool, BatchError> {
    let json = serde_json::to_vec_pretty(plan).expect("a plan is plain values");
    let options = PutOptions::from(PutMode::Create);
    match lake.objects().put_opts(&place(plan.number), json.into(), options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => {
            let bytes = lake.objects().get(&place(plan.number)).await?.bytes().await?;
            Ok(read(&bytes).as_ref() == Ok(plan))
        }
        Err(error) => Err(error.into()),
    }
}
