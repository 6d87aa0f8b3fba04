//! What can be wrong with a message, and the code that the peer is told.

use narrows_format::BadBytes;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// It ends too early: at least `need` bytes are needed.
    #[error("ends early: at least {need} bytes are needed")]
    Short {
        /// Total bytes known to be needed.
        need: usize,
    },
    /// A rule is broken.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A named limit is exceeded; nothing was allocated for it.
    #[error("over the limit: {0}")]
    OverLimit(&'static str),
    /// Something that must be understood and is not.
    #[error("{what} {found:#x} is not supported")]
    Unsupported {
        /// Which thing.
        what: &'static str,
        /// What was found.
        found: u32,
    },
}

impl BadMessage {
    /// The stable code for the peer.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Short { .. } | Self::Malformed(_) => "WIRE-002",
            Self::OverLimit(_) => "WIRE-003",
            Self::Unsupported { .. } => "WIRE-001",
        }
    }
}

impl From<BadBytes> for BadMessage {
    fn from(bad: BadBytes) -> Self {
        match bad {
            BadBytes::Short { need } => Self::Short { need },
            BadBytes::Empty => Self::Malformed("empty"),
            BadBytes::Checksum(what) | BadBytes::Malformed(what) => Self::Malformed(what),
            BadBytes::OverLimit(what) => Self::OverLimit(what),
            BadBytes::Unsupported { what, found } => Self::Unsupported { what, found },
        }
    }
}

/// `Ok` if the rule holds.
pub(crate) const fn rule(holds: bool, rule: &'static str) -> Result<(), BadMessage> {
    if holds { Ok(()) } else { Err(BadMessage::Malformed(rule)) }
}

/// `Ok` if the limit is kept.
pub(crate) const fn limit(kept: bool, limit: &'static str) -> Result<(), BadMessage> {
    if kept { Ok(()) } else { Err(BadMessage::OverLimit(limit)) }
}
