//! One Delta table: its snapshot, its files, and commits that succeed only on top of that very snapshot.
//!
//! A commit is tried once, for the version behind the snapshot it was made from. If another one came first it fails, and
//! whoever asked reloads, looks at the `txn` versions and decides anew: comparing and committing on one snapshot is what
//! makes `txn` a fence. After any other error the same holds, because a commit can land and still return one.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, Remove, StructType, Transaction};
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableError, ObjectStore};
use linktide_common::bucket::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::error::BatchError;
use crate::metrics;
use crate::tables::parquet::Encoded;

/// Raised when an older Linktide could no longer write a table; kept in its properties. Format 1 had neither
/// visitors one by one nor repeats.
const FORMAT: u32 = 2;
const FORMAT_KEY: &str = "linktide.format";
/// What a reader and a writer have to know of Delta's protocol: what every engine does.
const READER: i32 = 1;
const WRITER: i32 = 2;

/// What a table is.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    /// All columns, the one it is partitioned by included.
    pub(crate) schema: SchemaRef,
    pub(crate) partitioned_by: Option<&'static str>,
    /// Columns whose least and greatest values are kept for each file.
    pub(crate) statistics: &'static str,
}

impl Definition {
    /// The columns of its files: the one it is partitioned by is the name of their folder.
    pub(crate) fn file_schema(&self) -> SchemaRef {
        let stored = |field: &&FieldRef| Some(field.name().as_str()) != self.partitioned_by;
        Arc::new(Schema::new(self.schema.fields().iter().filter(stored).cloned().collect::<Vec<_>>()))
    }
}

/// A file of a table.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Its place below the table's folder.
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) statistics: Option<String>,
    remove: Remove,
}

/// What a commit makes of the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Some come, go or change.
    Changed,
    /// They only lie elsewhere: whoever follows changes of the table sees none.
    Moved,
}

/// A table at one version.
pub(crate) struct Table {
    pub(crate) definition: Definition,
    delta: DeltaTable,
}

impl Table {
    /// Opens the table in `root`, or makes it there.
    pub(crate) async fn open(
        root: &Url,
        store: Arc<dyn ObjectStore>,
        definition: Definition,
    ) -> Result<Self, BatchError> {
        let url = root
            .join(&format!("tables/{}/", definition.name))
            .map_err(|error| BatchError::Unavailable(error.to_string()))?;
        if url.scheme() == "file"
            && let Ok(folder) = url.to_file_path()
        {
            std::fs::create_dir_all(&folder)
                .map_err(|error| BatchError::Unavailable(format!("{}: {error}", folder.display())))?;
        }
        let mut delta = DeltaTable::new(log_of(&url, store)?);
        if !delta.verify_deltatable_existence().await? {
            // Whoever else makes it at the same time makes the same.
            if let Err(error) = create(&delta, &definition).await
                && !delta.verify_deltatable_existence().await?
            {
                return Err(error);
            }
        }
        delta.load().await?;
        let table = Self { definition, delta };
        table.check()?;
        Ok(table)
    }

    /// Refuses a table that is not as this Linktide makes and writes it.
    fn check(&self) -> Result<(), BatchError> {
        let (state, name) = (self.state()?, self.definition.name);
        let (reader, writer) = (state.protocol().min_reader_version(), state.protocol().min_writer_version());
        if reader > READER || writer > WRITER {
            return Err(BatchError::Refused(format!(
                "table {name} asks for Delta's protocol {reader} to be read and {writer} to be written, linktide and most engines know {READER} and {WRITER}: another tool has raised it; set the table back to a version before that"
            )));
        }
        let format = state.metadata().configuration().get(FORMAT_KEY).and_then(|format| format.parse().ok());
        if let Some(format) = format.filter(|format: &u32| *format > FORMAT) {
            return Err(BatchError::Refused(format!(
                "table {name} has format {format}, of a newer linktide; this one writes up to {FORMAT}, so take the newer one for every process"
            )));
        }
        let found = state.schema();
        let lacking = |field: &&Arc<deltalake::arrow::datatypes::Field>| found.field(field.name()).is_none();
        match self.definition.schema.fields().iter().find(lacking) {
            Some(field) if format.is_some_and(|format| format < FORMAT) => Err(BatchError::Refused(format!(
                "table {name} has format {}, of an older linktide, without the column {}; roll its clicks up anew, or go on with the older one",
                format.unwrap_or_default(),
                field.name()
            ))),
            Some(field) => Err(BatchError::Corrupt {
                what: format!("table {name}"),
                reason: format!("it has no column {}", field.name()),
            }),
            None => Ok(()),
        }
    }

    fn state(&self) -> Result<&DeltaTableState, BatchError> {
        Ok(self.delta.snapshot()?)
    }

    pub(crate) fn version(&self) -> Result<u64, BatchError> {
        Ok(self.state()?.version())
    }

    /// Takes the newest version.
    pub(crate) async fn reload(&mut self) -> Result<(), BatchError> {
        self.delta.update_state().await?;
        self.check()
    }

    /// Takes that version.
    pub(crate) async fn load_version(&mut self, version: u64) -> Result<(), BatchError> {
        Ok(self.delta.load_version(version).await?)
    }

    /// The version an application last committed here.
    pub(crate) async fn transaction(&self, application: &str) -> Result<Option<i64>, BatchError> {
        let log_store = self.delta.log_store();
        Ok(self.state()?.transaction_version(log_store.as_ref(), application).await?)
    }

    pub(crate) fn files(&self) -> Result<Vec<File>, BatchError> {
        let describe = |file: deltalake::kernel::LogicalFileView| File {
            path: file.object_store_path(),
            size: u64::try_from(file.size()).unwrap_or_default(),
            statistics: file.stats(),
            remove: file.remove_action(true),
        };
        Ok(self.state()?.log_data().iter().map(describe).collect())
    }

    /// Makes the newest version quick to open, and lets go of the log that versions from `oldest` on do not need and that
    /// was written before `before`.
    pub(crate) async fn tidy_log(&self, oldest: u64, before: Timestamp) -> Result<(), BatchError> {
        create_checkpoint(&self.delta, None).await?;
        let log = self.delta.log_store();
        cleanup_expired_logs_for(oldest, log.as_ref(), before.as_millis(), None).await?;
        Ok(())
    }

    /// The table's folder as a store.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.delta.object_store()
    }

    /// The store that the table's folder is in, and the folder's place in it, from `/` to `/`. (A store that shows a part of
    /// another, as [`Table::objects`] does, names what it is asked about by its place in the whole.)
    pub(crate) fn root(&self) -> (Arc<dyn ObjectStore>, &str) {
        (self.delta.log_store().root_object_store(None), self.delta.table_url().path())
    }

    /// Writes an encoded file that no version names yet.
    pub(crate) async fn put(
        &self,
        path: &Path,
        partition: Option<&str>,
        file: Encoded,
        now: Timestamp,
    ) -> Result<Add, BatchError> {
        let size = i64::try_from(file.bytes.content_length()).unwrap_or(i64::MAX);
        self.objects().put(path, file.bytes).await?;
        let partition_values =
            self.definition.partitioned_by.map(|column| (column.to_owned(), partition.map(str::to_owned)));
        Ok(Add {
            path: path.to_string(),
            partition_values: partition_values.into_iter().collect(),
            size,
            modification_time: now.as_millis(),
            data_change: true,
            stats: Some(file.statistics),
            ..Add::default()
        })
    }

    /// Commits on top of this very version, or fails with [`BatchError::Fenced`] where another commit came first. After any
    /// other error, too, it may have landed.
    pub(crate) async fn commit(
        &mut self,
        added: Vec<Add>,
        removed: &[File],
        rows: Rows,
        transactions: Vec<Transaction>,
    ) -> Result<(), BatchError> {
        let data_change = rows == Rows::Changed;
        let remove = |file: &File| Action::Remove(Remove { data_change, ..file.remove.clone() });
        let mut actions: Vec<Action> = removed.iter().map(remove).collect();
        actions.extend(added.into_iter().map(|add| Action::Add(Add { data_change, ..add })));
        let operation = match rows {
            Rows::Moved => DeltaOperation::Optimize { predicate: None, target_size: 0 },
            Rows::Changed => DeltaOperation::Write {
                mode: SaveMode::Append,
                partition_by: self.definition.partitioned_by.map(|column| vec![column.to_owned()]),
                predicate: None,
            },
        };
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_application_transactions(transactions)
            .with_cleanup_expired_logs(Some(false));
        let state = self.state()?.clone();
        let outcome = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(&state), self.delta.log_store(), operation)
            .await;
        match outcome {
            Ok(commit) => {
                self.delta.state = Some(commit.snapshot());
                Ok(())
            }
            Err(error @ (DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::Transaction { .. })) => {
                metrics::CONFLICTS.inc();
                Err(BatchError::Fenced {
                    table: self.definition.name.to_owned(),
                    found: error.to_string(),
                    expected: format!("version {}", state.version()),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The log of the table at `url`, a place in `store`. Commits are objects that are created or left alone: no lock is taken
/// anywhere, and other ways that the package knows for S3 play no part.
fn log_of(url: &Url, store: Arc<dyn ObjectStore>) -> Result<LogStoreRef, BatchError> {
    let place = Path::from_url_path(url.path()).map_err(object_store::Error::from)?;
    let folder: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&store), place));
    Ok(default_logstore(folder, store, url, &StorageConfig::default()))
}

async fn create(delta: &DeltaTable, definition: &Definition) -> Result<(), BatchError> {
    let schema: StructType = definition.schema.as_ref().try_into_kernel()?;
    let configuration: HashMap<String, Option<String>> =
        [("delta.dataSkippingStatsColumns", definition.statistics), ("delta.checkpointInterval", "50")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
            .chain([(FORMAT_KEY.to_owned(), Some(FORMAT.to_string()))])
            .collect();
    CreateBuilder::new()
        .with_log_store(delta.log_store())
        .with_table_name(definition.name)
        .with_columns(schema.fields().cloned())
        .with_partition_columns(definition.partitioned_by)
        .with_configuration(configuration)
        // One of the properties is ours.
        .with_raise_if_key_not_exists(false)
        .await?;
    Ok(())
}
