//! Parts of a rollup's change that are done one after the other, so that only one of them is in memory.
//!
//! Files are sorted by tenant and link, raw ones too: a part is a range of owners, whose rows lie together in every file, so
//! the parts read hardly more than the whole. Rows of parts follow one another in the order of the rollup's file. Where to
//! cut is told by a sample of owners.

use std::ops::Bound;

use crate::tables::columns::Owner;

/// Owners that a sample keeps at most.
const SAMPLED: usize = 1 << 17;
/// What a part may cost; little in tests, so that their few rows come in many parts.
const A_PART: usize = if cfg!(test) { 1000 } else { 2_400_000 };

/// The owner of every so manieth row.
#[derive(Debug, Default)]
pub(super) struct Sample {
    owners: Vec<Owner>,
    /// Rows that each of them stands for, less one.
    skipped: usize,
    /// Rows to skip before the next one is taken.
    skip: usize,
}

impl Sample {
    pub(super) fn add(&mut self, owner: Owner) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.owners.len() == SAMPLED {
            let mut at = 0;
            self.owners.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.skipped = self.skipped * 2 + 1;
        }
        self.owners.push(owner);
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

fn within(column: &str, from: Bound<i64>, to: Bound<i64>) -> String {
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
    parts_of(samples, A_PART)
}

fn parts_of(samples: &[(&Sample, usize)], most: usize) -> Vec<Part> {
    let weighted = samples.iter().flat_map(|(sample, cost)| {
        let cost = cost * (sample.skipped + 1);
        sample.owners.iter().map(move |owner| (*owner, cost))
    });
    let mut weighted: Vec<(Owner, usize)> = weighted.collect();
    weighted.sort_unstable_by_key(|(owner, _)| *owner);
    let (mut parts, mut from, mut cost) = (Vec::new(), Bound::Unbounded, 0);
    for of_tenant in weighted.chunk_by(|(one, _), (other, _)| one.tenant == other.tenant) {
        let tenant = of_tenant[0].0.tenant;
        let its_cost: usize = of_tenant.iter().map(|(_, cost)| cost).sum();
        if cost + its_cost > most {
            // Tenants that no sample has are somewhere, too.
            if from != Bound::Included(tenant) {
                parts.push(Part::Tenants(from, Bound::Excluded(tenant)));
            }
            (from, cost) = (Bound::Included(tenant), 0);
        }
        if its_cost > most {
            parts.push(Part::Own(tenant));
            parts.extend(links(tenant, of_tenant, most));
            from = Bound::Excluded(tenant);
        } else {
            cost += its_cost;
        }
    }
    parts.push(Part::Tenants(from, Bound::Unbounded));
    parts
}

/// A large tenant's links in parts.
fn links(tenant: i64, weighted: &[(Owner, usize)], most: usize) -> Vec<Part> {
    let (mut parts, mut from, mut cost) = (Vec::new(), Bound::Unbounded, 0);
    for of_link in weighted.chunk_by(|(one, _), (other, _)| one == other) {
        let Some(link) = of_link[0].0.link else { continue };
        let its_cost: usize = of_link.iter().map(|(_, cost)| cost).sum();
        if cost > 0 && cost + its_cost > most {
            parts.push(Part::Links(tenant, from, Bound::Excluded(link)));
            (from, cost) = (Bound::Included(link), 0);
        }
        cost += its_cost;
    }
    parts.push(Part::Links(tenant, from, Bound::Unbounded));
    parts
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
            let parts = parts_of(&[(&sample, 1), (&Sample::default(), 5)], most);
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
        let stands_for = sample.owners.len() * (sample.skipped + 1);
        assert!(sample.owners.len() <= SAMPLED && stands_for.abs_diff(rows) <= sample.skipped, "{stands_for}");
        assert!(sample.owners.is_sorted(), "it is taken evenly");
    }
}
