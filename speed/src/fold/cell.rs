//! A fold's cell: what one fold counted of one subject within one received hour, by event time.
//!
//! Most cells of a fold hold a click or two, so it is small: lists instead of maps until there is much to find.

use linktide_common::bucket::{Day, Hour, Quarter, Timestamp};
use linktide_common::click::Kind;
use linktide_common::count::Counts;
use linktide_common::enrich::EnrichedClick;
use linktide_common::label::Label;
use linktide_common::repeat::Visits;
use linktide_common::visitors::{VisitorSet, short};
use rustc_hash::FxHashMap;

use super::rate::{AddressMinute, Pace, Seen, sampled};
use super::visitors::Visitors;
use crate::series::{Series, ValueCounts};

/// Entries that are looked through one by one.
const FEW: usize = 48;

/// A value's place in the fold's dictionary.
pub(crate) type ValueId = u32;

/// What one fold counted of one subject within one received hour.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoldCell {
    pub(crate) totals: Series<Quarter, Counts>,
    pub(crate) values: Values,
    /// By event hour.
    pub(crate) visitors: Series<Hour, Visitors>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    /// Clicks of people on the link, where they may be repeats: who, and how many milliseconds behind the start of the received
    /// hour.
    pub(crate) visits: Vec<(i64, i64)>,
    /// Clicks whose addresses may be suspected.
    seen: Vec<Seen>,
    /// The latest label of the link.
    pub(crate) label: Option<Label>,
}

impl FoldCell {
    /// Counts a click that has these values. Previews count in no dimension.
    pub(crate) fn add(&mut self, click: &EnrichedClick, values: &[ValueId]) {
        let quarter = Quarter::of(click.clicked_at);
        let totals = self.totals.at(quarter);
        if click.kind == Kind::Preview {
            totals.previews += 1;
            return;
        }
        let person = click.bot.is_none();
        let one = ValueCounts { humans: u64::from(person), bots: u64::from(!person) };
        totals.humans += one.humans;
        totals.bots += one.bots;
        self.first = Some(self.first.map_or(click.clicked_at, |first| first.min(click.clicked_at)));
        self.last = self.last.max(Some(click.clicked_at));
        if let (true, Some(visitor)) = (person, click.visitor) {
            self.visitors.at(quarter.hour()).insert(visitor);
        }
        for value in values {
            *self.values.at((quarter, *value)) += one;
        }
    }

    /// Visitors by event day, while they are few.
    pub(crate) fn visitors_by_day(&self) -> Series<Day, VisitorSet> {
        let mut days = Series::default();
        for (hour, visitors) in self.visitors.iter() {
            visitors.add_to(days.at(hour.day()));
        }
        days
    }

    /// Takes down who clicked on the link, and when.
    pub(crate) fn visit(&mut self, click: &EnrichedClick, received: Hour) {
        if let (Kind::Click, None, Some(visitor)) = (click.kind, &click.bot, click.visitor) {
            self.visits.push((short(&visitor.0), click.clicked_at.millis_since(received.start())));
        }
    }

    /// When each visitor clicked, and which of these clicks are repeats of others of them.
    pub(crate) fn visits(&self, received: Hour, window: u32) -> (Vec<(i64, Visits)>, Series<Quarter, u64>) {
        let (mut visitors, mut repeats) = (Vec::new(), Series::default());
        let mut visits = self.visits.clone();
        visits.sort_unstable();
        for of_one in visits.chunk_by(|one, other| one.0 == other.0) {
            let clicks = of_one.iter().map(|(_, at)| *at);
            let visits = Visits::of(clicks, window, |at| *repeats.at(quarter_of(received, at)) += 1);
            visitors.push((of_one[0].0, visits));
        }
        (visitors, repeats)
    }

    /// Takes down from which address it came, and when.
    pub(crate) fn see(&mut self, click: &EnrichedClick, pace: Pace) {
        self.seen.extend(Seen::of(click, pace));
    }

    /// The minutes of addresses that may be suspected.
    pub(crate) fn address_minutes(&self) -> Vec<AddressMinute> {
        sampled(&self.seen)
    }

    /// Keeps the click's label, where it is later than the one there is.
    pub(crate) fn name(&mut self, click: &EnrichedClick) {
        let later = |known: &Label| (click.clicked_at, click.click_id) > (known.clicked_at, known.click_id);
        if self.label.as_ref().is_none_or(later)
            && let Some(label) = Label::of(click)
        {
            self.label = Some(label);
        }
    }
}

/// The quarter of so many milliseconds behind the start of an hour.
pub(crate) fn quarter_of(received: Hour, at: i64) -> Quarter {
    Quarter::of(received.start().plus_millis(at))
}

/// Counts by quarter and value.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    Few(Vec<((Quarter, ValueId), ValueCounts)>),
    Many(FxHashMap<(Quarter, ValueId), ValueCounts>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Values {
    fn at(&mut self, key: (Quarter, ValueId)) -> &mut ValueCounts {
        if let Self::Few(list) = self
            && list.len() >= FEW
        {
            *self = Self::Many(list.drain(..).collect());
        }
        match self {
            Self::Few(list) => {
                let place = list.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                    list.push((key, ValueCounts::default()));
                    list.len() - 1
                });
                &mut list[place].1
            }
            Self::Many(map) => map.entry(key).or_default(),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = ((Quarter, ValueId), ValueCounts)> + '_> {
        match self {
            Self::Few(list) => Box::new(list.iter().copied()),
            Self::Many(map) => Box::new(map.iter().map(|(key, counts)| (*key, *counts))),
        }
    }
}
