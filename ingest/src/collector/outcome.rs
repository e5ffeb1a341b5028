//! What the collector says of each record.

use linktide_common::click::{Click, Reject};
use serde::Serialize;
use utoipa::ToSchema;

use crate::emitter::DropReason;
use crate::quota::OverQuota;

/// What became of the records of a body.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Collected {
    /// Records that are clicks now.
    pub(super) taken: usize,
    /// Records that are not.
    pub(super) refused: usize,
    /// Each record, in order.
    pub(super) records: Vec<RecordOutcome>,
}

/// What became of one record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordOutcome {
    /// Its place in the body, from 0.
    index: usize,
    /// `taken` or `refused`.
    status: &'static str,
    /// The click's id, given or new.
    #[serde(skip_serializing_if = "Option::is_none")]
    click_id: Option<String>,
    /// What is unusual about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    /// Why it was refused.
    #[serde(flatten)]
    pub(super) refusal: Option<Refusal>,
}

impl RecordOutcome {
    pub(super) fn taken(index: usize, click: &Click, note: Option<&'static str>) -> Self {
        let click_id = click.click_id.map(|id| id.to_string());
        Self { index, status: "taken", click_id, note, refusal: None }
    }

    pub(super) fn refused(index: usize, refusal: Refusal) -> Self {
        Self { index, status: "refused", click_id: None, note: None, refusal: Some(refusal) }
    }
}

/// Why a record was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refusal {
    pub(super) reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    detail: String,
}

impl Refusal {
    fn plain(reason: &'static str, detail: String) -> Self {
        Self { reason, field: None, position: None, detail }
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self {
            reason: reject.reason.name(),
            field: reject.field,
            position: reject.position,
            detail: reject.to_string(),
        }
    }
}

impl From<OverQuota> for Refusal {
    fn from(over: OverQuota) -> Self {
        Self::plain("over_quota", over.detail())
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        let (reason, detail) = match reason {
            DropReason::QueueFull => ("buffer_full", "the buffer in front of the log is full; send it again later"),
            DropReason::Shutdown => ("shutdown", "this process is ending; send it again"),
            DropReason::TooLarge | DropReason::Expired => (reason.name(), "the click is too large"),
        };
        Self::plain(reason, detail.to_owned())
    }
}
