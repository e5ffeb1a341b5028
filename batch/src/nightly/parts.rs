//! Parts of a rollup's change, or of a day's raw clicks, that are done one after the other, so that only one of them is in
//! memory.
//!
//! Files are sorted by tenant and link, raw ones too: a part is a range of owners, whose rows lie together in every file, so
//! the parts read hardly more than the whole. Rows of parts follow one another in the order of the file that is written. Where
//! to cut is told by a sample.

use std::ops::Bound;

use linktide_common::bucket::Day;

use super::clicks::day_number;
use crate::tables::columns::Owner;

/// Rows that a sample keeps at most.
const SAMPLED: usize = 1 << 17;
/// What a part may cost; little in tests, so that their few rows come in many parts.
const A_PART: usize = if cfg!(test) { 1000 } else { 1_000_000 };

/// Whose every so manieth row is.
#[derive(Debug)]
pub(super) struct Sample<K = Owner> {
    keys: Vec<K>,
    /// Rows that each of them stands for, less one.
    skipped: usize,
    /// Rows to skip before the next one is taken.
    skip: usize,
}

impl<K> Default for Sample<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), skipped: 0, skip: 0 }
    }
}

impl<K> Sample<K> {
    pub(super) fn add(&mut self, key: K) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.keys.len() == SAMPLED {
            let mut at = 0;
            self.keys.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.skipped = self.skipped * 2 + 1;
        }
        self.keys.push(key);
        self.skip = self.skipped;
    }
}

/// Owners whose rows are changed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All rows of these tenants.
    Tenants(Bound<i64>, Bound<i64>),
    /// A tenant's own rows, which come before those of its links.
    Own(i64),
    /// Rows of these links of a tenant.
    Links(i64, Bound<i64>, Bound<i64>),
}

impl Part {
    /// The condition that a row is one of them.
    pub(super) fn condition(self) -> String {
        match self {
            Self::Tenants(from, to) => within("tenant_id", from, to),
            Self::Own(tenant) => format!("tenant_id = {tenant} AND link_id IS NULL"),
            Self::Links(tenant, from, to) => {
                format!("tenant_id = {tenant} AND link_id IS NOT NULL AND {}", within("link_id", from, to))
            }
        }
    }
}

fn within<K: std::fmt::Display>(column: &str, from: Bound<K>, to: Bound<K>) -> String {
    let least = match from {
        Bound::Unbounded => "TRUE".to_owned(),
        Bound::Included(least) => format!("{column} >= {least}"),
        Bound::Excluded(before) => format!("{column} > {before}"),
    };
    match to {
        Bound::Unbounded => least,
        Bound::Included(last) => format!("{least} AND {column} <= {last}"),
        Bound::Excluded(behind) => format!("{least} AND {column} < {behind}"),
    }
}

/// All owners in parts, in order. Each sample is of rows that cost so much.
pub(super) fn parts(samples: &[(&Sample, usize)]) -> Vec<Part> {
    let weighted = samples.iter().flat_map(|(sample, cost)| {
        let cost = cost * (sample.skipped + 1);
        sample.keys.iter().map(move |owner| (*owner, cost))
    });
    let mut weighted: Vec<(Owner, usize)> = weighted.collect();
    weighted.sort_unstable_by_key(|(owner, _)| *owner);
    parts_of(&weighted, A_PART)
}

/// Conditions that take raw clicks in parts, in the order of their event day and their owner. A row costs so much.
pub(super) fn days_in_parts(sample: &Sample<(Day, Owner)>, cost: usize) -> Vec<String> {
    let cost = cost * (sample.skipped + 1);
    let mut weighted: Vec<_> = sample.keys.iter().map(|key| (*key, cost)).collect();
    weighted.sort_unstable_by_key(|(key, _)| *key);
    let (day_of_row, mut conditions) = (day_number("clicked_at"), Vec::new());
    for piece in pieces(&weighted, |(day, _)| *day, A_PART) {
        match piece {
            Piece::Some(from, to) => conditions.push(within(&day_of_row, from.map(|day| day.0), to.map(|day| day.0))),
            Piece::One(day) => {
                let owners =
                    weighted.iter().filter(|((of, _), _)| *of == day).map(|((_, owner), cost)| (*owner, *cost));
                let of_owners = parts_of(&owners.collect::<Vec<_>>(), A_PART);
                conditions.extend(
                    of_owners.into_iter().map(|part| format!("{day_of_row} = {} AND {}", day.0, part.condition())),
                );
            }
        }
    }
    conditions
}

fn parts_of(weighted: &[(Owner, usize)], most: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in pieces(weighted, |owner| owner.tenant, most) {
        match piece {
            Piece::Some(from, to) => parts.push(Part::Tenants(from, to)),
            Piece::One(tenant) => {
                let links = weighted.iter().filter(|(owner, _)| owner.tenant == tenant);
                let links: Vec<(i64, usize)> = links.filter_map(|(owner, cost)| Some((owner.link?, *cost))).collect();
                parts.push(Part::Own(tenant));
                parts.extend(pieces(&links, |link| *link, most).into_iter().map(|piece| match piece {
                    Piece::Some(from, to) => Part::Links(tenant, from, to),
                    Piece::One(link) => Part::Links(tenant, Bound::Included(link), Bound::Included(link)),
                }));
            }
        }
    }
    parts
}

/// Some of what there is, in order: a range that costs little enough, or one that alone costs too much.
enum Piece<G> {
    Some(Bound<G>, Bound<G>),
    One(G),
}

/// All there is in pieces, in order, whether the sample has seen it or not. What has the same `group` stays together.
fn pieces<K, G: Copy + PartialEq>(weighted: &[(K, usize)], group: impl Fn(&K) -> G, most: usize) -> Vec<Piece<G>> {
    let (mut pieces, mut from, mut cost) = (Vec::new(), Bound::Unbounded, 0);
    for of_group in weighted.chunk_by(|(one, _), (other, _)| group(one) == group(other)) {
        let (this, its_cost) = (group(&of_group[0].0), of_group.iter().map(|(_, cost)| cost).sum::<usize>());
        if cost + its_cost > most {
            if from != Bound::Included(this) {
                pieces.push(Piece::Some(from, Bound::Excluded(this)));
            }
            (from, cost) = (Bound::Included(this), 0);
        }
        if its_cost > most {
            pieces.push(Piece::One(this));
            from = Bound::Excluded(this);
        } else {
            cost += its_cost;
        }
    }
    pieces.push(Piece::Some(from, Bound::Unbounded));
    pieces
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds as _;

    use proptest::prelude::*;

    use super::*;

    fn holds(part: Part, owner: Owner) -> bool {
        match part {
            Part::Tenants(from, to) => (from, to).contains(&owner.tenant),
            Part::Own(tenant) => owner == Owner { tenant, link: None },
            Part::Links(tenant, from, to) => {
                owner.tenant == tenant && owner.link.is_some_and(|link| (from, to).contains(&link))
            }
        }
    }

    proptest! {
        /// Whatever was sampled: everybody is in one part, and parts are in the order of owners.
        #[test]
        fn everybody_is_in_one_part_and_parts_are_in_order(
            sampled in prop::collection::vec((-2i64..4, prop::option::of(-3i64..4)), 0..60), most in 1usize..30,
        ) {
            let mut sample = Sample::default();
            sampled.iter().for_each(|(tenant, link)| sample.add(Owner { tenant: *tenant, link: *link }));
            let mut weighted: Vec<_> = sample.keys.iter().map(|owner| (*owner, 1)).collect();
            weighted.sort_unstable();
            let parts = parts_of(&weighted, most);
            let all = (-4..6).flat_map(|tenant| {
                std::iter::once(None).chain((-5..6).map(Some)).map(move |link| Owner { tenant, link })
            });
            let mut last = 0;
            for owner in all {
                let found: Vec<_> = (0..parts.len()).filter(|at| holds(parts[*at], owner)).collect();
                prop_assert_eq!(found.len(), 1, "{:?} in {:?}", owner, &parts);
                prop_assert!(found[0] >= last, "{:?} in {:?}", owner, &parts);
                last = found[0];
            }
            if sampled.len() <= most {
                prop_assert_eq!(parts.len(), 1);
            }
        }
    }

    #[test]
    fn large_sample_is_thinned_and_stands_for_as_many() {
        let mut sample = Sample::default();
        let rows = 5 * SAMPLED;
        (0..rows).for_each(|row| sample.add(Owner { tenant: 0, link: i64::try_from(row).ok() }));
        let stands_for = sample.keys.len() * (sample.skipped + 1);
        assert!(sample.keys.len() <= SAMPLED && stands_for.abs_diff(rows) <= sample.skipped, "{stands_for}");
        assert!(sample.keys.is_sorted(), "it is taken evenly");
    }
}
