//! Entries of a leaf: one fixed head each, then the rest of the path, attributes, and content.

use super::codec::{self, Paths, Uses};
use super::{BadNode, ChildKind, Content, Entry, EntryKind, Xattrs};
use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, length, short_length, size};
use crate::limits::{FILE_BYTES_MAX, PATH_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};
use crate::{BadBytes, Timestamp, path, xattrs};
use std::cmp::Ordering;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    kind: u8,
    content: u8,
    xattrs: u8,
    zero: u8,
    mode: U16,
    shared: U16,
    suffix: U16,
    zero_too: U16,
    uid: U32,
    gid: U32,
    mtime_seconds: I64,
    mtime_nanos: U32,
    /// Bytes if inline, else how many ordinals.
    xattrs_length: U32,
    /// Size of a file; major (high half) and minor of a device; else zero.
    value: U64,
    /// Extents, ordinal of the extent tree, or length of the target; else zero.
    extra: U32,
}

const _: () = assert!(size_of::<RawEntry>() == 48);

/// Encoded bytes of an entry's fixed part.
pub const ENTRY_BYTES: usize = size_of::<RawEntry>();

const DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const SYMLINK: u8 = 3;
const HARD_LINK: u8 = 4;
const FIFO: u8 = 5;
const SOCKET: u8 = 6;
const CHAR_DEVICE: u8 = 7;
const BLOCK_DEVICE: u8 = 8;

const CONTENT_NONE: u8 = 0;
const CONTENT_INLINE: u8 = 1;
const CONTENT_TREE: u8 = 2;

const XATTRS_INLINE: u8 = 0;
const XATTRS_STORED: u8 = 1;

pub(super) fn write(entries: &[Entry], out: &mut Vec<u8>) {
    let mut paths = Paths::default();
    for entry in entries {
        write_one(entry, &mut paths, out);
    }
}

fn write_one(entry: &Entry, paths: &mut Paths, out: &mut Vec<u8>) {
    let (shared, suffix) = paths.split(&entry.path);
    let (kind, content, value, extra) = numbers(&entry.kind);
    let attributes = match &entry.xattrs {
        Xattrs::Inline(list) => xattrs::encode(list),
        Xattrs::Stored(ordinals) => ordinals.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect(),
    };
    let (xattrs, xattrs_length) = match &entry.xattrs {
        Xattrs::Inline(_) => (XATTRS_INLINE, attributes.len()),
        Xattrs::Stored(ordinals) => (XATTRS_STORED, ordinals.len()),
    };
    out.put(&RawEntry {
        kind,
        content,
        xattrs,
        zero: 0,
        mode: U16::new(u16::try_from(entry.mode).unwrap_or(u16::MAX)),
        shared: U16::new(shared),
        suffix: U16::new(short_length(suffix.len())),
        zero_too: U16::new(0),
        uid: U32::new(entry.uid),
        gid: U32::new(entry.gid),
        mtime_seconds: I64::new(entry.mtime.seconds),
        mtime_nanos: U32::new(entry.mtime.nanos),
        xattrs_length: U32::new(length(xattrs_length)),
        value: U64::new(value),
        extra: U32::new(extra),
    });
    out.extend_from_slice(suffix);
    out.extend_from_slice(&attributes);
    match &entry.kind {
        EntryKind::File { content: Content::Inline(extents), .. } => codec::write_extents(extents, out),
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => out.extend_from_slice(target),
        _ => {}
    }
}

/// Kind, content, value and extra of the fixed part.
fn numbers(kind: &EntryKind) -> (u8, u8, u64, u32) {
    let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    match kind {
        EntryKind::Directory => (DIRECTORY, CONTENT_NONE, 0, 0),
        EntryKind::File { size, content: Content::Inline(extents) } => {
            (FILE, CONTENT_INLINE, *size, length(extents.len()))
        }
        EntryKind::File { size, content: Content::Tree(ordinal) } => (FILE, CONTENT_TREE, *size, *ordinal),
        EntryKind::Symlink(target) => (SYMLINK, CONTENT_NONE, 0, length(target.len())),
        EntryKind::HardLink(target) => (HARD_LINK, CONTENT_NONE, 0, length(target.len())),
        EntryKind::Fifo => (FIFO, CONTENT_NONE, 0, 0),
        EntryKind::Socket => (SOCKET, CONTENT_NONE, 0, 0),
        EntryKind::CharDevice(major, minor) => (CHAR_DEVICE, CONTENT_NONE, device(*major, *minor), 0),
        EntryKind::BlockDevice(major, minor) => (BLOCK_DEVICE, CONTENT_NONE, device(*major, *minor), 0),
    }
}

pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Vec<Entry>, BadNode> {
    let mut paths = Paths::default();
    let mut entries = Vec::new();
    while cursor.left() > 0 {
        entries.push(read_one(cursor, &mut paths)?);
    }
    Ok(entries)
}

fn read_one(cursor: &mut Cursor<'_>, paths: &mut Paths) -> Result<Entry, BadNode> {
    let raw: &RawEntry = cursor.head()?;
    rule(raw.zero == 0 && raw.zero_too.get() == 0, "reserved bytes of an entry")?;
    let suffix = cursor.bytes(usize::from(raw.suffix.get()))?;
    let path = paths.join(raw.shared.get(), suffix)?;
    let xattrs = read_xattrs(cursor, raw)?;
    let kind = read_kind(cursor, raw)?;
    Ok(Entry {
        path,
        mode: u32::from(raw.mode.get()),
        uid: raw.uid.get(),
        gid: raw.gid.get(),
        mtime: Timestamp { seconds: raw.mtime_seconds.get(), nanos: raw.mtime_nanos.get() },
        xattrs,
        kind,
    })
}

fn read_xattrs(cursor: &mut Cursor<'_>, raw: &RawEntry) -> Result<Xattrs, BadNode> {
    let count = size(raw.xattrs_length.get());
    match raw.xattrs {
        XATTRS_INLINE => {
            limit(count <= XATTRS_INLINE_BYTES_MAX, "bytes of extended attributes in a leaf")?;
            xattrs::decode(cursor.bytes(count)?).map(Xattrs::Inline)
        }
        XATTRS_STORED => Ok(Xattrs::Stored(cursor.list::<U32>(count)?.iter().map(|n| n.get()).collect())),
        _ => malformed("kind of extended attributes"),
    }
}

fn read_kind(cursor: &mut Cursor<'_>, raw: &RawEntry) -> Result<EntryKind, BadNode> {
    let (value, extra) = (raw.value.get(), raw.extra.get());
    let has_value = matches!(raw.kind, FILE | CHAR_DEVICE | BLOCK_DEVICE);
    let has_extra = matches!(raw.kind, FILE | SYMLINK | HARD_LINK);
    rule(has_value || value == 0, "reserved bytes of an entry")?;
    rule(has_extra || extra == 0, "reserved bytes of an entry")?;
    rule(raw.kind == FILE || raw.content == CONTENT_NONE, "content of an entry that is no file")?;
    let minor = u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    let major = u32::try_from(value >> 32).unwrap_or(0);
    Ok(match raw.kind {
        DIRECTORY => EntryKind::Directory,
        FILE => {
            let content = match raw.content {
                CONTENT_INLINE => Content::Inline(codec::read_extents(cursor, size(extra))?),
                CONTENT_TREE => Content::Tree(extra),
                _ => return malformed("content of a file"),
            };
            EntryKind::File { size: value, content }
        }
        SYMLINK => EntryKind::Symlink(cursor.bytes(size(extra))?.to_vec()),
        HARD_LINK => EntryKind::HardLink(cursor.bytes(size(extra))?.to_vec()),
        FIFO => EntryKind::Fifo,
        SOCKET => EntryKind::Socket,
        CHAR_DEVICE => EntryKind::CharDevice(major, minor),
        BLOCK_DEVICE => EntryKind::BlockDevice(major, minor),
        _ => return malformed("kind of an entry"),
    })
}

/// Every rule of entries, children included.
pub(super) fn check(entries: &[Entry], uses: &mut Uses<'_>) -> Result<(), BadNode> {
    rule(
        entries.is_sorted_by(|left, right| path::order(&left.path, &right.path) == Ordering::Less),
        "order of entries",
    )?;
    entries.iter().try_for_each(|entry| check_one(entry, uses))
}

fn check_one(entry: &Entry, uses: &mut Uses<'_>) -> Result<(), BadNode> {
    rule(path::is_legal(&entry.path), "path of an entry")?;
    rule(!entry.path.is_empty() || entry.kind == EntryKind::Directory, "the root is a directory")?;
    rule(entry.mode <= 0o7777, "mode of an entry")?;
    rule(entry.mtime.nanos < 1_000_000_000, "nanoseconds of an entry")?;
    match &entry.xattrs {
        Xattrs::Inline(list) => {
            limit(
                xattrs::encoded_length(list) <= XATTRS_INLINE_BYTES_MAX,
                "bytes of extended attributes in a leaf",
            )?;
            xattrs::check(list)?;
        }
        Xattrs::Stored(ordinals) => {
            rule(!ordinals.is_empty(), "stored extended attributes without a segment")?;
            for ordinal in ordinals {
                uses.refer(*ordinal, ChildKind::Segment)?;
            }
        }
    }
    match &entry.kind {
        EntryKind::File { size, content: Content::Inline(extents) } => {
            rule(codec::check_extents(extents, uses)? == *size, "extents of a file and its size")
        }
        EntryKind::File { size, content: Content::Tree(ordinal) } => {
            rule(*size > 0, "an empty file with an extent tree")?;
            limit(*size <= FILE_BYTES_MAX, "bytes of a file")?;
            uses.refer(*ordinal, ChildKind::Node).map(drop)
        }
        EntryKind::Symlink(target) => {
            limit(target.len() <= PATH_BYTES_MAX, "target of a symbolic link")?;
            rule(!target.is_empty() && !target.contains(&0), "target of a symbolic link")
        }
        EntryKind::HardLink(target) => {
            rule(!target.is_empty() && path::is_legal(target), "target of a hard link")?;
            rule(path::order(target, &entry.path) == Ordering::Less, "a hard link points ahead")
        }
        _ => Ok::<(), BadBytes>(()),
    }
}
