//! The part of a node that every version can read: its kind and its children.
//!
#![doc = include_str!("envelope.md")]

use super::{BadNode, Child, ChildKind};
use crate::Fingerprint;
use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, U24, length, size};
use crate::limits::{NODE_BYTES_MAX, NODE_CHILDREN_MAX, SEGMENT_BYTES_MAX};
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of every node.
pub const MAGIC: [u8; 4] = *b"NRWN";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    level: u8,
    zero: u8,
    child_count: U32,
    body_length: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawChild {
    fingerprint: [u8; 32],
    length: U24,
    kind: u8,
}

const _: () = assert!(size_of::<RawHead>() == 16 && size_of::<RawChild>() == 36);

/// Encoded bytes of the head of an envelope.
pub const HEAD_BYTES: usize = size_of::<RawHead>();

/// Encoded bytes of each child.
pub const CHILD_BYTES: usize = size_of::<RawChild>();

/// An envelope whose lengths and children hold; the body is untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Version of the body.
    pub version: u8,
    /// Kind of the body.
    pub kind: u8,
    /// Height above the leaves.
    pub level: u8,
    /// All children.
    pub children: Vec<Child>,
    /// The body, not verified.
    pub body: &'a [u8],
}

/// Reads a node's envelope, whatever the version of its body.
pub fn read(bytes: &[u8]) -> Result<Envelope<'_>, BadNode> {
    limit(bytes.len() <= NODE_BYTES_MAX, "bytes of a node")?;
    let mut cursor = Cursor::new(bytes);
    let head: &RawHead = cursor.head()?;
    rule(head.magic == MAGIC, "magic of a node")?;
    rule(head.version > 0, "version of a node")?;
    rule(head.version > super::VERSION || head.zero == 0, "reserved byte of a node")?;
    let count = size(head.child_count.get());
    limit(count <= NODE_CHILDREN_MAX, "children of a node")?;
    let children = cursor.list::<RawChild>(count)?.iter().map(RawChild::verify).collect::<Result<_, _>>()?;
    let body = cursor.bytes(size(head.body_length.get()))?;
    cursor.finish()?;
    Ok(Envelope { version: head.version, kind: head.kind, level: head.level, children, body })
}

/// A node's children, whatever the version of its body.
pub fn children(bytes: &[u8]) -> Result<Vec<Child>, BadNode> {
    read(bytes).map(|envelope| envelope.children)
}

/// Writes head and children; the caller appends the body.
pub(crate) fn write(kind: u8, level: u8, children: &[Child], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + children.len() * CHILD_BYTES + body.len());
    out.put(&RawHead {
        magic: MAGIC,
        version: super::VERSION,
        kind,
        level,
        zero: 0,
        child_count: U32::new(length(children.len())),
        body_length: U32::new(length(body.len())),
    });
    for child in children {
        out.put(&RawChild::from(child));
    }
    out.extend_from_slice(body);
    out
}

impl From<&Child> for RawChild {
    fn from(child: &Child) -> Self {
        let kind = match child.kind {
            ChildKind::Segment => 1,
            ChildKind::Node => 2,
        };
        Self { fingerprint: child.fingerprint.0, length: U24::new(child.length), kind }
    }
}

impl RawChild {
    fn verify(&self) -> Result<Child, BadNode> {
        let kind = match self.kind {
            1 => ChildKind::Segment,
            2 => ChildKind::Node,
            _ => return malformed("kind of a child"),
        };
        let child = Child { fingerprint: Fingerprint(self.fingerprint), kind, length: self.length.get() };
        child.check()?;
        Ok(child)
    }
}

impl Child {
    /// Encoded bytes of a child, wherever it stands.
    pub const BYTES: usize = CHILD_BYTES;

    /// Appends the 36 bytes that stand for this child in envelopes and messages.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(&RawChild::from(self));
    }

    /// Takes one child off the front.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, BadNode> {
        cursor.head::<RawChild>()?.verify()
    }

    /// Takes `count` children off the front; nothing is allocated unless all of them are there.
    pub fn decode_list(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Self>, BadNode> {
        cursor.list::<RawChild>(count)?.iter().map(RawChild::verify).collect()
    }

    /// Whether the length fits the kind.
    pub fn check(&self) -> Result<(), BadNode> {
        match self.kind {
            ChildKind::Segment => {
                rule(self.length > 0, "length of a segment")?;
                limit(self.length <= SEGMENT_BYTES_MAX, "length of a segment")
            }
            ChildKind::Node => {
                rule(size(self.length) >= HEAD_BYTES, "length of a node")?;
                limit(size(self.length) <= NODE_BYTES_MAX, "length of a node")
            }
        }
    }
}
