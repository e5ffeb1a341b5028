//! The sketch of visitors as an aggregate function: `visitors(binary) -> binary`, in Redis' own bytes.
//!
//! Groups keep their sketch sparse as long as they are small, which most links of a day are. Partial aggregates travel
//! as the sketch's bytes, so that they merge on any machine.

use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, BooleanArray};
use deltalake::arrow::datatypes::{DataType, Field, FieldRef};
use deltalake::datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use deltalake::datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use deltalake::datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use linktide_common::sketch::Sketch;

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Visitors {
    signature: Signature,
}

impl Visitors {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Visitors {
    fn name(&self) -> &'static str {
        "visitors"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", arguments.name), DataType::Binary, true))])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(Sketch::new())))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups(Vec::new())))
    }
}

fn merge(sketch: &mut Sketch, bytes: &[u8]) -> Result<()> {
    sketch.merge_bytes(bytes).map_err(|error| exec_datafusion_err!("{error}"))
}

/// The sketch of a query without groups.
#[derive(Debug)]
struct One(Sketch);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for visitor in values[0].as_binary::<i32>().iter().flatten() {
            self.0.insert(visitor);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_binary::<i32>().iter().flatten().try_for_each(|bytes| merge(&mut self.0, bytes))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.0.to_bytes())))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.to_bytes().len()
    }
}

/// A sketch for each group.
struct Groups(Vec<Sketch>);

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.0.resize_with(total, Sketch::new);
        let visitors = values[0].as_binary::<i32>();
        for (row, group) in groups.iter().enumerate() {
            let taken = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if taken && visitors.is_valid(row) {
                self.0[*group].insert(visitors.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.resize_with(total, Sketch::new);
        let sketches = states[0].as_binary::<i32>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| sketches.is_valid(*row)) {
            merge(&mut self.0[*group], sketches.value(row))?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sketches = emit.take_needed(&mut self.0);
        Ok(Arc::new(BinaryArray::from_iter_values(sketches.iter().map(Sketch::to_bytes))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self(Vec::new());
        each.update_batch(values, &rows, filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.0.capacity() * size_of::<Sketch>() + self.0.iter().map(|sketch| sketch.as_bytes().len()).sum::<usize>()
    }
}
