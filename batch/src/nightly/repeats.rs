//! Repeats: a visitor's further clicks on the same link, each within its tenant's window behind the one before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use linktide_common::bucket::{QUARTERS_PER_DAY, QUARTERS_PER_HOUR};

use super::clicks::{HOUR_US, QUARTER_US};
use crate::error::BatchError;
use crate::tables::columns::{Columns, Owner};

/// Repeats of links, and of tenants, by quarter of an hour since 1970.
#[derive(Default)]
pub(super) struct Repeats {
    counts: BTreeMap<(Owner, i64), i64>,
    last: Option<Click>,
}

/// A visitor's click on a link.
struct Click {
    owner: Owner,
    visitor: Vec<u8>,
    /// Its hour of receipt. Increments are cut at hours: none of them would see both.
    received: i64,
    clicked: i64,
}

impl Repeats {
    /// What clicks are to be sorted by.
    pub(super) const ORDER: [&str; 5] = ["tenant_id", "link_id", "received", "visitor", "clicked"];

    /// Takes clicks in [`Repeats::ORDER`]: each follows the one before it.
    pub(super) fn take(&mut self, clicks: &RecordBatch) -> Result<(), BatchError> {
        let columns = Columns::new(clicks);
        let (owners, visitors) = (columns.owners()?, columns.binaries("visitor")?);
        let (received, times, windows) =
            (columns.numbers("received")?, columns.numbers("clicked")?, columns.numbers("longest")?);
        for row in 0..clicks.num_rows() {
            let (owner, visitor) = (owners.at(row), visitors.value(row));
            let (received, clicked) = (received.value(row), times.value(row));
            match &mut self.last {
                Some(last) if (last.owner, &*last.visitor, last.received) == (owner, visitor, received) => {
                    if clicked - last.clicked <= windows.value(row) {
                        let quarter = clicked.div_euclid(QUARTER_US);
                        for owner in [owner, Owner { link: None, ..owner }] {
                            *self.counts.entry((owner, quarter)).or_default() += 1;
                        }
                    }
                    last.clicked = clicked;
                }
                last => *last = Some(Click { owner, visitor: visitor.to_vec(), received, clicked }),
            }
        }
        Ok(())
    }

    /// The table `repeated`.
    pub(super) fn rows(&self) -> Result<RecordBatch, BatchError> {
        let numbers = |of: fn(&(Owner, i64)) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.counts.keys().map(of)))
        };
        let day = |(_, quarter): &(Owner, i64)| {
            i32::try_from(quarter.div_euclid(i64::from(QUARTERS_PER_DAY))).unwrap_or_default()
        };
        let hour = |(_, quarter): &(Owner, i64)| quarter.div_euclid(i64::from(QUARTERS_PER_HOUR)) * HOUR_US;
        let hours = TimestampMicrosecondArray::from_iter_values(self.counts.keys().map(hour)).with_timezone("UTC");
        let links: Int64Array = self.counts.keys().map(|(owner, _)| owner.link).collect();
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("tenant_id", numbers(|(owner, _)| owner.tenant), false),
            ("link_id", Arc::new(links), true),
            ("day", Arc::new(Date32Array::from_iter_values(self.counts.keys().map(day))), false),
            ("hour", Arc::new(hours), false),
            ("in_hour", numbers(|(_, quarter)| quarter.rem_euclid(i64::from(QUARTERS_PER_HOUR))), false),
            ("repeats", Arc::new(Int64Array::from_iter_values(self.counts.values().copied())), false),
        ])?)
    }
}
