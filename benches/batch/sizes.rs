//! What the files of a table take, by column, from their own footers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader as _, SerializedFileReader};

/// The files of Parquet below a folder.
pub(crate) fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "_delta_log") {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.insert(path);
        }
    }
    Ok(found)
}

/// What some files take together.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) files: usize,
    pub(crate) rows: f64,
    bytes: f64,
    /// Compressed bytes.
    columns: BTreeMap<String, f64>,
}

impl Sizes {
    #[expect(clippy::cast_precision_loss, reason = "figures are for people")]
    pub(crate) fn of(files: &BTreeSet<PathBuf>) -> anyhow::Result<Self> {
        let mut sizes = Self { files: files.len(), ..Self::default() };
        for path in files {
            let file = File::open(path)?;
            sizes.bytes += file.metadata()?.len() as f64;
            let reader = SerializedFileReader::new(file)?;
            sizes.rows += reader.metadata().file_metadata().num_rows() as f64;
            for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
                *sizes.columns.entry(column.column_path().string()).or_default() += column.compressed_size() as f64;
            }
        }
        Ok(sizes)
    }

    /// Bytes of a row, footers, indexes and filters included.
    pub(crate) fn a_row(&self) -> f64 {
        self.bytes / self.rows
    }

    /// A line for each column, the largest first, and what is no column's.
    pub(crate) fn table(&self) -> String {
        let mut columns: Vec<(&str, f64)> =
            self.columns.iter().map(|(name, bytes)| (name.as_str(), bytes / self.rows)).collect();
        columns.push(("footers, indexes, filters", self.a_row() - columns.iter().map(|(_, bytes)| bytes).sum::<f64>()));
        columns.sort_by(|a, b| b.1.total_cmp(&a.1));
        columns.iter().map(|(name, bytes)| format!("  {name:<28} {bytes:>6.2}\n")).collect()
    }
}
