//! A unit while it is being read: its segments are named in batches, whichever files they are of.
//!
//! Guarantee: only [`Draft::finish`] makes a unit, and it names every segment.

use narrows_format::{Fingerprint, Tag, limits::XATTRS_INLINE_BYTES_MAX, xattrs};
use narrows_pool::ingest::Piece;
use narrows_simd::{Batch, batch::BATCH_BYTES};

use super::{Item, Run, Segment, Unit};
use crate::{limits::FRAME_BYTES_MAX, xattr};

/// See the module.
#[derive(Default)]
pub struct Draft {
    /// Plain bytes.
    pub(super) bytes: Vec<u8>,
    /// Objects.
    pub(super) items: Vec<Item>,
    /// Where segments lie in the bytes, in the order of reading.
    places: Vec<Place>,
    /// Names of the first of them.
    names: Vec<(Fingerprint, Tag)>,
    batch: Batch,
}

#[derive(Clone, Copy)]
struct Place {
    start: usize,
    length: usize,
}

/// How far a unit was read, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    segments: usize,
}

impl Draft {
    /// Empty, to be read into this buffer, which is empty too.
    pub(super) fn in_room(room: Vec<u8>) -> Self {
        Self { bytes: room, ..Self::default() }
    }

    /// Takes what the splitter tells of bytes that lie elsewhere.
    pub(super) fn take(&mut self, piece: Piece<'_>, runs: &mut Vec<Run>) {
        runs.push(match piece {
            Piece::Segment(bytes) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                self.places.push(Place { start, length: bytes.len() });
                Run::Data(self.places.len() - 1)
            }
            Piece::Fill { byte, length } => Run::Fill(byte, length),
            Piece::Hole(length) => Run::Hole(length),
        });
    }

    /// Takes what `split` finds in the bytes from `start` on, which stay where they are.
    pub(super) fn take_in_place<T>(
        &mut self,
        start: usize,
        runs: &mut Vec<Run>,
        split: impl FnOnce(&[u8], &mut dyn FnMut(Piece<'_>)) -> T,
    ) -> T {
        let Self { bytes, places, .. } = self;
        let mut at = start;
        split(&bytes[start..], &mut |piece| match piece {
            Piece::Segment(bytes) => {
                places.push(Place { start: at, length: bytes.len() });
                runs.push(Run::Data(places.len() - 1));
                at += bytes.len();
            }
            Piece::Fill { byte, length } => {
                runs.push(Run::Fill(byte, length));
                at += usize::try_from(length).unwrap_or(usize::MAX);
            }
            Piece::Hole(length) => runs.push(Run::Hole(length)),
        })
    }

    /// Makes segments of attributes that are too long for a leaf, and tells which.
    pub(super) fn take_attributes(&mut self, list: &xattr::List) -> Vec<usize> {
        if xattrs::encoded_length(list) <= XATTRS_INLINE_BYTES_MAX {
            return Vec::new();
        }
        let first = self.places.len();
        for bytes in xattrs::encode(list).chunks(FRAME_BYTES_MAX) {
            self.take(Piece::Segment(bytes), &mut Vec::new());
        }
        (first..self.places.len()).collect()
    }

    /// Names what is a batch already, while it is in the cache.
    pub(super) fn name_batches(&mut self) {
        while let Some(end) = self.full_batch() {
            self.name(end);
        }
    }

    /// Names what has no name yet.
    ///
    /// # Panics
    ///
    /// Never: no segment is longer than a frame.
    pub fn finish(mut self) -> Unit {
        self.name_batches();
        self.name(self.places.len());
        let Self { bytes, items, places, names, .. } = self;
        let segment = |(place, (fingerprint, tag)): (Place, _)| Segment {
            fingerprint,
            tag,
            start: place.start,
            length: u32::try_from(place.length).expect("a segment is no longer than a frame"),
        };
        Unit {
            bytes,
            segments: places.into_iter().zip(names).map(segment).collect(),
            items,
            ..Unit::default()
        }
    }

    /// Where [`Self::roll_back`] goes back to.
    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), segments: self.places.len() }
    }

    /// Forgets what came after a mark.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.places.truncate(mark.segments);
        self.names.truncate(mark.segments);
    }

    /// Where a batch of unnamed segments ends, if there are enough.
    fn full_batch(&self) -> Option<usize> {
        let unnamed = &self.places[self.names.len()..];
        let mut bytes = 0;
        let full = unnamed.iter().position(|place| {
            bytes += place.length;
            bytes >= BATCH_BYTES
        });
        full.map(|at| self.names.len() + at + 1)
    }

    /// Names the segments up to `end`.
    fn name(&mut self, end: usize) {
        let unnamed = self.places[self.names.len()..end].iter();
        let segments = unnamed.map(|place| &self.bytes[place.start..place.start + place.length]);
        self.names.extend_from_slice(self.batch.data(segments));
    }
}
