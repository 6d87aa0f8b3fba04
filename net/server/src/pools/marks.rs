//! A mark in each further folder of a pool: whose it is, and the how-manieth.
//!
//! Containers are found by the order of a pool's folders. Two disks that were mounted in each other's place would look like
//! damage to half of the pool; by their marks they are told apart, and the pool is not opened.

use std::{fs, path::Path};

use narrows_domain::storage::Pool;

use super::places;
use crate::folder::{Folder, FolderError, write_secret};

/// Name of the file.
pub(super) const MARK_FILE: &str = "volume";

fn mark(pool: &Pool, at: usize, count: usize) -> String {
    format!("volume {} of {count} of pool {}\n", at + 1, pool.id)
}

/// Writes the marks of a pool that is being made.
pub(super) fn write(folder: &Folder, pool: &Pool) -> Result<(), FolderError> {
    let (_, volumes) = places(folder, pool);
    for (at, volume) in volumes.iter().enumerate() {
        let path = volume.join(MARK_FILE);
        let written = write_secret(&path, mark(pool, at, volumes.len()).as_bytes());
        written.map_err(|source| FolderError::Disk { path, source })?;
    }
    Ok(())
}

/// Whether each folder is the one that it was.
pub(super) fn check(folder: &Folder, pool: &Pool) -> Result<(), FolderError> {
    let (_, volumes) = places(folder, pool);
    volumes.iter().enumerate().try_for_each(|(at, volume)| check_one(volume, &mark(pool, at, volumes.len())))
}

fn check_one(volume: &Path, expected: &str) -> Result<(), FolderError> {
    let path = volume.join(MARK_FILE);
    match fs::read_to_string(&path) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => {
            let sentence = format!("it is {}, not {}", found.trim(), expected.trim());
            Err(FolderError::Malformed { path, sentence })
        }
        Err(source) => Err(FolderError::Disk { path, source }),
    }
}
