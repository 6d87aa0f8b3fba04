//! The second round's changes: one file in a hundred, chosen and changed by a seed.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Outcome};

/// The seed, so that two demos of one tree change the same.
const SEED: u64 = 0x6e61_7272_6f77_7321;

/// Bytes put in at one place.
const EDIT_BYTES: usize = 64;

/// Files up to this size get bytes inserted; bigger ones have some overwritten, as a database does.
const INSERT_BYTES_MAX: u64 = 1 << 20;

/// What was changed.
#[derive(Debug, Default)]
pub(super) struct Edited {
    /// Paths within the tree.
    pub(super) files: Vec<PathBuf>,
    /// Sizes of these files together, after the change.
    pub(super) bytes: u64,
}

/// `SplitMix64`.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0..=`last`.
    fn up_to(&mut self, last: u64) -> u64 {
        match last.checked_add(1) {
            Some(bound) => self.next() % bound,
            None => self.next(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..EDIT_BYTES / 8).flat_map(|_| format!("{:08x}", self.next() >> 32).into_bytes()).collect()
    }
}

/// Changes 1 % of `files` (paths within `tree`), at least one; a tree without files gets one.
pub(super) fn edit(tree: &Path, mut files: Vec<PathBuf>) -> Outcome<Edited> {
    let mut seeded = Seeded(SEED);
    let mut edited = Edited::default();
    if files.is_empty() {
        let name = PathBuf::from("added by the demo");
        fs::write(tree.join(&name), seeded.bytes())
            .map_err(|error| Failure::file("the copy cannot be changed", &tree.join(&name), &error))?;
        return Ok(Edited { files: vec![name], bytes: EDIT_BYTES as u64 });
    }
    let count = files.len().div_ceil(100);
    for _ in 0..count {
        let at = seeded.up_to(files.len() as u64 - 1);
        let file = files.swap_remove(usize::try_from(at).unwrap_or(0));
        let path = tree.join(&file);
        edited.bytes += change(&path, &mut seeded)
            .map_err(|error| Failure::file("the copy cannot be changed", &path, &error))?;
        edited.files.push(file);
    }
    Ok(edited)
}

/// Changes one file in place; gives its size. A file that its owner may not write is opened to them for that time: the
/// copy is the demo's own.
fn change(path: &Path, seeded: &mut Seeded) -> io::Result<u64> {
    let open = || File::options().read(true).write(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let before = fs::metadata(path)?.permissions();
            let writable = Permissions::from_mode(before.mode() | 0o600);
            fs::set_permissions(path, writable)?;
            let size = open().and_then(|file| change_open(file, seeded));
            fs::set_permissions(path, before)?;
            size
        }
        file => change_open(file?, seeded),
    }
}

fn change_open(mut file: File, seeded: &mut Seeded) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if size > INSERT_BYTES_MAX {
        for _ in 0..4 {
            let at = seeded.up_to(size - EDIT_BYTES as u64);
            file.write_all_at(&seeded.bytes(), at)?;
        }
        return Ok(size);
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let at = usize::try_from(seeded.up_to(size)).unwrap_or(0).min(content.len());
    content.splice(at..at, seeded.bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&content)?;
    Ok(content.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_in_a_hundred_is_changed_and_always_the_same() {
        let before = tempfile::tempdir().unwrap();
        let names: Vec<PathBuf> = (0..250).map(|number| PathBuf::from(format!("f{number}"))).collect();
        let make = || names.iter().for_each(|name| fs::write(before.path().join(name), "content").unwrap());
        make();
        let first = edit(before.path(), names.clone()).unwrap();
        assert_eq!(first.files.len(), 3);
        let changed = |name: &&PathBuf| fs::read(before.path().join(name)).unwrap() != b"content";
        assert_eq!(names.iter().filter(changed).count(), 3);
        make();
        assert_eq!(edit(before.path(), names.clone()).unwrap().files, first.files);
    }

    /// Goal: the demo works without root on trees like those of git, whose objects nobody may write.
    #[test]
    fn files_that_nobody_may_write_are_changed_and_stay_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        fs::write(&path, b"content").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        edit(dir.path(), vec!["object".into()]).unwrap();
        assert_ne!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
    }

    #[test]
    fn an_empty_tree_and_an_empty_file_get_something() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(edit(dir.path(), Vec::new()).unwrap().bytes, EDIT_BYTES as u64);
        let added = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::metadata(added).unwrap().len(), EDIT_BYTES as u64);
        fs::write(dir.path().join("empty"), b"").unwrap();
        edit(dir.path(), vec!["empty".into()]).unwrap();
        assert_eq!(fs::metadata(dir.path().join("empty")).unwrap().len(), EDIT_BYTES as u64);
    }
}
