//! Parts of a rollup's change, or of a day's raw clicks, that are done one after the other, so that only one of them is in
//! memory.
//!
//! Files are sorted by tenant and link, raw ones too: a part is a range of owners, whose rows lie together in every file, so
//! the parts read hardly more than the whole. An owner that has too much for one part is cut by time. Rows of parts follow
//! one another in the order of the file that is written. Where to cut is told by a sample.

use std::ops::Bound;

use super::clicks::{DAY_US, HOUR_US, MINUTE_US};
use crate::tables::columns::Owner;

/// Rows that a sample keeps at most.
const SAMPLED: usize = 1 << 17;
/// What a part may cost; little in tests, so that their few rows come in many parts.
const A_PART: usize = if cfg!(test) { 1000 } else { 1_000_000 };

/// A row, as far as parts are cut by it. Instants are in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) owner: Owner,
    pub(super) clicked: i64,
    /// 0 where nothing is cut by it.
    pub(super) received: i64,
}

/// What parts are cut by: by the next of them, where one place alone costs too much.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Tenant,
    /// A tenant's own rows have none: they come before those of its links, and are parts of their own.
    Link,
    /// A column with the event day.
    Day(&'static str),
    /// A column with the event time, by a unit in microseconds.
    Clicked(&'static str, i64),
    /// A column with the time of receipt, by a unit in microseconds.
    Received(&'static str, i64),
}

/// Clicks on a link that were received in the same hour stay together.
pub(super) const BY_HOUR_OF_RECEIPT: &[Cut] = &[Cut::Tenant, Cut::Link, Cut::Received("received_at", HOUR_US)];
/// Clicks in the order of raw files.
pub(super) const BY_EVENT_DAY: &[Cut] =
    &[Cut::Clicked("clicked_at", DAY_US), Cut::Tenant, Cut::Link, Cut::Clicked("clicked_at", MINUTE_US)];

impl Cut {
    fn place(self, row: Row) -> Option<i64> {
        match self {
            Self::Tenant => Some(row.owner.tenant),
            Self::Link => row.owner.link,
            Self::Day(_) => Some(row.clicked.div_euclid(DAY_US)),
            Self::Clicked(_, unit) => Some(row.clicked.div_euclid(unit)),
            Self::Received(_, unit) => Some(row.received.div_euclid(unit)),
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Tenant => "tenant_id",
            Self::Link => "link_id",
            Self::Day(column) | Self::Clicked(column, _) | Self::Received(column, _) => column,
        }
    }

    /// The condition that a place is compared so. It is one of the column as it is stored, so that files, and pages of them,
    /// are left out by their statistics.
    fn compare(self, comparison: &str, place: i64) -> String {
        let column = self.column();
        let unit = match self {
            Self::Tenant | Self::Link => return format!("{column} {comparison} {place}"),
            Self::Day(_) => return format!("{column} {comparison} arrow_cast(arrow_cast({place}, 'Int32'), 'Date32')"),
            Self::Clicked(_, unit) | Self::Received(_, unit) => unit,
        };
        let (comparison, place) = match comparison {
            ">" => (">=", place + 1),
            "<=" => ("<", place + 1),
            _ => (comparison, place),
        };
        format!("{column} {comparison} arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", place * unit)
    }
}

/// Whose every so manieth row is, and when.
#[derive(Debug, Default, Clone)]
pub(super) struct Sample {
    rows: Vec<Row>,
    /// Rows that each of them stands for, less one.
    skipped: usize,
    /// Rows to skip before the next one is taken.
    skip: usize,
}

impl Sample {
    pub(super) fn add(&mut self, row: Row) {
        self.add_many(row, 1);
    }

    /// Takes one row for so many.
    pub(super) fn add_many(&mut self, row: Row, mut many: usize) {
        while many > self.skip {
            many -= self.skip + 1;
            self.keep(row);
        }
        self.skip -= many;
    }

    fn keep(&mut self, row: Row) {
        if self.rows.len() == SAMPLED {
            let mut at = 0;
            self.rows.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.skipped = self.skipped * 2 + 1;
        }
        self.rows.push(row);
        self.skip = self.skipped;
    }

    /// The same rows as their tenants' own.
    pub(super) fn of_tenants(&self) -> Self {
        let mut own = self.clone();
        own.rows.iter_mut().for_each(|row| row.owner.link = None);
        own
    }
}

/// Rows that are done together: those whose places are all as it says.
#[derive(Debug, Clone)]
pub(super) struct Part(Vec<(Cut, Places)>);

#[derive(Debug, Clone, Copy)]
enum Places {
    Nowhere,
    Range(Bound<i64>, Bound<i64>),
}

impl Part {
    /// The condition that a row is one of them.
    pub(super) fn condition(&self) -> String {
        self.0.iter().map(|(cut, places)| places.condition(*cut)).collect::<Vec<_>>().join(" AND ")
    }

    fn and(&self, cut: Cut, places: Places) -> Self {
        Self(self.0.iter().copied().chain([(cut, places)]).collect())
    }
}

impl Places {
    const fn one(place: i64) -> Self {
        Self::Range(Bound::Included(place), Bound::Included(place))
    }

    fn condition(self, cut: Cut) -> String {
        let (from, to) = match self {
            Self::Nowhere => return format!("{} IS NULL", cut.column()),
            Self::Range(from, to) => (from, to),
        };
        // Of a comparison with null the planner does not know that it takes no row of a tenant's own.
        let somewhere = format!("{} IS NOT NULL", cut.column());
        let from = match from {
            Bound::Unbounded => None,
            Bound::Included(least) => Some(cut.compare(">=", least)),
            Bound::Excluded(before) => Some(cut.compare(">", before)),
        };
        let to = match to {
            Bound::Unbounded => None,
            Bound::Included(last) => Some(cut.compare("<=", last)),
            Bound::Excluded(behind) => Some(cut.compare("<", behind)),
        };
        std::iter::once(somewhere).chain(from).chain(to).collect::<Vec<_>>().join(" AND ")
    }
}

/// All rows in parts, in order. Each sample is of rows that cost so much.
pub(super) fn parts(samples: &[(&Sample, usize)], by: &[Cut]) -> Vec<Part> {
    parts_of(samples, by, A_PART)
}

fn parts_of(samples: &[(&Sample, usize)], by: &[Cut], most: usize) -> Vec<Part> {
    let weighted = samples.iter().flat_map(|(sample, cost)| {
        let cost = cost * (sample.skipped + 1);
        sample.rows.iter().map(move |row| (*row, cost))
    });
    let mut weighted: Vec<(Row, usize)> = weighted.collect();
    weighted.sort_unstable_by(|(one, _), (other, _)| {
        by.iter().map(|cut| cut.place(*one)).cmp(by.iter().map(|cut| cut.place(*other)))
    });
    let mut parts = Vec::new();
    cut(&weighted, &Part(Vec::new()), by, most, &mut parts);
    parts
}

/// Cuts rows that all lie in one part.
fn cut(weighted: &[(Row, usize)], of: &Part, by: &[Cut], most: usize, parts: &mut Vec<Part>) {
    let Some((first, next)) = by.split_first() else { return parts.push(of.clone()) };
    let cost_of = |rows: &[(Row, usize)]| rows.iter().map(|(_, cost)| cost).sum::<usize>();
    let (nowhere, somewhere) = weighted.split_at(weighted.partition_point(|(row, _)| first.place(*row).is_none()));
    if matches!(first, Cut::Link) {
        let own = of.and(*first, Places::Nowhere);
        if cost_of(nowhere) > most { cut(nowhere, &own, next, most, parts) } else { parts.push(own) }
    }
    let (mut from, mut cost) = (Bound::Unbounded, 0);
    for of_one in somewhere.chunk_by(|(one, _), (other, _)| first.place(*one) == first.place(*other)) {
        let Some(place) = first.place(of_one[0].0) else { continue };
        let its_cost = cost_of(of_one);
        if cost + its_cost > most {
            if from != Bound::Included(place) {
                parts.push(of.and(*first, Places::Range(from, Bound::Excluded(place))));
            }
            (from, cost) = (Bound::Included(place), 0);
        }
        if its_cost > most {
            cut(of_one, &of.and(*first, Places::one(place)), next, most, parts);
            from = Bound::Excluded(place);
        } else {
            cost += its_cost;
        }
    }
    parts.push(of.and(*first, Places::Range(from, Bound::Unbounded)));
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds as _;

    use proptest::prelude::*;

    use super::*;

    const OWNERS: &[Cut] = &[Cut::Tenant, Cut::Link];
    const HOURS: &[Cut] = &[Cut::Tenant, Cut::Link, Cut::Received("at", 10)];
    const DAYS: &[Cut] = &[Cut::Clicked("at", 20), Cut::Tenant, Cut::Link, Cut::Clicked("at", 4)];

    fn holds(part: &Part, row: Row) -> bool {
        part.0.iter().all(|(cut, places)| match (cut.place(row), places) {
            (None, Places::Nowhere) => true,
            (Some(place), Places::Range(from, to)) => (*from, *to).contains(&place),
            _ => false,
        })
    }

    proptest! {
        /// Whatever was sampled: everything is in one part, and parts are in order.
        #[test]
        fn every_row_is_in_one_part_and_parts_are_in_order(
            sampled in prop::collection::vec((-2i64..4, prop::option::of(-3i64..4), -30i64..30), 0..80),
            most in 1usize..30,
            by in prop::sample::select(vec![OWNERS, HOURS, DAYS]),
        ) {
            let mut sample = Sample::default();
            sampled.iter().for_each(|(tenant, link, at)| sample.add(row(*tenant, *link, *at)));
            let parts = parts_of(&[(&sample, 1)], by, most);
            let places = |row: Row| by.iter().map(|cut| cut.place(row)).collect::<Vec<_>>();
            let of_tenant = |tenant| std::iter::once(None).chain((-5..6).map(Some)).map(move |link| (tenant, link));
            let mut all: Vec<Row> = (-4..6)
                .flat_map(of_tenant)
                .flat_map(|(tenant, link)| (-35..35).map(move |at| row(tenant, link, at)))
                .collect();
            all.sort_by_key(|row| places(*row));
            let mut last = 0;
            for row in all {
                let found: Vec<_> = (0..parts.len()).filter(|at| holds(&parts[*at], row)).collect();
                prop_assert_eq!(found.len(), 1, "{:?} in {:?}", row, &parts);
                prop_assert!(found[0] >= last, "{:?} in {:?}", row, &parts);
                last = found[0];
            }
            if sampled.len() <= most {
                prop_assert_eq!(parts.len(), 1);
            }
            for part in &parts {
                let held = sample.rows.iter().filter(|row| holds(part, **row));
                let held: Vec<_> = held.map(|row| places(*row)).collect();
                let indivisible = held.iter().all(|places| *places == held[0]);
                prop_assert!(held.len() <= most || indivisible, "{:?} of {:?}", held, part);
            }
        }
    }

    fn row(tenant: i64, link: Option<i64>, at: i64) -> Row {
        Row { owner: Owner { tenant, link }, clicked: at, received: at }
    }

    #[test]
    fn bounds_of_time_are_instants() {
        let cut = Cut::Clicked("clicked_at", MINUTE_US);
        let from_to = |from, to| Places::Range(from, to).condition(cut).replace("arrow_cast", "");
        let micros = |micros: i64| format!("({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
        let (minus_two, ten) = (micros(-120_000_000), micros(600_000_000));
        let expected = format!("clicked_at IS NOT NULL AND clicked_at >= {minus_two} AND clicked_at < {ten}");
        assert_eq!(from_to(Bound::Included(-2), Bound::Excluded(10)), expected);
        assert_eq!(from_to(Bound::Excluded(-3), Bound::Included(9)), expected);
    }

    #[test]
    fn bounds_of_days_are_dates() {
        let condition = Places::Range(Bound::Included(-2), Bound::Excluded(10)).condition(Cut::Day("day_bucket"));
        let [from, to] = [-2, 10].map(|day| format!("arrow_cast(arrow_cast({day}, 'Int32'), 'Date32')"));
        assert_eq!(condition, format!("day_bucket IS NOT NULL AND day_bucket >= {from} AND day_bucket < {to}"));
    }

    proptest! {
        /// One row for many is as good as many.
        #[test]
        fn rows_weigh_what_they_stand_for(weights in prop::collection::vec(0usize..40_000, 0..20)) {
            let (mut weighed, mut each) = (Sample::default(), Sample::default());
            for (at, many) in (0..).zip(weights) {
                weighed.add_many(row(0, None, at), many);
                (0..many).for_each(|_| each.add(row(0, None, at)));
            }
            let kept = |sample: &Sample| (sample.skipped, sample.rows.iter().map(|row| row.clicked).collect::<Vec<_>>());
            prop_assert_eq!(kept(&weighed), kept(&each));
        }
    }

    #[test]
    fn large_sample_is_thinned_and_stands_for_as_many() {
        let mut sample = Sample::default();
        let rows = 5 * SAMPLED;
        (0..rows).for_each(|at| sample.add(row(0, None, i64::try_from(at).unwrap())));
        let stands_for = sample.rows.len() * (sample.skipped + 1);
        assert!(sample.rows.len() <= SAMPLED && stands_for.abs_diff(rows) <= sample.skipped, "{stands_for}");
        assert!(sample.rows.is_sorted_by_key(|row| row.clicked), "it is taken evenly");
    }
}
