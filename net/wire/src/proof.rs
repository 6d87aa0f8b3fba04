//! Proofs: that the source has what it refers to.
//!
#![doc = include_str!("proof.md")]

use crate::BadMessage;
use crate::bad::{limit, rule};
use narrows_format::Tag;
use narrows_format::cursor::{Cursor, Put, short_length};

/// The first eight bytes of a possession tag: what crosses for a fresh child.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagPrefix(pub [u8; 8]);

impl From<Tag> for TagPrefix {
    fn from(tag: Tag) -> Self {
        Self(tag.0.first_chunk().copied().unwrap_or_default())
    }
}

impl std::fmt::Debug for TagPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tag")
    }
}

/// How a child of a node is vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The source knows it to be under the base; it goes into the combined tag.
    Known,
    /// New against the base: its own tag is shown.
    Fresh(TagPrefix),
}

/// Possession shown for the children of one node, or of one offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// One per child, in order; empty if nothing is shown, and then all children count as lacking.
    pub classes: Vec<Class>,
    /// [`combine`] of the tags of all known children; zero if there are none.
    pub combined: [u8; 16],
}

/// The combined tag of known children, in the order of the node.
pub fn combine(tags: impl IntoIterator<Item = Tag>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for Tag(tag) in tags {
        hasher.update(&tag);
    }
    let mut combined = [0; 16];
    hasher.finalize_xof().fill(&mut combined);
    combined
}

impl Proof {
    /// Nothing shown.
    pub const NONE: Self = Self { classes: Vec::new(), combined: [0; 16] };

    /// The proof for children given as (is under the base, tag).
    pub fn of(children: impl IntoIterator<Item = (bool, Tag)>) -> Self {
        let mut known = Vec::new();
        let classes = children
            .into_iter()
            .map(|(under_base, tag)| {
                if under_base {
                    known.push(tag);
                    Class::Known
                } else {
                    Class::Fresh(tag.into())
                }
            })
            .collect();
        let combined = if known.is_empty() { [0; 16] } else { combine(known) };
        Self { classes, combined }
    }

    fn has_known(&self) -> bool {
        self.classes.contains(&Class::Known)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u16(short_length(self.classes.len()));
        for eight in self.classes.chunks(8) {
            let byte = eight.iter().rev().fold(0, |byte, class| byte << 1 | u8::from(*class == Class::Known));
            out.put(&byte);
        }
        if self.has_known() {
            out.put(&self.combined);
        }
        for class in &self.classes {
            if let Class::Fresh(prefix) = class {
                out.put(&prefix.0);
            }
        }
    }

    /// A child may take one bit only, so callers say how many there can be at most.
    pub(crate) fn read(cursor: &mut Cursor<'_>, children_max: usize) -> Result<Self, BadMessage> {
        let count = usize::from(cursor.u16()?);
        limit(count <= children_max, "children of a proof")?;
        let bitmap = cursor.bytes(count.div_ceil(8))?;
        let known: Vec<bool> =
            bitmap.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1)).collect();
        rule(!known.iter().skip(count).any(|known| *known), "reserved bits of a proof")?;
        let any = known.iter().any(|known| *known);
        let combined = if any { cursor.array()? } else { [0; 16] };
        let mut classes = Vec::with_capacity(count);
        for known in known.into_iter().take(count) {
            classes.push(if known { Class::Known } else { Class::Fresh(TagPrefix(cursor.array()?)) });
        }
        Ok(Self { classes, combined })
    }
}
