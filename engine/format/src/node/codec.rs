//! A node's bytes, from and to its decoded form.
//!
//! Guarantee: what `decode` gives keeps every rule below that can be checked in one node, and
//! `encode` of it gives the same bytes again. Cost: one pass and one allocation per path.
//!
#![doc = include_str!("../node.md")]

use super::{BadNode, Body, Child, ChildKind, Extent, Node, TreeSpan, entry, envelope};
use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, short_length};
use crate::limits::{
    FILE_BYTES_MAX, NODE_CHILDREN_MAX, NODE_LEVEL_MAX, NODE_PATHS_BYTES_MAX, PATH_BYTES_MAX,
};
use crate::{BadBytes, path};
use std::cmp::Ordering;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const KIND_TREE: u8 = 1;
const KIND_ENTRIES: u8 = 2;
const KIND_EXTENT_TREE: u8 = 3;
const KIND_EXTENTS: u8 = 4;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSpan {
    entries: U64,
    bytes: U64,
    shared: U16,
    suffix: U16,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawExtent {
    kind: u8,
    fill: u8,
    zero: U16,
    child: U32,
    low: U32,
    high: U32,
}

const _: () = assert!(size_of::<RawSpan>() == 24 && size_of::<RawExtent>() == 16);

/// Encoded bytes of a span, the rest of its path not counted.
pub const SPAN_BYTES: usize = size_of::<RawSpan>();

/// Encoded bytes of one extent.
pub const EXTENT_BYTES: usize = size_of::<RawExtent>();

impl Node {
    /// The bytes that are fingerprinted and stored. A node that breaks a rule gives bytes that
    /// [`Node::decode`] refuses; see [`Node::check`].
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (kind, level) = match &self.body {
            Body::Tree { level, spans } => {
                write_spans(spans, &mut body);
                (KIND_TREE, *level)
            }
            Body::Entries(entries) => {
                entry::write(entries, &mut body);
                (KIND_ENTRIES, 0)
            }
            Body::ExtentTree { level, lengths } => {
                for length in lengths {
                    body.put_u64(*length);
                }
                (KIND_EXTENT_TREE, *level)
            }
            Body::Extents(extents) => {
                write_extents(extents, &mut body);
                (KIND_EXTENTS, 0)
            }
        };
        envelope::write(kind, level, &self.children, &body)
    }

    /// Decodes and verifies everything that can be verified in one node.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadNode> {
        let envelope = envelope::read(bytes)?;
        if envelope.version != super::VERSION {
            return Err(BadBytes::Unsupported { what: "node", found: u32::from(envelope.version) });
        }
        let leaf = envelope.level == 0;
        let mut cursor = Cursor::new(envelope.body);
        let body = match envelope.kind {
            KIND_TREE => {
                Body::Tree { level: envelope.level, spans: read_spans(&mut cursor, envelope.children.len())? }
            }
            KIND_ENTRIES if leaf => Body::Entries(entry::read(&mut cursor)?),
            KIND_EXTENT_TREE => {
                let lengths = cursor.list::<U64>(envelope.children.len())?.iter().map(|n| n.get()).collect();
                Body::ExtentTree { level: envelope.level, lengths }
            }
            KIND_EXTENTS if leaf => {
                let count = cursor.left() / EXTENT_BYTES;
                Body::Extents(read_extents(&mut cursor, count)?)
            }
            _ => return malformed("kind or level of a node"),
        };
        cursor.finish()?;
        let node = Self { children: envelope.children, body };
        node.check()?;
        Ok(node)
    }

    /// Every rule that one node can break, but for the length of its encoding.
    pub fn check(&self) -> Result<(), BadNode> {
        limit(self.children.len() <= NODE_CHILDREN_MAX, "children of a node")?;
        self.children.iter().try_for_each(Child::check)?;
        match &self.body {
            Body::Tree { level, spans } => {
                self.check_inner(*level, spans.len())?;
                self.check_distinct()?;
                check_spans(spans)
            }
            Body::ExtentTree { level, lengths } => {
                self.check_inner(*level, lengths.len())?;
                rule(lengths.iter().all(|length| *length > 0), "length under a child")?;
                sum(lengths.iter().copied()).map(drop)
            }
            Body::Entries(entries) => {
                self.check_distinct()?;
                let mut uses = Uses::new(&self.children);
                entry::check(entries, &mut uses)?;
                uses.finish()
            }
            Body::Extents(extents) => {
                self.check_distinct()?;
                let mut uses = Uses::new(&self.children);
                check_extents(extents, &mut uses)?;
                uses.finish()
            }
        }
    }

    fn check_inner(&self, level: u8, spans: usize) -> Result<(), BadNode> {
        rule(level > 0, "level of an inner node")?;
        limit(level <= NODE_LEVEL_MAX, "level of a node")?;
        rule(spans > 0 && spans == self.children.len(), "spans of an inner node")?;
        rule(self.children.iter().all(|child| child.kind == ChildKind::Node), "children of an inner node")
    }

    fn check_distinct(&self) -> Result<(), BadNode> {
        let mut names: Vec<_> = self.children.iter().map(|child| &child.fingerprint).collect();
        names.sort_unstable();
        rule(names.is_sorted_by(|left, right| left < right), "a child stands twice")
    }
}

/// Which children the body has referred to.
pub(super) struct Uses<'a> {
    children: &'a [Child],
    used: Vec<bool>,
}

impl<'a> Uses<'a> {
    fn new(children: &'a [Child]) -> Self {
        Self { children, used: vec![false; children.len()] }
    }

    /// The child at `ordinal`, if it is of that kind.
    pub(super) fn refer(&mut self, ordinal: u32, kind: ChildKind) -> Result<&'a Child, BadNode> {
        let at = crate::cursor::size(ordinal);
        let child = self.children.get(at).ok_or(BadBytes::Malformed("ordinal of a child"))?;
        rule(child.kind == kind, "kind of a child that is referred to")?;
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
        Ok(child)
    }

    fn finish(&self) -> Result<(), BadNode> {
        rule(self.used.iter().all(|used| *used), "a child is not referred to")
    }
}

/// Rebuilds paths from what they share with the one before, within the bound of a node.
#[derive(Default)]
pub(super) struct Paths {
    last: Vec<u8>,
    total: usize,
}

impl Paths {
    /// What `path` shares with the one before, and the rest of it.
    pub(super) fn split<'p>(&mut self, path: &'p [u8]) -> (u16, &'p [u8]) {
        let shared = path::shared_prefix(&self.last, path).min(usize::from(u16::MAX));
        path.clone_into(&mut self.last);
        (short_length(shared), path.get(shared..).unwrap_or_default())
    }

    /// The path that `split` was given; order and legality are checked elsewhere.
    pub(super) fn join(&mut self, shared: u16, suffix: &[u8]) -> Result<Vec<u8>, BadNode> {
        let kept =
            self.last.get(..usize::from(shared)).ok_or(BadBytes::Malformed("shared part of a path"))?;
        let length = kept.len().saturating_add(suffix.len());
        limit(length <= PATH_BYTES_MAX, "bytes of a path")?;
        self.total = self.total.saturating_add(length);
        limit(self.total <= NODE_PATHS_BYTES_MAX, "bytes of all paths of a node")?;
        let more = self.last.get(usize::from(shared));
        rule(more.is_none() || more != suffix.first(), "shared part of a path is not the longest")?;
        let path = [kept, suffix].concat();
        self.last.clone_from(&path);
        Ok(path)
    }
}

fn write_spans(spans: &[TreeSpan], out: &mut Vec<u8>) {
    let mut paths = Paths::default();
    for span in spans {
        let (shared, suffix) = paths.split(&span.first);
        out.put(&RawSpan {
            entries: U64::new(span.entries),
            bytes: U64::new(span.bytes),
            shared: U16::new(shared),
            suffix: U16::new(short_length(suffix.len())),
            zero: U32::new(0),
        });
        out.extend_from_slice(suffix);
    }
}

fn read_spans(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<TreeSpan>, BadNode> {
    let mut paths = Paths::default();
    let mut spans = Vec::with_capacity(count.min(cursor.left() / size_of::<RawSpan>()));
    for _ in 0..count {
        let raw: &RawSpan = cursor.head()?;
        rule(raw.zero.get() == 0, "reserved bytes of a span")?;
        let suffix = cursor.bytes(usize::from(raw.suffix.get()))?;
        let first = paths.join(raw.shared.get(), suffix)?;
        spans.push(TreeSpan { first, entries: raw.entries.get(), bytes: raw.bytes.get() });
    }
    Ok(spans)
}

fn check_spans(spans: &[TreeSpan]) -> Result<(), BadNode> {
    rule(spans.iter().all(|span| path::is_legal(&span.first)), "path of a span")?;
    rule(
        spans.is_sorted_by(|left, right| path::order(&left.first, &right.first) == Ordering::Less),
        "order of spans",
    )?;
    rule(spans.iter().all(|span| span.entries > 0), "entries of a span")?;
    sum(spans.iter().map(|span| span.entries))?;
    limit(spans.iter().all(|span| span.bytes <= FILE_BYTES_MAX), "bytes under a node")
}

fn sum(lengths: impl Iterator<Item = u64>) -> Result<u64, BadNode> {
    let mut total = 0_u64;
    for length in lengths {
        total = total
            .checked_add(length)
            .filter(|total| *total <= FILE_BYTES_MAX)
            .ok_or(BadBytes::OverLimit("bytes or entries under a node"))?;
    }
    Ok(total)
}

pub(super) fn write_extents(extents: &[Extent], out: &mut Vec<u8>) {
    for extent in extents {
        let (kind, fill, child, low, high) = match *extent {
            Extent::Data { child, offset, length } => (1, 0, child, offset, length),
            Extent::Hole(length) => with_halves(2, 0, 0, length),
            Extent::Fill { byte, length } => with_halves(3, byte, 0, length),
            Extent::Repeat { child, count } => with_halves(4, 0, child, count),
        };
        out.put(&RawExtent {
            kind,
            fill,
            zero: U16::new(0),
            child: U32::new(child),
            low: U32::new(low),
            high: U32::new(high),
        });
    }
}

const fn with_halves(kind: u8, fill: u8, child: u32, number: u64) -> (u8, u8, u32, u32, u32) {
    let [low @ .., h4, h5, h6, h7] = number.to_le_bytes();
    (kind, fill, child, u32::from_le_bytes(low), u32::from_le_bytes([h4, h5, h6, h7]))
}

pub(super) fn read_extents(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Extent>, BadNode> {
    cursor.list::<RawExtent>(count)?.iter().map(RawExtent::verify).collect()
}

impl RawExtent {
    fn verify(&self) -> Result<Extent, BadNode> {
        rule(self.zero.get() == 0, "reserved bytes of an extent")?;
        rule(self.kind == 3 || self.fill == 0, "reserved bytes of an extent")?;
        rule(matches!(self.kind, 1 | 4) || self.child.get() == 0, "reserved bytes of an extent")?;
        let (child, low, high) = (self.child.get(), self.low.get(), self.high.get());
        let number = u64::from(high) << 32 | u64::from(low);
        match self.kind {
            1 => Ok(Extent::Data { child, offset: low, length: high }),
            2 => Ok(Extent::Hole(number)),
            3 => Ok(Extent::Fill { byte: self.fill, length: number }),
            4 => Ok(Extent::Repeat { child, count: number }),
            _ => malformed("kind of an extent"),
        }
    }
}

/// Logical bytes of the extents, each of which keeps its rules.
pub(super) fn check_extents(extents: &[Extent], uses: &mut Uses<'_>) -> Result<u64, BadNode> {
    let mut total = 0_u64;
    for extent in extents {
        let length = match *extent {
            Extent::Data { child, offset, length } => {
                let child = uses.refer(child, ChildKind::Segment)?;
                let end = offset.checked_add(length).ok_or(BadBytes::Malformed("end of an extent"))?;
                rule(end <= child.length, "an extent ends after its segment")?;
                u64::from(length)
            }
            Extent::Hole(length) | Extent::Fill { length, .. } => length,
            Extent::Repeat { child, count } => {
                let child = uses.refer(child, ChildKind::Segment)?;
                rule(count >= 2, "count of a repeat")?;
                count.checked_mul(u64::from(child.length)).ok_or(BadBytes::OverLimit("bytes of a file"))?
            }
        };
        rule(length > 0, "an empty extent")?;
        total = sum([total, length].into_iter())?;
    }
    Ok(total)
}
