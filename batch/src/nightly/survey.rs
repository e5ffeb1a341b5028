//! What one pass over the planned clicks tells before they are rolled up: how many there are and of which event days,
//! whose they are, and which of them can be repeats or of an address that clicks too often.
//!
//! To say for certain what is a repeat, clicks are sorted by visitor; to say who clicks too often, they are counted by
//! address. Most clicks can be neither: nobody else has their hash. So the pass keeps a few bits for each hash, and only
//! clicks whose bits say "perhaps" are looked at in full. Hashes that fall together cost time and change nothing.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, AsArray as _, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use deltalake::arrow::datatypes::{DataType, Int64Type};
use deltalake::datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use foldhash::fast::RandomState;
use futures::TryStreamExt as _;
use linktide_common::bucket::Day;

use super::clicks::{DAY_US, HOUR_US, MINUTE_US, divided};
use super::parts::{Row, Sample};
use super::session::Session;
use crate::error::BatchError;
use crate::tables::columns::Columns;

/// Bits and counts of hashes are not more than these: 64 MiB in all.
const MOST_BITS: usize = 1 << 28;
const MOST_COUNTS: usize = 1 << 24;

/// What the planned clicks are.
#[derive(Default)]
pub(super) struct Survey {
    /// How many there are, previews among them.
    pub(super) clicks: u64,
    /// Their event days.
    pub(super) days: BTreeSet<Day>,
    /// Event days of those that carry a label.
    pub(super) labelled: BTreeSet<Day>,
    /// Whose they are, of which event day, and when they were received, to the hour.
    pub(super) sample: Sample,
    hashes: Arc<Hashes>,
}

/// What is kept of hashes.
#[derive(Default)]
struct Hashes {
    hasher: RandomState,
    /// Visitors of a link in an hour of receipt, who were there once and again: two bits each.
    visitors: Vec<u8>,
    /// Clicks of an address in a minute and an hour of receipt, as far as they can be told from others'.
    addresses: Vec<u16>,
}

impl Survey {
    /// Goes through those clicks of `raw` that `condition` takes; there are at most so many, about.
    pub(super) async fn of(session: &Session, condition: &str, most: usize) -> Result<Self, BatchError> {
        let query = format!(
            "SELECT tenant_id, link_id, preview, ip_hash, coalesce(visitor, ip_hash) AS visitor,
                    slug IS NOT NULL OR title IS NOT NULL OR destination IS NOT NULL AS labelled,
                    {} AS day, {} AS minute, {} AS received FROM raw WHERE {condition}",
            divided("CAST(clicked_at AS BIGINT)", DAY_US).0,
            divided("CAST(clicked_at AS BIGINT)", MINUTE_US).0,
            divided("CAST(received_at AS BIGINT)", HOUR_US).0,
        );
        let (mut survey, mut hashes) = (Self::default(), Hashes::for_clicks(most));
        let pass = async {
            let mut rows = session.stream(&query).await?;
            while let Some(rows) = rows.try_next().await? {
                survey.take(&rows, &mut hashes)?;
            }
            Ok(())
        };
        session.or_damage(pass).await?;
        survey.hashes = Arc::new(hashes);
        Ok(survey)
    }

    fn take(&mut self, rows: &RecordBatch, hashes: &mut Hashes) -> Result<(), BatchError> {
        let columns = Columns::new(rows);
        let (owners, days) = (columns.owners()?, columns.numbers("day")?);
        let (minutes, received) = (columns.numbers("minute")?, columns.numbers("received")?);
        let (tenants, links) = (columns.numbers("tenant_id")?, columns.numbers("link_id")?);
        let (addresses, visitors) = (columns.binaries("ip_hash")?, columns.binaries("visitor")?);
        let (previews, labelled) = (columns.flags("preview")?, columns.flags("labelled")?);
        let mut last_day = None;
        self.clicks += u64::try_from(rows.num_rows()).unwrap_or_default();
        for row in 0..rows.num_rows() {
            let (day, hour) = (days.value(row), received.value(row));
            self.sample.add(Row { owner: owners.at(row), clicked: day * DAY_US, received: hour * HOUR_US });
            if last_day != Some(day) || labelled.value(row) {
                let event_day = Day(i32::try_from(day).unwrap_or_default());
                self.days.insert(event_day);
                self.labelled.extend(labelled.value(row).then_some(event_day));
                last_day = Some(day);
            }
            if !previews.value(row) {
                if visitors.is_valid(row) {
                    hashes.see((tenants.value(row), links.value(row), hour), visitors.value(row));
                }
                if addresses.is_valid(row) {
                    hashes.count((minutes.value(row), hour), addresses.value(row));
                }
            }
        }
        Ok(())
    }

    /// Whether any address can have clicked more than `most` times in a minute.
    pub(super) fn any_often(&self, most: u32) -> bool {
        self.hashes.addresses.iter().any(|count| is_more(*count, most))
    }

    /// Makes known to queries
    ///
    /// - `perhaps_again(tenant_id, link_id, received, visitor)`: whether a visitor can have clicked a link twice in an hour of
    ///   receipt, which is counted since 1970;
    /// - `perhaps_often(minute, received, ip_hash)`: whether an address can have clicked more than `most` times in a minute.
    pub(super) fn register(&self, session: &Session, most: u32) {
        session.context().register_udf(self.perhaps_again());
        session.context().register_udf(self.perhaps_often(most));
    }

    /// Lets go of the hashes: nobody asks any more.
    pub(super) fn forget_hashes(&mut self, session: &Session) {
        session.context().deregister_udf("perhaps_again");
        session.context().deregister_udf("perhaps_often");
        self.hashes = Arc::default();
    }

    fn perhaps_again(&self) -> ScalarUDF {
        let hashes = Arc::clone(&self.hashes);
        asked("perhaps_again", 3, move |numbers, hash| {
            let [tenant, link, hour] = numbers else { return true };
            hashes.has_seen_again((*tenant, *link, *hour), hash)
        })
    }

    fn perhaps_often(&self, most: u32) -> ScalarUDF {
        let hashes = Arc::clone(&self.hashes);
        asked("perhaps_often", 2, move |numbers, hash| {
            let [minute, hour] = numbers else { return true };
            hashes.is_often((*minute, *hour), hash, most)
        })
    }
}

/// A function of some numbers and a hash, false where there is no hash.
fn asked(name: &str, numbers: usize, answer: impl Fn(&[i64], &[u8]) -> bool + Send + Sync + 'static) -> ScalarUDF {
    let arguments = std::iter::repeat_n(DataType::Int64, numbers).chain([DataType::Binary]).collect();
    let ask = move |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let (hashes, numbers) = arguments.split_last().expect("it has arguments");
        let hashes: &BinaryArray = hashes.as_binary();
        let numbers: Vec<&Int64Array> = numbers.iter().map(|numbers| numbers.as_primitive::<Int64Type>()).collect();
        let mut of_row = vec![0; numbers.len()];
        let answers = (0..hashes.len()).map(|row| {
            of_row.iter_mut().zip(&numbers).for_each(|(number, numbers)| *number = numbers.value(row));
            hashes.is_valid(row) && answer(&of_row, hashes.value(row))
        });
        Ok(ColumnarValue::Array(Arc::new(answers.map(Some).collect::<BooleanArray>())))
    };
    create_udf(name, arguments, DataType::Boolean, Volatility::Immutable, Arc::new(ask))
}

impl Hashes {
    /// As large as that many clicks want it: one in sixteen visitors of theirs falls together with another.
    fn for_clicks(clicks: usize) -> Self {
        let places =
            |of: usize, most: usize| clicks.saturating_mul(of).clamp(1 << 10, most).next_power_of_two().min(most);
        Self {
            hasher: RandomState::default(),
            visitors: vec![0; places(16, MOST_BITS / 2) / 4],
            addresses: vec![0; places(2, MOST_COUNTS)],
        }
    }

    fn place(&self, key: impl std::hash::Hash, hash: &[u8], places: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
        let place = self.hasher.hash_one((key, hash)) as usize;
        place & (places - 1)
    }

    fn see(&mut self, whose: (i64, i64, i64), visitor: &[u8]) {
        let place = self.place(whose, visitor, self.visitors.len() * 4);
        let (byte, shift) = (&mut self.visitors[place / 4], place % 4 * 2);
        // Once, and again.
        let seen = *byte >> shift & 0b11;
        *byte |= (seen << 1 | 1) << shift & (0b11 << shift);
    }

    fn has_seen_again(&self, whose: (i64, i64, i64), visitor: &[u8]) -> bool {
        let place = self.place(whose, visitor, self.visitors.len() * 4);
        self.visitors[place / 4] >> (place % 4 * 2) & 0b10 != 0
    }

    fn count(&mut self, when: (i64, i64), address: &[u8]) {
        let place = self.place(when, address, self.addresses.len());
        self.addresses[place] = self.addresses[place].saturating_add(1);
    }

    fn is_often(&self, when: (i64, i64), address: &[u8], most: u32) -> bool {
        is_more(self.addresses[self.place(when, address, self.addresses.len())], most)
    }
}

/// Whether a count may be more than `most`; one that is full may be anything.
fn is_more(count: u16, most: u32) -> bool {
    u32::from(count) > most.min(u32::from(u16::MAX) - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever was there twice, or often, is told; few others are.
        #[test]
        fn nobody_who_was_there_again_is_missed(clicks in prop::collection::vec((0i64..40, 0u8..20), 0..400), most in 0u32..6) {
            let mut hashes = Hashes::for_clicks(clicks.len());
            let mut plain: HashMap<_, u32> = HashMap::new();
            for (link, visitor) in &clicks {
                hashes.see((0, *link, 0), &[*visitor]);
                hashes.count((*link, 0), &[*visitor]);
                *plain.entry((*link, *visitor)).or_default() += 1;
            }
            let mut wrong = 0;
            for ((link, visitor), count) in &plain {
                let told = hashes.has_seen_again((0, *link, 0), &[*visitor]);
                prop_assert!(told || *count < 2);
                prop_assert!(hashes.is_often((*link, 0), &[*visitor], most) || *count <= most);
                wrong += usize::from(told && *count < 2);
            }
            prop_assert!(wrong <= 10 + plain.len() / 4, "{wrong} of {}", plain.len());
        }
    }
}
