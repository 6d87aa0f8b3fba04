//! Bytes of one file of an image, from anywhere in it.
//!
//! Guarantee: each byte that is given was hashed with the whole segment that it is of, and so was every node on the way
//! to it; what does not hold is an error with its place. A read costs one node for each level and the frames that
//! hold the range; it takes memory for what is asked and for the reads under way.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use narrows_format::{
    Fingerprint, Location, frame,
    node::{Child, EntryKind, Node},
};
use narrows_ring::world::Local;
use narrows_simd::fingerprint;

use super::{
    frames,
    terms::{ReadFrame, Wanted},
};
use crate::{
    error::{Error, Region},
    lease::Lease,
    limits::{FILE_READ_BYTES_MAX, FILE_READ_PIECES_MAX},
    recipe::walk::{Located, NodeReader, Source, Tree, WalkError, content},
    shard::Core,
};

/// One file of an image, open for reading; what is under it stays as long as this lives.
pub struct ImageFile {
    nodes: Nodes,
    located: Located,
    size: u64,
    _lease: Lease,
}

/// Opens a file by its path; `None` when there is none. A hard link is the file that it names.
pub(crate) async fn open(
    core: &Rc<Core>,
    root: Child,
    path: &[u8],
    lease: Lease,
) -> Result<Option<ImageFile>, Error> {
    let nodes = Nodes(core.clone());
    let tree = Tree::new(&nodes, root);
    let mut found = tree.lookup(path).await.map_err(walked)?;
    if let Some(EntryKind::HardLink(target)) = found.as_ref().map(|located| &located.entry().kind) {
        let target = target.clone();
        found = tree.lookup(&target).await.map_err(walked)?;
    }
    let Some(located) = found else { return Ok(None) };
    let EntryKind::File { size, .. } = located.entry().kind else { return Ok(None) };
    Ok(Some(ImageFile { nodes, located, size, _lease: lease }))
}

impl ImageFile {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, fewer where the file ends. At most [`FILE_READ_BYTES_MAX`] at once.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        if length > FILE_READ_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of one read of a file" });
        }
        let mut read = Reading { core: &self.nodes.0, bytes: vec![0; length], todo: Todo::default() };
        let mut at = start;
        let mut slices = content(&self.nodes, &self.located, start..end);
        while let Some(slice) = slices.next().await.map_err(walked)? {
            let from = usize::try_from(slice.at - start).unwrap_or(usize::MAX);
            let into = from..from.saturating_add(usize::try_from(slice.length).unwrap_or(usize::MAX));
            at = slice.at + slice.length;
            match slice.source {
                Source::Hole => {}
                Source::Fill(byte) => read.bytes[into].fill(byte),
                Source::Segment { segment, offset } => read.want(&segment, offset as usize, into).await?,
            }
        }
        read.run().await?;
        // Whoever wrote the image may have said that the file is longer than what it has.
        if at == end { Ok(read.bytes) } else { Err(Error::Malformed { what: "the image's recipe" }) }
    }
}

/// Nodes of the pool, decoded.
struct Nodes(Rc<Core>);

impl NodeReader for Nodes {
    type Error = Error;

    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, Error>> {
        Box::pin(async move {
            let stored = self.0.node(child.fingerprint, Location::UNKNOWN).await?;
            let (container, slot) = (stored.location.container(), Some(stored.location.slot()));
            let node = Node::decode(&stored.bytes);
            node.map(Rc::new).map_err(|_| Error::Corrupt { container, slot, region: Region::Segment })
        })
    }
}

fn walked(error: WalkError<Error>) -> Error {
    match error {
        WalkError::Node(error) => error,
        WalkError::Inconsistent { .. } => Error::Malformed { what: "the image's recipe" },
    }
}

/// Part of a segment, and where in the answer it goes.
struct Piece {
    offset: usize,
    into: Range<usize>,
}

/// Segments to be read, each once, and what is wanted of each.
#[derive(Default)]
struct Todo {
    wanted: Vec<Wanted>,
    pieces: Vec<Vec<Piece>>,
    known: BTreeMap<Fingerprint, usize>,
    count: usize,
}

/// One read under way.
struct Reading<'a> {
    core: &'a Rc<Core>,
    bytes: Vec<u8>,
    todo: Todo,
}

impl Reading<'_> {
    async fn want(&mut self, segment: &Child, offset: usize, into: Range<usize>) -> Result<(), Error> {
        let todo = &mut self.todo;
        let request = *todo.known.entry(segment.fingerprint).or_insert_with(|| {
            let (fingerprint, length) = (segment.fingerprint, segment.length);
            todo.wanted.push(Wanted { fingerprint, length, hint: Location::UNKNOWN });
            todo.pieces.push(Vec::new());
            todo.wanted.len() - 1
        });
        todo.pieces[request].push(Piece { offset, into });
        todo.count += 1;
        if todo.count >= FILE_READ_PIECES_MAX { self.run().await } else { Ok(()) }
    }

    /// Reads what was noted.
    async fn run(&mut self) -> Result<(), Error> {
        let todo = std::mem::take(&mut self.todo);
        let mut frames = frames::read(self.core, todo.wanted.clone());
        let mut plain = Vec::new();
        while let Some(read) = frames.next().await {
            self.copy(&read.map_err(|lost| lost.error)?, &todo, &mut plain)?;
        }
        Ok(())
    }

    fn copy(&mut self, read: &ReadFrame, todo: &Todo, plain: &mut Vec<u8>) -> Result<(), Error> {
        let opened = frame::parse(&read.bytes).and_then(|frame| frame.open(plain));
        for (here, place) in read.wanted.iter().zip(&read.places) {
            let corrupt =
                |region| Error::Corrupt { container: read.container, slot: Some(place.slot()), region };
            let ranges = opened.as_ref().map_err(|_| corrupt(Region::Frame))?;
            let range = ranges.get(here.ordinal as usize).cloned();
            let segment = range.and_then(|range| plain.get(range)).unwrap_or_default();
            if fingerprint::data(segment).0 != todo.wanted[here.request].fingerprint {
                return Err(corrupt(Region::Segment));
            }
            for piece in &todo.pieces[here.request] {
                let part = segment.get(piece.offset..piece.offset + piece.into.len());
                self.bytes[piece.into.clone()].copy_from_slice(part.ok_or(corrupt(Region::Segment))?);
            }
        }
        Ok(())
    }
}
