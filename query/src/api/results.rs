//! What answers hold: the shapes of `results`.

use linktide_common::enrich::Text;
use linktide_common::label::Label;
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::ResolvedRange;

/// Counts of a range.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Clicks of the traffic asked for.
    pub(super) clicks: u64,
    /// Clicks of machines.
    pub(super) bots: u64,
    /// HEAD requests.
    pub(super) previews: u64,
    pub(super) uniques: Uniques,
    /// Event time of the first click of all, whatever the range.
    pub(super) first_click: Option<String>,
    /// Event time of the last click of all, whatever the range.
    pub(super) last_click: Option<String>,
    /// What people call the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<LinkLabel>,
}

/// Different visitors that are people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Uniques {
    /// How many there are, about.
    pub(super) estimate: u64,
    /// `hll`: a HyperLogLog of 16,384 registers.
    pub(super) method: &'static str,
    /// Relative standard error of the estimate.
    pub(super) standard_error: f64,
    /// What tells visitors apart: `ip` or `ip_user_agent`.
    pub(super) identity: &'static str,
    /// How long the same visitor is known as one: then the salt changes.
    pub(super) salt_window: &'static str,
    /// The whole UTC hours that were counted.
    pub(super) range: ResolvedRange,
}

/// What people call a link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkLabel {
    pub(super) slug: Option<String>,
    pub(super) title: Option<String>,
    pub(super) destination: Option<String>,
}

impl From<Label> for LinkLabel {
    fn from(label: Label) -> Self {
        let text = |text: Option<Text>| text.map(|text| text.to_string());
        Self { slug: text(label.slug), title: text(label.title), destination: text(label.destination) }
    }
}

/// A bucket of a timeseries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TimeBucket {
    pub(super) start: String,
    pub(super) end: String,
    /// Clicks of the traffic asked for.
    pub(super) clicks: u64,
    /// Clicks of machines.
    pub(super) bots: u64,
    /// HEAD requests.
    pub(super) previews: u64,
    /// The layers it rests on.
    pub(super) layers: Vec<&'static str>,
    /// Whether the range cuts it off, or its time is not over.
    pub(super) partial: bool,
}

/// A dimension with its most frequent values.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Breakdown {
    pub(super) dimension: &'static str,
    /// The sum of all values.
    pub(super) total: u64,
    pub(super) values: Vec<ValueCount>,
}

/// A value of a dimension.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ValueCount {
    /// The value; `(none)` is a click without one, `(other)` all values that are not listed.
    pub(super) value: String,
    pub(super) clicks: u64,
    /// Its part of the total, 0 to 1.
    pub(super) share: f64,
}

/// The links with the most clicks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopLinks {
    /// Clicks of all links.
    pub(super) total: u64,
    /// The most clicked ones first.
    pub(super) links: Vec<TopLink>,
    /// Clicks of the links that are not listed.
    pub(super) other: u64,
}

/// A link with its clicks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopLink {
    pub(super) link_id: String,
    pub(super) clicks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<LinkLabel>,
}
