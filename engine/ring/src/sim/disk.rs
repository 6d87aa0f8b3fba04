//! A disk that knows what was written from what was synced.
//!
//! A file has its contents as the running system sees them, and as the medium has them. Writes and
//! truncations are pending until the file is synced; names are pending until their directory is. A crash keeps a
//! seeded choice of what was pending: each write whole, torn at a sector, or not at all, in any combination.
//! Making directories is durable at once.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{Host, Rng, Seat};
use crate::{
    buffer::Buffer,
    world::{BLOCK, BlockOffset, Disk, File, Local, OpenMode, Space},
};

/// What a power loss does to writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// A seeded choice: kept, torn or lost, each by itself.
    Seeded,
    /// All of them are lost.
    LoseUnsynced,
    /// All of them are kept: what `kill -9` does.
    KeepAll,
}

/// What happens at a chosen sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// Power is lost before it takes effect; [`super::Sim::run`] returns.
    Crash,
    /// It says that it was done and does nothing: the bug that a forgotten sync would be.
    Lie,
    /// It fails with EIO.
    Error,
}

/// Smallest unit that a crash keeps or loses, in bytes.
const SECTOR: usize = 512;
/// Longest time that an operation takes.
const OPERATION_MAX: Duration = Duration::from_micros(300);

#[derive(Default)]
pub(super) struct Disks {
    hosts: BTreeMap<Host, HostDisk>,
}

impl Disks {
    pub(super) fn of(&mut self, host: Host) -> &mut HostDisk {
        self.hosts.entry(host).or_insert_with(HostDisk::new)
    }

    pub(super) fn crash(&mut self, host: Host, kind: CrashKind, rng: &mut Rng) {
        self.of(host).crash(kind, rng);
    }
}

pub(super) struct HostDisk {
    /// Names as the running system sees them, and as the medium has them.
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    directories: HashSet<PathBuf>,
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    /// Rises with each crash: handles from before it are dead.
    boot: u64,
    pub(super) reads: u64,
    /// Reads under way whose handles do not stand back.
    reading: usize,
    /// Reads and writes by handles that do, and those among them that began beside reads that don't.
    pub(super) stood_back: (u64, u64),
    pub(super) syncs: u64,
    pub(super) fault: Option<(u64, SyncFault)>,
    pub(super) capacity: u64,
}

#[derive(Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Bytes that the medium does not give.
    bad: Option<Range<usize>>,
}

enum Pending {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    /// Some of the sectors arrive, any of them.
    fn apply_torn(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::Write(at, data) => {
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    if rng.coin() {
                        Self::Write(at + index * SECTOR, sector.to_vec()).apply(bytes);
                    }
                }
            }
            Self::Truncate(_) => self.apply(bytes),
        }
    }
}

impl HostDisk {
    fn new() -> Self {
        Self {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            directories: HashSet::from([PathBuf::from("/")]),
            inodes: HashMap::new(),
            next_inode: 1,
            boot: 0,
            reads: 0,
            reading: 0,
            stood_back: (0, 0),
            syncs: 0,
            fault: None,
            capacity: u64::MAX,
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].current.len() as u64).sum()
    }

    fn crash(&mut self, kind: CrashKind, rng: &mut Rng) {
        let mut ids: Vec<u64> = self.inodes.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let inode = self.inodes.get_mut(&id).expect("listed above");
            for pending in std::mem::take(&mut inode.pending) {
                match (kind, rng.below(3)) {
                    (CrashKind::LoseUnsynced, _) | (CrashKind::Seeded, 0) => {}
                    (CrashKind::KeepAll, _) | (CrashKind::Seeded, 1) => pending.apply(&mut inode.durable),
                    (CrashKind::Seeded, _) => pending.apply_torn(&mut inode.durable, rng),
                }
            }
            inode.current.clone_from(&inode.durable);
        }
        self.crash_names(kind, rng);
        let live: HashSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| live.contains(id));
        self.boot += 1;
        self.fault = None;
    }

    fn crash_names(&mut self, kind: CrashKind, rng: &mut Rng) {
        let mut changed: Vec<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        changed.sort_unstable();
        changed.dedup();
        for path in changed {
            let (now, then) = (self.names.get(&path).copied(), self.durable_names.get(&path).copied());
            let keep = match kind {
                CrashKind::KeepAll => true,
                CrashKind::LoseUnsynced => false,
                CrashKind::Seeded => rng.coin(),
            };
            if now != then && keep {
                set_name(&mut self.durable_names, path, now);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    /// What to do at this sync, counted.
    fn count_sync(&mut self) -> Option<SyncFault> {
        self.syncs += 1;
        match self.fault {
            Some((at, fault)) if self.syncs >= at => {
                // A lie is told once: the bug is one forgotten sync.
                if fault == SyncFault::Lie {
                    self.fault = None;
                }
                Some(fault)
            }
            _ => None,
        }
    }

    fn sync_inode(&mut self, id: u64) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.pending.clear();
            inode.durable.clone_from(&inode.current);
        }
    }

    fn sync_names(&mut self, directory: &Path) {
        let mut here: Vec<PathBuf> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        here.retain(|path| path.parent() == Some(directory));
        for path in here {
            let now = self.names.get(&path).copied();
            set_name(&mut self.durable_names, path, now);
        }
    }

    fn change(&mut self, id: u64, pending: Pending) -> io::Result<()> {
        let before = self.inodes.get(&id).ok_or_else(dead_handle)?.current.len();
        let after = match &pending {
            Pending::Write(at, data) => before.max(at + data.len()),
            Pending::Truncate(length) => *length,
        };
        if after > before && self.used() + (after - before) as u64 > self.capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let inode = self.inodes.get_mut(&id).ok_or_else(dead_handle)?;
        pending.apply(&mut inode.current);
        inode.pending.push(pending);
        Ok(())
    }

    pub(super) fn flip(&mut self, path: &Path, byte: usize, bit: u8) -> bool {
        let Some(inode) = self.names.get(path).and_then(|id| self.inodes.get_mut(id)) else { return false };
        let mut found = false;
        for bytes in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
                found = true;
            }
        }
        found
    }

    pub(super) fn spoil(&mut self, path: &Path, bad: Option<Range<usize>>) -> bool {
        let inode = self.names.get(path).and_then(|id| self.inodes.get_mut(id));
        inode.map(|inode| inode.bad = bad).is_some()
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        self.names.iter().map(|(path, id)| (path.clone(), self.inodes[id].current.len() as u64)).collect()
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.directories.contains(parent) => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<(u64, u64)> {
        self.parent_exists(path)?;
        let id = match (self.names.get(path), mode) {
            (Some(_), OpenMode::Create) => return Err(io::Error::from_raw_os_error(libc::EEXIST)),
            (Some(id), _) => *id,
            (None, OpenMode::Create) => {
                let id = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(id, Inode::default());
                self.names.insert(path.to_path_buf(), id);
                id
            }
            (None, _) => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
        };
        Ok((id, self.boot))
    }
}

fn set_name(names: &mut BTreeMap<PathBuf, u64>, path: PathBuf, inode: Option<u64>) {
    match inode {
        Some(id) => names.insert(path, id),
        None => names.remove(&path),
    };
}

fn dead_handle() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

fn injected() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl Seat {
    fn disk<T>(&self, act: impl FnOnce(&mut HostDisk) -> T) -> T {
        act(self.shared.disks.borrow_mut().of(self.host))
    }

    /// Waits a while, then syncs by `act`, unless a fault was planted here.
    async fn sync(&self, act: impl FnOnce(&mut HostDisk)) -> io::Result<()> {
        self.pass(OPERATION_MAX).await;
        match self.disk(HostDisk::count_sync) {
            None => self.disk(act),
            Some(SyncFault::Lie) => {}
            Some(SyncFault::Error) => return Err(injected()),
            Some(SyncFault::Crash) => {
                self.shared.executor.stop_for_crash(self.host);
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }
}

impl Disk for Seat {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        Box::pin(async move {
            self.pass(OPERATION_MAX).await;
            let (inode, boot) = self.disk(|disk| disk.open(path, mode))?;
            let seat = Seat { shared: self.shared.clone(), host: self.host };
            let (writable, stands_back) = (mode != OpenMode::Read, Cell::new(false));
            let file: Rc<dyn File> = Rc::new(SimFile { seat, inode, boot, writable, stands_back });
            Ok(file)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>> {
        Box::pin(async move {
            self.pass(OPERATION_MAX).await;
            self.disk(|disk| {
                disk.parent_exists(to)?;
                let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
                disk.names.insert(to.to_path_buf(), id);
                Ok(())
            })
        })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        Box::pin(async move {
            self.pass(OPERATION_MAX).await;
            self.disk(|disk| disk.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into()))
        })
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        Box::pin(async move {
            self.pass(OPERATION_MAX).await;
            self.disk(|disk| {
                disk.parent_exists(path)?;
                if disk.directories.insert(path.to_path_buf()) {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(libc::EEXIST))
                }
            })
        })
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        Box::pin(self.sync(|disk| disk.sync_names(path)))
    }

    fn space<'a>(&'a self, _path: &'a Path) -> Local<'a, io::Result<Space>> {
        Box::pin(async move {
            let (total, used) = self.disk(|disk| (disk.capacity, disk.used()));
            Ok(Space { total, available: total.saturating_sub(used), device: 0 })
        })
    }
}

struct SimFile {
    seat: Seat,
    inode: u64,
    boot: u64,
    writable: bool,
    stands_back: Cell<bool>,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut HostDisk) -> io::Result<T>) -> io::Result<T> {
        self.seat.disk(|disk| if disk.boot == self.boot { act(disk) } else { Err(dead_handle()) })
    }

    /// Takes the time that a read or write takes.
    async fn pass(&self, is_read: bool) {
        let counts = is_read && !self.stands_back.get();
        self.seat.disk(|disk| {
            disk.reads += u64::from(is_read);
            disk.reading += usize::from(counts);
            if self.stands_back.get() {
                disk.stood_back.0 += 1;
                disk.stood_back.1 += u64::from(disk.reading > 0);
            }
        });
        let under_way = Reading { file: self, counts };
        self.seat.pass(OPERATION_MAX).await;
        drop(under_way);
    }

    fn change(&self, pending: Pending) -> io::Result<()> {
        if !self.writable {
            return Err(dead_handle());
        }
        self.with(|disk| disk.change(self.inode, pending))
    }

    fn read(&self, at: usize, into: &mut [u8]) -> io::Result<usize> {
        self.with(|disk| {
            let inode = disk.inodes.get(&self.inode).ok_or_else(dead_handle)?;
            if inode.bad.as_ref().is_some_and(|bad| bad.start < at + into.len() && at < bad.end) {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let bytes = &inode.current;
            let from = at.min(bytes.len());
            let count = into.len().min(bytes.len() - from);
            into[..count].copy_from_slice(&bytes[from..from + count]);
            Ok(count)
        })
    }
}

/// A read that is under way until it ends or is given up.
struct Reading<'a> {
    file: &'a SimFile,
    counts: bool,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.file.seat.disk(|disk| disk.reading -= usize::from(self.counts));
    }
}

fn place(at: BlockOffset) -> usize {
    usize::try_from(at.bytes()).expect("a simulated file fits memory")
}

impl File for SimFile {
    fn read_at(&self, at: BlockOffset, mut buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(async move {
            assert!(buffer.len().is_multiple_of(BLOCK), "direct reads are whole blocks");
            self.pass(true).await;
            let outcome = self.read(place(at), &mut buffer);
            (outcome, buffer)
        })
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(async move {
            assert!(buffer.len().is_multiple_of(BLOCK), "direct writes are whole blocks");
            self.pass(false).await;
            let outcome = self.change(Pending::Write(place(at), buffer.to_vec()));
            (outcome, buffer)
        })
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        Box::pin(async move {
            self.with(|_| Ok(()))?;
            self.seat.sync(|disk| disk.sync_inode(self.inode)).await
        })
    }

    fn allocate(&self, _at: BlockOffset, _length: u64) -> Local<'_, io::Result<()>> {
        Box::pin(async move {
            self.seat.pass(OPERATION_MAX).await;
            Ok(())
        })
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        Box::pin(async move {
            self.seat.pass(OPERATION_MAX).await;
            self.change(Pending::Truncate(place(length)))
        })
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        Box::pin(async move {
            self.with(|disk| Ok(disk.inodes.get(&self.inode).ok_or_else(dead_handle)?.current.len() as u64))
        })
    }

    fn stand_back(&self) {
        self.stands_back.set(true);
    }
}
