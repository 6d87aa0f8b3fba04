//! Frames on their way from a stream to its containers.
//!
//! A lane is the stream's current container of one kind. A full one is sealed in the background, where
//! nothing of it can be lost any more, while the next one fills.

use std::{cell::RefCell, rc::Rc};

use futures_channel::oneshot;
use narrows_format::{
    Fingerprint, Location,
    container::ContainerKind,
    frame::{self, Codec, FrameKind},
    node::{Child, ChildKind, envelope},
};
use narrows_simd::fingerprint;

use super::{
    ingest::Inner,
    terms::{Claim, StagedNode, StagedSegment, StoredNode},
};
use crate::{
    container::{Appended, Writer},
    error::Error,
    index::{Answer, Asked, Batch, Place},
    limits::LOOK_UP_CHILDREN_MAX,
    signal::Signal,
};

/// The container that takes a stream's frames of one kind.
pub(super) struct Lane {
    writer: RefCell<Making>,
    changed: Signal,
}

#[derive(Clone)]
enum Making {
    None,
    /// Some task of this stream is making one.
    UnderWay,
    Ready(Rc<Writer>),
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { writer: RefCell::new(Making::None), changed: Signal::default() }
    }

    /// No frame comes any more, until the next one does.
    pub(super) fn end(&self) {
        *self.writer.borrow_mut() = Making::None;
    }
}

/// Undoes `UnderWay` when the task that makes a container fails or is dropped.
struct Turn<'a>(&'a Lane, Making);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.writer.borrow_mut() = self.1.clone();
        self.0.changed.notify();
    }
}

impl Inner {
    fn lane(&self, kind: ContainerKind) -> &Lane {
        match kind {
            ContainerKind::Data => &self.data,
            ContainerKind::Nodes => &self.nodes,
        }
    }

    /// A container that takes so much now. Nothing else may run between this and the append.
    async fn container_for(
        &self,
        kind: ContainerKind,
        bytes: usize,
        segments: usize,
    ) -> Result<Rc<Writer>, Error> {
        let lane = self.lane(kind);
        loop {
            let found = lane.writer.borrow().clone();
            match found {
                Making::Ready(writer) if writer.takes(bytes, segments) => return Ok(writer),
                Making::UnderWay => {
                    let free = || (!matches!(&*lane.writer.borrow(), Making::UnderWay)).then_some(());
                    lane.changed.until(free).await;
                }
                Making::Ready(full) => {
                    // A disk that is full concerns this stream, and poisons nothing.
                    if let Some(error) = full.failure() {
                        self.check()?;
                        return Err(error);
                    }
                    lane.end();
                    self.seal_in_background(&full);
                }
                Making::None => {
                    *lane.writer.borrow_mut() = Making::UnderWay;
                    let mut turn = Turn(lane, Making::None);
                    let writer = self.core.new_container(kind, self.image).await?;
                    let mut state = self.state.borrow_mut();
                    state.own.insert(writer.id());
                    if kind == ContainerKind::Nodes {
                        state.own_nodes.insert(writer.id());
                    }
                    drop(state);
                    turn.1 = Making::Ready(writer);
                }
            }
        }
    }

    fn seal_in_background(&self, writer: &Rc<Writer>) {
        let (core, container) = (self.core.clone(), writer.id());
        // A failure shows at commit, which seals again; and poisons at once if it was the device's.
        self.core.in_background(async move { drop(core.seal_here(container).await) });
    }

    pub(super) async fn put_data(&self, frame: &[u8], segments: &[StagedSegment]) -> Result<(), Error> {
        check_frame(frame, FrameKind::Data, segments.iter())?;
        let writer = self.container_for(ContainerKind::Data, frame.len(), segments.len()).await?;
        let appended = writer.append(frame, segments, &[]);
        self.register(&writer, appended, ChildKind::Segment, segments).await?;
        self.arrived(frame.len(), ChildKind::Segment, segments);
        writer.push().await
    }

    pub(super) async fn put_nodes(&self, frame: &[u8], nodes: &[StagedNode]) -> Result<(), Error> {
        check_frame(frame, FrameKind::Nodes, nodes.iter().map(|node| &node.segment))?;
        let children: Vec<Child> = nodes.iter().flat_map(|node| node.children.iter().copied()).collect();
        let mut answers = Vec::with_capacity(children.len());
        for batch in children.chunks(LOOK_UP_CHILDREN_MAX) {
            answers.extend(self.ask(batch, Claim::Peek).await?);
        }
        self.expect_children(&children, &answers).await?;
        let annex = annex(nodes, &answers);
        let segments: Vec<StagedSegment> = nodes.iter().map(|node| node.segment).collect();
        let bytes = frame.len() + annex.len();
        let writer = self.container_for(ContainerKind::Nodes, bytes, segments.len()).await?;
        let appended = writer.append(frame, &segments, &annex);
        self.register(&writer, appended, ChildKind::Node, &segments).await?;
        self.arrived(frame.len(), ChildKind::Node, &segments);
        writer.push().await
    }

    async fn register(
        &self,
        writer: &Rc<Writer>,
        appended: Appended,
        kind: ChildKind,
        segments: &[StagedSegment],
    ) -> Result<(), Error> {
        let container = writer.id();
        let entries = (appended.first.0..).zip(segments).map(|(slot, segment)| {
            let location = Location::new(container, narrows_format::Slot(slot)).unwrap_or(Location::UNKNOWN);
            let StagedSegment { fingerprint, tag, length, .. } = *segment;
            (fingerprint, Place { tag, location, length, kind })
        });
        let (stream, image) = (self.stream, self.image);
        let batch = Batch { stream, image, container, kind, entries: entries.collect() };
        // In a task: the caller may be dropped while a table is full, and until all entries are in one the container must
        // not be sealed, or a flush would take it for being in runs.
        let (core, (send, done)) = (self.core.clone(), oneshot::channel());
        self.core.in_background(async move {
            let outcome = core.register(batch).await;
            drop(appended);
            // Nobody waiting any more is no error.
            drop(send.send(outcome));
        });
        done.await.map_err(|_| Error::Closed)?
    }

    pub(super) async fn reopen(&self, fingerprint: Fingerprint) -> Result<StoredNode, Error> {
        let asked = Asked { fingerprint, kind: ChildKind::Node, length: None };
        let (place, home) = match self.core.look_up(&self.asker, &[asked], Claim::Peek).await?.pop() {
            Some(Answer::Mine { place, home }) => (place, home),
            // Another session of this image has committed it meanwhile, and with it all that is below.
            Some(Answer::Closed(place)) => return self.core.node(fingerprint, place.location).await,
            _ => return Err(Error::Malformed { what: "a node that is not staged for this image" }),
        };
        let container = place.location.container();
        if self.state.borrow().own.contains(&container) {
            return self.own_node(fingerprint, place.location).await;
        }
        self.core.seal(home, container).await?;
        let stored = self.core.node(fingerprint, place.location).await?;
        let children = envelope::children(&stored.bytes)
            .map_err(|_| Error::Malformed { what: "a staged node's envelope" })?;
        let frame = frame::build(FrameKind::Nodes, Codec::Zstd, 1, &[&stored.bytes]);
        let length =
            u32::try_from(stored.bytes.len()).map_err(|_| Error::Limit { what: "bytes of a node" })?;
        let segment = StagedSegment { fingerprint, tag: place.tag, offset: 0, length };
        self.put_nodes(&frame, &[StagedNode { segment, children }]).await?;
        Ok(stored)
    }

    /// A node that this very session has put: read back from its container, which may still be open.
    async fn own_node(&self, fingerprint: Fingerprint, location: Location) -> Result<StoredNode, Error> {
        let open = self.core.writers.borrow().get(&location.container()).map(|(_, writer)| writer.clone());
        let entry = open.as_ref().and_then(|writer| writer.entry(location.slot()));
        let (Some(writer), Some(entry)) = (open, entry) else {
            self.core.seal(self.core.number, location.container()).await?;
            return self.core.node(fingerprint, location).await;
        };
        let frame = writer.read_open(&entry).await?;
        let damaged = Error::Corrupt {
            container: location.container(),
            slot: Some(location.slot()),
            region: crate::error::Region::Frame,
        };
        let mut plain = Vec::new();
        let opened = frame::parse(&frame).and_then(|frame| frame.open(&mut plain));
        let range = entry.offset as usize..entry.offset as usize + entry.length as usize;
        let bytes = match (opened, plain.get(range)) {
            (Ok(_), Some(bytes)) => bytes.to_vec(),
            _ => return Err(damaged),
        };
        let (found, tag) = fingerprint::node(&bytes);
        if found != fingerprint {
            return Err(damaged);
        }
        Ok(StoredNode { bytes, location, tag, annex: Vec::new() })
    }
}

/// Where the children of the nodes of a frame lie, as far as it is known.
fn annex(nodes: &[StagedNode], answers: &[Answer]) -> Vec<u8> {
    let mut answers = answers.iter();
    let segments: Vec<Vec<u8>> = nodes
        .iter()
        .map(|node| {
            let known = answers.by_ref().take(node.children.len()).map(|answer| match answer {
                Answer::Closed(place) | Answer::Mine { place, .. } | Answer::Shared { place, .. } => {
                    place.location
                }
                Answer::Lack | Answer::Expected | Answer::Pending => Location::UNKNOWN,
            });
            frame::annex_segment(&known.collect::<Vec<_>>())
        })
        .collect();
    let pieces: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
    frame::build(FrameKind::Annex, Codec::Zstd, 1, &pieces)
}

/// The frame holds, and what the caller says of its segments is what it says itself.
fn check_frame<'a>(
    bytes: &[u8],
    kind: FrameKind,
    segments: impl ExactSizeIterator<Item = &'a StagedSegment>,
) -> Result<(), Error> {
    const WRONG: Error = Error::Malformed { what: "a frame and its list of segments" };
    let frame = frame::parse(bytes).map_err(|_| Error::Malformed { what: "a frame" })?;
    if frame.kind() != kind || frame.segments() != segments.len() {
        return Err(WRONG);
    }
    let mut at = 0;
    for (length, segment) in frame.lengths().zip(segments) {
        if segment.offset != at || segment.length != length {
            return Err(WRONG);
        }
        at += length;
    }
    Ok(())
}
