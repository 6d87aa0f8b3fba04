//! Identities and small quantities: what crosses a border has a type of its own.

use std::fmt;

/// The first 32 bytes of a BLAKE3 output: names a segment, a recipe node or an image record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Bytes 32..48 of the same BLAKE3 output: shows possession of the plaintext. Never sent to anybody
/// who has not shown it first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    /// Full fingerprints are never logged: four bytes are enough to recognise one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "..")
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tag")
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (at, byte) in self.0.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        write!(f, "-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadUuid;
            fn from_str(text: &str) -> Result<Self, BadUuid> {
                parse_uuid(text).map(Self).ok_or(BadUuid)
            }
        }
    };
}

/// The text is not 32 hexadecimal digits with optional dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID: 32 hexadecimal digits, dashes allowed")]
pub struct BadUuid;

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut digits = text.chars().filter(|c| *c != '-');
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let high = digits.next()?.to_digit(16)?;
        let low = digits.next()?.to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

uuid_type! {
    /// One backup image, whatever the number of its copies. With the origin domain it is the wire identity.
    ImageId
}
uuid_type! {
    /// One domain: a primary server with its own CA.
    DomainId
}
uuid_type! {
    /// One deduplication pool.
    PoolId
}
uuid_type! {
    /// One client: a machine whose data is protected.
    ClientId
}
uuid_type! {
    /// One media server of a domain.
    ServerId
}

/// One container of a pool, never re-used; 1.. below 2^40.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub u64);

/// Ordinal of a segment in its container's table; below 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Where a segment lies: container (40 bits) and slot (24 bits) in eight bytes. Zero means unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(u64);

impl Location {
    /// No hint: ask the index.
    pub const UNKNOWN: Self = Self(0);

    /// `None` when either part is out of range.
    pub fn new(container: ContainerId, slot: Slot) -> Option<Self> {
        let fits = container.0 > 0 && container.0 < 1 << 40 && slot.0 < 1 << 24;
        fits.then(|| Self(container.0 << 24 | u64::from(slot.0)))
    }

    /// The raw eight bytes as a number, for codecs.
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// From a codec: any number is a location, possibly a wrong hint.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The container part; `ContainerId(0)` for [`Location::UNKNOWN`].
    pub const fn container(self) -> ContainerId {
        ContainerId(self.0 >> 24)
    }

    /// The slot part.
    pub fn slot(self) -> Slot {
        Slot(u32::try_from(self.0 & 0xff_ffff).unwrap_or(0))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} slot {}", self.container().0, self.slot().0)
    }
}

/// Position of a record in a pool's image log; rises by one with each record, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// A point in UTC: seconds since 1970 (may be negative) and nanoseconds below 10^9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: u32,
}
