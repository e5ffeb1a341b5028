//! What stands around every answer: what was asked, of which range, and how fresh it is.

use std::collections::BTreeMap;

use linktide_common::bucket::{Quarter, Range, Zone};
use linktide_common::id::LinkId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::freshness::Freshness;
use crate::params::{Asked, When};

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope<T> {
    pub(crate) results: T,
    pub(crate) meta: Meta,
    pub(crate) query: Echo,
}

/// What an answer rests on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Meta {
    pub(crate) freshness: Freshness,
    pub(crate) range: ResolvedRange,
}

/// The range that was answered: the one asked for, moved outwards to whole quarters of an hour.
#[derive(Debug, Hash, Serialize, ToSchema)]
pub(crate) struct ResolvedRange {
    start: String,
    end: String,
    timezone: String,
}

impl ResolvedRange {
    pub(crate) fn new(range: Range, zone: &Zone) -> Self {
        Self { start: instant(range.start, zone), end: instant(range.end, zone), timezone: zone.name().to_owned() }
    }
}

/// What was asked, as it was understood.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Echo {
    #[serde(skip_serializing_if = "Option::is_none")]
    link_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<&'static str>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    timezone: String,
    traffic: &'static str,
    /// The past publication it was asked as of.
    #[serde(skip_serializing_if = "Option::is_none")]
    publication: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// What a summary is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compare: Option<&'static str>,
    /// The links that were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) links: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sort: Option<&'static str>,
    /// In lower case, as it was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<String>,
    /// Filters by dimension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    filters: BTreeMap<&'static str, String>,
}

impl Echo {
    pub(crate) fn new(asked: &Asked, link: Option<LinkId>) -> Self {
        let (interval, start, end) = match &asked.when {
            When::Interval(name, _) => (Some(*name), None, None),
            When::Between(_, [start, end]) => (None, Some(start.clone()), Some(end.clone())),
        };
        let filters = asked.filters.iter().map(|filter| (filter.dimension().name(), filter.to_string())).collect();
        Self {
            link_id: link.map(|link| link.to_string()),
            interval,
            start,
            end,
            timezone: asked.zone.name().to_owned(),
            traffic: asked.traffic_name(),
            publication: asked.publication,
            unit: None,
            by: None,
            limit: None,
            compare: None,
            links: None,
            sort: None,
            search: None,
            filters,
        }
    }
}

pub(crate) fn instant(quarter: Quarter, zone: &Zone) -> String {
    zone.format(quarter.start())
}
