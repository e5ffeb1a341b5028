//! `by_value`: counts by value of each dimension and quarter of the day, as an aggregate.
//!
//! A click has a value in every dimension. Grouped by value it would be as many rows as there are dimensions, each of them
//! looked up by texts. Here it is one row of its link's day; its values become numbers once, and what is gathered of a
//! value is a few bytes.
//!
//! What it answers is a list of [`entries_type`], which is its state, too.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use deltalake::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Int8Array, Int16Array, Int64Array, ListArray, StringArray,
    StructArray,
};
use deltalake::arrow::buffer::OffsetBuffer;
use deltalake::arrow::datatypes::{DataType, Field, Int8Type, Int16Type, Int64Type};
use deltalake::datafusion::common::{Result, exec_datafusion_err};
use deltalake::datafusion::logical_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use linktide_common::dimension::{Dimension, NONE};

use super::aggregate::{Groups, aggregate, taken};
use crate::tables::dimension::{counts_fields, entries_type, entry_fields, in_order};

/// Arguments before the values of a click.
const BEFORE_VALUES: usize = 5;

/// `by_value(quarter, clicks, bots, dimension, value, …)`, and behind those a click's value in each dimension, in the order
/// of the dimensions' names. A row that was rolled up before has a `dimension` and a `value`, a click has neither.
pub(super) fn function() -> AggregateUDF {
    let counts = [DataType::Int16, DataType::Int64, DataType::Int64];
    let texts = std::iter::repeat_n(DataType::Utf8, 2 + Dimension::ALL.len());
    aggregate::<Values>("by_value", counts.into_iter().chain(texts).collect())
}

/// What a quarter of the day has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    clicks: u32,
    bots: u32,
    quarter: u8,
}

impl Count {
    fn at(quarter: i16, clicks: i64, bots: i64) -> Result<Self> {
        let small = |number| u32::try_from(number).map_err(|_| too_many());
        let quarter = u8::try_from(quarter).map_err(|_| exec_datafusion_err!("{quarter} is no quarter of a day"))?;
        Ok(Self { clicks: small(clicks)?, bots: small(bots)?, quarter })
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.clicks = self.clicks.checked_add(other.clicks).ok_or_else(too_many)?;
        self.bots = self.bots.checked_add(other.bots).ok_or_else(too_many)?;
        Ok(())
    }
}

fn too_many() -> deltalake::datafusion::error::DataFusionError {
    exec_datafusion_err!("a value has more than {} clicks in a quarter of an hour", u32::MAX)
}

/// The counts of an entry: most have one, and never another.
#[derive(Debug, Clone, Copy)]
enum Counts {
    One(Count),
    /// Where they are in [`Values::many`].
    Many(u32),
}

/// A value of a dimension in a group.
#[derive(Debug, Clone, Copy)]
struct Entry {
    group: u32,
    value: u32,
    dimension: u8,
    counts: Counts,
}

impl Entry {
    fn key(&self) -> (u32, u8, u32) {
        (self.group, self.dimension, self.value)
    }
}

/// Texts as numbers.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Arc<str>, u32, RandomState>,
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl Texts {
    fn number(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let number = place(self.texts.len())?;
        let text: Arc<str> = text.into();
        self.bytes += text.len();
        self.numbers.insert(Arc::clone(&text), number);
        self.texts.push(text);
        Ok(number)
    }

    fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    fn size(&self) -> usize {
        self.bytes + self.texts.capacity() * (size_of::<Arc<str>>() * 3 + size_of::<u32>())
    }
}

fn place(of: usize) -> Result<u32> {
    u32::try_from(of).map_err(|_| exec_datafusion_err!("{of} groups, values or entries are too many at once"))
}

/// The entries of all groups.
#[derive(Default)]
struct Values {
    entries: Vec<Entry>,
    /// Which entry a group, a dimension and a value have.
    places: HashTable<u32>,
    /// Counts of entries with several, each in the order of quarters.
    many: Vec<Vec<Count>>,
    /// How many counts there is room for in `many`.
    room: usize,
    texts: Texts,
    hasher: RandomState,
    groups: usize,
}

impl Values {
    fn add(&mut self, group: u32, dimension: u8, value: u32, count: Count) -> Result<()> {
        let Self { entries, places, hasher, .. } = self;
        let key = (group, dimension, value);
        let known = |place: &u32| entries[*place as usize].key() == key;
        match places.entry(hasher.hash_one(key), known, |place| hasher.hash_one(entries[*place as usize].key())) {
            Place::Occupied(known) => {
                let known = *known.get() as usize;
                self.count(known, count)
            }
            Place::Vacant(free) => {
                free.insert(place(entries.len())?);
                entries.push(Entry { group, value, dimension, counts: Counts::One(count) });
                Ok(())
            }
        }
    }

    fn count(&mut self, entry: usize, count: Count) -> Result<()> {
        let counts = &mut self.entries[entry].counts;
        match counts {
            Counts::One(one) if one.quarter == count.quarter => one.add(count),
            Counts::One(one) => {
                let mut both = vec![*one, count];
                both.sort_unstable_by_key(|count| count.quarter);
                *counts = Counts::Many(place(self.many.len())?);
                self.room += both.capacity();
                self.many.push(both);
                Ok(())
            }
            Counts::Many(many) => {
                let counts = &mut self.many[*many as usize];
                match counts.binary_search_by_key(&count.quarter, |known| known.quarter) {
                    Ok(at) => counts[at].add(count),
                    Err(at) => {
                        let before = counts.capacity();
                        counts.insert(at, count);
                        self.room += counts.capacity() - before;
                        Ok(())
                    }
                }
            }
        }
    }

    /// Takes the entries of the first groups, or of all, in order.
    fn take(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut whole = std::mem::take(self);
        let groups = match emit {
            EmitTo::All => whole.groups,
            EmitTo::First(groups) => groups,
        };
        let first = place(groups)?;
        if groups < whole.groups {
            self.groups = whole.groups - groups;
            for entry in whole.entries.extract_if(.., |entry| entry.group >= first) {
                let value = self.texts.number(whole.texts.text(entry.value))?;
                for count in counts_of(&entry, &whole.many) {
                    self.add(entry.group - first, entry.dimension, value, *count)?;
                }
            }
        }
        drop(std::mem::take(&mut whole.places));
        let Self { mut entries, many, texts, .. } = whole;
        entries.sort_unstable_by(|one, other| {
            let by = |entry: &Entry| (entry.group, entry.dimension);
            by(one).cmp(&by(other)).then_with(|| texts.text(one.value).cmp(texts.text(other.value)))
        });
        let mut lengths = vec![0; groups];
        entries.iter().for_each(|entry| lengths[entry.group as usize] += 1);
        let counts = || entries.iter().flat_map(|entry| counts_of(entry, &many));
        let counts: [ArrayRef; 3] = [
            Arc::new(Int16Array::from_iter_values(counts().map(|count| i16::from(count.quarter)))),
            Arc::new(Int64Array::from_iter_values(counts().map(|count| i64::from(count.clicks)))),
            Arc::new(Int64Array::from_iter_values(counts().map(|count| i64::from(count.bots)))),
        ];
        let of_entries = entries.iter().map(|entry| counts_of(entry, &many).len());
        let fields = entry_fields();
        let entries: Vec<ArrayRef> = vec![
            Arc::new(Int8Array::from_iter_values(entries.iter().map(|entry| entry.dimension.cast_signed()))),
            Arc::new(StringArray::from_iter_values(entries.iter().map(|entry| texts.text(entry.value)))),
            lists(fields[2].data_type(), of_entries, StructArray::try_new(counts_fields(), counts.into(), None)?)?,
        ];
        lists(&entries_type(), lengths, StructArray::try_new(fields, entries, None)?)
    }
}

fn counts_of<'a>(entry: &'a Entry, many: &'a [Vec<Count>]) -> &'a [Count] {
    match &entry.counts {
        Counts::One(one) => std::slice::from_ref(one),
        Counts::Many(place) => &many[*place as usize],
    }
}

fn lists(of: &DataType, lengths: impl IntoIterator<Item = usize>, items: StructArray) -> Result<ArrayRef> {
    let DataType::List(item) = of else { return Err(exec_datafusion_err!("{of} is no list")) };
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?))
}

impl Groups for Values {
    fn returns() -> DataType {
        entries_type()
    }

    fn state_fields() -> Vec<Field> {
        vec![Field::new("entries", entries_type(), true)]
    }
}

impl GroupsAccumulator for Values {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups = total;
        let quarters = values[0].as_primitive::<Int16Type>();
        let (clicks, bots) = (values[1].as_primitive::<Int64Type>(), values[2].as_primitive::<Int64Type>());
        let (dimensions, texts) = (values[3].as_string::<i32>(), values[4].as_string::<i32>());
        let mut of_clicks = Vec::with_capacity(groups.len());
        for (row, group) in taken(groups, filter) {
            let (group, count) = (place(group)?, Count::at(quarters.value(row), clicks.value(row), bots.value(row))?);
            if dimensions.is_null(row) {
                of_clicks.push((row, group, count));
            } else {
                let name = dimensions.value(row);
                let dimension = in_order().iter().position(|dimension| dimension.name() == name);
                let dimension = dimension.and_then(|at| u8::try_from(at).ok());
                let dimension = dimension.ok_or_else(|| exec_datafusion_err!("`{name}` is no dimension"))?;
                let value = self.texts.number(texts.value(row))?;
                self.add(group, dimension, value, count)?;
            }
        }
        for (dimension, column) in (0..).zip(&values[BEFORE_VALUES..]) {
            let column = column.as_string::<i32>();
            for (row, group, count) in &of_clicks {
                let text = if column.is_valid(*row) { column.value(*row) } else { NONE };
                let value = self.texts.number(text)?;
                self.add(*group, dimension, value, *count)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups = total;
        let lists = states[0].as_list::<i32>();
        let entries = lists.values().as_struct();
        let (dimensions, texts) = (entries.column(0).as_primitive::<Int8Type>(), entries.column(1).as_string::<i32>());
        let of_entries = entries.column(2).as_list::<i32>();
        let counts = of_entries.values().as_struct();
        let quarters = counts.column(0).as_primitive::<Int16Type>();
        let [clicks, bots] = [1, 2].map(|at| counts.column(at).as_primitive::<Int64Type>());
        let range = |list: &ListArray, at: usize| {
            let ends = list.value_offsets();
            ends[at].cast_unsigned() as usize..ends[at + 1].cast_unsigned() as usize
        };
        for (row, group) in groups.iter().enumerate() {
            let group = place(*group)?;
            for entry in range(lists, row) {
                let value = self.texts.number(texts.value(entry))?;
                for at in range(of_entries, entry) {
                    let count = Count::at(quarters.value(at), clicks.value(at), bots.value(at))?;
                    self.add(group, dimensions.value(entry).cast_unsigned(), value, count)?;
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.take(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Self::each(values, filter)
    }

    fn size(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.places.allocation_size()
            + self.many.capacity() * size_of::<Vec<Count>>()
            + self.room * size_of::<Count>()
            + self.texts.size()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Clicks and bots by dimension, value and quarter.
    type Plain = BTreeMap<(u8, String, i16), (i64, i64)>;

    fn plain(entries: &ArrayRef) -> Vec<Plain> {
        let group = |entries: Option<ArrayRef>| {
            let entries = entries.unwrap().as_struct().clone();
            let dimensions = entries.column(0).as_primitive::<Int8Type>();
            let (values, counts) = (entries.column(1).as_string::<i32>(), entries.column(2).as_list::<i32>());
            let mut found = Plain::new();
            let mut before = None;
            for entry in 0..entries.len() {
                let key = (dimensions.value(entry).cast_unsigned(), values.value(entry).to_owned());
                assert!(before < Some(key.clone()), "entries are in order, each once");
                let counts = counts.value(entry).as_struct().clone();
                let quarters = counts.column(0).as_primitive::<Int16Type>();
                let [clicks, bots] = [1, 2].map(|at| counts.column(at).as_primitive::<Int64Type>());
                assert!(quarters.values().is_sorted_by(|one, next| one < next), "quarters are in order, each once");
                for at in 0..quarters.len() {
                    found.insert((key.0, key.1.clone(), quarters.value(at)), (clicks.value(at), bots.value(at)));
                }
                before = Some(key);
            }
            found
        };
        entries.as_list::<i32>().iter().map(group).collect()
    }

    proptest! {
        /// However groups are handed out, a few first or all, and whether as they were or merged from parts: their counts are those
        /// of a plain map.
        #[test]
        fn counts_are_those_of_a_plain_map(
            clicks in prop::collection::vec((0usize..6, 0u8..3, 0usize..5, 0i16..96, any::<bool>()), 0..300),
            first in 0usize..7, cut in 0usize..300,
        ) {
            let groups = 6;
            let texts = ["", "(none)", "a", "b", "ä"];
            let mut expected = vec![Plain::new(); groups];
            let mut parts = [Values::default(), Values::default()];
            for (at, (group, dimension, value, quarter, bot)) in clicks.iter().enumerate() {
                let bot = i64::from(*bot);
                let sum = expected[*group].entry((*dimension, texts[*value].to_owned(), *quarter)).or_default();
                *sum = (sum.0 + 1, sum.1 + bot);
                let part = &mut parts[usize::from(at < cut)];
                let value = part.texts.number(texts[*value]).unwrap();
                part.add(place(*group).unwrap(), *dimension, value, Count::at(*quarter, 1, bot).unwrap()).unwrap();
            }
            let mut whole = Values::default();
            for mut part in parts {
                part.groups = groups;
                let state = part.state(EmitTo::All).unwrap();
                whole.merge_batch(&state, &(0..groups).collect::<Vec<_>>(), groups).unwrap();
            }
            let mut found = plain(&whole.evaluate(EmitTo::First(first.min(groups))).unwrap());
            found.extend(plain(&whole.evaluate(EmitTo::All).unwrap()));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn more_clicks_than_are_counted_are_an_error() {
        let mut values = Values::default();
        let most = Count::at(0, i64::from(u32::MAX), 0).unwrap();
        values.add(0, 0, 0, most).unwrap();
        let error = values.add(0, 0, 0, most).unwrap_err().to_string();
        assert!(error.contains("more than 4294967295 clicks in a quarter"), "{error}");
    }
}
