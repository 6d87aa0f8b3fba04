//! Where the bytes of a stream come from: what is asked for, what has not been described yet. No I/O.
//!
//! Guarantee: the parts of a file that no node has described and the pieces that segments fill never overlap, and
//! together with what was taken already they make up the file, however a hostile image lies about its lengths.

use std::{collections::BTreeMap, ops::Range};

use foldhash::HashMap;
use narrows_format::{
    Fingerprint,
    node::{Child, Content, Extent},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Layout {
    segments: HashMap<Fingerprint, Vec<Piece>>,
    /// Parts of the stream that nodes describe which have not come.
    nodes: HashMap<Fingerprint, Vec<Part>>,
    /// The same parts by their first byte: their lengths.
    undescribed: BTreeMap<u64, u64>,
    /// Bytes of segments that are wanted and have not come.
    asked_bytes: u64,
    /// What lies before it is done already: an earlier attempt has brought it.
    from: u64,
}

/// Places `at..at + length` of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) at: u64,
    pub(super) length: u64,
}

/// A piece of a segment and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte in the stream.
    pub(super) at: u64,
    /// First byte in the segment.
    pub(super) offset: u32,
    /// Bytes of the segment.
    pub(super) length: u32,
    /// So many times, one behind the other.
    pub(super) count: u64,
}

impl Piece {
    /// Where its bytes lie if the segment's begin at `start`. The layout checked it against the segment's length, and the
    /// exchange that against the bytes.
    pub(super) fn range(&self, start: usize) -> Range<usize> {
        let first = start + usize::try_from(self.offset).unwrap_or(usize::MAX);
        first..first + usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

/// A part of the stream without segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// First byte in the stream.
    pub(super) at: u64,
    /// How many.
    pub(super) length: u64,
    /// What it is filled with; a hole reads as zeros.
    pub(super) byte: u8,
}

impl Layout {
    /// Of a stream that is done up to `from`.
    pub(super) fn new(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// The entry of a file came that begins at `at`. Gives what needs no segment, or what is wrong.
    pub(super) fn content(
        &mut self,
        at: u64,
        size: u64,
        content: &Content,
        children: &[Child],
    ) -> Result<Vec<Gap>, &'static str> {
        let whole = Part { at, length: size };
        match content {
            Content::Inline(extents) => self.extents(whole, extents, children),
            Content::Tree(ordinal) => {
                self.describe(child(children, *ordinal)?.fingerprint, whole);
                Ok(Vec::new())
            }
        }
    }

    /// A leaf of extents came.
    pub(super) fn leaf(
        &mut self,
        node: &Fingerprint,
        extents: &[Extent],
        children: &[Child],
    ) -> Result<Vec<Gap>, &'static str> {
        let mut gaps = Vec::new();
        for part in self.take_parts(node) {
            gaps.extend(self.extents(part, extents, children)?);
        }
        Ok(gaps)
    }

    /// An inner node of extents came.
    pub(super) fn inner(
        &mut self,
        node: &Fingerprint,
        lengths: &[u64],
        children: &[Child],
    ) -> Result<(), &'static str> {
        for part in self.take_parts(node) {
            agree(part, lengths.iter().copied())?;
            let mut at = part.at;
            for (child, length) in children.iter().zip(lengths) {
                self.describe(child.fingerprint, Part { at, length: *length });
                at += length;
            }
        }
        Ok(())
    }

    /// Whether anything needs this child.
    pub(super) fn wants(&self, child: &Child) -> bool {
        self.segments.contains_key(&child.fingerprint) || self.nodes.contains_key(&child.fingerprint)
    }

    /// Every piece that this segment fills; from now on it is not wanted any more.
    pub(super) fn take_pieces(&mut self, segment: &Fingerprint) -> Vec<Piece> {
        let pieces = self.segments.remove(segment).unwrap_or_default();
        self.asked_bytes -= pieces.iter().map(|piece| u64::from(piece.length)).sum::<u64>();
        pieces
    }

    /// Bytes of segments that are wanted and have not come.
    pub(super) fn asked_bytes(&self) -> u64 {
        self.asked_bytes
    }

    /// Whether a node that has not come describes this byte.
    pub(super) fn is_undescribed(&self, at: u64) -> bool {
        let before = self.undescribed.range(..=at).next_back();
        before.is_some_and(|(first, length)| at - first < *length)
    }

    /// A node that has not come describes this part.
    pub(super) fn describe(&mut self, node: Fingerprint, part: Part) {
        if part.length > 0 && part.at + part.length > self.from {
            self.nodes.entry(node).or_default().push(part);
            self.undescribed.insert(part.at, part.length);
        }
    }

    /// What a node describes that has come.
    pub(super) fn take_parts(&mut self, node: &Fingerprint) -> Vec<Part> {
        let parts = self.nodes.remove(node).unwrap_or_default();
        for part in &parts {
            self.undescribed.remove(&part.at);
        }
        parts
    }

    fn extents(
        &mut self,
        part: Part,
        extents: &[Extent],
        children: &[Child],
    ) -> Result<Vec<Gap>, &'static str> {
        let length = |extent: &Extent| match *extent {
            Extent::Data { length, .. } => u64::from(length),
            Extent::Hole(length) | Extent::Fill { length, .. } => length,
            Extent::Repeat { child: ordinal, count } => child(children, ordinal)
                .map_or(u64::MAX, |child| u64::from(child.length).saturating_mul(count)),
        };
        agree(part, extents.iter().map(length))?;
        let (mut gaps, mut at) = (Vec::new(), part.at);
        for extent in extents {
            let bytes = length(extent);
            match *extent {
                Extent::Hole(length) => gaps.push(Gap { at, length, byte: 0 }),
                Extent::Fill { byte, length } => gaps.push(Gap { at, length, byte }),
                Extent::Data { child: ordinal, offset, length } => {
                    let child = child(children, ordinal)?;
                    if offset.checked_add(length).is_none_or(|end| end > child.length) {
                        return Err("an extent goes beyond its segment");
                    }
                    self.want(child, Piece { at, offset, length, count: 1 });
                }
                Extent::Repeat { child: ordinal, count } => {
                    let child = child(children, ordinal)?;
                    self.want(child, Piece { at, offset: 0, length: child.length, count });
                }
            }
            at += bytes;
        }
        Ok(gaps)
    }

    fn want(&mut self, child: &Child, piece: Piece) {
        let total = u64::from(piece.length) * piece.count;
        if piece.at + total > self.from {
            self.asked_bytes += u64::from(piece.length);
            self.segments.entry(child.fingerprint).or_default().push(piece);
        }
    }
}

/// The lengths below a node must sum to what the node above said.
fn agree(part: Part, mut lengths: impl Iterator<Item = u64>) -> Result<(), &'static str> {
    let total = lengths.try_fold(0_u64, u64::checked_add);
    if total == Some(part.length) { Ok(()) } else { Err("its extents do not sum to its size") }
}

fn child(children: &[Child], ordinal: u32) -> Result<&Child, &'static str> {
    let child = usize::try_from(ordinal).ok().and_then(|at| children.get(at));
    child.ok_or("an extent refers to nothing")
}

#[cfg(test)]
mod tests {
    use narrows_format::node::ChildKind;

    use super::*;

    fn node(number: u8, kind: ChildKind, length: u32) -> Child {
        Child { fingerprint: Fingerprint([number; 32]), kind, length }
    }

    /// Goal: what is undescribed, asked for and done adds up, and what an earlier attempt brought is not asked for.
    #[test]
    fn parts_become_pieces() {
        let (first, second) = (node(1, ChildKind::Node, 9), node(2, ChildKind::Node, 9));
        let segment = node(3, ChildKind::Segment, 100);
        for from in [0, 150, 250] {
            let mut layout = Layout::new(from);
            layout.content(0, 300, &Content::Tree(0), &[node(9, ChildKind::Node, 9)]).unwrap();
            assert!(layout.is_undescribed(299) && !layout.is_undescribed(300));
            layout.inner(&Fingerprint([9; 32]), &[200, 100], &[first, second]).unwrap();
            assert_eq!(layout.wants(&first), from < 200);
            let extents =
                [Extent::Data { child: 0, offset: 0, length: 100 }, Extent::Fill { byte: 7, length: 100 }];
            let gaps = layout.leaf(&first.fingerprint, &extents, &[segment]).unwrap();
            assert_eq!(gaps.len(), usize::from(from < 200));
            assert_eq!(layout.asked_bytes(), if from < 100 { 100 } else { 0 });
            assert!(!layout.is_undescribed(199) && layout.is_undescribed(200));
            let gaps = layout.leaf(&second.fingerprint, &[Extent::Hole(100)], &[]).unwrap();
            assert_eq!(gaps, [Gap { at: 200, length: 100, byte: 0 }]);
            assert_eq!(layout.take_pieces(&segment.fingerprint).len(), usize::from(from < 100));
            assert_eq!(layout.asked_bytes(), 0);
            assert!(!layout.is_undescribed(200));
        }
    }

    #[test]
    fn lengths_that_do_not_agree_are_refused() {
        let mut layout = Layout::new(0);
        assert!(layout.content(0, 10, &Content::Inline(vec![Extent::Hole(9)]), &[]).is_err());
        let beyond = Extent::Data { child: 0, offset: 95, length: 10 };
        let segment = node(3, ChildKind::Segment, 100);
        assert!(layout.content(0, 10, &Content::Inline(vec![beyond]), &[segment]).is_err());
        let huge = Extent::Repeat { child: 0, count: u64::MAX };
        assert!(layout.content(0, 10, &Content::Inline(vec![huge]), &[segment]).is_err());
        layout.content(0, 10, &Content::Tree(0), &[segment]).unwrap();
        assert!(layout.inner(&segment.fingerprint, &[u64::MAX, 11], &[segment, segment]).is_err());
    }
}
