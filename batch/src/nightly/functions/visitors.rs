//! `visitors`: sketches as an aggregate, in Redis' own bytes.
//!
//! A group stays sparse as long as it is small, which most links of a day are, and costs nothing without visitors.
//! Partial aggregates travel as the sketch's bytes, so that they merge on any machine.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, BooleanArray, Int64Array};
use deltalake::arrow::datatypes::{DataType, Field};
use deltalake::datafusion::common::{Result, exec_datafusion_err};
use deltalake::datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, EmitTo, GroupsAccumulator, ScalarUDF, Volatility, create_udf,
};
use linktide_common::sketch::Sketch;

use super::aggregate::{Groups, aggregate, taken};

/// `visitors(visitor, sketch)`.
pub(super) fn function() -> AggregateUDF {
    aggregate::<Sketches>("visitors", vec![DataType::Binary, DataType::Binary])
}

/// `visitors_count(sketch)`.
pub(super) fn count() -> ScalarUDF {
    let count = |arguments: &[ColumnarValue]| {
        let sketches = ColumnarValue::values_to_arrays(arguments)?;
        let counts = sketches[0].as_binary::<i32>().iter().map(|sketch| sketch.map_or(Ok(0), count_of));
        Ok(ColumnarValue::Array(Arc::new(counts.collect::<Result<Int64Array>>()?)))
    };
    create_udf("visitors_count", vec![DataType::Binary], DataType::Int64, Volatility::Immutable, Arc::new(count))
}

fn count_of(sketch: &[u8]) -> Result<i64> {
    let sketch = Sketch::from_bytes(sketch).map_err(|error| exec_datafusion_err!("{error}"))?;
    Ok(i64::try_from(sketch.count()).unwrap_or(i64::MAX))
}

/// The sketch of each group that has one.
#[derive(Default)]
struct Sketches {
    sketches: Vec<Option<Sketch>>,
    /// Bytes of all sketches.
    bytes: usize,
}

impl Sketches {
    fn change(&mut self, group: usize, change: impl FnOnce(&mut Sketch) -> Result<()>) -> Result<()> {
        let sketch = self.sketches[group].get_or_insert_with(|| {
            let sketch = Sketch::new();
            self.bytes += sketch.as_bytes().len();
            sketch
        });
        let before = sketch.as_bytes().len();
        let changed = change(sketch);
        self.bytes = self.bytes + sketch.as_bytes().len() - before;
        changed
    }

    fn insert(&mut self, group: usize, visitor: &[u8]) -> Result<()> {
        self.change(group, |sketch| {
            sketch.insert(visitor);
            Ok(())
        })
    }

    fn merge(&mut self, group: usize, bytes: &[u8]) -> Result<()> {
        self.change(group, |sketch| sketch.merge_bytes(bytes).map_err(|error| exec_datafusion_err!("{error}")))
    }
}

impl Groups for Sketches {
    fn returns() -> DataType {
        DataType::Binary
    }

    fn state_fields() -> Vec<Field> {
        vec![Field::new("sketch", DataType::Binary, true)]
    }
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sketches.resize(total, None);
        let (visitors, sketches) = (values[0].as_binary::<i32>(), values[1].as_binary::<i32>());
        for (row, group) in taken(groups, filter) {
            if visitors.is_valid(row) {
                self.insert(group, visitors.value(row))?;
            }
            if sketches.is_valid(row) {
                self.merge(group, sketches.value(row))?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sketches.resize(total, None);
        let sketches = states[0].as_binary::<i32>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| sketches.is_valid(*row)) {
            self.merge(*group, sketches.value(row))?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sketches = emit.take_needed(&mut self.sketches);
        let gone: usize = sketches.iter().flatten().map(|sketch| sketch.as_bytes().len()).sum();
        self.bytes -= gone;
        let bytes = sketches.iter().map(|sketch| sketch.as_ref().map(Sketch::as_bytes));
        Ok(Arc::new(bytes.collect::<BinaryArray>()))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        Self::each(values, filter)
    }

    fn size(&self) -> usize {
        self.sketches.capacity() * size_of::<Option<Sketch>>() + self.bytes
    }
}
