//! What is backed up: one directory, or several paths beneath `/`.
//!
//! The content of a single directory forms the image by itself; a single file is found under its own name; several
//! roots keep their full paths, with the directories on the way, so that they can be restored by full path.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Where a walk begins.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Paths of the image are relative to this directory.
    pub top: PathBuf,
    /// Whether the top itself is part of the image.
    pub with_top: bool,
    /// Whether the image keeps full paths.
    pub many: bool,
    /// The roots in full, sorted: what a lineage is made of.
    pub named: Vec<PathBuf>,
    /// For each directory that is only the way to roots: the names to take in it.
    way: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

/// A root that cannot be backed up.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be backed up", path.display())]
pub struct BadRoots {
    /// Which one.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

impl Roots {
    /// Resolves what was asked for; links in the given paths are followed, none below them is.
    pub fn resolve(paths: &[PathBuf]) -> Result<Self, BadRoots> {
        let mut named = BTreeSet::new();
        for path in paths {
            let whole = fs::canonicalize(path).map_err(|source| BadRoots { path: path.clone(), source })?;
            named.insert(whole);
        }
        // What lies below another root is part of it already.
        let kept: Vec<PathBuf> = named
            .iter()
            .filter(|path| !named.iter().any(|other| other != *path && path.starts_with(other)))
            .cloned()
            .collect();
        if let [single] = kept.as_slice() {
            return Self::single(single);
        }
        let mut way: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for path in &kept {
            let mut above: Vec<u8> = Vec::new();
            for component in path.iter().skip(1) {
                way.entry(above.clone()).or_default().insert(component.as_bytes().to_vec());
                if !above.is_empty() {
                    above.push(b'/');
                }
                above.extend_from_slice(component.as_bytes());
            }
        }
        Ok(Self { top: PathBuf::from("/"), with_top: false, many: true, named: kept, way })
    }

    fn single(path: &Path) -> Result<Self, BadRoots> {
        let bad = |source| BadRoots { path: path.to_path_buf(), source };
        let named = vec![path.to_path_buf()];
        let status = fs::symlink_metadata(path).map_err(bad)?;
        if status.is_dir() {
            return Ok(Self { top: path.into(), with_top: true, many: false, named, way: BTreeMap::new() });
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let way = BTreeMap::from([(Vec::new(), BTreeSet::from([name]))]);
        Ok(Self { top: parent.into(), with_top: false, many: false, named, way })
    }

    /// The only names to take in a directory that is the way to a root; `None` in the roots themselves.
    pub(super) fn names_on_way(&self, path: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.way.get(path).map(|names| names.iter().cloned().collect())
    }

    /// Whether `path` is a root itself, which is entered whatever file system it lies on.
    pub(super) fn is_root(&self, path: &[u8]) -> bool {
        self.many
            && self.named.iter().any(|root| root.as_os_str().as_bytes().strip_prefix(b"/") == Some(path))
    }
}
