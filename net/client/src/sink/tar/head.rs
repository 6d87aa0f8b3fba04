//! The head of one object in a tar: `ustar` (POSIX.1-1988), and before it a pax head (POSIX.1-2001) for what does not fit
//! there: long names, large sizes and owners, parts of a second, attributes. No I/O.
//!
//! Names and targets are bytes. A pax head with one that is no UTF-8 says so (`hdrcharset=BINARY`). Attributes are
//! written as GNU tar, bsdtar and star read them: `SCHILY.xattr.NAME`, access control lists as `SCHILY.acl.access` and
//! `SCHILY.acl.default`.

use std::ops::Range;

use narrows_format::{Timestamp, node::EntryKind, xattrs::Attributes};

use super::acl;

/// Heads and contents begin at multiples of it.
pub(super) const BLOCK_BYTES: usize = 512;

/// Zeros at the end of a tar.
pub(super) const END_BYTES: usize = 2 * BLOCK_BYTES;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Within the tar; empty is its top.
    pub(super) path: Vec<u8>,
    pub(super) owned: Owned,
    pub(super) kind: Kind,
}

/// Whose it is, who may do what, and how old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
}

/// What it is: all that a tar can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File(u64),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

impl Kind {
    /// None for a socket, and for a device whose number has no room in a head.
    pub(super) fn of(kind: &EntryKind) -> Option<Self> {
        let fits = |number: &u32| *number <= DEVICE_NUMBER_MAX;
        Some(match kind {
            EntryKind::File { size, .. } => Self::File(*size),
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink(target) => Self::Symlink(target.clone()),
            EntryKind::HardLink(first) => Self::HardLink(first.clone()),
            EntryKind::Fifo => Self::Fifo,
            EntryKind::CharDevice(major, minor) if fits(major) && fits(minor) => {
                Self::CharDevice(*major, *minor)
            }
            EntryKind::BlockDevice(major, minor) if fits(major) && fits(minor) => {
                Self::BlockDevice(*major, *minor)
            }
            EntryKind::CharDevice(..) | EntryKind::BlockDevice(..) | EntryKind::Socket => return None,
        })
    }
}

/// Seven octal digits.
const DEVICE_NUMBER_MAX: u32 = (1 << 21) - 1;

// Where the fields of a block lie.
const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;

/// The head's blocks.
pub(super) fn encode(head: &Head, attributes: &Attributes) -> Vec<u8> {
    let (mut block, mut pax) = (Block::new(), Pax::default());
    let mut path = if head.path.is_empty() { b".".to_vec() } else { head.path.clone() };
    if head.kind == Kind::Directory {
        path.push(b'/');
    }
    if !block.put_path(&path) {
        pax.put_name("path", &path);
    }
    let Owned { mode, uid, gid, mtime } = head.owned;
    block.put_number(MODE, u64::from(mode));
    for (field, name, id) in [(UID, "uid", uid), (GID, "gid", gid)] {
        if !block.put_number(field, u64::from(id)) {
            pax.put(name, id.to_string().as_bytes());
        }
    }
    let seconds = u64::try_from(mtime.seconds).ok().filter(|_| mtime.nanos == 0);
    if !seconds.is_some_and(|seconds| block.put_number(MTIME, seconds)) {
        // Whoever reads no pax heads gets the second.
        block.put_number(MTIME, u64::try_from(mtime.seconds).unwrap_or(0));
        pax.put("mtime", decimal(mtime).as_bytes());
    }
    let size = if let Kind::File(size) = head.kind { size } else { 0 };
    if !block.put_number(SIZE, size) {
        pax.put("size", size.to_string().as_bytes());
    }
    block.0[TYPE] = letter(&head.kind);
    match &head.kind {
        Kind::Symlink(target) | Kind::HardLink(target) if !block.put_bytes(LINK, target) => {
            pax.put_name("linkpath", target);
        }
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            block.put_number(MAJOR, u64::from(*major));
            block.put_number(MINOR, u64::from(*minor));
        }
        _ => {}
    }
    for (name, value) in attributes {
        pax.put_attribute(name, value);
    }
    let mut encoded = pax.encode(&path);
    encoded.extend_from_slice(&block.summed());
    encoded
}

fn letter(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => b'0',
        Kind::HardLink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::CharDevice(..) => b'3',
        Kind::BlockDevice(..) => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// Seconds since 1970 with as many digits as are needed.
fn decimal(Timestamp { seconds, nanos }: Timestamp) -> String {
    let fraction = |nanos: u32| {
        let digits = format!(".{nanos:09}");
        if nanos == 0 { String::new() } else { digits.trim_end_matches('0').to_owned() }
    };
    if seconds < 0 && nanos > 0 {
        return format!("-{}{}", (seconds + 1).unsigned_abs(), fraction(1_000_000_000 - nanos));
    }
    format!("{seconds}{}", fraction(nanos))
}

/// One block; what does not fit a field leaves it as it was, or as far as that helps old readers.
struct Block([u8; BLOCK_BYTES]);

impl Block {
    fn new() -> Self {
        let mut block = Self([0; BLOCK_BYTES]);
        block.0[MAGIC].copy_from_slice(b"ustar\x0000");
        for field in [MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR] {
            block.put_number(field, 0);
        }
        block
    }

    /// Octal digits and a NUL; false when there are too many.
    fn put_number(&mut self, field: Range<usize>, number: u64) -> bool {
        let width = field.len() - 1;
        let digits = format!("{number:0width$o}");
        let fits = digits.len() == width;
        if fits {
            self.0[field.start..field.end - 1].copy_from_slice(digits.as_bytes());
            self.0[field.end - 1] = 0;
        }
        fits
    }

    /// The bytes, or the first of them and false.
    fn put_bytes(&mut self, field: Range<usize>, bytes: &[u8]) -> bool {
        let length = bytes.len().min(field.len());
        self.0[field.start..field.start + length].copy_from_slice(&bytes[..length]);
        length == bytes.len()
    }

    /// A path in one piece or in two.
    fn put_path(&mut self, path: &[u8]) -> bool {
        let fits = |slash: &usize| {
            (1..=PREFIX.len()).contains(slash) && (1..=NAME.len()).contains(&(path.len() - slash - 1))
        };
        let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        if path.len() > NAME.len()
            && let Some(slash) = slashes.rfind(fits)
        {
            return self.put_bytes(PREFIX, &path[..slash]) && self.put_bytes(NAME, &path[slash + 1..]);
        }
        self.put_bytes(NAME, path)
    }

    /// With its checksum, which counts itself as blanks.
    fn summed(mut self) -> [u8; BLOCK_BYTES] {
        self.0[CHECKSUM].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, a NUL, and the last blank stays.
        self.put_number(CHECKSUM.start..CHECKSUM.end - 1, sum);
        self.0
    }
}

/// Records of a pax head.
#[derive(Default)]
struct Pax {
    records: Vec<u8>,
    is_binary: bool,
}

impl Pax {
    fn put(&mut self, name: &str, value: &[u8]) {
        self.put_bytes(name.as_bytes(), value);
    }

    /// A name or target, which may be in no known character set.
    fn put_name(&mut self, name: &str, value: &[u8]) {
        self.is_binary |= str::from_utf8(value).is_err();
        self.put(name, value);
    }

    fn put_attribute(&mut self, name: &[u8], value: &[u8]) {
        let list = match name {
            b"system.posix_acl_access" => acl::text(value).map(|text| ("SCHILY.acl.access", text)),
            b"system.posix_acl_default" => acl::text(value).map(|text| ("SCHILY.acl.default", text)),
            _ => None,
        };
        if let Some((keyword, text)) = list {
            return self.put(keyword, text.as_bytes());
        }
        let mut keyword = b"SCHILY.xattr.".to_vec();
        for byte in name {
            // As GNU tar escapes them: a record's name ends at the first `=`.
            match byte {
                b'=' => keyword.extend(b"%3D"),
                b'%' => keyword.extend(b"%25"),
                other => keyword.push(*other),
            }
        }
        self.put_bytes(&keyword, value);
    }

    /// `length name=value\n`, where the length counts its own digits.
    fn put_bytes(&mut self, name: &[u8], value: &[u8]) {
        let rest = name.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", name, b"=", value, b"\n"] {
            self.records.extend_from_slice(part);
        }
    }

    /// The blocks before the object's own; none when there are no records.
    fn encode(self, path: &[u8]) -> Vec<u8> {
        let mut records = self.records;
        if records.is_empty() {
            return records;
        }
        if self.is_binary {
            let mut first = Self::default();
            first.put("hdrcharset", b"BINARY");
            records.splice(0..0, first.records);
        }
        let mut block = Block::new();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        block.put_bytes(NAME, &[b"PaxHeaders/", last].concat());
        block.put_number(MODE, 0o644);
        // A head has to fit places of its own, which are far fewer than this field can say.
        block.put_number(SIZE, records.len() as u64);
        block.0[TYPE] = b'x';
        let mut encoded = block.summed().to_vec();
        let padded = records.len().next_multiple_of(BLOCK_BYTES);
        encoded.append(&mut records);
        encoded.resize(BLOCK_BYTES + padded, 0);
        encoded
    }
}
