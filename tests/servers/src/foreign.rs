//! Readers and servers of others, in Python.

use std::path::{Path, PathBuf};

use crate::fetched;

/// A program of the packages that `./dev test` fetched, such as `python`.
///
/// # Panics
/// Where it is not there.
#[must_use]
pub fn python(program: &str) -> PathBuf {
    let place = fetched("LINKTIDE_PYTHON", Path::new("python")).join("bin").join(program);
    assert!(place.exists(), "{program} is not at {}; `./dev test` fetches it", place.display());
    place
}
