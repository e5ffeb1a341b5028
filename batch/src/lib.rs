//! History: every raw click in open tables, each day rolled up once, and what is published of it.
//!
//! The tables are Delta Lake's, in a folder or a bucket by URL. `archive` writes raw clicks with the positions they
//! came from in one commit; `nightly` adds what lies between two cuts to the rollups, and publishes the new watermark;
//! `reader` answers questions from the versions that a publication names.

mod archive;
mod error;
mod folder;
mod metrics;
mod nightly;
pub mod reader;
mod rewrite;
mod s3;
mod table;
mod tables;

pub use archive::{ArchiveConfig, Archiver, Flusher};
pub use error::BatchError;
pub use nightly::{
    Audit, Correct, Corrected, DayReasons, Difference, Erasure, Maintained, Nightly, NightlyConfig, Outcome, Reason,
    Reclassified, Recount, Recounter, Stage, audits, overall, reclassifications,
};
pub use s3::{ColdClass, Presigner, RuleState, Ruled, RulesPlan, S3Config, S3Keys, provision_rules};
pub use tables::{Access, Lake};
