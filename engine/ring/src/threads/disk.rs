//! Files by blocking calls on helper threads.
//!
//! A helper thread works on memory of its own, so that a dropped future leaves nobody writing into a buffer.

use std::{io, os::fd::OwnedFd, path::Path, rc::Rc, sync::Arc};

use rustix::io::{Errno, pread, pwrite};

use crate::{
    buffer::Buffer,
    files::{self, Cache},
    worker_threads::Helpers,
    world::{BLOCK, BlockOffset, Disk, File, Local, OpenMode, Space},
};

/// The file systems.
pub(crate) struct ThreadDisk {
    pub(crate) helpers: Arc<Helpers>,
}

struct ThreadFile {
    helpers: Arc<Helpers>,
    file: Arc<OwnedFd>,
}

impl Disk for ThreadDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        let path = path.to_owned();
        Box::pin(async move {
            let file = self.helpers.call(move || files::open(&path, mode, Cache::Through)).await?;
            let (helpers, file) = (Arc::clone(&self.helpers), Arc::new(file));
            Ok(Rc::new(ThreadFile { helpers, file }) as Rc<dyn File>)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Local<'a, io::Result<()>> {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::pin(self.helpers.call(move || files::rename(&from, &to)))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        let path = path.to_owned();
        Box::pin(self.helpers.call(move || files::remove(&path)))
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        let path = path.to_owned();
        Box::pin(self.helpers.call(move || files::create_dir(&path)))
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<()>> {
        let path = path.to_owned();
        Box::pin(self.helpers.call(move || files::sync_dir(&path)))
    }

    fn space<'a>(&'a self, path: &'a Path) -> Local<'a, io::Result<Space>> {
        let path = path.to_owned();
        Box::pin(self.helpers.call(move || files::space(&path)))
    }
}

impl ThreadFile {
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> Local<'_, io::Result<T>> {
        let file = Arc::clone(&self.file);
        Box::pin(self.helpers.call(move || call(&file)))
    }

    async fn read(&self, at: BlockOffset, buffer: &mut Buffer) -> io::Result<usize> {
        assert!(buffer.len().is_multiple_of(BLOCK), "files are read in whole blocks");
        let length = buffer.len();
        let bytes = self.call(move |file| read_until_end(file, at.bytes(), length)).await?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    async fn write(&self, at: BlockOffset, buffer: &Buffer) -> io::Result<()> {
        assert!(buffer.len().is_multiple_of(BLOCK), "files are written in whole blocks");
        let bytes = buffer.to_vec();
        self.call(move |file| write_all(file, at.bytes(), &bytes)).await
    }
}

fn read_until_end(file: &OwnedFd, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match pread(file, &mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn write_all(file: &OwnedFd, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match pwrite(file, &bytes[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl File for ThreadFile {
    fn read_at(&self, at: BlockOffset, mut buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(async move { (self.read(at, &mut buffer).await, buffer) })
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(async move { (self.write(at, &buffer).await, buffer) })
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        self.call(|file| Ok(rustix::fs::fdatasync(file)?))
    }

    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>> {
        self.call(move |file| if length == 0 { Ok(()) } else { files::allocate(file, at.bytes(), length) })
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        self.call(move |file| files::truncate(file, length.bytes()))
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        self.call(|file| files::size(file))
    }
}
