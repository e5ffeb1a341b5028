//! Labels of links: what people call them. They travel with clicks, and the latest click that carries one wins.

use serde::{Deserialize, Serialize};

use crate::bucket::Timestamp;
use crate::enrich::{EnrichedClick, Text};
use crate::id::ClickId;

/// What people call a link, with the stamp that decides which of two labels is the later one.
///
/// The later is the greater `(clicked_at, click_id)`: an order of the clicks themselves, so that merging labels is
/// associative and commutative and neither layers nor replays can disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The path behind the short domain.
    pub slug: Option<Text>,
    /// A title.
    pub title: Option<Text>,
    /// Where the link leads.
    pub destination: Option<Text>,
    /// Event time of the click that carried it.
    pub clicked_at: Timestamp,
    /// The click that carried it.
    pub click_id: ClickId,
}

impl Label {
    /// The label a click carries, if any.
    #[must_use]
    pub fn of(click: &EnrichedClick) -> Option<Self> {
        let carries = click.slug.is_some() || click.title.is_some() || click.destination.is_some();
        carries.then(|| Self {
            slug: click.slug.clone(),
            title: click.title.clone(),
            destination: click.destination.clone(),
            clicked_at: click.clicked_at,
            click_id: click.click_id,
        })
    }

    /// Whether this label is later than `other` and so replaces it.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.clicked_at, self.click_id) > (other.clicked_at, other.click_id)
    }
}
