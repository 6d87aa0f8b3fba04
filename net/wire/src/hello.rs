//! Hello: who speaks, which versions, and what for.
//!
#![doc = include_str!("hello.md")]

use crate::BadMessage;
use crate::bad::limit;
use crate::limits::WANTED_MAX;
use narrows_format::cursor::{Cursor, Put, short_length};
use narrows_format::{DomainId, Fingerprint, PoolId, Timestamp};

/// The oldest protocol version that this code speaks.
pub const VERSION_MIN: u16 = 1;

/// The newest protocol version that this code speaks.
pub const VERSION_MAX: u16 = 1;

/// Mandatory features that this code understands.
pub const MANDATORY_KNOWN: u64 = 0;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A client brings an image of its own.
    Backup,
    /// A pool brings an image to another pool.
    Replicate,
    /// The side that dialled takes an image.
    Restore,
}

/// The first message, from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest version spoken.
    pub version_min: u16,
    /// Newest version spoken.
    pub version_max: u16,
    /// Features that the peer must understand.
    pub mandatory: u64,
    /// Features that the peer may use.
    pub optional: u64,
    /// Frame codecs that can be read: bit `1 << number`.
    pub codecs: u32,
    /// The speaker's domain.
    pub domain: DomainId,
    /// The speaker's pool; zero for a client.
    pub pool: PoolId,
    /// Incarnation of that pool.
    pub incarnation: u64,
    /// The speaker's clock.
    pub clock: Timestamp,
    /// Bytes that the peer may send before the first credit.
    pub window: u32,
    /// What the session is for; the target repeats it.
    pub purpose: Purpose,
    /// What the API gave out for this session, or zero.
    pub ticket: [u8; 32],
    /// Quarantined segments that the speaker would like to get.
    pub wanted: Vec<Fingerprint>,
}

impl Hello {
    /// The version that both speak, or both ranges in words.
    pub fn agree(&self, peer: &Self) -> Result<u16, NoCommonVersion> {
        let newest = self.version_max.min(peer.version_max);
        if newest >= self.version_min && newest >= peer.version_min {
            Ok(newest)
        } else {
            Err(NoCommonVersion {
                ours: (self.version_min, self.version_max),
                theirs: (peer.version_min, peer.version_max),
            })
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u16(self.version_min);
        out.put_u16(self.version_max);
        out.put_u32(self.codecs);
        out.put_u64(self.mandatory);
        out.put_u64(self.optional);
        out.put(&self.domain.0);
        out.put(&self.pool.0);
        out.put_u64(self.incarnation);
        self.clock.encode(out);
        out.put_u32(self.window);
        out.put(&[self.purpose.number(), 0]);
        out.put_u16(short_length(self.wanted.len()));
        out.put(&self.ticket);
        for fingerprint in &self.wanted {
            out.put(&fingerprint.0);
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let (version_min, version_max) = (cursor.u16()?, cursor.u16()?);
        let codecs = cursor.u32()?;
        let (mandatory, optional) = (cursor.u64()?, cursor.u64()?);
        let (domain, pool) = (DomainId(cursor.array()?), PoolId(cursor.array()?));
        let incarnation = cursor.u64()?;
        let clock = Timestamp::decode(cursor)?;
        let window = cursor.u32()?;
        // The byte behind the purpose is free for later versions.
        let [purpose, _] = cursor.array()?;
        let purpose = Purpose::from_number(purpose)?;
        let count = usize::from(cursor.u16()?);
        limit(count <= WANTED_MAX, "wanted fingerprints")?;
        let ticket = cursor.array()?;
        let wanted = cursor.list::<[u8; 32]>(count)?.iter().map(|bytes| Fingerprint(*bytes)).collect();
        Ok(Self {
            version_min,
            version_max,
            mandatory,
            optional,
            codecs,
            domain,
            pool,
            incarnation,
            clock,
            window,
            purpose,
            ticket,
            wanted,
        })
    }
}

impl Purpose {
    const fn number(self) -> u8 {
        match self {
            Self::Backup => 1,
            Self::Replicate => 2,
            Self::Restore => 3,
        }
    }

    fn from_number(number: u8) -> Result<Self, BadMessage> {
        match number {
            1 => Ok(Self::Backup),
            2 => Ok(Self::Replicate),
            3 => Ok(Self::Restore),
            _ => Err(BadMessage::Unsupported { what: "purpose of a session", found: u32::from(number) }),
        }
    }
}

/// No version is spoken by both (WIRE-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no common version: we speak {}..={}, the peer {}..={}", ours.0, ours.1, theirs.0, theirs.1)]
pub struct NoCommonVersion {
    /// Our oldest and newest.
    pub ours: (u16, u16),
    /// The peer's oldest and newest.
    pub theirs: (u16, u16),
}
