//! Frames: segments or nodes compressed together, the unit of storage and of the wire.
//!
#![doc = include_str!("frame.md")]

use crate::BadBytes;
use crate::bad::{limit, malformed, rule};
use crate::cursor::{Cursor, Put, U24, checksum, length, size};
use crate::limits::{FRAME_BYTES_MAX, FRAME_PLAIN_BYTES_MAX, FRAME_SEGMENTS_MAX};
use std::cell::RefCell;
use std::ops::Range;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why bytes are no frame.
pub use crate::BadBytes as BadFrame;

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"NRWF";

/// Bytes of the fixed part of a frame.
pub const HEAD_BYTES: usize = size_of::<RawHead>();

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 4],
    kind: u8,
    codec: u8,
    key: U16,
    plain_length: U32,
    stored_length: U32,
    segments: U32,
    crc: U32,
}

const _: () = assert!(size_of::<RawHead>() == 24);

/// What the segments of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Data segments.
    Data,
    /// Encoded recipe nodes.
    Nodes,
    /// For each node of the frame before it, the locations of its children. Advisory; never crosses
    /// the wire.
    Annex,
}

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// LZ4 block.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

impl Codec {
    /// The number on disk and on the wire; bit `1 << number` stands for it in sets of codecs.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    /// All codecs that this code reads, as a set of bits.
    pub const ALL: u32 = 0b111;

    /// Those of this code that are not in a set of bits.
    pub fn lacking(set: u32) -> impl Iterator<Item = Self> {
        [Self::None, Self::Lz4, Self::Zstd].into_iter().filter(move |codec| set & 1 << codec.number() == 0)
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl FrameKind {
    const fn number(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Nodes => 2,
            Self::Annex => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Data),
            2 => Some(Self::Nodes),
            3 => Some(Self::Annex),
            _ => None,
        }
    }
}

/// A frame whose checksum, lengths and limits hold. The payload may still not decompress, and what it
/// holds may not match any fingerprint.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    kind: FrameKind,
    codec: Codec,
    plain_length: usize,
    lengths: &'a [U24],
    payload: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Data, nodes or annex.
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// How the payload is compressed.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Bytes of all segments together.
    pub const fn plain_length(&self) -> usize {
        self.plain_length
    }

    /// How many segments.
    pub const fn segments(&self) -> usize {
        self.lengths.len()
    }

    /// Plain length of each segment.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.lengths.iter().map(|length| length.get())
    }

    /// Where each segment lies in the plain bytes.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let mut at = 0;
        self.lengths()
            .map(|length| {
                let start = at;
                at += size(length);
                start..at
            })
            .collect()
    }

    /// The whole frame as stored.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Replaces `plain` by the plain bytes and tells where each segment lies in them. Allocates at
    /// most [`FRAME_PLAIN_BYTES_MAX`]; costs one decompression.
    pub fn open(&self, plain: &mut Vec<u8>) -> Result<Vec<Range<usize>>, BadFrame> {
        plain.clear();
        match self.codec {
            Codec::None => plain.extend_from_slice(self.payload),
            Codec::Lz4 => {
                plain.resize(self.plain_length, 0);
                let written = lz4_flex::block::decompress_into(self.payload, plain)
                    .map_err(|_| BadBytes::Malformed("lz4 payload of a frame"))?;
                plain.truncate(written);
            }
            Codec::Zstd => {
                plain.reserve_exact(self.plain_length);
                zstd_open(self.payload, plain)?;
            }
        }
        rule(plain.len() == self.plain_length, "plain length of a frame")?;
        Ok(self.ranges())
    }
}

/// Verifies a frame that fills `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Frame<'_>, BadFrame> {
    let (frame, rest) = parse_first(bytes)?;
    rule(rest.is_empty(), "bytes after a frame")?;
    Ok(frame)
}

/// Verifies the frame that `bytes` begin with, and gives what follows it. [`BadFrame::Empty`]: no
/// frame was written here. [`BadFrame::Short`]: read `need` bytes and ask again.
pub fn parse_first(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), BadFrame> {
    let mut cursor = Cursor::new(bytes);
    let head: &RawHead = cursor.head()?;
    let verified = head.verify()?;
    if bytes.len() < verified.total {
        return Err(BadBytes::Short { need: verified.total });
    }
    let lengths = cursor.list::<U24>(size(head.segments.get()))?;
    let payload = cursor.bytes(size(head.stored_length.get()))?;
    let crc = checksum(&[head.with_crc(0).as_bytes(), lengths.as_bytes(), payload]);
    if crc != head.crc.get() {
        return Err(BadBytes::Checksum("frame"));
    }
    check_lengths(verified.kind, lengths, verified.plain_length)?;
    let (whole, rest) =
        bytes.split_at_checked(verified.total).ok_or(BadBytes::Short { need: verified.total })?;
    let (kind, codec, plain_length) = (verified.kind, verified.codec, verified.plain_length);
    Ok((Frame { kind, codec, plain_length, lengths, payload, bytes: whole }, rest))
}

/// Bytes of the frame that starts with `head` ([`HEAD_BYTES`] are enough), believed only as far as
/// limits go: the checksum is verified by [`parse`].
pub fn stored_bytes(head: &[u8]) -> Result<usize, BadFrame> {
    Cursor::new(head).head::<RawHead>()?.verify().map(|verified| verified.total)
}

/// Codec and number of segments of a frame that somebody has verified: no byte but its head is looked at.
pub fn outline(verified: &[u8]) -> Result<(Codec, usize), BadFrame> {
    let head: &RawHead = Cursor::new(verified).head()?;
    head.verify().map(|facts| (facts.codec, size(head.segments.get())))
}

struct VerifiedHead {
    kind: FrameKind,
    codec: Codec,
    plain_length: usize,
    total: usize,
}

impl RawHead {
    fn verify(&self) -> Result<VerifiedHead, BadFrame> {
        if self.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(BadBytes::Empty);
        }
        rule(self.magic == MAGIC, "magic of a frame")?;
        let kind = FrameKind::from_number(self.kind).ok_or(BadBytes::Malformed("kind of a frame"))?;
        let unsupported = |what, found| BadBytes::Unsupported { what, found };
        let codec = Codec::from_number(self.codec)
            .ok_or_else(|| unsupported("frame codec", u32::from(self.codec)))?;
        if self.key.get() != 0 {
            return Err(unsupported("frame key", u32::from(self.key.get())));
        }
        let (plain, stored) = (size(self.plain_length.get()), size(self.stored_length.get()));
        let segments = size(self.segments.get());
        rule(segments > 0, "a frame without segments")?;
        limit(segments <= FRAME_SEGMENTS_MAX, "segments of a frame")?;
        limit(plain <= FRAME_PLAIN_BYTES_MAX, "plain bytes of a frame")?;
        match codec {
            Codec::None => rule(stored == plain, "stored length of a plain frame")?,
            Codec::Lz4 | Codec::Zstd => {
                rule(stored > 0 && stored < plain, "stored length of a compressed frame")?;
            }
        }
        Ok(VerifiedHead {
            kind,
            codec,
            plain_length: plain,
            total: HEAD_BYTES + segments * size_of::<U24>() + stored,
        })
    }

    fn with_crc(&self, crc: u32) -> Self {
        Self { crc: U32::new(crc), ..self.clone() }
    }
}

fn check_lengths(kind: FrameKind, lengths: &[U24], plain: usize) -> Result<(), BadFrame> {
    let mut total = 0_usize;
    for segment in lengths {
        rule(segment.get() > 0 || kind == FrameKind::Annex, "an empty segment in a frame")?;
        rule(segment.get() % 8 == 0 || kind != FrameKind::Annex, "length of an annex")?;
        total = total.saturating_add(size(segment.get()));
    }
    rule(total == plain, "lengths of segments and of their frame")
}

/// Makes a frame of `segments`. Falls back to [`Codec::None`] when compression does not make it
/// smaller. `level` is the codec's own (zstd: 1 and up, negative is faster; lz4 has none).
///
/// # Panics
/// When the limits of a frame are exceeded, or a segment is empty outside of an annex.
pub fn build(kind: FrameKind, codec: Codec, level: i32, segments: &[&[u8]]) -> Vec<u8> {
    let lengths: Vec<u32> = segments.iter().map(|segment| length(segment.len())).collect();
    build_joined(kind, codec, level, &segments.concat(), &lengths)
}

/// Like [`build`], for segments that lie one behind the other in `plain` already.
///
/// # Panics
/// As [`build`], and when the lengths do not add up to `plain`.
pub fn build_joined(kind: FrameKind, codec: Codec, level: i32, plain: &[u8], lengths: &[u32]) -> Vec<u8> {
    assert!(!lengths.is_empty() && lengths.len() <= FRAME_SEGMENTS_MAX, "segments of a frame");
    assert!(plain.len() <= FRAME_PLAIN_BYTES_MAX, "plain bytes of a frame");
    let lengths: Vec<U24> = lengths.iter().map(|length| U24::new(*length)).collect();
    assert!(check_lengths(kind, &lengths, plain.len()).is_ok(), "lengths of segments add up");
    let whole = |codec, payload: &[u8]| encode(kind, codec, plain.len(), &lengths, payload);
    let packed = match codec {
        Codec::None => None,
        Codec::Lz4 => {
            let packed = lz4_flex::block::compress(plain);
            (packed.len() < plain.len()).then(|| whole(codec, &packed))
        }
        Codec::Zstd => zstd_pack(plain, level, |packed| whole(codec, packed)),
    };
    packed.unwrap_or_else(|| whole(Codec::None, plain))
}

fn encode(kind: FrameKind, codec: Codec, plain_length: usize, lengths: &[U24], payload: &[u8]) -> Vec<u8> {
    let mut head = RawHead {
        magic: MAGIC,
        kind: kind.number(),
        codec: codec.number(),
        key: U16::new(0),
        plain_length: U32::new(length(plain_length)),
        stored_length: U32::new(length(payload.len())),
        segments: U32::new(length(lengths.len())),
        crc: U32::new(0),
    };
    head.crc = U32::new(checksum(&[head.as_bytes(), lengths.as_bytes(), payload]));
    let mut out = Vec::with_capacity(HEAD_BYTES + size_of_val(lengths) + payload.len());
    out.put(&head);
    out.extend_from_slice(lengths.as_bytes());
    out.extend_from_slice(payload);
    debug_assert!(out.len() <= FRAME_BYTES_MAX, "the limits of a frame add up");
    out
}

/// The locations in one segment of an annex frame.
pub fn annex_locations(segment: &[u8]) -> Result<Vec<crate::Location>, BadFrame> {
    rule(segment.len().is_multiple_of(8), "length of an annex")?;
    let (chunks, _) = segment.as_chunks::<8>();
    Ok(chunks.iter().map(|raw| crate::Location::from_raw(u64::from_le_bytes(*raw))).collect())
}

/// The segment of an annex frame that stands for one node.
pub fn annex_segment(locations: &[crate::Location]) -> Vec<u8> {
    locations.iter().flat_map(|location| location.to_raw().to_le_bytes()).collect()
}

// Contexts of zstd are some hundred KiB and slow to make, so each thread keeps one of each; fresh room for the result
// would cost as many page faults as the frame has pages.
thread_local! {
    static PACKER: RefCell<Option<Packer>> = const { RefCell::new(None) };
    static OPENER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

struct Packer {
    level: i32,
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    fn new(level: i32) -> Option<Self> {
        let mut compressor = zstd::bulk::Compressor::new(level).ok()?;
        compressor.include_contentsize(false).ok()?;
        Some(Self { level, compressor, packed: Vec::with_capacity(FRAME_PLAIN_BYTES_MAX) })
    }
}

/// What `use_packed` makes of the packed bytes; `None` when they are not fewer, or zstd refuses: the frame is then
/// stored plain.
fn zstd_pack(plain: &[u8], level: i32, use_packed: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    PACKER.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|packer| packer.level != level) {
            *kept = Packer::new(level);
        }
        let Packer { compressor, packed, .. } = kept.as_mut()?;
        packed.clear();
        // Fails when there is no room: what does not fit is not worth compressing.
        compressor.compress_to_buffer(plain, packed).ok()?;
        (packed.len() < plain.len()).then(|| use_packed(packed))
    })
}

/// One frame of today's format and nothing else: neither what the library reads of older formats, nor
/// skippable frames, nor several in a row. Fills `plain` up to its capacity at most, which costs no zeros first.
fn zstd_open(payload: &[u8], plain: &mut Vec<u8>) -> Result<usize, BadFrame> {
    rule(payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "magic of a zstd payload")?;
    let whole = zstd::zstd_safe::find_frame_compressed_size(payload).ok();
    rule(whole == Some(payload.len()), "length of a zstd payload")?;
    OPENER.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = zstd::bulk::Decompressor::new().ok();
        }
        let Some(opener) = kept.as_mut() else { return malformed("zstd is not available") };
        opener
            .decompress_to_buffer(payload, plain)
            .map_err(|_| BadBytes::Malformed("zstd payload of a frame"))
    })
}
