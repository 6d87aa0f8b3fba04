//! Begin, begun and pull: which image, upon which base.
//!
#![doc = include_str!("begin.md")]

use crate::bad::rule;
use crate::{BadMessage, Presence, TagPrefix};
use narrows_format::cursor::{Cursor, Put};
use narrows_format::node::{Child, ChildKind};
use narrows_format::{DomainId, Fingerprint, ImageId};

const HAS_BASE: u8 = 1;
const HAS_ROOT: u8 = 1 << 1;
const RESUMES: u8 = 1 << 2;

/// What the sender's image builds upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The last image of the lineage that the target has acknowledged.
    pub image: ImageId,
    /// Its root, so that both mean the same content.
    pub root: Fingerprint,
}

/// The source names an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Which image.
    pub image: ImageId,
    /// The domain that made it.
    pub origin: DomainId,
    /// Hash of (origin domain, client, policy or SLP, sorted source paths).
    pub lineage: [u8; 32],
    /// What both sides may take for granted.
    pub base: Option<Base>,
    /// The root with its proof, if the source knows it already.
    pub root: Option<(Child, TagPrefix)>,
    /// The image was begun before, in a session that broke.
    pub resume: bool,
}

/// The target's answer to [`Begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The base is here, whole and leased.
    pub base_accepted: bool,
    /// About the root, if one was named.
    pub root: Option<Presence>,
    /// Bytes durably staged for this image earlier.
    pub staged_bytes: u64,
}

/// The side that dialled asks for an image, and becomes the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Which image.
    pub image: ImageId,
    /// The domain that made it.
    pub origin: DomainId,
}

impl Begin {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put(&self.image.0);
        out.put(&self.origin.0);
        out.put(&self.lineage);
        let flags = bit(self.base.is_some(), HAS_BASE)
            | bit(self.root.is_some(), HAS_ROOT)
            | bit(self.resume, RESUMES);
        out.put(&[flags, 0, 0, 0]);
        if let Some(base) = &self.base {
            out.put(&base.image.0);
            out.put(&base.root.0);
        }
        if let Some((child, proof)) = &self.root {
            child.encode(out);
            out.put(&proof.0);
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let (image, origin) = (ImageId(cursor.array()?), DomainId(cursor.array()?));
        let lineage = cursor.array()?;
        let [flags, zeros @ ..] = cursor.array::<4>()?;
        let known = HAS_BASE | HAS_ROOT | RESUMES;
        rule(zeros == [0; 3] && flags & !known == 0, "reserved bytes of begin")?;
        let base = if flags & HAS_BASE == 0 {
            None
        } else {
            Some(Base { image: ImageId(cursor.array()?), root: Fingerprint(cursor.array()?) })
        };
        let root = if flags & HAS_ROOT == 0 {
            None
        } else {
            let child = Child::decode(cursor)?;
            rule(child.kind == ChildKind::Node, "a root that is no node")?;
            Some((child, TagPrefix(cursor.array()?)))
        };
        Ok(Self { image, origin, lineage, base, root, resume: flags & RESUMES != 0 })
    }
}

impl Begun {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let root = self.root.map_or(NO_ROOT, Presence::number);
        out.put(&[u8::from(self.base_accepted), root, 0, 0]);
        out.put_u32(0);
        out.put_u64(self.staged_bytes);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let [base, root, zeros @ ..] = cursor.array::<8>()?;
        rule(zeros == [0; 6] && base <= 1, "reserved bytes of begun")?;
        let root = if root == NO_ROOT { None } else { Some(Presence::from_number(root)?) };
        Ok(Self { base_accepted: base == 1, root, staged_bytes: cursor.u64()? })
    }
}

const NO_ROOT: u8 = 0xff;

impl Pull {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.image.0);
        out.put(&self.origin.0);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        Ok(Self { image: ImageId(cursor.array()?), origin: DomainId(cursor.array()?) })
    }
}
