//! The target of a restore that brings one file somewhere else than into a directory: to a stream, or onto a device.
//!
//! Guarantee: only bytes whose fingerprint the exchange has verified are written, all of them, or the restore fails. A
//! stream is written in order, with bounded memory: leaves of extents are answered in the order in which they came, and
//! only while little enough is under way; or else when nobody but one of them can say what comes next.

use std::{cell::RefCell, ops::Range, sync::Arc};

use narrows_format::{
    Fingerprint,
    node::{Body, Child, Entry, EntryKind, Node},
};
use narrows_ring::world::World;
use rustix::io::Errno;

use super::{
    RestoreProgress, Selection, SinkError,
    answering::Answering,
    device::DeviceTarget,
    layout::{Gap, Layout},
    stream::{InOrder, StreamTarget},
};
use crate::limits::STREAM_AHEAD_BYTES;

/// Where the file goes.
#[derive(Clone, Debug)]
pub enum SingleTarget {
    /// One byte behind the other.
    Stream(Arc<StreamTarget>),
    /// Onto a device.
    Device(Arc<DeviceTarget>),
}

/// What was found under the path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SingleFound {
    /// Nothing.
    Nothing,
    /// A file of so many bytes: all of them are where they belong.
    File(u64),
    /// A further name of a file that the image has under this path.
    Link(Vec<u8>),
    /// Something without content, or several things.
    NoFile,
    /// A file that is larger than the device.
    TooLarge(u64),
}

enum Output {
    Stream(InOrder),
    Device(Arc<DeviceTarget>),
}

/// See the module.
pub struct SingleSink {
    world: World,
    selection: Selection,
    layout: RefCell<Layout>,
    output: Output,
    found: RefCell<SingleFound>,
    progress: Arc<RestoreProgress>,
    answering: Answering,
}

impl SingleSink {
    /// Wants the file at `path`, or the only one of the image.
    pub async fn new(
        world: &World,
        path: Option<Vec<u8>>,
        target: &SingleTarget,
        progress: Arc<RestoreProgress>,
    ) -> Result<Self, SinkError> {
        let (output, done) = match target {
            SingleTarget::Device(device) => (Output::Device(Arc::clone(device)), 0),
            SingleTarget::Stream(stream) => {
                let stream = InOrder::open(world, stream).await?;
                let done = stream.done();
                (Output::Stream(stream), done)
            }
        };
        Ok(Self {
            world: world.clone(),
            selection: Selection::new(path),
            layout: RefCell::new(Layout::new(done)),
            output,
            found: RefCell::new(SingleFound::Nothing),
            progress,
            answering: Answering::default(),
        })
    }

    /// The place of a node in the order of answers; to be taken when it is asked about.
    pub fn ticket(&self) -> u64 {
        self.answering.ticket()
    }

    /// A verified node came: tells which of its children are wanted.
    pub async fn take_node(
        &self,
        ticket: Option<u64>,
        name: Fingerprint,
        bytes: &[u8],
    ) -> Result<Vec<bool>, SinkError> {
        let node = Node::decode(bytes).map_err(|bad| SinkError::Malformed(bad.to_string()))?;
        let plan = || self.plan(name, &node);
        let (wanted, gaps) = self.answering.in_turn(ticket, || self.may_ask(), plan).await?;
        self.take_gaps(gaps).await?;
        Ok(wanted)
    }

    /// Verified segments came, with where they lie in `plain`.
    pub async fn take_data(
        &self,
        plain: Vec<u8>,
        segments: &[(Fingerprint, Range<usize>)],
    ) -> Result<(), SinkError> {
        let mut writes = Vec::new();
        for (name, range) in segments {
            for piece in self.layout.borrow_mut().take_pieces(name) {
                writes.push((piece.at, piece.range(range.start), piece.count));
            }
        }
        match &self.output {
            Output::Stream(stream) => {
                for (at, range, count) in writes {
                    stream.take(at, Arc::new(plain[range].to_vec()), count).await?;
                }
                stream.write_and_tell(&self.progress, &self.answering).await
            }
            Output::Device(device) => {
                let target = Arc::clone(device);
                let write = move || {
                    let mut written = 0;
                    for (at, range, count) in writes {
                        let bytes = &plain[range];
                        for repeat in 0..count {
                            target.write(at + repeat * bytes.len() as u64, bytes)?;
                        }
                        written += bytes.len() as u64 * count;
                    }
                    Ok(written)
                };
                self.on_device(device, write).await
            }
        }
    }

    /// Everything that was asked for has come.
    pub async fn finish(&self) -> Result<SingleFound, SinkError> {
        let found = self.found.borrow().clone();
        let SingleFound::File(size) = found else { return Ok(found) };
        match &self.output {
            Output::Stream(stream) => {
                stream.write_and_tell(&self.progress, &self.answering).await?;
                if stream.done() != size {
                    return Err(SinkError::Malformed("its bytes are not all there".to_owned()));
                }
            }
            Output::Device(device) => {
                let target = Arc::clone(device);
                self.on_device(device, move || target.sync().map(|()| 0)).await?;
            }
        }
        self.progress.add_counted(0);
        Ok(found)
    }

    fn may_ask(&self) -> bool {
        let Output::Stream(stream) = &self.output else { return true };
        let layout = self.layout.borrow();
        let is_open = !matches!(*self.found.borrow(), SingleFound::File(_));
        is_open
            || layout.asked_bytes() + stream.early_bytes() < STREAM_AHEAD_BYTES
            || layout.is_undescribed(stream.done())
    }

    fn plan(&self, name: Fingerprint, node: &Node) -> Result<(Vec<bool>, Vec<Gap>), SinkError> {
        let mut layout = self.layout.borrow_mut();
        let gaps = match &node.body {
            Body::Tree { spans, .. } => {
                let next = |at: usize| spans.get(at + 1).map(|span| span.first.as_slice());
                let takes = |at: usize| self.selection.may_take(&spans[at].first, next(at));
                return Ok(((0..spans.len()).map(takes).collect(), Vec::new()));
            }
            Body::Entries(entries) => self.take_entries(entries, &node.children, &mut layout),
            Body::ExtentTree { lengths, .. } => {
                layout.inner(&name, lengths, &node.children).map(|()| Vec::new())
            }
            Body::Extents(extents) => layout.leaf(&name, extents, &node.children),
        };
        let gaps = gaps.map_err(|what| SinkError::Malformed(what.to_owned()))?;
        Ok((node.children.iter().map(|child| layout.wants(child)).collect(), gaps))
    }

    fn take_entries(
        &self,
        entries: &[Entry],
        children: &[Child],
        layout: &mut Layout,
    ) -> Result<Vec<Gap>, &'static str> {
        let mut gaps = Vec::new();
        for entry in entries.iter().filter(|entry| self.selection.asks_for(&entry.path)) {
            let mut found = self.found.borrow_mut();
            if *found != SingleFound::Nothing {
                // Something in a directory that was asked for, as a rule; a file is not given up once it is begun.
                if !matches!(*found, SingleFound::File(_)) {
                    *found = SingleFound::NoFile;
                }
                continue;
            }
            *found = match &entry.kind {
                EntryKind::File { size, .. } if self.is_too_large(*size) => SingleFound::TooLarge(*size),
                EntryKind::File { size, content } => {
                    gaps = layout.content(0, *size, content, children)?;
                    SingleFound::File(*size)
                }
                EntryKind::HardLink(first) => SingleFound::Link(first.clone()),
                _ => SingleFound::NoFile,
            };
        }
        Ok(gaps)
    }

    fn is_too_large(&self, size: u64) -> bool {
        matches!(&self.output, Output::Device(device) if size > device.size())
    }

    async fn take_gaps(&self, gaps: Vec<Gap>) -> Result<(), SinkError> {
        if gaps.is_empty() {
            return Ok(());
        }
        match &self.output {
            Output::Stream(stream) => {
                for gap in gaps {
                    stream.take_gap(gap);
                }
                stream.write_and_tell(&self.progress, &self.answering).await
            }
            Output::Device(device) => {
                let target = Arc::clone(device);
                let write = move || {
                    gaps.iter().try_for_each(|gap| target.write_gap(*gap))?;
                    Ok(gaps.iter().map(|gap| gap.length).sum())
                };
                self.on_device(device, write).await
            }
        }
    }

    async fn on_device(
        &self,
        device: &DeviceTarget,
        write: impl FnOnce() -> Result<u64, Errno> + Send + 'static,
    ) -> Result<(), SinkError> {
        use std::os::unix::ffi::OsStrExt as _;
        let written = self.world.offload(write).await.ok_or(SinkError::Helper)?;
        let path = || device.path().as_os_str().as_bytes().to_vec();
        self.progress.add_written(written.map_err(|error| SinkError::Destination { path: path(), error })?);
        Ok(())
    }
}
