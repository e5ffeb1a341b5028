//! What the aggregates have in common: they are grouped always, and told by their name.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use deltalake::arrow::array::{Array as _, ArrayRef, BooleanArray};
use deltalake::arrow::datatypes::{DataType, Field, FieldRef};
use deltalake::datafusion::common::{Result, not_impl_err};
use deltalake::datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use deltalake::datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

/// An aggregate whose groups are a `G`.
pub(super) fn aggregate<G: Groups>(name: &'static str, arguments: Vec<DataType>) -> AggregateUDF {
    let groups = || Box::new(G::default()) as Box<dyn GroupsAccumulator>;
    let signature = Signature::exact(arguments, Volatility::Immutable);
    Aggregate { name, signature, returns: G::returns(), state: G::state_fields(), groups }.into()
}

/// What is gathered of each group.
pub(super) trait Groups: GroupsAccumulator + Default + 'static {
    /// What it comes to.
    fn returns() -> DataType;

    /// What a part of a group is handed on as.
    fn state_fields() -> Vec<Field>;

    /// Each row as a part of a group.
    fn each(values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::default();
        each.update_batch(values, &rows, filter, rows.len())?;
        each.state(EmitTo::All)
    }
}

/// The rows to take in, each with its group.
pub(super) fn taken(groups: &[usize], filter: Option<&BooleanArray>) -> impl Iterator<Item = (usize, usize)> {
    let taken = move |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
    groups.iter().copied().enumerate().filter(move |(row, _)| taken(*row))
}

#[derive(Debug)]
struct Aggregate {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    state: Vec<Field>,
    groups: fn() -> Box<dyn GroupsAccumulator>,
}

impl PartialEq for Aggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Aggregate {}

impl Hash for Aggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let named = |field: &Field| Arc::new(field.clone().with_name(format!("{}[{}]", arguments.name, field.name())));
        Ok(self.state.iter().map(named).collect())
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} without GROUP BY", self.name)
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok((self.groups)())
    }
}
