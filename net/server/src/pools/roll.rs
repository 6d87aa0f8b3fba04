//! Which pools there are, written beside the catalog: an older copy of it, or a new one, finds those that it lacks.
//!
//! Guarantee: a pool is in the file before the catalog has it. What the file says is believed only where the catalog was
//! found older than it was; at every other start it is written anew from the catalog.

use std::{fs, io};

use narrows_api::text;
use narrows_domain::limits::{HIGH_WATER, LOW_WATER};
use narrows_domain::{Change, storage::Pool};
use narrows_format::PoolId;
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, FolderError, write_secret};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Roll {
    #[serde(default)]
    pool: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(with = "text::by_text")]
    id: PoolId,
    incarnation: u64,
    name: String,
    spanning: bool,
    directories: Vec<String>,
    keep_free: u64,
    #[serde(default = "usual_high")]
    high_water: u8,
    #[serde(default = "usual_low")]
    low_water: u8,
    #[serde(default)]
    water_is_set: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bandwidth: Option<u64>,
}

const fn usual_high() -> u8 {
    HIGH_WATER
}

const fn usual_low() -> u8 {
    LOW_WATER
}

impl From<&Pool> for Row {
    fn from(pool: &Pool) -> Self {
        let Pool { id, incarnation, name, spanning, directories, .. } = pool.clone();
        let &Pool { keep_free, high_water, low_water, water_is_set, bandwidth, .. } = pool;
        Self {
            id,
            incarnation,
            name,
            spanning,
            directories,
            keep_free,
            high_water,
            low_water,
            water_is_set,
            bandwidth,
        }
    }
}

/// Writes down these pools, but for those of media servers.
pub fn write<'a>(folder: &Folder, pools: impl Iterator<Item = &'a Pool>) -> Result<(), FolderError> {
    let path = folder.pools();
    let roll = Roll { pool: pools.filter(|pool| pool.server.is_none()).map(Row::from).collect() };
    let text = toml::to_string(&roll)
        .map_err(|error| FolderError::Malformed { path: path.clone(), sentence: error.to_string() })?;
    write_secret(&path, text.as_bytes()).map_err(|source| FolderError::Disk { path, source })
}

/// What a catalog lacks that has these pools only.
pub fn lacking(folder: &Folder, known: &[Pool]) -> Result<Vec<Change>, FolderError> {
    let path = folder.pools();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(FolderError::Disk { path, source }),
    };
    let roll: Roll = toml::from_str(&text)
        .map_err(|error| FolderError::Malformed { path, sentence: error.to_string() })?;
    let is_new = |row: &Row| known.iter().all(|pool| pool.id != row.id);
    let new = roll.pool.into_iter().filter(is_new).map(|row| {
        let Row { keep_free, high_water, low_water, water_is_set, bandwidth, .. } = row;
        let pool = Pool::new(row.id, row.name);
        let pool = Pool { keep_free, high_water, low_water, water_is_set, bandwidth, ..pool };
        let Row { incarnation, spanning, directories, .. } = row;
        Change::Pool(Pool { incarnation, spanning, directories, ..pool })
    });
    Ok(new.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was written down is found by a catalog that lacks it, and by no other.
    #[test]
    fn a_catalog_finds_the_pools_that_it_lacks() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let first = Pool::new(PoolId([1; 16]), "default");
        assert_eq!(lacking(&folder, &[]).unwrap(), [], "a folder of an older version");
        let directories = vec!["/pools/b".to_owned(), "/pools/c".to_owned()];
        let second = Pool {
            directories,
            spanning: true,
            keep_free: 7,
            high_water: 95,
            water_is_set: true,
            bandwidth: Some(9),
            ..Pool::new(PoolId([2; 16]), "vault \"b\"")
        };
        write(&folder, [&first, &second].into_iter()).unwrap();
        assert_eq!(lacking(&folder, std::slice::from_ref(&first)).unwrap(), [Change::Pool(second.clone())]);
        assert_eq!(lacking(&folder, &[first, second]).unwrap(), []);
    }
}
