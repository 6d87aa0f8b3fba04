//! The demo's own reader: compares two trees without a line of what made the second one.
//!
//! Judged: names, kinds, permissions, owners, times to the nanosecond, link targets, device numbers, attributes and
//! ACLs, which names are one inode, every byte, and where the holes are. Trees of any depth: directories are opened
//! one component after the other, links are not followed.

mod content;
mod open;

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Statx, StatxFlags, lgetxattr, llistxattr, readlinkat, statx},
    io::Errno,
    process::{getegid, geteuid},
};

use crate::failure::{Failure, Outcome, codes};
use open::Tree;

/// Differences that are named; more are only counted.
const LISTED_MAX: usize = 20;

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Regular files, as paths within the tree; further names of one inode are not repeated.
    pub(super) files: Vec<PathBuf>,
    /// Regular files, each name counted.
    pub(super) file_count: u64,
    /// What differs, one line each.
    pub(super) differences: Vec<String>,
    /// How many differences there are.
    pub(super) different: u64,
}

/// Compares the trees; `skipped` (paths within the tree) are known to be missing from the second.
pub(super) fn compare(before: &Path, after: &Path, skipped: &BTreeSet<Vec<u8>>) -> Outcome<Comparison> {
    let open = |path: &Path| {
        Tree::open(path).map_err(|error| {
            Failure::new(codes::FILE, "a tree cannot be compared")
                .at(path.display().to_string())
                .because(error.to_string())
        })
    };
    let (before, after) = (open(before)?, open(after)?);
    let mut reader = Reader { skipped, inodes: HashMap::new(), found: Comparison::default() };
    reader.compare_directory(&before, &after, Vec::new());
    reader.pairs_are_one_to_one();
    let mut found = reader.found;
    let different = content::compare(&before, &after, &found.files);
    found.add(different);
    Ok(found)
}

impl Comparison {
    fn add(&mut self, lines: Vec<String>) {
        self.different += lines.len() as u64;
        let room = LISTED_MAX.saturating_sub(self.differences.len());
        self.differences.extend(lines.into_iter().take(room));
    }
}

type Inode = (u32, u32, u64);

/// Names and values, sorted.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

struct Reader<'a> {
    skipped: &'a BTreeSet<Vec<u8>>,
    /// Inodes with several names: what stands for it in the other tree.
    inodes: HashMap<Inode, Inode>,
    found: Comparison,
}

impl Reader<'_> {
    /// Compares a directory and everything below it, without recursion: depth is no matter.
    fn compare_directory(&mut self, before: &Tree, after: &Tree, top: Vec<u8>) {
        let mut todo = vec![top];
        while let Some(path) = todo.pop() {
            let outcome = self.compare_entries(before, after, &path, &mut todo);
            if let Err(error) = outcome {
                self.differs(&path, &format!("cannot be read: {error}"));
            }
        }
    }

    fn compare_entries(
        &mut self,
        before: &Tree,
        after: &Tree,
        path: &[u8],
        todo: &mut Vec<Vec<u8>>,
    ) -> Result<(), Errno> {
        let (left, right) = (before.directory(path)?, after.directory(path)?);
        if path.is_empty() {
            self.compare_object(path, (&left, &right), b".")?;
        }
        let (names, others) = (list(&left)?, list(&right)?);
        for name in others.difference(&names) {
            self.differs(&joined(path, name), "is too much");
        }
        for name in &names {
            let whole = joined(path, name);
            if self.skipped.contains(&whole) {
                continue;
            }
            if !others.contains(name) {
                self.differs(&whole, "is missing");
                continue;
            }
            if self.compare_object(&whole, (&left, &right), name)? == FileType::Directory {
                todo.push(whole);
            }
        }
        Ok(())
    }

    /// Compares everything but bytes; gives the kind.
    fn compare_object(
        &mut self,
        path: &[u8],
        (left, right): (&OwnedFd, &OwnedFd),
        name: &[u8],
    ) -> Result<FileType, Errno> {
        let status = |fd: &OwnedFd| statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let (a, b) = (status(left)?, status(right)?);
        let kind = FileType::from_raw_mode(u32::from(a.stx_mode));
        for (what, one, other) in facts(&a, &b) {
            if one != other {
                self.differs(path, &format!("{what} {one} became {other}"));
            }
        }
        if kind == FileType::Symlink
            && readlinkat(left, name, Vec::new())?.as_bytes()
                != readlinkat(right, name, Vec::new())?.as_bytes()
        {
            self.differs(path, "points elsewhere");
        }
        let (one, other) = (attributes(left, name)?, attributes(right, name)?);
        if one != other {
            let names = |list: &Attributes| -> Vec<String> {
                list.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
            };
            self.differs(path, &format!("attributes {:?} became {:?}", names(&one), names(&other)));
        }
        if kind != FileType::Directory && a.stx_nlink > 1 && !self.same_group(path, &a, &b) {
            // A further name: its bytes are compared under the first one.
            self.found.file_count += u64::from(kind == FileType::RegularFile);
            return Ok(kind);
        }
        if kind == FileType::RegularFile && FileType::from_raw_mode(u32::from(b.stx_mode)) == kind {
            self.found.file_count += 1;
            self.found.files.push(PathBuf::from(OsString::from_vec(path.to_vec())));
        }
        Ok(kind)
    }

    /// Whether an inode with several names is seen for the first time; complains when names were joined or parted.
    fn same_group(&mut self, path: &[u8], a: &Statx, b: &Statx) -> bool {
        let inode = |of: &Statx| (of.stx_dev_major, of.stx_dev_minor, of.stx_ino);
        let (one, other) = (inode(a), inode(b));
        match self.inodes.get(&one) {
            None => {
                self.inodes.insert(one, other);
                true
            }
            Some(known) => {
                if *known != other {
                    self.differs(path, "is no hard link any more");
                }
                false
            }
        }
    }

    /// Two inodes must not have become one.
    fn pairs_are_one_to_one(&mut self) {
        let targets: BTreeSet<Inode> = self.inodes.values().copied().collect();
        if targets.len() != self.inodes.len() {
            self.differs(b"", "has files that became hard links of each other");
        }
    }

    fn differs(&mut self, path: &[u8], how: &str) {
        self.found.add(vec![format!("{}: {how}", shown(path))]);
    }
}

/// What is compared of all kinds: name, before, after. Without root, owners other than ourselves cannot be set.
fn facts(a: &Statx, b: &Statx) -> Vec<(&'static str, String, String)> {
    let kind = |of: &Statx| u32::from(of.stx_mode) & 0o170_000;
    let regular = FileType::from_raw_mode(u32::from(a.stx_mode)) == FileType::RegularFile;
    let time = |of: &Statx| format!("{}.{:09}", of.stx_mtime.tv_sec, of.stx_mtime.tv_nsec);
    let ours = geteuid().is_root() || (a.stx_uid == geteuid().as_raw() && a.stx_gid == getegid().as_raw());
    let bits = if ours { 0o7777 } else { 0o1777 };
    let mode = |of: &Statx| format!("{:o}", u32::from(of.stx_mode) & bits);
    let mut facts = vec![
        ("kind", format!("{:o}", kind(a)), format!("{:o}", kind(b))),
        ("mode", mode(a), mode(b)),
        ("time", time(a), time(b)),
        (
            "device",
            format!("{}:{}", a.stx_rdev_major, a.stx_rdev_minor),
            format!("{}:{}", b.stx_rdev_major, b.stx_rdev_minor),
        ),
    ];
    if ours {
        let owner = |of: &Statx| format!("{}:{}", of.stx_uid, of.stx_gid);
        facts.push(("owner", owner(a), owner(b)));
    }
    if regular {
        facts.push(("size", a.stx_size.to_string(), b.stx_size.to_string()));
    }
    facts
}

/// Attributes of an object that is not opened, so links and pipes have theirs too. Without root, only those that
/// anybody may set.
fn attributes(directory: &OwnedFd, name: &[u8]) -> Result<Attributes, Errno> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = path.as_slice();
    // Nearly always there are none, or few.
    let mut few = [0; 256];
    let mut many = Vec::new();
    let names: &[u8] = match llistxattr(path, &mut few) {
        Ok(count) => &few[..count],
        Err(Errno::OPNOTSUPP) => &[],
        Err(Errno::RANGE) => {
            many.resize(64 << 10, 0);
            let count = llistxattr(path, &mut many)?;
            &many[..count]
        }
        Err(error) => return Err(error),
    };
    let anybodys = |name: &[u8]| name.starts_with(b"user.") || name.starts_with(b"system.");
    let mut list = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if geteuid().is_root() || anybodys(name) {
            let mut value = vec![0; 64 << 10];
            let length = lgetxattr(path, name, &mut value)?;
            value.truncate(length);
            list.push((name.to_vec(), value));
        }
    }
    list.sort();
    Ok(list)
}

fn list(directory: &OwnedFd) -> Result<BTreeSet<Vec<u8>>, Errno> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut whole = path.to_vec();
    if !whole.is_empty() {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { narrows_api::PathText::from_bytes(path).0 }
}

/// Compares only these files, by bytes and holes; directories and metadata are not looked at.
pub(super) fn compare_files(before: &Path, after: &Path, files: &[PathBuf]) -> Outcome<Vec<String>> {
    let open = |path: &Path| {
        Tree::open(path).map_err(|error| {
            Failure::new(codes::FILE, "a tree cannot be compared")
                .at(path.display().to_string())
                .because(error.to_string())
        })
    };
    Ok(content::compare(&open(before)?, &open(after)?, files))
}

/// The bytes of a path.
fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests;
