//! The list of one entry's extended attributes, in a leaf or in segments of its own.
//!
#![doc = include_str!("xattrs.md")]

use crate::BadBytes;
use crate::bad::{limit, rule};
use crate::cursor::{Cursor, Put, length, short_length, size};
use crate::limits::{XATTR_NAME_BYTES_MAX, XATTRS_BYTES_MAX, XATTRS_MAX};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Name and value of each attribute, sorted by name.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ItemHead {
    name: U16,
    zero: U16,
    value: U32,
}

const _: () = assert!(size_of::<ItemHead>() == 8);

/// Encodes a list that is sorted by name.
pub fn encode(list: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_length(list));
    for (name, value) in list {
        out.put(&ItemHead {
            name: U16::new(short_length(name.len())),
            zero: U16::new(0),
            value: U32::new(length(value.len())),
        });
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

/// Bytes that [`encode`] will give.
pub fn encoded_length(list: &[(Vec<u8>, Vec<u8>)]) -> usize {
    list.iter().map(|(name, value)| size_of::<ItemHead>() + name.len() + value.len()).sum()
}

/// Decodes and verifies a list.
pub fn decode(bytes: &[u8]) -> Result<Attributes, BadBytes> {
    limit(bytes.len() <= XATTRS_BYTES_MAX, "bytes of extended attributes")?;
    let mut cursor = Cursor::new(bytes);
    let mut list = Vec::new();
    while cursor.left() > 0 {
        limit(list.len() < XATTRS_MAX, "number of extended attributes")?;
        let head: &ItemHead = cursor.head()?;
        rule(head.zero.get() == 0, "reserved bytes of an extended attribute")?;
        let name = cursor.bytes(usize::from(head.name.get()))?.to_vec();
        let value = cursor.bytes(size(head.value.get()))?.to_vec();
        list.push((name, value));
    }
    check(&list)?;
    Ok(list)
}

/// The rules that hold for every list.
pub(crate) fn check(list: &[(Vec<u8>, Vec<u8>)]) -> Result<(), BadBytes> {
    for (name, _) in list {
        rule(!name.is_empty() && !name.contains(&0), "name of an extended attribute")?;
        limit(name.len() <= XATTR_NAME_BYTES_MAX, "name of an extended attribute")?;
    }
    rule(list.is_sorted_by(|(left, _), (right, _)| left < right), "order of extended attributes")
}
