//! Criterion benches, one file per stage, and the data that they share.
#![forbid(unsafe_code)]

pub mod bed;

use std::path::{Path, PathBuf};

/// Bytes without structure, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x6e61_7272_6f77_7321_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes like prose: few different ones, none repeated for long.
pub fn text(length: usize) -> Vec<u8> {
    noise(length).iter().map(|byte| b"etaoin shrdlu,.\n"[usize::from(byte & 15)]).collect()
}

/// The corpora that the command line names as `NAME=PATH[,PATH..]`, versions oldest first, with all their files.
///
/// # Panics
///
/// When one cannot be read.
pub fn corpora() -> Vec<(String, Vec<PathBuf>)> {
    let named = |word: String| {
        let (name, paths) = word.split_once('=')?;
        Some((name.to_owned(), paths.split(',').flat_map(|path| files(Path::new(path))).collect()))
    };
    std::env::args().skip(1).filter_map(named).collect()
}

/// All regular files below a path, or the file itself, in a fixed order.
fn files(path: &Path) -> Vec<PathBuf> {
    let kind = std::fs::symlink_metadata(path).expect("a corpus is readable").file_type();
    if !kind.is_dir() {
        return if kind.is_file() { vec![path.to_path_buf()] } else { Vec::new() };
    }
    let entries = std::fs::read_dir(path).expect("a corpus is readable");
    let mut below: Vec<PathBuf> = entries.map(|entry| entry.expect("a corpus is readable").path()).collect();
    below.sort();
    below.iter().flat_map(|path| files(path)).collect()
}
