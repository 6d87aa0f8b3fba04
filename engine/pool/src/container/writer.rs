//! One open container: takes frames, writes them in large pieces, seals.
//!
//! Sketch, per MiB: one copy into an aligned buffer and one direct write, up to four of them under way.
//! What was made durable is never overwritten: after a sync the next frame starts at a block.
//!
//! Guarantee: when [`Writer::sync`] returns, every frame appended before it can be read back after a power
//! loss (by scanning); when [`Writer::seal`] returns, by its table. After a failed write nothing more is
//! written.

use std::{cell::RefCell, path::Path, path::PathBuf, rc::Rc};

use narrows_format::{
    ContainerId, Slot,
    container::{self, ContainerKind, FRAMES_START, Header, TableEntry, table},
    limits::CONTAINER_SEGMENTS_MAX,
};
use narrows_ring::world::{BLOCK, BlockOffset, File, OpenMode, World};

use crate::{
    error::Error,
    limits::{WRITE_BYTES, WRITES_IN_FLIGHT_MAX},
    poison::Poison,
    signal::Signal,
    stream::{Durable, StagedSegment},
};

/// A container that is being written.
pub(crate) struct Writer {
    world: World,
    poison: Poison,
    file: Rc<dyn File>,
    directory: PathBuf,
    header: Header,
    bytes_max: u64,
    state: RefCell<State>,
    changed: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Sealing,
    Sealed,
}

struct State {
    phase: Phase,
    /// Bytes that the disk does not have yet; the first belongs at `flushed`.
    pending: Vec<u8>,
    flushed: u64,
    /// Where the last frame ends.
    frames_end: u64,
    entries: Vec<TableEntry>,
    put: Durable,
    in_flight: usize,
    /// Appended, but the index has not been told yet.
    registering: usize,
    named: bool,
    failed: Option<Error>,
}

/// An appended frame that the index does not know yet. Dropped when it does: a container is sealed only then,
/// so that nobody is told of a closed container before the index has all of it.
pub(crate) struct Appended {
    /// Slot of its first segment; the others follow.
    pub(crate) first: Slot,
    writer: Rc<Writer>,
}

impl Drop for Appended {
    fn drop(&mut self) {
        self.writer.state.borrow_mut().registering -= 1;
        self.writer.changed.notify();
    }
}

/// What a sealed container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) container: ContainerId,
    pub(crate) kind: ContainerKind,
    pub(crate) file_bytes: u64,
    /// Bytes of data or node frames, without annexes and padding.
    pub(crate) frame_bytes: u64,
    pub(crate) entries: Vec<TableEntry>,
}

impl Writer {
    /// Makes the file. Refused when less than `room` is available.
    pub(crate) async fn create(
        world: &World,
        pool: &Path,
        header: Header,
        (bytes_max, room): (u64, u64),
        poison: &Poison,
    ) -> Result<Rc<Self>, Error> {
        poison.check()?;
        let directory = super::directory(pool);
        let space = world.disk.space(&directory).await.map_err(|e| Error::device("free space", &e))?;
        if space.available < room {
            return Err(Error::Full { what: "the disk" });
        }
        let path = super::path(pool, header.container);
        let opened = world.disk.open(&path, OpenMode::Create).await;
        let file = opened.map_err(|e| Error::device("making a container", &e))?;
        if header.kind == ContainerKind::Data {
            let allocated = file.allocate(BlockOffset::ZERO, bytes_max).await;
            allocated.map_err(|e| Error::device("room for a container", &e))?;
        }
        let state = State {
            phase: Phase::Open,
            pending: header.encode().to_vec(),
            flushed: 0,
            frames_end: FRAMES_START,
            entries: Vec::new(),
            put: Durable::default(),
            in_flight: 0,
            registering: 0,
            named: false,
            failed: None,
        };
        Ok(Rc::new(Self {
            world: world.clone(),
            poison: poison.clone(),
            file,
            directory,
            header,
            bytes_max,
            state: RefCell::new(state),
            changed: Signal::default(),
        }))
    }

    pub(crate) fn id(&self) -> ContainerId {
        self.header.container
    }

    /// Whether frames of so many bytes and segments may still be appended.
    pub(crate) fn takes(&self, bytes: usize, segments: usize) -> bool {
        let state = self.state.borrow();
        state.phase == Phase::Open
            && state.failed.is_none()
            && state.end() + bytes as u64 <= self.bytes_max
            && state.entries.len() + segments <= CONTAINER_SEGMENTS_MAX
    }

    /// Appends a frame and, behind it, its annex. The caller has asked [`Writer::takes`].
    pub(crate) fn append(
        self: &Rc<Self>,
        frame: &[u8],
        segments: &[StagedSegment],
        annex: &[u8],
    ) -> Appended {
        assert!(self.takes(frame.len() + annex.len(), segments.len()), "a frame goes where it fits");
        let mut state = self.state.borrow_mut();
        let first = Slot(fits(state.entries.len()));
        let (frame_offset, frame_bytes) = (fits64(state.end()), fits(frame.len()));
        state.entries.extend(segments.iter().map(|segment| TableEntry {
            fingerprint: segment.fingerprint,
            tag: segment.tag,
            frame_offset,
            frame_bytes,
            offset: segment.offset,
            length: segment.length,
        }));
        state.pending.extend_from_slice(frame);
        state.pending.extend_from_slice(annex);
        state.frames_end = state.end();
        state.put.bytes += frame.len() as u64;
        state.put.frames += 1;
        state.registering += 1;
        Appended { first, writer: self.clone() }
    }

    /// Hands full pieces to the disk; waits only when too many are under way.
    pub(crate) async fn push(self: &Rc<Self>) -> Result<(), Error> {
        self.write_pieces(WRITE_BYTES).await
    }

    async fn write_pieces(self: &Rc<Self>, least: usize) -> Result<(), Error> {
        loop {
            self.check()?;
            if self.state.borrow().pending.len() < least.max(BLOCK) {
                return Ok(());
            }
            let free = || (self.state.borrow().in_flight < WRITES_IN_FLIGHT_MAX).then_some(());
            self.changed.until(free).await;
            let mut buffer = self.world.arena.take(WRITE_BYTES).await;
            let at = {
                let mut state = self.state.borrow_mut();
                let count = state.pending.len().min(WRITE_BYTES) / BLOCK * BLOCK;
                // Another task may have taken it meanwhile.
                if count == 0 || state.pending.len() < least {
                    continue;
                }
                let appended = buffer.append(&state.pending[..count]);
                assert!(appended == count, "the buffer has room for a piece");
                state.pending.drain(..count);
                let at = state.flushed;
                state.flushed += count as u64;
                state.in_flight += 1;
                BlockOffset::new(at).expect("pieces are whole blocks")
            };
            let writer = self.clone();
            let write = async move {
                let (outcome, buffer) = writer.file.write_at(at, buffer).await;
                drop(buffer);
                writer.written(outcome);
            };
            self.world.spawn(write).detach();
        }
    }

    fn written(&self, outcome: std::io::Result<()>) {
        self.state.borrow_mut().in_flight -= 1;
        if let Err(error) = outcome {
            self.fail("writing a container", &error);
        }
        self.changed.notify();
    }

    fn fail(&self, what: &'static str, error: &std::io::Error) -> Error {
        let error = self.poison.by(what, error);
        self.state.borrow_mut().failed.get_or_insert(error.clone());
        self.changed.notify();
        error
    }

    fn check(&self) -> Result<(), Error> {
        self.poison.check()?;
        self.state.borrow().failed.clone().map_or(Ok(()), Err)
    }

    /// What kept a write to it from being done.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.borrow().failed.clone()
    }

    /// Waits until no write to it is under way, however it ended.
    pub(crate) async fn still(&self) {
        self.changed.until(|| (self.state.borrow().in_flight == 0).then_some(())).await;
    }

    /// Everything appended so far reaches the disk, padded to a block.
    async fn drain(self: &Rc<Self>) -> Result<(), Error> {
        {
            let mut state = self.state.borrow_mut();
            let padded = state.pending.len().next_multiple_of(BLOCK);
            state.pending.resize(padded, 0);
        }
        self.write_pieces(BLOCK).await?;
        self.changed.until(|| (self.state.borrow().in_flight == 0).then_some(())).await;
        self.check()
    }

    /// Makes every frame appended before survive power loss.
    pub(crate) async fn sync(self: &Rc<Self>) -> Result<(), Error> {
        let phase = self.state.borrow().phase;
        match phase {
            Phase::Open => {}
            Phase::Sealed => return Ok(()),
            Phase::Sealing => return self.sealed().await,
        }
        self.drain().await?;
        self.sync_file().await
    }

    async fn sync_file(&self) -> Result<(), Error> {
        self.file.sync_data().await.map_err(|e| self.fail("syncing a container", &e))?;
        if !self.state.borrow().named {
            let synced = self.world.disk.sync_dir(&self.directory).await;
            synced.map_err(|e| self.fail("syncing the directory of containers", &e))?;
            self.state.borrow_mut().named = true;
        }
        Ok(())
    }

    async fn sealed(&self) -> Result<(), Error> {
        let done = || {
            let state = self.state.borrow();
            match &state.failed {
                Some(error) => Some(Err(error.clone())),
                None => (state.phase == Phase::Sealed).then_some(Ok(())),
            }
        };
        self.changed.until(done).await
    }

    /// Seals it, once; whoever calls later waits for the first. `None` for those. Runs in a task of its own:
    /// were its future dropped half-way, those who wait would wait for ever.
    pub(crate) async fn seal(self: &Rc<Self>) -> Result<Option<Sealed>, Error> {
        if self.state.borrow().phase != Phase::Open {
            return self.sealed().await.map(|()| None);
        }
        self.state.borrow_mut().phase = Phase::Sealing;
        let outcome = self.seal_now().await;
        match &outcome {
            Ok(_) => self.state.borrow_mut().phase = Phase::Sealed,
            // Those who wait for the seal have to hear of it, whatever the reason.
            Err(error) => {
                self.state.borrow_mut().failed.get_or_insert(error.clone());
            }
        }
        self.changed.notify();
        outcome.map(Some)
    }

    async fn seal_now(self: &Rc<Self>) -> Result<Sealed, Error> {
        self.changed.until(|| (self.state.borrow().registering == 0).then_some(())).await;
        self.check()?;
        let sealed = self.append_table()?;
        self.drain().await?;
        let length = BlockOffset::new(sealed.file_bytes).expect("a container is whole blocks");
        // Gives back what was allocated beyond; the size is this one already.
        self.file.truncate(length).await.map_err(|e| self.fail("sealing a container", &e))?;
        self.sync_file().await?;
        Ok(sealed)
    }

    fn append_table(&self) -> Result<Sealed, Error> {
        let mut state = self.state.borrow_mut();
        let (id, epoch) = (self.header.container, self.header.epoch);
        let entries = std::mem::take(&mut state.entries);
        let bytes = table::encode(id, epoch, state.frames_end, &entries);
        let footer = container::Footer::decode(&bytes).map_err(|_| MISWRITTEN)?;
        let decoded = table::decode(&footer, &bytes).map_err(|_| MISWRITTEN)?;
        if decoded != entries || footer.container != id || footer.frames_end != state.frames_end {
            return Err(MISWRITTEN);
        }
        let padded = state.pending.len().next_multiple_of(BLOCK);
        state.pending.resize(padded, 0);
        state.pending.extend_from_slice(&bytes);
        Ok(Sealed {
            container: id,
            kind: self.header.kind,
            file_bytes: state.end(),
            frame_bytes: state.put.bytes,
            entries,
        })
    }

    /// A frame of this container while it is open: waits until the disk has it.
    pub(crate) async fn read_open(self: &Rc<Self>, entry: &TableEntry) -> Result<Vec<u8>, Error> {
        self.drain().await?;
        let length = entry.frame_bytes as usize;
        super::read_span(&self.world, &*self.file, u64::from(entry.frame_offset), length)
            .await
            .map_err(|e| Error::device("reading a container", &e))
    }

    /// The table entry of a slot, while it is open.
    pub(crate) fn entry(&self, slot: Slot) -> Option<TableEntry> {
        self.state.borrow().entries.get(slot.0 as usize).copied()
    }
}

/// What was encoded does not decode to the same: nothing of it may reach the disk.
const MISWRITTEN: Error = Error::Malformed { what: "the table of a container does not read back" };

impl State {
    fn end(&self) -> u64 {
        self.flushed + self.pending.len() as u64
    }
}

fn fits(count: usize) -> u32 {
    u32::try_from(count).expect("limits of containers are far below")
}

fn fits64(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("limits of containers are far below")
}
