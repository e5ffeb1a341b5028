//! A tenant's links by their clicks, or one by one.
//!
//! Pages are cut by key: the next one begins behind the last link of this one, in the range of the first. Counts go on
//! meanwhile, so by clicks a link may be met twice or missed; by id, or as of a publication, none is.

use linktide_common::bucket::{Quarter, Range, Timestamp, Zone};
use linktide_common::count::Traffic;
use linktide_common::headroom::giving_way;
use linktide_common::id::LinkId;
use linktide_common::label::Label;
use linktide_common::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{LinkLabel, Resolved};
use crate::answer::LinksAnswer;
use crate::envelope::Echo;
use crate::params::Parameters;

/// The longest text that is searched for.
const LONGEST: usize = 200;

/// In which order links are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// The most clicked ones first; of those with as many, the lower id.
    Clicks,
    /// By id.
    LinkId,
}

/// The orders by their names.
pub(crate) const SORTS: &[&str] = &["clicks", "link_id"];

impl std::str::FromStr for Sort {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "clicks" => Ok(Self::Clicks),
            "link_id" => Ok(Self::LinkId),
            _ => Err(()),
        }
    }
}

/// Which of the links are listed.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    traffic: Traffic,
    limit: usize,
    sort: Sort,
    search: Option<String>,
    cursor: Option<Cursor>,
}

/// Behind which link a page begins. It says nothing that its holder was not told, and is checked like any parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    clicks: u64,
    link: LinkId,
    range: Range,
}

/// A page of the list before it is described.
pub(crate) struct Listed {
    /// Clicks of all links that were found, and how many links they are.
    total: u64,
    count: usize,
    pub(crate) links: Vec<(LinkId, u64)>,
    /// Whether there is a next page.
    more: bool,
}

/// Links with their clicks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopLinks {
    /// Clicks of all links, or of those that were found.
    total: u64,
    /// How many links have clicks of that traffic, of those that were found.
    count: usize,
    links: Vec<TopLink>,
    /// Clicks of the links that are not on this page.
    other: u64,
    /// The `cursor` of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A link with its clicks.
#[derive(Debug, Serialize, ToSchema)]
struct TopLink {
    link_id: String,
    clicks: u64,
    /// Clicks of people without repeats; null as in a summary, and where the speed layer did not tell in time.
    unique_clicks: Option<u64>,
    /// What the link is called; absent where clicks never said, and where the layers did not tell in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LinkLabel>,
}

impl Ask {
    pub(super) fn parse(parameters: &Parameters, traffic: Traffic) -> Result<Self, Problem> {
        let sort = parameters.named("sort", SORTS)?.unwrap_or(Sort::Clicks);
        let search = parameters.get("search").map(str::to_lowercase).filter(|text| !text.is_empty());
        if let Some(text) = search.as_ref().filter(|text| text.len() > LONGEST) {
            let detail = format!("`search` has {} bytes, at most {LONGEST} are searched for", text.len());
            return Err(Problem::parameter("search", text, detail));
        }
        let cursor = parameters.get("cursor").map(|text| {
            Cursor::parse(text).ok_or_else(|| {
                Problem::parameter("cursor", text, "`cursor` is the `next` of the page before, as it was told there")
            })
        });
        Ok(Self { traffic, limit: parameters.limit()?, sort, search, cursor: cursor.transpose()? })
    }

    /// The range of the first page, on a later one.
    pub(super) fn range(&self) -> Option<Range> {
        self.cursor.map(|cursor| cursor.range)
    }

    /// Whether links are found by what they are called.
    pub(crate) fn is_search(&self) -> bool {
        self.search.is_some()
    }

    pub(super) fn tell(&self, echo: &mut Echo) {
        echo.limit = Some(self.limit);
        echo.sort = Some(if self.sort == Sort::Clicks { SORTS[0] } else { SORTS[1] });
        echo.search.clone_from(&self.search);
    }

    /// The page of the list.
    pub(crate) fn listed(&self, answer: &LinksAnswer) -> Listed {
        let mut listed = self.found(answer);
        let total: u64 = listed.iter().map(|(_, clicks)| *clicks).sum();
        let count = listed.len();
        let key = |link: LinkId, clicks: u64| match self.sort {
            Sort::Clicks => (std::cmp::Reverse(clicks), link),
            Sort::LinkId => (std::cmp::Reverse(0), link),
        };
        if let Some(cursor) = self.cursor {
            listed.retain(|(link, clicks)| key(*link, *clicks) > key(cursor.link, cursor.clicks));
        }
        // Only what is listed has to be in order: there may be a million links.
        if listed.len() > self.limit {
            listed.select_nth_unstable_by_key(self.limit, |(link, clicks)| key(*link, *clicks));
        }
        let more = listed.len() > self.limit;
        listed.truncate(self.limit);
        listed.sort_unstable_by_key(|(link, clicks)| key(*link, *clicks));
        Listed { total, count, links: listed, more }
    }

    pub(super) fn answer(&self, question: &Resolved, answer: &LinksAnswer) -> TopLinks {
        let Listed { total, count, links, more } = self.listed(answer);
        let next = links.last().filter(|_| more);
        let next = next.map(|(link, clicks)| Cursor { clicks: *clicks, link: *link, range: question.range }.to_text());
        let other = total - links.iter().map(|(_, clicks)| *clicks).sum::<u64>();
        let describe = |(link, clicks): (LinkId, u64)| TopLink {
            link_id: link.to_string(),
            clicks,
            unique_clicks: if question.unique { answer.unique_clicks(link) } else { None },
            label: answer.labels.get(&link).map(LinkLabel::from),
        };
        TopLinks { total, count, links: links.into_iter().map(describe).collect(), other, next }
    }

    /// The links that have clicks of that traffic, and what was searched for.
    fn found(&self, answer: &LinksAnswer) -> Vec<(LinkId, u64)> {
        let links = giving_way(&answer.links).map(|(link, counts)| (*link, counts.clicks(self.traffic)));
        links.filter(|(link, clicks)| *clicks > 0 && self.is_searched(*link, answer.labels.get(link))).collect()
    }

    fn is_searched(&self, link: LinkId, label: Option<&Label>) -> bool {
        let Some(search) = &self.search else { return true };
        let texts = label.into_iter().flat_map(|label| [&label.slug, &label.title, &label.destination]);
        let holds = |text: &str| text.to_lowercase().contains(search.as_str());
        link.to_string() == *search || texts.flatten().any(|text| holds(text))
    }
}

impl Cursor {
    fn to_text(self) -> String {
        format!("{}-{}-{}-{}", self.clicks, self.link, self.range.start.0, self.range.end.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let (clicks, link) = (part()?.parse().ok()?, part()?.parse().ok()?);
        let (start, end): (i32, i32) = (part()?.parse().ok()?, part()?.parse().ok()?);
        // A cursor is no way to ask for more than a range may have.
        let known =
            parts.next().is_none() && start > 0 && Timestamp::from_millis(Quarter(end).start().as_millis()).is_some();
        let range = Range::between(Quarter(start), Quarter(end), &Zone::utc()).ok().filter(|_| known)?;
        Some(Self { clicks, link, range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_read_as_it_is_written_and_nothing_else_is() {
        let range = Range::new(Quarter(1_900_000), Quarter(1_900_960));
        let cursor = Cursor { clicks: 12, link: LinkId(u64::MAX), range };
        assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        let wrong = [
            "",
            "1-2-3",
            "1-2-4-3",
            "1-2-3-4-5",
            "-1-2-3-4",
            "1-2-1-2000000000",
            "1-2-1999999999-2000000000",
            "1-18446744073709551616-3-4",
            "a",
        ];
        for text in wrong {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
