//! Extended attributes, ACLs among them, of anything that a directory can hold.
//!
//! Open files and directories are asked by descriptor, everything else (links, pipes, devices) through
//! `/proc/self/fd/<directory>/<name>`, which neither follows a link nor has a limit on depth. It is given attributes through
//! `/proc/self/fd/<node>`, which is the same object whatever its name stands for.

use std::os::fd::{AsFd, AsRawFd};

use rustix::{
    fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, setxattr},
    io::Errno,
};

use crate::limits::XATTR_BYTES_MAX;

/// Names and values, sorted by name.
pub type List = Vec<(Vec<u8>, Vec<u8>)>;

/// Room for the names of nearly every object, so that one call suffices.
const NAMES_BYTES_FIRST: usize = 1 << 10;

/// Reads all attributes of an open file or directory.
pub fn read(fd: impl AsFd) -> Result<List, Errno> {
    let fd = fd.as_fd();
    collect(|buffer| flistxattr(fd, buffer), |name, buffer| fgetxattr(fd, name, buffer))
}

/// Reads all attributes of the object `name` in an open directory without opening it.
pub fn read_at(directory: impl AsFd, name: &[u8]) -> Result<List, Errno> {
    let path = proc_path(directory, name);
    let path = path.as_slice();
    collect(|buffer| llistxattr(path, buffer), |name, buffer| lgetxattr(path, name, buffer))
}

/// Whether an attribute is one that people put on things, unlike labels that the system keeps by itself.
pub fn is_put(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// Sets one attribute of an open file or directory.
pub fn write(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    fsetxattr(fd, name, value, XattrFlags::empty())
}

/// Removes one attribute of an open file or directory.
pub fn remove(fd: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    fremovexattr(fd, name)
}

/// Sets one attribute of what a descriptor stands for that can neither be read nor written, and may be that of a link.
pub fn write_to_node(node: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", node.as_fd().as_raw_fd());
    setxattr(path.as_str(), name, value, XattrFlags::empty())
}

fn proc_path(directory: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<List, Errno> {
    let names = match grow(list, NAMES_BYTES_FIRST) {
        // No attributes on this file system.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        outcome => outcome?,
    };
    let mut total = names.len();
    let mut found = List::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grow(|buffer| get(name, buffer), 256) {
            Ok(value) => {
                total += value.len();
                found.push((name.to_vec(), value));
            }
            // Removed since it was listed, or not ours to read (trusted.* and the like are not listed then).
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
        if total > XATTR_BYTES_MAX {
            return Err(Errno::TOOBIG);
        }
    }
    found.sort();
    Ok(found)
}

/// Calls with a growing buffer until the answer fits.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>, first: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; first];
    loop {
        match call(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() <= XATTR_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}
