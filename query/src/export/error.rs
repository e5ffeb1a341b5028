//! Why an export came to nothing.

use linktide_batch::reader::BatchError;
use linktide_common::problem::{Problem, ProblemKind};
use linktide_common::publication::PublicationError;

use super::format::EncodeError;
use crate::objects::ObjectsError;

/// A failure of an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Publication(#[from] PublicationError),
    #[error("rows could not be written: {0}")]
    Encode(#[from] EncodeError),
    /// An object of a job is gone, or not what this Linktide reads.
    #[error("{place}: {reason}")]
    Unreadable { place: String, reason: String },
    /// What the question came to.
    #[error("{0}")]
    Refused(String),
    /// The job was cancelled.
    #[error("it was cancelled")]
    Cancelled,
    /// The threads of exports have ended.
    #[error("the process ends")]
    Ends,
    /// Stopped by a test.
    #[cfg(test)]
    #[error("stopped at {0} on purpose")]
    Stopped(&'static str),
}

impl ExportError {
    /// Whether trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Objects(error) => error.is_transient(),
            Self::Batch(error) => error.is_transient(),
            Self::Publication(error) => matches!(error, PublicationError::Unavailable(_)),
            Self::Encode(_) | Self::Unreadable { .. } | Self::Refused(_) | Self::Cancelled => false,
            Self::Ends => true,
            #[cfg(test)]
            Self::Stopped(_) => true,
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        let detail = error.to_string();
        match error {
            ExportError::Batch(BatchError::Refused(_)) | ExportError::Refused(_) => {
                Self::new(ProblemKind::ExportTooLarge, detail)
            }
            error if error.is_transient() => Self::new(ProblemKind::NotReady, detail).retry_after(5),
            _ => {
                tracing::error!(error = detail, "an export failed");
                Self::new(ProblemKind::Internal, detail)
            }
        }
    }
}
