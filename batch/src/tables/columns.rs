//! Columns that several tables share, and the types behind them.
//!
//! Delta has no unsigned numbers: ids are stored in 64 signed bits, so that an id of 2^63 or more is shown by other
//! engines as itself minus 2^64.

use std::sync::Arc;

use deltalake::arrow::array::{
    Array as _, AsArray as _, BinaryArray, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use deltalake::arrow::datatypes::{
    DataType, Date32Type, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use linktide_common::bucket::Timestamp;
use linktide_common::id::{LinkId, TenantId};

use crate::error::BatchError;

pub(crate) fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

pub(crate) fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

pub(crate) fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

pub(crate) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

/// A list without gaps, its items named as Delta names them.
pub(crate) fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", item, false))), false)
}

/// What a set of visitors is: their hashes in order.
pub(crate) fn hashes_type() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Int64, false)))
}

pub(crate) fn date(name: &str) -> Field {
    Field::new(name, DataType::Date32, false)
}

pub(crate) fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn instant(name: &str) -> Field {
    Field::new(name, instant_type(), false)
}

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_millis() * 1000
}

pub(crate) fn from_micros(us: i64) -> Option<Timestamp> {
    Timestamp::from_millis(us.div_euclid(1000))
}

pub(crate) fn instants(values: impl Iterator<Item = Option<Timestamp>>) -> TimestampMicrosecondArray {
    values.map(|at| at.map(micros)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")
}

pub(crate) fn signed(id: u64) -> i64 {
    id.cast_signed()
}

/// The columns of one batch of rows, by name.
pub(crate) struct Columns<'a> {
    rows: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(rows: &'a RecordBatch) -> Self {
        Self { rows }
    }

    fn column(&self, name: &str) -> Result<&'a dyn deltalake::arrow::array::Array, BatchError> {
        let found = self.rows.column_by_name(name).map(AsRef::as_ref);
        found.ok_or_else(|| missing(name))
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<&'a Int64Array, BatchError> {
        self.column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(name))
    }

    pub(crate) fn instants(&self, name: &str) -> Result<&'a TimestampMicrosecondArray, BatchError> {
        self.column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| missing(name))
    }

    pub(crate) fn dates(&self, name: &str) -> Result<&'a Date32Array, BatchError> {
        self.column(name)?.as_primitive_opt::<Date32Type>().ok_or_else(|| missing(name))
    }

    pub(crate) fn texts(&self, name: &str) -> Result<&'a StringArray, BatchError> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| missing(name))
    }

    pub(crate) fn binaries(&self, name: &str) -> Result<&'a BinaryArray, BatchError> {
        self.column(name)?.as_binary_opt::<i32>().ok_or_else(|| missing(name))
    }

    pub(crate) fn flags(&self, name: &str) -> Result<&'a BooleanArray, BatchError> {
        self.column(name)?.as_boolean_opt().ok_or_else(|| missing(name))
    }

    pub(crate) fn lists(&self, name: &str) -> Result<&'a deltalake::arrow::array::ListArray, BatchError> {
        self.column(name)?.as_list_opt::<i32>().ok_or_else(|| missing(name))
    }

    pub(crate) fn owners(&self) -> Result<Owners<'a>, BatchError> {
        Ok(Owners { tenants: Tenants::Stored(self.numbers("tenant_id")?), links: self.numbers("link_id")? })
    }

    /// The owners of rows that are all one tenant's, or are not known to be.
    pub(crate) fn owners_of(&self, tenant: Option<i64>) -> Result<Owners<'a>, BatchError> {
        match tenant {
            Some(tenant) => Ok(Owners { tenants: Tenants::One(tenant), links: self.numbers("link_id")? }),
            None => self.owners(),
        }
    }
}

pub(crate) fn missing(name: &str) -> BatchError {
    BatchError::Corrupt {
        what: "a table's file".to_owned(),
        reason: format!("column {name} is missing or of another type"),
    }
}

/// Whose rows they are. Ordered as the files are: by signed id, the tenant's own row first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    pub(crate) tenant: i64,
    pub(crate) link: Option<i64>,
}

impl Owner {
    pub(crate) fn of(tenant: TenantId, link: Option<LinkId>) -> Self {
        Self { tenant: signed(tenant.0), link: link.map(|link| signed(link.0)) }
    }

    pub(crate) fn link_id(self) -> Option<LinkId> {
        self.link.map(|link| LinkId(link.cast_unsigned()))
    }
}

/// The owners of the rows of a batch.
pub(crate) struct Owners<'a> {
    tenants: Tenants<'a>,
    links: &'a Int64Array,
}

enum Tenants<'a> {
    Stored(&'a Int64Array),
    One(i64),
}

impl Owners<'_> {
    pub(crate) fn at(&self, row: usize) -> Owner {
        let tenant = match self.tenants {
            Tenants::Stored(tenants) => tenants.value(row),
            Tenants::One(tenant) => tenant,
        };
        Owner { tenant, link: self.links.is_valid(row).then(|| self.links.value(row)) }
    }
}

pub(crate) fn counted(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
