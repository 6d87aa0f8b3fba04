//! Reads structures off the front of a byte slice, and writes numbers behind each other.
//!
//! Guarantees: never panics, never allocates; a count is checked against what is left before anything
//! is taken. It verifies lengths only; what the values mean is the business of the codec that asks.

use crate::BadBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Three bytes, little-endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct U24([u8; 3]);

impl U24 {
    /// The largest number that fits.
    pub const MAX: u32 = 0xff_ffff;

    /// The low three bytes of `value`; callers keep `value` within [`U24::MAX`].
    pub const fn new(value: u32) -> Self {
        let [a, b, c, _] = value.to_le_bytes();
        Self([a, b, c])
    }

    /// As a number.
    pub const fn get(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the front.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, taken: 0 }
    }

    /// Bytes left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Bytes read so far.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// All that is left, without taking it.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], BadBytes> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.short(count))?;
        self.advance(rest, count);
        Ok(head)
    }

    /// The next bytes as a fixed layout.
    pub fn head<T: FromBytes + Immutable + KnownLayout + Unaligned>(&mut self) -> Result<&'a T, BadBytes> {
        let count = size_of::<T>();
        let bytes = self.bytes(count)?;
        T::ref_from_bytes(bytes).map_err(|_| self.short(count))
    }

    /// The next bytes as `count` fixed layouts in a row.
    pub fn list<T: FromBytes + Immutable + KnownLayout + Unaligned>(
        &mut self,
        count: usize,
    ) -> Result<&'a [T], BadBytes> {
        let total = count.checked_mul(size_of::<T>()).ok_or_else(|| self.short(usize::MAX))?;
        let bytes = self.bytes(total)?;
        <[T]>::ref_from_bytes_with_elems(bytes, count).map_err(|_| self.short(total))
    }

    /// The next `N` bytes, copied.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BadBytes> {
        self.head::<[u8; N]>().copied()
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, BadBytes> {
        self.head::<u8>().copied()
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, BadBytes> {
        self.head::<U16>().map(|n| n.get())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, BadBytes> {
        self.head::<U32>().map(|n| n.get())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, BadBytes> {
        self.head::<U64>().map(|n| n.get())
    }

    /// Two bytes of length, then as many bytes of UTF-8 without control characters, at most `limit`.
    pub fn text(&mut self, limit: usize) -> Result<&'a str, BadBytes> {
        let length = usize::from(self.u16()?);
        crate::bad::limit(length <= limit, "length of a name")?;
        let text = std::str::from_utf8(self.bytes(length)?)
            .map_err(|_| BadBytes::Malformed("a name is not UTF-8"))?;
        crate::bad::rule(!text.chars().any(char::is_control), "a name holds control characters")?;
        Ok(text)
    }

    /// Refuses bytes that nobody asked for.
    pub fn finish(&self) -> Result<(), BadBytes> {
        crate::bad::rule(self.rest.is_empty(), "bytes after the end")
    }

    fn advance(&mut self, rest: &'a [u8], count: usize) {
        self.rest = rest;
        self.taken = self.taken.saturating_add(count);
    }

    const fn short(&self, more: usize) -> BadBytes {
        BadBytes::Short { need: self.taken.saturating_add(more) }
    }
}

/// Appends fixed layouts and numbers to a buffer.
pub trait Put {
    /// A fixed layout.
    fn put<T: IntoBytes + Immutable>(&mut self, value: &T);
    /// Two bytes of length and the text, cut at `limit` bytes at most (callers keep to it).
    fn put_text(&mut self, text: &str, limit: usize);
    /// Two bytes.
    fn put_u16(&mut self, value: u16) {
        self.put(&U16::new(value));
    }
    /// Four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&U32::new(value));
    }
    /// Eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&U64::new(value));
    }
}

impl Put for Vec<u8> {
    fn put<T: IntoBytes + Immutable>(&mut self, value: &T) {
        self.extend_from_slice(value.as_bytes());
    }

    fn put_text(&mut self, text: &str, limit: usize) {
        let text = cut(text, limit.min(usize::from(u16::MAX)));
        self.put_u16(short_length(text.len()));
        self.extend_from_slice(text.as_bytes());
    }
}

/// The longest prefix of at most `limit` bytes that ends between characters.
pub fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

/// A length as stored in four bytes. What does not fit saturates and is refused when decoded; all
/// limits are far below.
pub fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A length as stored in two bytes; saturates like [`length`].
pub fn short_length(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// A stored length as a size in memory; saturates where addresses are narrower.
pub fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// crc32c over several pieces as if they were one.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u32 {
    pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece))
}
