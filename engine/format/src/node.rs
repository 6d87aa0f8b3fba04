//! Recipe nodes in their decoded form; [`codec`] has the encoded one and its specification.

pub mod codec;
pub mod entry;
pub mod envelope;

use crate::{Fingerprint, Timestamp, limits::FILE_BYTES_MAX};

/// Why bytes are no node.
pub use crate::BadBytes as BadNode;

/// Version of the bodies that this code writes, and the only one it reads.
pub const VERSION: u8 = 1;

/// What a child of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// A data segment; `length` is its plain length in bytes.
    Segment,
    /// Another recipe node; `length` is its encoded length in bytes.
    Node,
}

/// A reference by fingerprint, in the envelope of every node: readable whatever the body's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child {
    /// Name of the segment or node.
    pub fingerprint: Fingerprint,
    /// Segment or node.
    pub kind: ChildKind,
    /// Plain length in bytes, at most 128 KiB.
    pub length: u32,
}

/// A whole node: its children and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Children, referred to from the body by ordinal, each at least once. Distinct, but for an
    /// `ExtentTree`, where spans with equal content name equal children.
    pub children: Vec<Child>,
    /// What the children are used for.
    pub body: Body,
}

/// The four kinds of node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Inner node of a file tree: one span per child node, in path order.
    Tree {
        /// Height above the leaves, 1..
        level: u8,
        /// One per child, same order as `children`.
        spans: Vec<TreeSpan>,
    },
    /// Leaf of a file tree: entries in path order.
    Entries(Vec<Entry>),
    /// Inner node of one file's extents.
    ExtentTree {
        /// Height above the leaves, 1..
        level: u8,
        /// Logical bytes under each child, same order as `children`.
        lengths: Vec<u64>,
    },
    /// Leaf of one file's extents, in file order.
    Extents(Vec<Extent>),
}

/// What an inner node of a file tree knows about one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeSpan {
    /// Path of the first entry under the child.
    pub first: Vec<u8>,
    /// Entries under the child.
    pub entries: u64,
    /// Logical bytes of the files under the child, as [`logical_bytes`] adds them.
    pub bytes: u64,
}

/// Logical bytes of several files, or of what lies under several nodes: [`FILE_BYTES_MAX`] stands for so many or more. Files
/// with holes come to any sum, and one of them must not keep out those behind it.
pub fn logical_bytes(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add).min(FILE_BYTES_MAX)
}

/// One file system object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Components joined by `/`, no leading or trailing slash; empty for the root directory itself.
    /// No component is empty, `.`, `..`, or holds NUL. Sorted as if `/` were the smallest byte.
    pub path: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky: `0..=0o7777`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Extended attributes (ACLs among them), sorted by name.
    pub xattrs: Xattrs,
    /// What it is.
    pub kind: EntryKind,
}

impl Entry {
    /// Logical bytes that it adds to its image.
    pub fn logical_bytes(&self) -> u64 {
        if let EntryKind::File { size, .. } = self.kind { size } else { 0 }
    }
}

/// Extended attributes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Xattrs {
    /// Name and value, sorted by name; at most 1 KiB encoded.
    Inline(Vec<(Vec<u8>, Vec<u8>)>),
    /// Too big for the leaf: the encoded list (see `node.md`) lies in these child segments, in order.
    Stored(Vec<u32>),
}

/// Kinds of file system object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Logical size in bytes.
        size: u64,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// The same inode as an entry that sorts before this one.
    HardLink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device, (major, minor).
    CharDevice(u32, u32),
    /// A block device, (major, minor).
    BlockDevice(u32, u32),
}

/// A file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Few extents, in the leaf itself.
    Inline(Vec<Extent>),
    /// Ordinal of the child node (`Extents` or `ExtentTree`) that lists them.
    Tree(u32),
}

/// A run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `length` bytes from `offset` of child segment `child`.
    Data {
        /// Ordinal among the node's children.
        child: u32,
        /// First byte used of the segment.
        offset: u32,
        /// Bytes used.
        length: u32,
    },
    /// Never written: restored as a hole.
    Hole(u64),
    /// `length` times the same byte, stored nowhere, restored as written data.
    Fill {
        /// The byte.
        byte: u8,
        /// How many.
        length: u64,
    },
    /// The whole of child segment `child`, `count` times in a row.
    Repeat {
        /// Ordinal among the node's children.
        child: u32,
        /// How often, 2..
        count: u64,
    },
}
