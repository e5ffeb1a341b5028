//! What is to be exported: parsed once from the parameters of a request, and kept as those where a job outlives a process.

use std::str::FromStr;

use linktide_batch::reader::raw::Wanted;
use linktide_common::bucket::{Range, Unit, Zone};
use linktide_common::dimension::Dimension;
use linktide_common::id::{LinkId, Subject, TenantId};
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::Tombstone;
use serde_json::json;

use super::format::Format;
use crate::params::{Asked, Parameters};

/// The most links that one export names.
const MOST_LINKS: usize = 1000;
/// The longest name that a caller may give a file.
const MOST_LETTERS: usize = 100;

/// What an export takes beside the common parameters and the dimensions it is filtered by.
pub(crate) const OWN: &[&str] = &["of", "format", "unit", "by", "previews", "visitors", "incomplete", "filename"];

/// What the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A click each.
    Clicks,
    /// A bucket of time each.
    Timeseries,
    /// A value of a dimension each.
    Breakdown,
    /// A link each.
    Links,
}

impl Of {
    pub(crate) const NAMES: &'static [&'static str] = &["clicks", "timeseries", "breakdown", "links"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clicks => "clicks",
            Self::Timeseries => "timeseries",
            Self::Breakdown => "breakdown",
            Self::Links => "links",
        }
    }
}

impl FromStr for Of {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "clicks" => Ok(Self::Clicks),
            "timeseries" => Ok(Self::Timeseries),
            "breakdown" => Ok(Self::Breakdown),
            "links" => Ok(Self::Links),
            _ => Err(()),
        }
    }
}

/// An export that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) tenant: TenantId,
    /// None: all of the tenant's.
    pub(crate) links: Vec<LinkId>,
    pub(crate) of: Of,
    pub(crate) format: Format,
    pub(crate) asked: Asked,
    pub(crate) unit: Unit,
    pub(crate) by: Vec<Dimension>,
    pub(crate) previews: bool,
    pub(crate) visitors: bool,
    /// Whether days may be in its range whose raw clicks were deleted.
    pub(crate) incomplete: bool,
    filename: Option<String>,
}

impl Spec {
    /// Reads the parameters of an export of one link, or where `link` is none of a tenant's, all or those it names.
    pub(crate) fn parse(parameters: &Parameters, tenant: TenantId, link: Option<LinkId>) -> Result<Self, Problem> {
        let mut own: Vec<&str> = OWN.to_vec();
        own.extend(link.is_none().then_some("links"));
        let asked = parameters.asked(&own)?;
        let of = parameters.named("of", Of::NAMES)?.unwrap_or(Of::Clicks);
        let links = match link {
            Some(link) => vec![link],
            None => {
                let mut links = parameters.links(MOST_LINKS)?;
                links.sort_unstable();
                links
            }
        };
        let spec = Self {
            tenant,
            links,
            of,
            format: parameters.named("format", Format::NAMES)?.unwrap_or(Format::Csv),
            asked,
            unit: parameters.unit()?,
            by: if of == Of::Breakdown { parameters.by()? } else { Vec::new() },
            previews: parameters.named("previews", FLAG)?.unwrap_or(false),
            visitors: parameters.named("visitors", FLAG)?.unwrap_or(false),
            incomplete: parameters.named("incomplete", FLAG)?.unwrap_or(false),
            filename: parameters.get("filename").map(filename).transpose()?,
        };
        spec.check(parameters, link.is_some())?;
        Ok(spec)
    }

    /// Refuses what would be ignored otherwise.
    fn check(&self, parameters: &Parameters, of_link: bool) -> Result<(), Problem> {
        let only_for = |name: &str, of: Of| {
            let value = parameters.get(name).filter(|_| self.of != of);
            value.map_or(Ok(()), |value| {
                Err(Problem::parameter(name, value, format!("`{name}` is for `of={}` alone", of.name())))
            })
        };
        only_for("unit", Of::Timeseries)?;
        only_for("by", Of::Breakdown)?;
        only_for("previews", Of::Clicks)?;
        only_for("visitors", Of::Clicks)?;
        only_for("incomplete", Of::Clicks)?;
        if let Some(filter) = self.asked.filters.first().filter(|_| self.of != Of::Clicks) {
            let (name, of) = (filter.dimension().name(), self.of.name());
            return Err(Problem::new(
                ProblemKind::InvalidParameter,
                format!("`{name}` filters clicks, and `of={of}` has counts; take `of=clicks`, which any dimensions filter at once"),
            )
            .with("parameter", json!(name)));
        }
        if self.of == Of::Links && of_link {
            return Err(Problem::parameter(
                "of",
                "links",
                "one link has no list of links; ask for that of the account",
            ));
        }
        let too_many = match self.of {
            Of::Clicks => false,
            Of::Links => !self.links.is_empty(),
            Of::Timeseries | Of::Breakdown => self.links.len() > 1,
        };
        if too_many && !of_link {
            return Err(Problem::parameter(
                "links",
                parameters.get("links").unwrap_or_default(),
                format!("`of={}` is of one link or of all; several links are for `of=clicks`", self.of.name()),
            ));
        }
        Ok(())
    }

    /// Whom it is about.
    pub(crate) fn subject(&self) -> Subject {
        match &*self.links {
            [link] => Subject::Link(self.tenant, *link),
            _ => Subject::Tenant(self.tenant),
        }
    }

    /// Whether its rows may be of clicks that a tombstone covers.
    pub(crate) fn meets(&self, tombstone: &Tombstone) -> bool {
        let of_link = tombstone.link_id.is_none_or(|link| self.links.is_empty() || self.links.contains(&link));
        tombstone.tenant_id == self.tenant && of_link
    }

    pub(crate) fn wanted(&self, range: Range) -> Wanted {
        Wanted {
            tenant: self.tenant,
            links: self.links.clone(),
            range,
            traffic: self.asked.traffic,
            previews: self.previews,
            filters: self.asked.filters.clone(),
            visitors: self.visitors,
        }
    }

    /// The name of its file, without what says the format: the caller's, or one that says what is in it.
    pub(crate) fn stem(&self, range: Range) -> String {
        self.filename.clone().unwrap_or_else(|| {
            let whose = match self.subject() {
                Subject::Link(_, link) => format!("link-{link}-"),
                Subject::Tenant(_) => String::new(),
            };
            let day = |zone: &Zone, quarter: linktide_common::bucket::Quarter| {
                zone.format(quarter.start()).chars().take(10).collect::<String>()
            };
            let last = linktide_common::bucket::Quarter(range.end.0.saturating_sub(1).max(range.start.0));
            let zone = &self.asked.zone;
            format!("linktide-{whose}{}-{}-{}", self.of.name(), day(zone, range.start), day(zone, last))
        })
    }
}

const FLAG: &[&str] = &["true", "false"];

/// A name for a file that means nothing to any file system, shell or header.
fn filename(name: &str) -> Result<String, Problem> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let fine = !name.is_empty() && name.len() <= MOST_LETTERS && name.chars().all(allowed);
    if !fine || name.starts_with(['.', '-']) || name.ends_with('.') || name.contains("..") {
        return Err(Problem::parameter(
            "filename",
            name,
            format!(
                "`filename` has up to {MOST_LETTERS} letters, digits, `-`, `_` and single `.`, and begins with a letter, a digit or `_`; the format's ending is added"
            ),
        ));
    }
    Ok(name.to_owned())
}
