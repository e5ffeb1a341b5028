//! `visitor_hashes` and `visitors_union`: sets of visitors, as long as they are few.
//!
//! A set is a list of hashes in order, null where they are too many. Partial aggregates are such lists, too, so a click, an
//! old row and a part of a group are all added in one way.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, ListArray};
use deltalake::arrow::buffer::{NullBuffer, OffsetBuffer};
use deltalake::arrow::datatypes::{DataType, Field, Int64Type};
use deltalake::datafusion::common::Result;
use deltalake::datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, EmitTo, GroupsAccumulator, ScalarUDF, Volatility, create_udf,
};
use linktide_common::visitors::{VisitorSet, short};

use super::aggregate::{Groups, aggregate, taken};
use crate::tables::columns::hashes_type;

/// `visitor_hashes(visitor)`.
pub(super) fn of_one() -> ScalarUDF {
    let hashes = |arguments: &[ColumnarValue]| {
        let visitors = ColumnarValue::values_to_arrays(arguments)?;
        let visitors = visitors[0].as_binary::<i32>();
        let lengths = OffsetBuffer::from_lengths(visitors.iter().map(|visitor| usize::from(visitor.is_some())));
        let hashes = Int64Array::from_iter_values(visitors.iter().flatten().map(short));
        Ok(ColumnarValue::Array(list(lengths, hashes, None)?))
    };
    create_udf("visitor_hashes", vec![DataType::Binary], hashes_type(), Volatility::Immutable, Arc::new(hashes))
}

/// `visitors_union(hashes)`.
pub(super) fn union() -> AggregateUDF {
    aggregate::<Sets>("visitors_union", vec![hashes_type()])
}

fn list(lengths: OffsetBuffer<i32>, hashes: Int64Array, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let DataType::List(item) = hashes_type() else { unreachable!("a set is a list") };
    Ok(Arc::new(ListArray::try_new(item, lengths, Arc::new(hashes), nulls)?))
}

/// The set of each group.
#[derive(Default)]
struct Sets {
    sets: Vec<VisitorSet>,
    /// Bytes of all members.
    bytes: usize,
}

impl Sets {
    fn add(&mut self, group: usize, hashes: Option<&[i64]>) {
        let set = &mut self.sets[group];
        let before = set.capacity();
        match hashes {
            Some(hashes) => hashes.iter().for_each(|visitor| set.insert(*visitor)),
            None => *set = VisitorSet::MANY,
        }
        self.bytes = self.bytes + set.capacity() - before;
    }

    fn add_all(&mut self, sets: &ListArray, rows: impl Iterator<Item = (usize, usize)>) {
        let (offsets, hashes) = (sets.value_offsets(), sets.values().as_primitive::<Int64Type>().values());
        for (row, group) in rows {
            let at = |place: usize| usize::try_from(offsets[place]).unwrap_or_default();
            self.add(group, sets.is_valid(row).then(|| &hashes[at(row)..at(row + 1)]));
        }
    }
}

impl Groups for Sets {
    fn returns() -> DataType {
        hashes_type()
    }

    fn state_fields() -> Vec<Field> {
        vec![Field::new("set", hashes_type(), true)]
    }
}

impl GroupsAccumulator for Sets {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sets.resize(total, VisitorSet::default());
        self.add_all(values[0].as_list::<i32>(), taken(groups, filter));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sets.resize(total, VisitorSet::default());
        self.add_all(states[0].as_list::<i32>(), groups.iter().copied().enumerate());
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sets = emit.take_needed(&mut self.sets);
        self.bytes -= sets.iter().map(VisitorSet::capacity).sum::<usize>();
        let members = || sets.iter().map(|set| set.members().unwrap_or_default());
        let lengths = OffsetBuffer::from_lengths(members().map(<[i64]>::len));
        let known: NullBuffer = sets.iter().map(|set| set.members().is_some()).collect();
        list(lengths, Int64Array::from_iter_values(members().flatten().copied()), Some(known))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Self::each(values, filter)
    }

    fn size(&self) -> usize {
        self.sets.capacity() * size_of::<VisitorSet>() + self.bytes
    }
}
