//! What can be wrong with bytes that came from outside.
//!
//! One enum for all codecs of this crate, because all callers do the same few things with it: read
//! more, report damage, or say that a newer version is needed.

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBytes {
    /// They end too early. `need` is the total length known to be needed, counted from the first byte
    /// of the structure; with that many more may turn out to be needed.
    #[error("ends early: at least {need} bytes are needed")]
    Short {
        /// Total bytes known to be needed.
        need: usize,
    },
    /// Nothing was ever written here: the place holds zeros where a magic number belongs.
    #[error("nothing was written here")]
    Empty,
    /// A checksum does not match: damage, or a torn write.
    #[error("checksum of the {0} does not match")]
    Checksum(&'static str),
    /// A rule of the format is broken.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A named limit is exceeded; nothing was allocated for it.
    #[error("over the limit: {0}")]
    OverLimit(&'static str),
    /// Written by a newer version, or with a feature that must be understood and is not.
    #[error("{what} version or feature {found:#x} is not supported")]
    Unsupported {
        /// Which structure.
        what: &'static str,
        /// The version or the feature bits found.
        found: u32,
    },
}

/// Shorthand for the most frequent refusal.
pub(crate) const fn malformed<T>(rule: &'static str) -> Result<T, BadBytes> {
    Err(BadBytes::Malformed(rule))
}

/// `Ok` if the rule holds.
pub(crate) const fn rule(holds: bool, rule: &'static str) -> Result<(), BadBytes> {
    if holds { Ok(()) } else { Err(BadBytes::Malformed(rule)) }
}

/// `Ok` if the limit is kept.
pub(crate) const fn limit(kept: bool, limit: &'static str) -> Result<(), BadBytes> {
    if kept { Ok(()) } else { Err(BadBytes::OverLimit(limit)) }
}
