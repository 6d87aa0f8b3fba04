//! A mark in each folder of a pool that is being made: the folders of an attempt that was cut off are used again by the next one.
//!
//! Guarantee: only what such an attempt left is taken away. The mark says that it was this domain's and for a pool of this name;
//! it goes when the pool is known, and whatever was stored, or is not of a new pool, makes the folder one that is in use.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry},
    io,
    path::Path,
};

use narrows_format::DomainId;

use super::{making::is_of_nobody, marks::MARK_FILE};
use crate::folder::write_secret;

/// Name of the file, and what it is while it is being written.
const UNFINISHED: &str = "unfinished";
const UNFINISHED_YET: &str = "unfinished.new";

/// What a new pool has, beside the mark of a further folder; the directories are empty.
const FILES: [&str; 2] = ["superblock", "manifest-00000001"];
const DIRECTORIES: [&str; 3] = ["containers", "images", "index"];

/// One pool that is to be made: whose, and what it is called.
pub(super) struct Attempt(String);

impl Attempt {
    /// By a domain, under this name.
    pub(super) fn new(domain: DomainId, name: &str) -> Self {
        Self(format!("pool `{name}` of domain {domain}\n"))
    }

    /// Marks a folder, durably.
    pub(super) fn begin(&self, folder: &Path) -> io::Result<()> {
        write_secret(&folder.join(UNFINISHED), self.0.as_bytes())
    }

    /// Takes away what an earlier attempt at the same pool left; what is anything else stays. The mark goes last.
    pub(super) fn clear(&self, folder: &Path) -> io::Result<()> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        if !self.is_ours(folder)? || !all(&entries, is_of_an_attempt)? {
            return Ok(());
        }
        let (marks, others): (Vec<_>, Vec<_>) = entries
            .iter()
            .filter(|entry| !is_of_nobody(&entry.file_name()))
            .partition(|entry| is_mark(entry));
        for entry in others.into_iter().chain(marks) {
            let path = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    fn is_ours(&self, folder: &Path) -> io::Result<bool> {
        match fs::read(folder.join(UNFINISHED)) {
            Ok(mark) => Ok(mark == self.0.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The pool is known. Where there is no mark it was known before.
pub(super) fn end(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(UNFINISHED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_mark(entry: &DirEntry) -> bool {
    entry.file_name() == OsStr::new(UNFINISHED)
}

fn is_of_an_attempt(entry: &DirEntry) -> io::Result<bool> {
    let (name, kind) = (entry.file_name(), entry.file_type()?);
    let is_one_of = |known: &[&str]| known.iter().any(|known| name == OsStr::new(known));
    if is_of_nobody(&name) {
        return Ok(true);
    }
    if kind.is_dir() {
        return Ok(is_one_of(&DIRECTORIES) && fs::read_dir(entry.path())?.next().is_none());
    }
    Ok(kind.is_file() && (is_one_of(&FILES) || is_one_of(&[UNFINISHED, UNFINISHED_YET, MARK_FILE])))
}

fn all(entries: &[DirEntry], is_so: impl Fn(&DirEntry) -> io::Result<bool>) -> io::Result<bool> {
    for entry in entries {
        if !is_so(entry)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    use narrows_format::PoolId;

    use crate::{folder::lock_in, init::make_pool};

    const OURS: DomainId = DomainId([1; 16]);

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The folder of an attempt that was cut off when the pool was there, and was not known yet.
    async fn cut_off() -> tempfile::TempDir {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        Attempt::new(OURS, "vault").begin(folder.path()).unwrap();
        make_pool(folder.path().to_owned(), narrows_pool::Create::new(PoolId([7; 16]))).await.unwrap();
        drop(lock_in(folder.path()).unwrap());
        folder
    }

    /// Goal: what an attempt at the same pool left goes, wherever it was cut off.
    #[tokio::test]
    async fn what_an_attempt_left_goes() {
        for gone in [&[][..], &["superblock"], &["superblock", "manifest-00000001"]] {
            let folder = cut_off().await;
            for name in gone {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
            fs::write(folder.path().join(MARK_FILE), "volume 2 of 2 of pool").unwrap();
            Attempt::new(OURS, "vault").clear(folder.path()).unwrap();
            assert_eq!(entries(folder.path()), ["lock"], "{gone:?}");
        }
    }

    /// Goal: nothing goes of another pool, of another domain's, of one that is known, nor where anything was stored.
    #[tokio::test]
    async fn what_is_anything_else_stays() {
        let stays = |folder: &Path, attempt: Attempt| {
            let before = entries(folder);
            attempt.clear(folder).unwrap();
            assert_eq!(entries(folder), before);
        };
        let vault = || Attempt::new(OURS, "vault");
        for other in [Attempt::new(OURS, "vaults"), Attempt::new(DomainId([2; 16]), "vault")] {
            stays(cut_off().await.path(), other);
        }
        let known = cut_off().await;
        end(known.path()).unwrap();
        stays(known.path(), vault());
        for used in
            ["containers/00000001", "images/1", "index/1", "index-00000001", "manifest-00000002", "mine"]
        {
            let folder = cut_off().await;
            fs::write(folder.path().join(used), b"x").unwrap();
            stays(folder.path(), vault());
            assert!(folder.path().join(used).exists(), "{used}");
        }
        let linked = cut_off().await;
        fs::remove_dir(linked.path().join("images")).unwrap();
        std::os::unix::fs::symlink("/tmp", linked.path().join("images")).unwrap();
        stays(linked.path(), vault());
    }
}
