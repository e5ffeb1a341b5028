//! A folder belongs to one process, and to versions that understand it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::log::LogError;

/// Raised when an older version could no longer read what is in the folder.
const FORMAT: u32 = 1;

/// The lock on a folder: held until dropped, and by the system's doing not beyond the end of the process.
pub(super) struct Folder {
    _lock: File,
}

impl Folder {
    pub(super) fn claim(path: &Path) -> Result<Self, LogError> {
        let unusable = |error: std::io::Error| LogError::Unusable(format!("the folder {}: {error}", path.display()));
        fs::create_dir_all(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(unusable)?;
        if lock.try_lock().is_err() {
            let mut owner = String::new();
            lock.read_to_string(&mut owner).ok();
            return Err(LogError::Unusable(format!(
                "the folder {} is in use by another linktide (process {}); stop it, or name another folder",
                path.display(),
                owner.trim(),
            )));
        }
        check_format(path)?;
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { _lock: lock })
    }
}

fn check_format(path: &Path) -> Result<(), LogError> {
    let file = path.join("FORMAT");
    let Ok(text) = fs::read_to_string(&file) else {
        return fs::write(&file, format!("{FORMAT}\n"))
            .map_err(|error| LogError::Unusable(format!("the folder {}: {error}", path.display())));
    };
    match text.trim().parse::<u32>() {
        Ok(found) if found <= FORMAT => Ok(()),
        Ok(found) => Err(LogError::Unusable(format!(
            "the folder {} has format {found}, this linktide reads up to {FORMAT}; use the newer linktide that wrote it",
            path.display(),
        ))),
        Err(_) => Err(LogError::Unusable(format!("{} holds `{}` instead of a number", file.display(), text.trim()))),
    }
}
