//! Messages of the data plane: pure codecs, no I/O, no clock, no panic on input.
//!
#![doc = include_str!("wire.md")]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::panic)]

mod bad;
pub mod begin;
pub mod commit;
pub mod hello;
pub mod limits;
pub mod missing;
pub mod proof;

pub use bad::BadMessage;
pub use begin::{Base, Begin, Begun, Pull};
pub use commit::{Commit, Committed, Draft, Sealed};
pub use hello::{Hello, NoCommonVersion, Purpose};
pub use limits::MESSAGE_BYTES_MAX;
pub use missing::{Answer, Nodes, Offer, Presence, Reopen, Settle};
pub use proof::{Class, Proof, TagPrefix, combine};

use bad::{limit, rule};
use limits::{CODE_BYTES_MAX, SENTENCE_BYTES_MAX};
use narrows_format::cursor::{Cursor, Put, length, size};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    kind: u8,
    flags: u8,
    reserved: U16,
    length: U32,
}

/// Bytes in front of each message's body.
pub const HEADER_BYTES: usize = size_of::<RawHeader>();

const _: () = assert!(HEADER_BYTES == 8);

/// What most messages with a frame have beside it.
const MESSAGE_REST_BYTES: usize = 64;

/// One message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// First from both sides.
    Hello(Hello),
    /// Source to target: an image.
    Begin(Begin),
    /// Target to source: base and root.
    Begun(Begun),
    /// Source to target: asks without sending.
    Offer(Offer),
    /// Source to target: nodes; asks for their children.
    Nodes(Nodes<'a>),
    /// Source to target: asks for the children of a node that was staged earlier.
    Reopen(Reopen),
    /// Target to source.
    Answer(Answer),
    /// Target to source: a pending child is decided.
    Settle(Settle),
    /// Source to target: a frame of lacking segments, as stored; not yet verified. No fingerprints.
    Data(&'a [u8]),
    /// Target to source: everything staged up to here survives a loss of power.
    Durable {
        /// Bytes of frames since the session began.
        bytes: u64,
        /// Frames since the session began.
        frames: u64,
    },
    /// Receiver to sender: so many bytes more may be sent.
    Credit(u32),
    /// Source to target: commit the image.
    Commit(Commit<'a>),
    /// Target to source: it is committed.
    Committed(Committed<'a>),
    /// Either side ends the session with a code.
    Error {
        /// Stable code, such as `WIRE-004`.
        code: &'a str,
        /// One sentence.
        sentence: &'a str,
    },
    /// Either side lives.
    Heartbeat,
    /// The last message of an orderly end.
    Bye,
    /// The side that dialled asks for an image.
    Pull(Pull),
    /// Source to sink of a restore: everything was sent.
    Done,
}

impl<'a> Message<'a> {
    /// Appends the message, header included.
    ///
    /// # Panics
    /// When the message is longer than [`MESSAGE_BYTES_MAX`], which only a caller beyond the limits
    /// of [`limits`] can bring about.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if let Self::Data(frame) | Self::Nodes(Nodes { frame, .. }) = self {
            // Room at once: growing step by step would copy the frame several times.
            out.reserve(MESSAGE_REST_BYTES + frame.len());
        }
        out.put(&RawHeader { kind: self.kind(), flags: 0, reserved: U16::new(0), length: U32::new(0) });
        self.write(out);
        let total = out.len() - start;
        assert!(total <= MESSAGE_BYTES_MAX, "a message within the limits fits");
        let body = length(total - HEADER_BYTES).to_le_bytes();
        if let Some(place) = out.get_mut(start + 4..start + HEADER_BYTES) {
            place.copy_from_slice(&body);
        }
    }

    /// Decodes and verifies a message that fills `bytes`, header included. Frames and records inside
    /// are bounded but not opened.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BadMessage> {
        let total = message_bytes(bytes)?;
        if bytes.len() < total {
            return Err(BadMessage::Short { need: total });
        }
        rule(bytes.len() == total, "bytes after a message")?;
        let mut cursor = Cursor::new(bytes);
        let header: &RawHeader = cursor.head()?;
        let message = Self::read(header.kind, &mut cursor)?;
        // A hello is read before the version is known, so it may carry fields of newer ones.
        if !matches!(message, Self::Hello(_)) {
            cursor.finish()?;
        }
        Ok(message)
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Begin(_) => 2,
            Self::Begun(_) => 3,
            Self::Offer(_) => 4,
            Self::Nodes(_) => 5,
            Self::Reopen(_) => 6,
            Self::Answer(_) => 7,
            Self::Settle(_) => 8,
            Self::Data(_) => 9,
            Self::Durable { .. } => 10,
            Self::Credit(_) => 11,
            Self::Commit(_) => 12,
            Self::Committed(_) => 13,
            Self::Error { .. } => 14,
            Self::Heartbeat => 15,
            Self::Bye => 16,
            Self::Pull(_) => 17,
            Self::Done => 18,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(message) => message.write(out),
            Self::Begin(message) => message.write(out),
            Self::Begun(message) => message.write(out),
            Self::Offer(message) => message.write(out),
            Self::Nodes(message) => message.write(out),
            Self::Reopen(message) => message.write(out),
            Self::Answer(message) => message.write(out),
            Self::Settle(message) => message.write(out),
            Self::Data(frame) => out.extend_from_slice(frame),
            Self::Durable { bytes, frames } => {
                out.put_u64(*bytes);
                out.put_u64(*frames);
            }
            Self::Credit(bytes) => out.put_u32(*bytes),
            Self::Commit(message) => message.write(out),
            Self::Committed(message) => message.write(out),
            Self::Error { code, sentence } => {
                out.put_text(code, CODE_BYTES_MAX);
                // A sentence may quote a path; what would be refused by the peer is blotted out.
                out.put_text(&sentence.replace(char::is_control, "?"), SENTENCE_BYTES_MAX);
            }
            Self::Heartbeat | Self::Bye | Self::Done => {}
            Self::Pull(message) => message.write(out),
        }
    }

    fn read(kind: u8, cursor: &mut Cursor<'a>) -> Result<Self, BadMessage> {
        Ok(match kind {
            1 => Self::Hello(Hello::read(cursor)?),
            2 => Self::Begin(Begin::read(cursor)?),
            3 => Self::Begun(Begun::read(cursor)?),
            4 => Self::Offer(Offer::read(cursor)?),
            5 => Self::Nodes(Nodes::read(cursor)?),
            6 => Self::Reopen(Reopen::read(cursor)?),
            7 => Self::Answer(Answer::read(cursor)?),
            8 => Self::Settle(Settle::read(cursor)?),
            9 => Self::Data(missing::read_frame(cursor)?),
            10 => Self::Durable { bytes: cursor.u64()?, frames: cursor.u64()? },
            11 => Self::Credit(cursor.u32()?),
            12 => Self::Commit(Commit::read(cursor)?),
            13 => Self::Committed(Committed::read(cursor)?),
            14 => {
                Self::Error { code: cursor.text(CODE_BYTES_MAX)?, sentence: cursor.text(SENTENCE_BYTES_MAX)? }
            }
            15 => Self::Heartbeat,
            16 => Self::Bye,
            17 => Self::Pull(Pull::read(cursor)?),
            18 => Self::Done,
            _ => return Err(BadMessage::Unsupported { what: "type of message", found: u32::from(kind) }),
        })
    }
}

/// Bytes of the whole message that starts with `bytes`, of which [`HEADER_BYTES`] are needed: what a
/// reader of a stream has to wait for. Never more than [`MESSAGE_BYTES_MAX`].
pub fn message_bytes(bytes: &[u8]) -> Result<usize, BadMessage> {
    let header: &RawHeader = Cursor::new(bytes).head()?;
    rule(header.flags == 0 && header.reserved.get() == 0, "reserved bytes of a message")?;
    let body = size(header.length.get());
    limit(body <= MESSAGE_BYTES_MAX - HEADER_BYTES, "bytes of a message")?;
    Ok(HEADER_BYTES + body)
}
