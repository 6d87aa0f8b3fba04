//! What one read brings: bytes where they were read to, and the holes between them.

use std::ops::Range;

use narrows_pool::ingest::Splitter;

use super::{Draft, Run};
use crate::limits::{DIRECT_BYTES, UNIT_BYTES_MAX};

/// See the module.
pub struct Chunk {
    buffer: Vec<u8>,
    /// Where the buffer is aligned.
    start: usize,
    spans: Vec<Span>,
    /// Nothing follows.
    pub last: bool,
}

enum Span {
    /// Counted from the start of the chunk.
    Data(Range<usize>),
    Hole(u64),
}

impl Chunk {
    /// Empty, in memory that was used before or never.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.resize(UNIT_BYTES_MAX + DIRECT_BYTES, 0);
        let start = buffer.as_ptr().align_offset(DIRECT_BYTES).min(DIRECT_BYTES);
        Self { buffer, start, spans: Vec::new(), last: false }
    }

    /// Where to read to; the range lies within [`UNIT_BYTES_MAX`].
    pub(super) fn room(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.buffer[self.start + range.start..self.start + range.end]
    }

    /// This much of the room was read.
    pub(super) fn data(&mut self, range: Range<usize>) {
        match self.spans.last_mut() {
            Some(Span::Data(before)) if before.end == range.start => before.end = range.end,
            _ => self.spans.push(Span::Data(range)),
        }
    }

    /// What follows was never written.
    pub(super) fn hole(&mut self, length: u64) {
        self.spans.push(Span::Hole(length));
    }

    /// Splits all of it into a unit; what ends in the middle of a segment waits in the splitter.
    pub(super) fn split(&self, splitter: &mut Splitter, draft: &mut Draft) -> Vec<Run> {
        draft.bytes.reserve(UNIT_BYTES_MAX + DIRECT_BYTES);
        let mut runs = Vec::new();
        let take = &mut |piece: narrows_pool::ingest::Piece<'_>| draft.take(piece, &mut runs);
        for span in &self.spans {
            match span {
                Span::Hole(length) => splitter.hole(*length, take),
                Span::Data(range) => {
                    splitter.write(&self.buffer[self.start + range.start..self.start + range.end], take);
                }
            }
        }
        runs
    }

    /// The memory, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}
