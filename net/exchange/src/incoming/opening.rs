//! Messages on their way from the connection to the session's state: frames of data are opened and hashed by helper
//! threads, many at once.
//!
//! Guarantee: messages take effect in the order in which they came, each when it is known what it is. Whatever a frame
//! turns out to be, nothing that came behind it has been taken before it; what is refused first is what came first; and
//! nothing behind a frame that is refused is ever taken.
//!
//! Bounded: a frame counts as the largest there is until it is opened, and the reader stops at
//! [`PLAIN_BYTES_MAX`](crate::limits::PLAIN_BYTES_MAX) as it does for frames that wait to be put.

use std::{cell::RefCell, ops::Range};

use futures_util::{Stream, StreamExt as _, stream};
use narrows_format::{
    Fingerprint, Tag,
    frame::{self, FrameKind},
};
use narrows_simd::Batch;
use narrows_wire::{HEADER_BYTES, Message};

use super::Incoming;
use crate::{
    ExchangeError, StoreError,
    hello::decode,
    limits::{FRAME_BYTES_MAX, OPENED_BY_READER_BYTES, OPENINGS_MAX},
};

/// A message that is ready to be taken.
pub(super) enum Arrived {
    /// A message with a frame of data.
    Data(Opened),
    /// Any other message, as it came.
    Other(Vec<u8>),
}

/// A frame of data, verified as far as it can be without knowing what was asked for.
pub(super) struct Opened {
    pub(super) message_bytes: usize,
    /// As it crossed, header of the frame included; empty if the store needs plain bytes.
    pub(super) frame: Vec<u8>,
    /// Empty unless the store needs it.
    pub(super) plain: Vec<u8>,
    pub(super) segments: Vec<Segment>,
}

/// Name and tag of a segment, and where it lies in the plain bytes.
pub(super) type Segment = (Fingerprint, Tag, Range<usize>);

impl Opened {
    /// Bytes of the frame as it crossed.
    pub(super) fn frame_bytes(&self) -> usize {
        self.message_bytes - HEADER_BYTES
    }
}

/// What the reader does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    On,
    /// The source has said its last word, or the connection is gone.
    Over,
}

impl Incoming<'_> {
    /// The source's messages, in order, up to its last word. What was read and not taken when this is dropped is lost:
    /// then the session has failed.
    pub(super) fn arrivals(&self) -> impl Stream<Item = Result<Arrived, ExchangeError>> + '_ {
        let messages = stream::unfold(Reading::On, async |reading| {
            if reading == Reading::Over {
                return None;
            }
            self.gate.until(|| self.state.borrow().intake.has_room().then_some(())).await;
            Some(match self.session.link.receive().await {
                Ok(message) => {
                    let (kind, next) = self.sort(&message);
                    (kind.map(|kind| (kind, message)), next)
                }
                Err(error) => (Err(error.into()), Reading::Over),
            })
        });
        messages.map(|message| self.prepare(message)).buffered(OPENINGS_MAX)
    }

    /// Looks at a message that has just come, and makes room for what it will turn into.
    fn sort(&self, message: &[u8]) -> (Result<Kind, ExchangeError>, Reading) {
        let (kind, reading) = match decode(message) {
            Ok(Message::Data(_)) => (Kind::Data, Reading::On),
            Ok(Message::Commit(_) | Message::Done | Message::Bye | Message::Error { .. }) => {
                (Kind::Other, Reading::Over)
            }
            Ok(_) => (Kind::Other, Reading::On),
            Err(error) => return (Err(error), Reading::Over),
        };
        self.state.borrow_mut().intake.begin_opening(kind.room(message.len()));
        (Ok(kind), reading)
    }

    async fn prepare(
        &self,
        message: Result<(Kind, Vec<u8>), ExchangeError>,
    ) -> Result<Arrived, ExchangeError> {
        let (kind, message) = message?;
        match kind {
            Kind::Other => Ok(Arrived::Other(message)),
            Kind::Data if message.len() <= OPENED_BY_READER_BYTES => {
                open(message, self.store.needs_plain()).map(Arrived::Data)
            }
            Kind::Data => {
                let needs_plain = self.store.needs_plain();
                let opened = self.session.link.world().offload(move || open(message, needs_plain)).await;
                let gone = || ExchangeError::Store(StoreError::new("LOCAL-001", "a helper thread failed"));
                opened.ok_or_else(gone)?.map(Arrived::Data)
            }
        }
    }

    /// What was held for a message by [`Incoming::sort`] is given back: from here on the state counts it.
    pub(super) fn arrived(&self, arrived: &Arrived) {
        let room = match arrived {
            Arrived::Data(opened) => Kind::Data.room(opened.message_bytes),
            Arrived::Other(message) => Kind::Other.room(message.len()),
        };
        self.state.borrow_mut().intake.end_opening(room);
    }
}

/// What the reader makes of a message.
#[derive(Clone, Copy)]
enum Kind {
    Data,
    Other,
}

impl Kind {
    /// Bytes that a message may take until it is taken.
    fn room(self, message_bytes: usize) -> usize {
        match self {
            Self::Data => message_bytes + FRAME_BYTES_MAX,
            Self::Other => message_bytes,
        }
    }
}

thread_local! {
    /// Plain bytes that nobody keeps: their pages are not asked for anew with every frame.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static BATCH: RefCell<Batch> = RefCell::new(Batch::new());
}

fn open(mut message: Vec<u8>, needs_plain: bool) -> Result<Opened, ExchangeError> {
    let message_bytes = message.len();
    if needs_plain {
        // The frame has served its purpose.
        let mut plain = Vec::new();
        let segments = open_frame(frame_of(&message), &mut plain)?;
        return Ok(Opened { message_bytes, frame: Vec::new(), plain, segments });
    }
    let segments = PLAIN.with_borrow_mut(|plain| open_frame(frame_of(&message), plain))?;
    message.drain(..HEADER_BYTES);
    Ok(Opened { message_bytes, frame: message, plain: Vec::new(), segments })
}

/// Costs one decompression and one hash over the plain bytes.
fn open_frame(frame: &[u8], plain: &mut Vec<u8>) -> Result<Vec<Segment>, ExchangeError> {
    let bad_frame = |bad| ExchangeError::malformed(format!("frame of data: {bad}"));
    let frame = frame::parse(frame).map_err(bad_frame)?;
    if frame.kind() != FrameKind::Data {
        return Err(ExchangeError::malformed("a frame of another kind in place of data"));
    }
    let ranges = frame.open(plain).map_err(bad_frame)?;
    Ok(BATCH.with_borrow_mut(|batch| {
        let names = batch.data(ranges.iter().map(|range| &plain[range.clone()]));
        names.iter().zip(ranges).map(|((name, tag), range)| (*name, *tag, range)).collect()
    }))
}

/// A data message is its header and the frame.
fn frame_of(message: &[u8]) -> &[u8] {
    message.get(HEADER_BYTES..).unwrap_or_default()
}
