//! Files through the ring: data and syncs as operations, names on helper threads.

use std::{cell::Cell, io, os::fd::OwnedFd, path::Path, rc::Rc, sync::Arc};

use super::{
    driver::{Descriptor, Driver},
    operation::Unawaited,
    request::{Request, Turn},
};
use crate::{
    buffer::Buffer,
    files::{self, Cache},
    worker_threads::Helpers,
    world::{BLOCK, BlockOffset, Disk, File, Local, OpenMode, Space},
};

/// The file systems.
pub(crate) struct RingDisk {
    pub(crate) driver: Rc<Driver>,
    pub(crate) helpers: Arc<Helpers>,
    pub(crate) cache: Cache,
}

struct RingFile {
    driver: Rc<Driver>,
    helpers: Arc<Helpers>,
    file: Rc<Descriptor>,
    turn: Cell<Turn>,
}

impl Disk for RingDisk {
    fn open<'a>(&'a self, path: &'a Path, mode: OpenMode) -> Local<'a, io::Result<Rc<dyn File>>> {
        let (path, cache) = (path.to_owned(), self.cache);
        Box::pin(async move {
            let fd = self.helpers.call(move || files::open(&path, mode, cache)).await?;
            let file = Descriptor::new(&self.driver, fd);
            let (driver, helpers) = (Rc::clone(&self.driver), Arc::clone(&self.helpers));
            Ok(Rc::new(RingFile { driver, helpers, file, turn: Cell::new(Turn::Usual) }) as Rc<dyn File>)
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

impl RingFile {
    async fn read(&self, at: BlockOffset, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        assert!(buffer.len().is_multiple_of(BLOCK), "files are read in whole blocks");
        let mut done = 0;
        while done < buffer.len() {
            let request = Request::read(&self.file, at, buffer, done, self.turn.get());
            let landing = self.driver.start(request, Unawaited::Finishes).await;
            let count = landing.count();
            buffer = landing.held.into_buffer();
            match count {
                Ok(count) => {
                    done += count;
                    // The end of the file, or its last block in part.
                    if count == 0 || !done.is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(error) if again(&error) => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(done), buffer)
    }

    async fn write(&self, at: BlockOffset, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        assert!(buffer.len().is_multiple_of(BLOCK), "files are written in whole blocks");
        let mut done = 0;
        while done < buffer.len() {
            let request = Request::write(&self.file, at, buffer, done, self.turn.get());
            let landing = self.driver.start(request, Unawaited::Finishes).await;
            let count = landing.count();
            buffer = landing.held.into_buffer();
            match count {
                // Direct writes go on at a block, so a broken one is written again.
                Ok(count) if count >= BLOCK => done = (done + count) / BLOCK * BLOCK,
                Ok(_) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Err(error) if again(&error) => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    async fn until_done(&self, request: impl Fn() -> Request) -> io::Result<()> {
        loop {
            match self.driver.start(request(), Unawaited::Finishes).await.count() {
                Err(error) if again(&error) => {}
                other => return other.map(drop),
            }
        }
    }

    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> Local<'_, io::Result<T>> {
        let file = Arc::clone(self.file.shared());
        Box::pin(self.helpers.call(move || call(&file)))
    }
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

impl File for RingFile {
    fn read_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(self.read(at, buffer))
    }

    fn write_at(&self, at: BlockOffset, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(self.write(at, buffer))
    }

    fn sync_data(&self) -> Local<'_, io::Result<()>> {
        Box::pin(async move {
            // Never repeated: after a failed sync the kernel has forgotten what was dirty.
            self.driver.start(Request::sync_data(&self.file), Unawaited::Finishes).await.count().map(drop)
        })
    }

    fn allocate(&self, at: BlockOffset, length: u64) -> Local<'_, io::Result<()>> {
        Box::pin(async move {
            if length == 0 {
                return Ok(());
            }
            match self.until_done(|| Request::allocate(&self.file, at, length)).await {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
                other => other,
            }
        })
    }

    fn truncate(&self, length: BlockOffset) -> Local<'_, io::Result<()>> {
        self.call(move |file| files::truncate(file, length.bytes()))
    }

    fn size(&self) -> Local<'_, io::Result<u64>> {
        self.call(|file| files::size(file))
    }

    fn stand_back(&self) {
        self.turn.set(Turn::Last);
    }
}
