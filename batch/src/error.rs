//! What can go wrong with tables.

use deltalake::DeltaTableError;
use deltalake::arrow::error::ArrowError;
use deltalake::datafusion::error::DataFusionError;
use deltalake::parquet::errors::ParquetError;
use linktide_common::intake::IntakeError;
use linktide_common::pool::PoolError;
use linktide_common::publication::PublicationError;

use crate::s3;

/// A failure of the batch layer.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The store cannot be reached or refuses; worth a retry.
    #[error("the tables cannot be reached: {0}")]
    Unavailable(String),
    /// The store refuses us, or is unfit: only people can change that.
    #[error("{0}")]
    Refused(String),
    /// What is there is not what this Linktide wrote, or is damaged.
    #[error("{what} is damaged or of another version: {reason}")]
    Corrupt {
        /// Which table or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process moved on with the same table; what it did stands.
    #[error("another linktide writes {table} too: {found} where {expected} was expected")]
    Fenced {
        /// Which table.
        table: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Places cannot be looked up.
    #[error("there is no GeoIP database of places to ask: set enrich.geoip")]
    NoPlaces,
    /// There is too much to do.
    #[error(transparent)]
    Busy(#[from] PoolError),
    /// The log cannot be read on.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// Publications cannot be read or written.
    #[error(transparent)]
    Publication(#[from] PublicationError),
}

impl BatchError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Publication(PublicationError::Unavailable(_)) | Self::Busy(_) => true,
            Self::Intake(error) => error.is_transient(),
            _ => false,
        }
    }
}

impl From<DeltaTableError> for BatchError {
    fn from(error: DeltaTableError) -> Self {
        Self::Unavailable(s3::reason(&error).unwrap_or_else(|| error.to_string()))
    }
}

impl From<object_store::Error> for BatchError {
    fn from(error: object_store::Error) -> Self {
        Self::Unavailable(s3::reason(&error).unwrap_or_else(|| error.to_string()))
    }
}

impl From<DataFusionError> for BatchError {
    fn from(error: DataFusionError) -> Self {
        Self::Unavailable(s3::reason(&error).unwrap_or_else(|| error.to_string()))
    }
}

impl From<ParquetError> for BatchError {
    fn from(error: ParquetError) -> Self {
        Self::Corrupt { what: "a Parquet file".to_owned(), reason: error.to_string() }
    }
}

impl From<ArrowError> for BatchError {
    fn from(error: ArrowError) -> Self {
        Self::Corrupt { what: "a record batch".to_owned(), reason: error.to_string() }
    }
}
