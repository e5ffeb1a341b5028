//! `by_quarter`: sparse counts by quarter of the day as an aggregate.
//!
//! What it answers is a struct of three lists of one length, `quarters` in order, `clicks` and `bots`, which are the
//! columns of the dimension table. Its state is the three lists.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, AsArray as _, BooleanArray, Int16Array, Int64Array, ListArray, StructArray};
use deltalake::arrow::buffer::OffsetBuffer;
use deltalake::arrow::datatypes::{DataType, Field, Fields, Int16Type, Int64Type};
use deltalake::datafusion::common::Result;
use deltalake::datafusion::logical_expr::{AggregateUDF, EmitTo, GroupsAccumulator};

use super::aggregate::{Groups, aggregate, taken};
use crate::tables::columns::list;

/// `by_quarter(quarter, clicks, bots)`.
pub(super) fn function() -> AggregateUDF {
    aggregate::<Quarters>("by_quarter", vec![DataType::Int16, DataType::Int64, DataType::Int64])
}

fn lists() -> Fields {
    let of = |name, item| list(name, item);
    vec![of("quarters", DataType::Int16), of("clicks", DataType::Int64), of("bots", DataType::Int64)].into()
}

#[derive(Debug, Clone, Copy)]
struct Count {
    quarter: i16,
    clicks: i64,
    bots: i64,
}

/// Counts of each group, ordered by quarter.
#[derive(Default)]
struct Quarters {
    counts: Vec<Vec<Count>>,
    /// How many counts there is room for in all groups.
    room: usize,
}

impl Quarters {
    fn add(&mut self, group: usize, count: Count) {
        let counts = &mut self.counts[group];
        match counts.binary_search_by_key(&count.quarter, |known| known.quarter) {
            Ok(at) => {
                counts[at].clicks += count.clicks;
                counts[at].bots += count.bots;
            }
            Err(at) => {
                let before = counts.capacity();
                if counts.is_empty() {
                    // Most groups have one count and never another.
                    counts.reserve_exact(1);
                }
                counts.insert(at, count);
                self.room += counts.capacity() - before;
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> Vec<ArrayRef> {
        let groups = emit.take_needed(&mut self.counts);
        self.room -= groups.iter().map(Vec::capacity).sum::<usize>();
        let ends = OffsetBuffer::from_lengths(groups.iter().map(Vec::len));
        let counts = || groups.iter().flatten();
        let columns: [ArrayRef; 3] = [
            Arc::new(Int16Array::from_iter_values(counts().map(|count| count.quarter))),
            Arc::new(Int64Array::from_iter_values(counts().map(|count| count.clicks))),
            Arc::new(Int64Array::from_iter_values(counts().map(|count| count.bots))),
        ];
        let list = |(field, values): (&Arc<Field>, ArrayRef)| {
            let DataType::List(item) = field.data_type() else { unreachable!("all three are lists") };
            Arc::new(ListArray::new(Arc::clone(item), ends.clone(), values, None)) as ArrayRef
        };
        lists().iter().zip(columns).map(list).collect()
    }
}

impl Groups for Quarters {
    fn returns() -> DataType {
        DataType::Struct(lists())
    }

    fn state_fields() -> Vec<Field> {
        lists().iter().map(|field| Field::clone(field)).collect()
    }
}

impl GroupsAccumulator for Quarters {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.counts.resize(total, Vec::new());
        let quarters = values[0].as_primitive::<Int16Type>();
        let (clicks, bots) = (values[1].as_primitive::<Int64Type>(), values[2].as_primitive::<Int64Type>());
        for (row, group) in taken(groups, filter) {
            let (quarter, clicks, bots) = (quarters.value(row), clicks.value(row), bots.value(row));
            self.add(group, Count { quarter, clicks, bots });
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.counts.resize(total, Vec::new());
        let [quarters, clicks, bots] = [0, 1, 2].map(|at| states[at].as_list::<i32>());
        for (row, group) in groups.iter().enumerate() {
            let quarters = quarters.value(row).as_primitive::<Int16Type>().clone();
            let (clicks, bots) = (clicks.value(row), bots.value(row));
            let (clicks, bots) = (clicks.as_primitive::<Int64Type>(), bots.as_primitive::<Int64Type>());
            for (at, quarter) in quarters.values().iter().enumerate() {
                self.add(*group, Count { quarter: *quarter, clicks: clicks.value(at), bots: bots.value(at) });
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(StructArray::try_new(lists(), self.take(emit), None)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(self.take(emit))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Self::each(values, filter)
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<Vec<Count>>() + self.room * size_of::<Count>()
    }
}
