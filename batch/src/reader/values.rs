//! Counts of a subject by the values of dimensions.

use std::sync::Arc;

use futures::future::try_join_all;
use linktide_common::bucket::{Day, Quarter, Range};
use linktide_common::count::Counts;
use linktide_common::dimension::Dimension;
use linktide_common::id::Subject;

use super::Snapshot;
use super::kept::ByValue;
use crate::error::BatchError;

/// Counts of one subject in a range by value of every dimension. Nothing is added up before it is asked for.
pub struct Values {
    days: std::ops::Range<Day>,
    /// Of those days, and perhaps of others.
    whole: Vec<Arc<ByValue<Day>>>,
    /// What the range has beside whole days.
    edges: Vec<(Range, Vec<Arc<ByValue<Quarter>>>)>,
}

impl Values {
    /// Each value of a dimension with its counts, in no order; a value may come several times.
    pub fn of(&self, dimension: Dimension) -> impl Iterator<Item = (&str, Counts)> {
        let whole = self.whole.iter().flat_map(move |kept| kept.of_dimension(dimension));
        let whole = whole.map(|(value, counts)| (value, sum(counts, |day| self.days.contains(day))));
        let edges = self.edges.iter().flat_map(move |(edge, kept)| {
            let values = kept.iter().flat_map(move |kept| kept.of_dimension(dimension));
            values.map(|(value, counts)| (value, sum(counts, |quarter| edge.contains(*quarter))))
        });
        whole.chain(edges).filter(|(_, counts)| !counts.is_zero())
    }
}

fn sum<T>(counts: impl Iterator<Item = (T, Counts)>, within: impl Fn(&T) -> bool) -> Counts {
    counts.filter(|(at, _)| within(at)).fold(Counts::default(), |sum, (_, counts)| sum + counts)
}

impl Snapshot {
    /// Counts of a subject by value of each dimension.
    ///
    /// # Errors
    /// [`BatchError`] where a file cannot be read.
    pub async fn values(&self, subject: Subject, range: Range) -> Result<Values, BatchError> {
        let cut = range.cut();
        let edges = [cut.head, cut.tail].into_iter().filter(|edge| !edge.is_empty());
        let edges = try_join_all(edges.map(async |edge| {
            let files = self.dimensions.holding(&edge.days_touched());
            Ok::<_, BatchError>((edge, self.kept(&self.dimensions, files, subject).await?))
        }));
        let whole = self.kept(&self.dimensions, self.dimensions.holding(&cut.days), subject);
        let (whole, edges) = tokio::try_join!(whole, edges)?;
        Ok(Values { days: cut.days, whole, edges })
    }
}
