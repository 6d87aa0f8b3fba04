//! One file's bytes in, pieces out.
//!
//! Cost: each byte is looked at for boundaries; bytes are copied
//! only where a piece of input ends in the middle of a segment (at most 132 KiB per call of
//! [`Splitter::write`]). Memory: that carry, nothing else.

use std::ops::Range;

use narrows_format::{Fingerprint, Tag};
use narrows_simd::{
    Batch,
    boundaries::{BadMean, Boundaries, Cut, CutKind},
};

/// The next run of a file, told with the bytes themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A segment, at most 128 KiB; many are named at once by a [`Batch`].
    Segment(&'a [u8]),
    /// The same byte, so many times; two fills of one byte never follow each other.
    Fill {
        /// The byte.
        byte: u8,
        /// How many.
        length: u64,
    },
    /// Never written; two holes never follow each other.
    Hole(u64),
}

/// The next run of a file, without the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// A segment.
    Segment {
        /// Where in the file it lies.
        range: Range<u64>,
        /// Name of its bytes.
        fingerprint: Fingerprint,
        /// Shows possession of the bytes.
        tag: Tag,
    },
    /// The same byte, so many times.
    Fill {
        /// The byte.
        byte: u8,
        /// How many.
        length: u64,
    },
    /// Never written.
    Hole(u64),
}

/// A fill or hole that may still grow.
#[derive(Clone, Copy)]
enum Growing {
    Fill(u8, u64),
    Hole(u64),
}

/// Splits one file after another.
pub struct Splitter {
    search: Boundaries,
    carry: Vec<u8>,
    growing: Option<Growing>,
    total: u64,
}

impl Splitter {
    /// For segments of `mean` bytes.
    pub fn new(mean: u32) -> Result<Self, BadMean> {
        Ok(Self { search: Boundaries::new(mean)?, carry: Vec::new(), growing: None, total: 0 })
    }

    /// The next bytes of the file.
    pub fn write(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while !self.carry.is_empty() && !rest.is_empty() {
            // Fill the carry until it can be cut; once its old bytes are gone, go on in the input.
            let old = self.carry.len();
            let (more, later) = rest.split_at(rest.len().min(self.search.lookahead()));
            self.carry.extend_from_slice(more);
            let carry = std::mem::take(&mut self.carry);
            let mut done = 0;
            while done < old {
                let eaten = self.cut(&carry[done..], End::Open, sink);
                if eaten == 0 {
                    break;
                }
                done += eaten;
            }
            self.carry = carry;
            if done >= old {
                rest = &rest[done - old..];
                self.carry.clear();
            } else {
                rest = later;
                self.carry.drain(..done);
            }
        }
        let eaten = self.cut_all(rest, End::Open, sink);
        self.carry.extend_from_slice(&rest[eaten..]);
    }

    /// A whole file that is at hand and has no hole: nothing is copied. Gives its size.
    pub fn whole(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>)) -> u64 {
        self.cut_all(bytes, End::Here, sink);
        self.finish(sink)
    }

    /// A hole of `length` bytes follows.
    pub fn hole(&mut self, length: u64, sink: &mut dyn FnMut(Piece<'_>)) {
        self.flush(sink);
        let before = match self.growing.take() {
            Some(Growing::Hole(before)) => before,
            other => {
                self.growing = other;
                self.tell_growing(sink);
                0
            }
        };
        if before + length > 0 {
            self.growing = Some(Growing::Hole(before + length));
        }
        self.total += length;
    }

    /// The file ends. Gives its logical size; the splitter is ready for the next file.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Piece<'_>)) -> u64 {
        self.flush(sink);
        self.tell_growing(sink);
        std::mem::take(&mut self.total)
    }

    /// Ends the data here: at a hole or at the end of the file.
    fn flush(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let mut carry = std::mem::take(&mut self.carry);
        self.cut_all(&carry, End::Here, sink);
        self.search.restart();
        carry.clear();
        self.carry = carry;
    }

    fn cut_all(&mut self, bytes: &[u8], end: End, sink: &mut dyn FnMut(Piece<'_>)) -> usize {
        let mut done = 0;
        loop {
            match self.cut(&bytes[done..], end, sink) {
                0 => return done,
                eaten => done += eaten,
            }
        }
    }

    /// Tells the first piece of `bytes`, and how long it is; 0 when more are needed.
    fn cut(&mut self, bytes: &[u8], end: End, sink: &mut dyn FnMut(Piece<'_>)) -> usize {
        let Some(Cut { length, kind }) = self.search.next_cut(bytes, end == End::Here) else { return 0 };
        self.total += length as u64;
        match (kind, &mut self.growing) {
            (CutKind::Fill(byte), Some(Growing::Fill(same, before))) if byte == *same => {
                *before += length as u64;
            }
            (CutKind::Fill(byte), _) => {
                self.tell_growing(sink);
                self.growing = Some(Growing::Fill(byte, length as u64));
            }
            (CutKind::Data, _) => {
                self.tell_growing(sink);
                sink(Piece::Segment(&bytes[..length]));
            }
        }
        length
    }

    fn tell_growing(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        match self.growing.take() {
            Some(Growing::Fill(byte, length)) => sink(Piece::Fill { byte, length }),
            Some(Growing::Hole(length)) => sink(Piece::Hole(length)),
            None => {}
        }
    }
}

/// Whether anything follows the bytes at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Here,
    Open,
}

/// All spans of bytes that are at hand.
pub fn split(bytes: &[u8], mean: u32) -> Result<Vec<Span>, BadMean> {
    let (mut spans, mut segments, mut at) = (Vec::new(), Vec::new(), 0);
    let mut splitter = Splitter::new(mean)?;
    splitter.whole(bytes, &mut |piece| {
        let (length, span) = match piece {
            Piece::Segment(piece) => {
                segments.push(at..at + piece.len());
                (piece.len(), None)
            }
            Piece::Fill { byte, length } => (short(length), Some(Span::Fill { byte, length })),
            Piece::Hole(length) => (short(length), Some(Span::Hole(length))),
        };
        at += length;
        spans.push(span);
    });
    let mut batch = Batch::new();
    let names = batch.data(segments.iter().map(|range| &bytes[range.clone()]));
    let segment = |(range, (fingerprint, tag)): (&Range<usize>, &_)| Span::Segment {
        range: range.start as u64..range.end as u64,
        fingerprint: *fingerprint,
        tag: *tag,
    };
    let mut in_order = segments.iter().zip(names).map(segment);
    Ok(spans.into_iter().filter_map(|span| span.or_else(|| in_order.next())).collect())
}

/// Length of a run in bytes that are at hand.
fn short(length: u64) -> usize {
    usize::try_from(length).expect("no longer than the bytes")
}

#[cfg(test)]
mod tests;
