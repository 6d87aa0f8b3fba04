//! Reads a tree whose paths are longer than any system call takes: one component at a time.
//!
//! Compares kind, mode, owner, time, content, extended attributes (ACLs among them) and holes. Files have to fit memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::holes;

/// Everything that is compared of one entry.
#[derive(PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    content: Vec<u8>,
    holes: Vec<(u64, u64)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Tree = BTreeMap<Vec<u8>, Seen>;

/// What differs below `name` in two directories; a tree that is in neither is no difference.
pub(super) fn differences(left: &Path, right: &Path, name: &str) -> io::Result<Vec<String>> {
    let (left, right) = (tree(left, name)?, tree(right, name)?);
    let mut lines = Vec::new();
    for path in left.keys().chain(right.keys().filter(|path| !left.contains_key(*path))) {
        let shown = String::from_utf8_lossy(path);
        match (left.get(path), right.get(path)) {
            (Some(before), Some(after)) if before == after => {}
            (Some(_), Some(_)) => lines.push(format!("differs: {shown}")),
            (Some(_), None) => lines.push(format!("only before: {shown}")),
            _ => lines.push(format!("only after: {shown}")),
        }
    }
    Ok(lines)
}

fn tree(root: &Path, name: &str) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match open(root.as_fd(), name.as_bytes()) {
        Ok(entry) => descend(entry, name.as_bytes().to_vec(), &mut tree)?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(tree)
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

fn descend(entry: OwnedFd, path: Vec<u8>, tree: &mut Tree) -> io::Result<()> {
    let stat = rustix::fs::fstat(&entry)?;
    let mut seen = seen(&stat, xattrs(entry.as_fd())?)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            for child in Dir::read_from(&entry)? {
                let child = child?;
                let name = child.file_name().to_bytes();
                if name != b"." && name != b".." {
                    let below = [&path[..], b"/", name].concat();
                    descend(open(entry.as_fd(), name)?, below, tree)?;
                }
            }
        }
        FileType::RegularFile => {
            seen.holes = holes(&entry)?;
            let mut file = File::from(entry);
            io::Seek::rewind(&mut file)?;
            file.read_to_end(&mut seen.content)?;
        }
        other => return Err(io::Error::other(format!("a {other:?} can't be compared"))),
    }
    tree.insert(path, seen);
    Ok(())
}

fn seen(stat: &Stat, xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<Seen> {
    let nanos = i64::try_from(stat.st_mtime_nsec).map_err(io::Error::other)?;
    Ok(Seen {
        mode: stat.st_mode,
        owner: (stat.st_uid, stat.st_gid),
        time: (stat.st_mtime, nanos),
        content: Vec::new(),
        holes: Vec::new(),
        xattrs,
    })
}

fn xattrs(entry: BorrowedFd<'_>) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    // The kernel's own bound of a list and of a value.
    let (mut list, mut value) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let listed = rustix::fs::flistxattr(entry, &mut list[..])?;
    let mut found = BTreeMap::new();
    for name in list[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::fgetxattr(entry, name, &mut value[..])?;
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(found)
}
