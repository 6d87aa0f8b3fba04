//! Bytes that come in any order, written one behind the other: to a pipe, as a rule.
//!
//! Guarantees: nothing is written twice and nothing in the wrong place, also when the session breaks in the middle of a
//! write and another one goes on; what comes too early waits in memory up to [`STREAM_HELD_BYTES_MAX`], and beyond it in
//! a file without a name. It does not decide how much comes early: who asks does.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narrows_ring::world::World;
use rustix::{
    event::PollFlags,
    fs::{CWD, FallocateFlags, Mode, OFlags, fallocate, openat},
    io::{Errno, pread, pwrite, write},
};

use super::{RestoreProgress, SinkError, answering::Answering, layout::Gap, nameless};
use crate::{
    limits::{DIRECT_BYTES, STREAM_HELD_BYTES_MAX, WRITE_BYTES},
    read::wait_for,
};

/// Where a stream goes, and how far it has come: attempts of one restore share it.
#[derive(Debug)]
pub struct StreamTarget {
    fd: OwnedFd,
    /// Held over each write, so that whoever goes on knows what there is.
    reached: Mutex<Reached>,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// What lies before this place was written or passed.
    pub at: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Objects passed, of a stream that holds several.
    pub objects: u64,
    /// Bytes of what they hold.
    pub content_bytes: u64,
    /// Objects passed that such a stream cannot hold.
    pub left_out: u64,
}

/// What is counted when a place without bytes is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing.
    Nothing,
    /// An object that holds so many bytes.
    Object(u64),
    /// An object that was left out.
    LeftOut,
}

impl StreamTarget {
    /// Nothing is written yet.
    pub fn new(fd: OwnedFd) -> Arc<Self> {
        Arc::new(Self { fd, reached: Mutex::default() })
    }

    /// How far it is; waits for a write that is under way.
    pub fn reached(&self) -> Reached {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Reached> {
        // Counted after each call: a job that panicked left no half-made state behind.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes over places that no bytes belong to, unless something is missing in front of them.
    pub(super) fn pass(&self, at: u64, length: u64, what: Passed) {
        let mut reached = self.lock();
        if !(at..at + length).contains(&reached.at) {
            return;
        }
        reached.at = at + length;
        match what {
            Passed::Nothing => {}
            Passed::Object(bytes) => {
                reached.objects += 1;
                reached.content_bytes += bytes;
            }
            Passed::LeftOut => reached.left_out += 1,
        }
    }

    /// Writes what lies at `at`: the part of it that was not written before. Nothing while something is missing in front
    /// of it, which a job of a broken session may find.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<u64, Errno> {
        let mut reached = self.lock();
        let skip = reached.at.checked_sub(at).and_then(|skip| usize::try_from(skip).ok());
        let mut rest = skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default();
        while !rest.is_empty() {
            match write(&self.fd, rest) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    rest = &rest[count..];
                    reached.at += count as u64;
                    reached.written_bytes += count as u64;
                }
                Err(Errno::INTR) => {}
                // Whoever gave it to us made it so that it does not wait by itself.
                Err(Errno::AGAIN) => wait_for(&self.fd, PollFlags::OUT)?,
                Err(error) => return Err(error),
            }
        }
        Ok(reached.at)
    }

    /// Writes what has its turn; `spill` holds what was spilled.
    fn write_early(&self, spill: Option<&OwnedFd>, at: u64, early: &Early) -> Result<(), Errno> {
        match early {
            Early::Bytes { bytes, count } => self.write_repeated(at, bytes, *count),
            Early::Gap { length, byte } => self.write_gap(at, *length, *byte),
            Early::Nothing { length, what } => {
                self.pass(at, *length, *what);
                Ok(())
            }
            Early::Question(Question { length, is_left_out }) => {
                if self.reached().at == at && is_left_out() {
                    self.pass(at, *length, Passed::LeftOut);
                }
                self.pass(at, 1, Passed::Nothing);
                Ok(())
            }
            Early::Spilled { place, length, count } => {
                let bytes = read_back(spill.ok_or(Errno::BADF)?, *place, *length)?;
                self.write_repeated(at, &bytes, *count)
            }
        }
    }

    fn write_repeated(&self, at: u64, bytes: &[u8], count: u64) -> Result<(), Errno> {
        (0..count).try_for_each(|repeat| self.write(at + repeat * bytes.len() as u64, bytes).map(drop))
    }

    fn write_gap(&self, at: u64, length: u64, byte: u8) -> Result<(), Errno> {
        let block = vec![byte; usize::try_from(length).unwrap_or(usize::MAX).min(WRITE_BYTES)];
        let mut done = self.reached().at.max(at);
        while done < at + length {
            let count = usize::try_from(at + length - done).unwrap_or(usize::MAX).min(block.len());
            done = self.write(done, &block[..count])?;
        }
        Ok(())
    }
}

/// Something whose turn has not come.
enum Early {
    Bytes {
        bytes: Arc<Vec<u8>>,
        count: u64,
    },
    /// At this place of the file without a name: those of a stream may be more than a file may have.
    Spilled {
        place: u64,
        length: usize,
        count: u64,
    },
    Gap {
        length: u64,
        byte: u8,
    },
    Nothing {
        length: u64,
        what: Passed,
    },
    Question(Question),
}

/// Asked when its turn comes, at one place of its own: whether what stands behind it is left out.
pub(super) struct Question {
    /// Its own place, and those that are passed with it then.
    pub(super) length: u64,
    pub(super) is_left_out: Box<dyn Fn() -> bool + Send>,
}

impl Early {
    /// Places of the stream.
    fn length(&self) -> u64 {
        match self {
            Self::Bytes { bytes, count } => bytes.len() as u64 * count,
            Self::Spilled { length, count, .. } => *length as u64 * count,
            Self::Gap { length, .. } | Self::Nothing { length, .. } => *length,
            Self::Question(_) => 1,
        }
    }

    /// Bytes of its segment, and how many of them are in memory.
    fn bytes(&self) -> (usize, usize) {
        match self {
            Self::Bytes { bytes, .. } => (bytes.len(), bytes.len()),
            Self::Spilled { length, .. } => (*length, 0),
            Self::Gap { .. } | Self::Nothing { .. } | Self::Question(_) => (0, 0),
        }
    }

    /// Bytes to be written.
    fn written(&self) -> u64 {
        if let Self::Nothing { .. } | Self::Question(_) = self { 0 } else { self.length() }
    }
}

impl State {
    fn insert(&mut self, at: u64, early: Early) {
        let (all, held) = early.bytes();
        self.early_bytes += all as u64;
        self.held_bytes += held;
        self.early.insert(at, early);
    }

    /// What has its turn, as much as is worth a job. It counts until it is forgotten.
    fn next(&mut self) -> Vec<(u64, Early)> {
        let (mut next, mut end, mut bytes) = (Vec::new(), self.reached.at, 0);
        while bytes < WRITE_BYTES as u64 {
            let Some(first) = self.early.first_entry().filter(|first| *first.key() <= end) else { break };
            let (at, early) = first.remove_entry();
            if at + early.length() <= self.reached.at {
                // An earlier attempt has written it.
                self.forget(early.bytes());
                continue;
            }
            end = end.max(at + early.length());
            bytes += early.written();
            next.push((at, early));
        }
        next
    }

    fn forget(&mut self, (all, held): (usize, usize)) {
        self.early_bytes -= all as u64;
        self.held_bytes -= held;
    }
}

/// One attempt's view of a stream.
pub(super) struct InOrder {
    world: World,
    target: Arc<StreamTarget>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// As far as this attempt knows.
    reached: Reached,
    early: BTreeMap<u64, Early>,
    /// Bytes of segments among these, in memory or not.
    early_bytes: u64,
    /// Those in memory.
    held_bytes: usize,
    spill: Option<Arc<OwnedFd>>,
    /// Where the next bytes are spilled to.
    spill_end: u64,
    writing: bool,
}

impl InOrder {
    /// Goes on where the target stands, as soon as an attempt before this one has let go of it.
    pub(super) async fn open(world: &World, target: &Arc<StreamTarget>) -> Result<Self, SinkError> {
        let asked = Arc::clone(target);
        let reached = world.offload(move || asked.reached()).await.ok_or(SinkError::Helper)?;
        let state = RefCell::new(State { reached, ..State::default() });
        Ok(Self { world: world.clone(), target: Arc::clone(target), state })
    }

    /// What lies before this place is done.
    pub(super) fn done(&self) -> u64 {
        self.state.borrow().reached.at
    }

    /// Bytes that wait for what stands before them, wherever they do.
    pub(super) fn early_bytes(&self) -> u64 {
        self.state.borrow().early_bytes
    }

    /// Takes bytes that stand `count` times at `at`.
    pub(super) async fn take(&self, at: u64, bytes: Arc<Vec<u8>>, count: u64) -> Result<(), SinkError> {
        let length = bytes.len();
        let fits = {
            let mut state = self.state.borrow_mut();
            let fits = state.held_bytes + length <= STREAM_HELD_BYTES_MAX || at <= state.reached.at;
            if fits {
                state.insert(at, Early::Bytes { bytes: Arc::clone(&bytes), count });
            }
            fits
        };
        if !fits {
            let spill = self.spill().await?;
            let place = {
                let end = &mut self.state.borrow_mut().spill_end;
                std::mem::replace(end, *end + room(length))
            };
            self.job(move || write_all_at(&spill, place, &bytes)).await?;
            self.state.borrow_mut().insert(at, Early::Spilled { place, length, count });
        }
        Ok(())
    }

    /// Takes a run of one byte.
    pub(super) fn take_gap(&self, Gap { at, length, byte }: Gap) {
        if length > 0 {
            self.state.borrow_mut().insert(at, Early::Gap { length, byte });
        }
    }

    /// Takes places that no bytes belong to.
    pub(super) fn take_nothing(&self, at: u64, length: u64, what: Passed) {
        if length > 0 {
            self.state.borrow_mut().insert(at, Early::Nothing { length, what });
        }
    }

    /// Takes a question about what stands behind it.
    pub(super) fn take_question(&self, at: u64, question: Question) {
        self.state.borrow_mut().insert(at, Early::Question(question));
    }

    /// Writes whatever has its turn; who counts bytes and who waits for room hear of it.
    pub(super) async fn write_and_tell(
        &self,
        progress: &RestoreProgress,
        answering: &Answering,
    ) -> Result<(), SinkError> {
        let moved = |bytes| {
            progress.add_written(bytes);
            answering.moved();
        };
        let outcome = self.write(moved).await;
        answering.moved();
        outcome
    }

    /// Writes whatever has its turn, unless somebody is at it. `moved` hears of bytes as they are written.
    async fn write(&self, moved: impl Fn(u64)) -> Result<(), SinkError> {
        if std::mem::replace(&mut self.state.borrow_mut().writing, true) {
            return Ok(());
        }
        let outcome = self.write_all(moved).await;
        self.state.borrow_mut().writing = false;
        outcome
    }

    async fn write_all(&self, moved: impl Fn(u64)) -> Result<(), SinkError> {
        loop {
            let next = self.state.borrow_mut().next();
            if next.is_empty() {
                return Ok(());
            }
            let counted: Vec<_> = next.iter().map(|(_, early)| early.bytes()).collect();
            let (target, spill) = (Arc::clone(&self.target), self.state.borrow().spill.clone());
            let reached = self
                .job(move || {
                    let spill = spill.as_deref();
                    next.iter().try_for_each(|(at, early)| target.write_early(spill, *at, early))?;
                    Ok(target.reached())
                })
                .await?;
            let before = {
                let mut state = self.state.borrow_mut();
                for bytes in counted {
                    state.forget(bytes);
                }
                std::mem::replace(&mut state.reached, reached)
            };
            moved(reached.written_bytes - before.written_bytes);
        }
    }

    async fn spill(&self) -> Result<Arc<OwnedFd>, SinkError> {
        if let Some(spill) = &self.state.borrow().spill {
            return Ok(Arc::clone(spill));
        }
        let made = Arc::new(self.job(|| file_without_a_name(&std::env::temp_dir())).await?);
        // Made twice at once: the first one stays, for something may lie in it.
        Ok(Arc::clone(self.state.borrow_mut().spill.get_or_insert(made)))
    }

    async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, SinkError> {
        let outcome = self.world.offload(work).await.ok_or(SinkError::Helper)?;
        outcome.map_err(|error| SinkError::Destination { path: b"the stream".to_vec(), error })
    }
}

/// A file that is gone when it is closed.
fn file_without_a_name(folder: &Path) -> Result<OwnedFd, Errno> {
    let directory = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    nameless::open_anyhow(&directory)
}

/// What was spilled at `at`; its room is given back.
fn read_back(spill: &OwnedFd, at: u64, length: usize) -> Result<Vec<u8>, Errno> {
    let (mut bytes, mut done) = (vec![0; length], 0);
    while done < length {
        match pread(spill, &mut bytes[done..], at + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    // Where that cannot be done, the room is given back at the end.
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(spill, how, at, room(length)).ok();
    Ok(bytes)
}

/// What spilled bytes take: whole blocks, for only these are given back.
fn room(length: usize) -> u64 {
    length.next_multiple_of(DIRECT_BYTES) as u64
}

/// Writes all of it at a place of a file.
pub(super) fn write_all_at(fd: &OwnedFd, mut at: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Seek as _},
    };

    use narrows_ring::cores::{Setup, block_on};

    use super::*;

    const PIECE: usize = 1 << 20;

    /// Places of a stream may lie further out than a file may be long.
    const FAR: u64 = 1 << 60;

    fn piece(number: u64) -> Arc<Vec<u8>> {
        Arc::new((0..PIECE as u64).map(|at| ((at * 31 + number * 7) % 251) as u8).collect())
    }

    /// Goal: what comes backwards, and more of it than memory may hold, is written in order, each byte once. Method: an
    /// attempt that breaks in the middle, and another one that hears everything from the beginning.
    #[test]
    fn all_orders_come_out_in_one() {
        let count = (STREAM_HELD_BYTES_MAX / PIECE) as u64 + 10;
        let mut file = tempfile::tempfile().unwrap();
        let target = StreamTarget::new(file.try_clone().unwrap().into());
        let gap = Gap { at: FAR + count * PIECE as u64, length: 3_000_000, byte: 9 };
        let at = |number: u64| FAR + number * PIECE as u64;
        target.pass(0, FAR, Passed::Nothing);
        block_on(Setup::here(1 << 20), async |world| {
            let stream = InOrder::open(&world, &target).await.unwrap();
            stream.take_gap(gap);
            for number in (1..count).rev() {
                stream.take(at(number), piece(number), 1).await.unwrap();
                stream.write(|_| ()).await.unwrap();
            }
            assert_eq!((target.reached().at, stream.early_bytes()), (FAR, (count - 1) * PIECE as u64));
            assert!(stream.state.borrow().held_bytes <= STREAM_HELD_BYTES_MAX);
            assert!(stream.state.borrow().spill.is_some(), "memory was enough: nothing was shown");
            stream.take(FAR, Arc::new(piece(0)[..PIECE / 2].to_vec()), 1).await.unwrap();
            stream.write(|_| ()).await.unwrap();
            assert_eq!(stream.done(), FAR + PIECE as u64 / 2);

            let again = InOrder::open(&world, &target).await.unwrap();
            for number in 0..count {
                again.take(at(number), piece(number), 1).await.unwrap();
            }
            again.take_gap(gap);
            again.write(|_| ()).await.unwrap();
            assert_eq!((again.done(), again.early_bytes()), (gap.at + gap.length, 0));
            assert_eq!(again.state.borrow().held_bytes, 0);
            // A job of the attempt that broke: too late, and once too early.
            target.write(at(3), &piece(3)).unwrap();
            target.write(gap.at + gap.length + 1, &piece(3)).unwrap();
        })
        .unwrap();
        assert_eq!(target.reached().at, gap.at + gap.length);
        assert_eq!(target.reached().written_bytes, gap.at + gap.length - FAR);
        is_whole(&mut file, count, Gap { at: gap.at - FAR, ..gap });
    }

    fn is_whole(file: &mut File, count: u64, gap: Gap) {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, gap.at + gap.length);
        for number in 0..count {
            let start = usize::try_from(number).unwrap() * PIECE;
            assert!(bytes[start..start + PIECE] == piece(number)[..], "piece {number}");
        }
        assert!(bytes[usize::try_from(gap.at).unwrap()..].iter().all(|byte| *byte == gap.byte));
    }
}
