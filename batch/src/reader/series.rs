//! Counts over time in few bytes: most of them are small, and near one another in time.
//!
//! Of each there are, as LEB128: how far it lies from the one before (zigzag), doubled, and with one added where it has previews
//! or repeats; clicks of people; clicks of bots; and, where it has them, previews and repeats.

use std::marker::PhantomData;

use linktide_common::bucket::{Day, Hour, Quarter};
use linktide_common::count::Counts;

/// What counts are of.
pub(super) trait Moment: Copy {
    fn number(self) -> i32;
    fn numbered(number: i32) -> Self;
}

macro_rules! moments {
    ($($moment:ident),*) => {$(
        impl Moment for $moment {
            fn number(self) -> i32 {
                self.0
            }

            fn numbered(number: i32) -> Self {
                Self(number)
            }
        }
    )*};
}

moments!(Day, Hour, Quarter);

/// Moments with their counts, in order.
pub(super) struct Series<T> {
    bytes: Box<[u8]>,
    of: PhantomData<T>,
}

impl<T: Moment> Series<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (T, Counts)> {
        unpacked(&self.bytes)
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl<T: Moment> FromIterator<(T, Counts)> for Series<T> {
    fn from_iter<I: IntoIterator<Item = (T, Counts)>>(counts: I) -> Self {
        let mut bytes = Vec::new();
        pack(counts, &mut bytes);
        Self { bytes: bytes.into(), of: PhantomData }
    }
}

/// Writes moments with their counts, in the fewest bytes where they are in order.
pub(super) fn pack<T: Moment>(counts: impl IntoIterator<Item = (T, Counts)>, into: &mut Vec<u8>) {
    let mut before = 0;
    for (at, Counts { humans, bots, previews, repeats }) in counts {
        let distance = i64::from(at.number()) - before;
        before = i64::from(at.number());
        let zigzag = (distance << 1 ^ distance >> 63).cast_unsigned();
        let rest = (previews, repeats) != (0, 0);
        put(zigzag << 1 | u64::from(rest), into);
        put(humans, into);
        put(bots, into);
        if rest {
            put(previews, into);
            put(repeats, into);
        }
    }
}

/// What was [packed](pack).
pub(super) fn unpacked<T: Moment>(mut bytes: &[u8]) -> impl Iterator<Item = (T, Counts)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let first = take(&mut bytes);
        let zigzag = first >> 1;
        at += (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let mut counts = Counts { humans: take(&mut bytes), bots: take(&mut bytes), previews: 0, repeats: 0 };
        if first & 1 == 1 {
            (counts.previews, counts.repeats) = (take(&mut bytes), take(&mut bytes));
        }
        Some((T::numbered(i32::try_from(at).unwrap_or_default()), counts))
    })
}

/// Appends a number.
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn put(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Takes the number that bytes begin with.
pub(super) fn take(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 0u64..200, any::<u64>()]
    }

    proptest! {
        #[test]
        fn series_is_what_it_was_made_of(
            counts in prop::collection::vec((any::<i32>(), number(), number(), number(), number()), 0..50),
        ) {
            let counts: Vec<(Quarter, Counts)> = counts
                .into_iter()
                .map(|(at, humans, bots, previews, repeats)| (Quarter(at), Counts { humans, bots, previews, repeats }))
                .collect();
            let series: Series<Quarter> = counts.iter().copied().collect();
            prop_assert_eq!(series.iter().collect::<Vec<_>>(), counts);
        }
    }

    #[test]
    fn hour_of_few_clicks_takes_three_bytes() {
        let hours =
            (490_000..490_024).map(|hour| (Hour(hour), Counts { humans: 90, bots: 3, previews: 0, repeats: 0 }));
        let series: Series<Hour> = hours.collect();
        assert_eq!(series.size(), 24 * 3 + 2);
    }
}
