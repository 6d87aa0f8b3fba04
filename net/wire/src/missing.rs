//! Offer, nodes, reopen, answer, settle: finding out what is missing.
//!
#![doc = include_str!("missing.md")]

use crate::bad::{limit, rule};
use crate::limits::{NODES_MAX, OFFER_CHILDREN_MAX, PRESENCES_MAX};
use crate::{BadMessage, Proof};
use narrows_format::Fingerprint;
use narrows_format::cursor::{Cursor, Put, length, short_length};
use narrows_format::limits::{FRAME_BYTES_MAX, NODE_CHILDREN_MAX};
use narrows_format::node::Child;

/// What a target says of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Send it.
    Lack,
    /// Closed, and leased for this session: nothing below is asked.
    Have,
    /// Staged for this very image in an earlier session; its own children may be missing.
    Mine,
    /// Another session is bringing it; a [`Settle`] follows.
    Pending,
}

/// The source asks for children without sending a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names the answer.
    pub ordinal: u32,
    /// What is asked for.
    pub children: Vec<Child>,
    /// Possession of them.
    pub proof: Proof,
}

/// The source sends nodes, and so asks for their children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes<'a> {
    /// Ordinal of the frame's first node; the others follow.
    pub first_ordinal: u32,
    /// One per node of the frame.
    pub proofs: Vec<Proof>,
    /// The frame as stored; verify with `narrows_format::frame::parse`.
    pub frame: &'a [u8],
}

/// "You said *mine*: treat this node as just received."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen {
    /// Names the answer.
    pub ordinal: u32,
    /// Which node.
    pub fingerprint: Fingerprint,
    /// Possession of its children.
    pub proof: Proof,
}

/// The target answers for the children of one node or offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which node or offer.
    pub ordinal: u32,
    /// One per child, in order.
    pub presences: Vec<Presence>,
}

/// A pending child is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Which node or offer.
    pub ordinal: u32,
    /// Which of its children.
    pub child: u32,
    /// Lack or have.
    pub presence: Presence,
}

impl Presence {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Lack => 0,
            Self::Have => 1,
            Self::Mine => 2,
            Self::Pending => 3,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Result<Self, BadMessage> {
        match number {
            0 => Ok(Self::Lack),
            1 => Ok(Self::Have),
            2 => Ok(Self::Mine),
            3 => Ok(Self::Pending),
            _ => Err(BadMessage::Malformed("a presence")),
        }
    }
}

impl Offer {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.ordinal);
        out.put_u32(length(self.children.len()));
        for child in &self.children {
            child.encode(out);
        }
        self.proof.write(out);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let ordinal = cursor.u32()?;
        let count = narrows_format::cursor::size(cursor.u32()?);
        limit(count <= OFFER_CHILDREN_MAX, "children of an offer")?;
        let children = Child::decode_list(cursor, count)?;
        let proof = Proof::read(cursor, count)?;
        rule(proof.classes.is_empty() || proof.classes.len() == count, "proof of an offer")?;
        Ok(Self { ordinal, children, proof })
    }
}

impl<'a> Nodes<'a> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.first_ordinal);
        out.put_u16(short_length(self.proofs.len()));
        out.put_u16(0);
        for proof in &self.proofs {
            proof.write(out);
        }
        out.extend_from_slice(self.frame);
    }

    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Self, BadMessage> {
        let first_ordinal = cursor.u32()?;
        let count = usize::from(cursor.u16()?);
        rule(cursor.u16()? == 0, "reserved bytes of nodes")?;
        rule(count > 0, "nodes without a node")?;
        limit(count <= NODES_MAX, "nodes of a message")?;
        let last = u32::try_from(count).ok().and_then(|count| first_ordinal.checked_add(count));
        rule(last.is_some(), "ordinals of nodes")?;
        // A proof takes two bytes at least, so what is reserved is bounded by what has come.
        let mut proofs = Vec::with_capacity(count.min(cursor.left() / 2));
        // Nodes of one frame have no more children together than one node of its size could have.
        let mut children_left = NODE_CHILDREN_MAX;
        for _ in 0..count {
            let proof = Proof::read(cursor, children_left)?;
            children_left = children_left.saturating_sub(proof.classes.len());
            proofs.push(proof);
        }
        Ok(Self { first_ordinal, proofs, frame: read_frame(cursor)? })
    }
}

/// The rest of a message is a frame, not yet verified.
pub(crate) fn read_frame<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], BadMessage> {
    limit(cursor.left() <= FRAME_BYTES_MAX, "bytes of a frame")?;
    rule(cursor.left() > 0, "a message without its frame")?;
    Ok(cursor.bytes(cursor.left())?)
}

impl Reopen {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.ordinal);
        out.put(&self.fingerprint.0);
        self.proof.write(out);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let ordinal = cursor.u32()?;
        let fingerprint = Fingerprint(cursor.array()?);
        Ok(Self { ordinal, fingerprint, proof: Proof::read(cursor, NODE_CHILDREN_MAX)? })
    }
}

impl Answer {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.ordinal);
        out.put_u32(length(self.presences.len()));
        for four in self.presences.chunks(4) {
            out.put(&four.iter().rev().fold(0, |byte, presence| byte << 2 | presence.number()));
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let ordinal = cursor.u32()?;
        let count = narrows_format::cursor::size(cursor.u32()?);
        limit(count <= PRESENCES_MAX, "presences of an answer")?;
        let packed = cursor.bytes(count.div_ceil(4))?;
        let mut numbers = packed.iter().flat_map(|byte| (0..4).map(move |at| byte >> (2 * at) & 3));
        let presences = numbers.by_ref().take(count).map(Presence::from_number).collect::<Result<_, _>>()?;
        rule(numbers.all(|number| number == 0), "reserved bits of an answer")?;
        Ok(Self { ordinal, presences })
    }
}

impl Settle {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.ordinal);
        out.put_u32(self.child);
        out.put(&[self.presence.number(), 0, 0, 0]);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let (ordinal, child) = (cursor.u32()?, cursor.u32()?);
        let [presence, zeros @ ..] = cursor.array::<4>()?;
        rule(zeros == [0; 3], "reserved bytes of settle")?;
        let presence = Presence::from_number(presence)?;
        rule(matches!(presence, Presence::Lack | Presence::Have), "a settled child is lacking or there")?;
        Ok(Self { ordinal, child, presence })
    }
}
