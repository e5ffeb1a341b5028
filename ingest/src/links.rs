//! The redirector's links: a CSV file that is read again when it changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use linktide_common::id::LinkId;
use serde::Deserialize;

use crate::challenge::When;

/// A file of links that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct LinkFileError {
    file: String,
    problem: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Link {
    pub(crate) slug: String,
    pub(crate) link_id: LinkId,
    pub(crate) destination: String,
    #[serde(default)]
    pub(crate) title: Option<String>,
    /// Who is put a challenge first; none where nobody is.
    #[serde(default)]
    pub(crate) challenge: Option<When>,
}

impl Link {
    /// Bytes of its texts.
    pub(crate) fn texts(&self) -> usize {
        self.slug.len() + self.destination.len() + self.title.as_ref().map_or(0, String::len)
    }
}

/// Links by slug, from a CSV file with the columns `slug,link_id,destination` and, if wanted, `title` and `challenge`.
pub struct LinkFile {
    path: Option<PathBuf>,
    links: ArcSwap<HashMap<String, Arc<Link>>>,
    seen: ArcSwap<Option<(SystemTime, u64)>>,
}

impl LinkFile {
    /// No links at all.
    #[must_use]
    pub fn none() -> Self {
        Self { path: None, links: ArcSwap::default(), seen: ArcSwap::default() }
    }

    /// The links of a file.
    ///
    /// # Errors
    /// [`LinkFileError`] names the line that cannot be read.
    pub fn open(path: &Path) -> Result<Self, LinkFileError> {
        let links = ArcSwap::from_pointee(read(path)?);
        Ok(Self { path: Some(path.to_owned()), links, seen: ArcSwap::from_pointee(stamp(path)) })
    }

    /// Reads the file again if it changed; a broken one leaves the old links.
    ///
    /// # Errors
    /// [`LinkFileError`] once for each change that cannot be read.
    pub fn reload(&self) -> Result<bool, LinkFileError> {
        let Some(path) = &self.path else { return Ok(false) };
        let now = stamp(path);
        if **self.seen.load() == now {
            return Ok(false);
        }
        self.seen.store(Arc::new(now));
        self.links.store(Arc::new(read(path)?));
        Ok(true)
    }

    pub(crate) fn find(&self, slug: &str) -> Option<Arc<Link>> {
        self.links.load().get(slug).cloned()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn read(path: &Path) -> Result<HashMap<String, Arc<Link>>, LinkFileError> {
    let failed = |problem: String| LinkFileError { file: path.display().to_string(), problem };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|error| failed(error.to_string()))?;
    let mut links = HashMap::new();
    for record in reader.deserialize() {
        let link: Link = record.map_err(|error| failed(error.to_string()))?;
        if !link.destination.starts_with("http://") && !link.destination.starts_with("https://") {
            return Err(failed(format!(
                "link `{}` leads to `{}`, which is no http or https address",
                link.slug, link.destination
            )));
        }
        if let Some(twice) = links.insert(link.slug.clone(), Arc::new(link)) {
            return Err(failed(format!("link `{}` stands twice", twice.slug)));
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_file_leaves_the_old_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links.csv");
        std::fs::write(&path, "slug,link_id,destination,title\nspring,7,https://a.example/,Spring\n").unwrap();
        let links = LinkFile::open(&path).unwrap();
        assert_eq!(links.find("spring").unwrap().title.as_deref(), Some("Spring"));
        for (broken, named) in [
            ("slug,link_id,destination\nspring,x,https://a.example/\n", "line: 2"),
            ("slug,link_id,destination\nspring,7,javascript:alert(1)\n", "javascript"),
            ("slug,link_id,destination,challenge\na,1,https://a.example/,never\n", "line: 2"),
            ("slug,link_id,destination\na,1,https://a.example/\na,2,https://b.example/ \n", "twice"),
        ] {
            std::fs::write(&path, broken).unwrap();
            let error = links.reload().unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("links.csv"), "{error}");
            assert_eq!(links.find("spring").unwrap().link_id, LinkId(7));
            assert!(!links.reload().unwrap(), "a broken file is told once");
        }
        let text = "slug,link_id,destination,challenge\nautumn,\"8\",https://a.example/x,\nwinter,9,https://a.example/,suspects\n";
        std::fs::write(&path, text).unwrap();
        assert!(links.reload().unwrap());
        assert!(links.find("spring").is_none() && links.find("autumn").unwrap().challenge.is_none());
        assert_eq!(links.find("winter").unwrap().challenge, Some(When::Suspects));
    }
}
