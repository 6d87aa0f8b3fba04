//! For tests only: a disk whose writes and syncs fail once a test says so, as those of a dying one do.
//!
//! It stands before the real disk of a data thread, and only where a switch put it there.

use std::{io, path::Path, rc::Rc};

use narrows_ring::{
    buffer::Buffer,
    world::{BlockOffset, Disk, File, Local, OpenMode, Space},
};

use crate::switches::FailWrites;

/// Before this disk.
pub(super) struct FailingDisk {
    pub(super) disk: Rc<dyn Disk>,
    pub(super) fails: FailWrites,
}

struct FailingFile {
    file: Rc<dyn File>,
    fails: FailWrites,
}

impl Disk for FailingDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        Box::pin(async move {
            let (file, fails) = (self.disk.open(path, mode).await?, self.fails.clone());
            Ok(Rc::new(FailingFile { file, fails }) as Rc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.remove(path)
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.create_dir(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        self.disk.sync_dir(path)
    }

    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>> {
        self.disk.space(path)
    }
}

impl File for FailingFile {
    fn read_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        self.file.read_at(at, buffer)
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        match self.fails.check() {
            Ok(()) => self.file.write_at(at, buffer),
            Err(error) => Box::pin(async move { (Err(error), buffer) }),
        }
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        match self.fails.check() {
            Ok(()) => self.file.sync_data(),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>> {
        self.file.allocate(at, length)
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        self.file.truncate(length)
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        self.file.size()
    }
}
