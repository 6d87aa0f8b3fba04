//! tokio-uring: `File` with aligned buffers.

use std::{fs, io, path::Path, rc::Rc, time::Duration, time::Instant};

use futures_util::{StreamExt as _, stream};
use tokio_uring::buf::{IoBuf, IoBufMut};

use super::{
    FILE_BYTES, FILES, READ_BYTES, READ_DEPTH, WRITE_BYTES, WRITE_DEPTH, large_file, new_file, noise, read_offsets,
};

/// Page-aligned memory that the kernel may read from and write to.
struct Aligned(memmap2::MmapMut);

impl Aligned {
    fn new(length: usize) -> io::Result<Self> {
        Ok(Self(memmap2::MmapOptions::new().len(length).map_anon()?))
    }
}

// SAFETY: the mapping stays where it is for as long as the value lives, and is initialised (zeros) from the start.
unsafe impl IoBuf for Aligned {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Aligned {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

pub(super) fn append(directory: &Path) -> io::Result<Duration> {
    let noise = noise();
    tokio_uring::start(async {
        let pool = std::cell::RefCell::new(Vec::new());
        for _ in 0..WRITE_DEPTH {
            let mut buffer = Aligned::new(WRITE_BYTES)?;
            buffer.0.copy_from_slice(&noise);
            pool.borrow_mut().push(buffer);
        }
        let start = Instant::now();
        for number in 0..FILES {
            let file = Rc::new(tokio_uring::fs::File::from_std(fs::File::from(new_file(directory, number)?)));
            let writes = (0..FILE_BYTES).step_by(WRITE_BYTES).map(|at| {
                let (file, pool) = (Rc::clone(&file), &pool);
                async move {
                    let buffer = pool.borrow_mut().pop().ok_or_else(|| io::Error::other("no buffer"))?;
                    let (written, buffer) = file.write_at(buffer, at).submit().await;
                    pool.borrow_mut().push(buffer);
                    if written? == WRITE_BYTES { Ok(()) } else { Err(io::Error::other("a short write")) }
                }
            });
            let mut writes = stream::iter(writes).buffer_unordered(WRITE_DEPTH);
            while let Some(written) = writes.next().await {
                written?;
            }
            file.sync_data().await?;
        }
        Ok(start.elapsed())
    })
}

pub(super) fn read(path: &Path) -> io::Result<Duration> {
    tokio_uring::start(async {
        let pool = std::cell::RefCell::new(Vec::new());
        for _ in 0..READ_DEPTH {
            pool.borrow_mut().push(Aligned::new(READ_BYTES)?);
        }
        let file = Rc::new(tokio_uring::fs::File::from_std(fs::File::from(large_file(path)?)));
        let start = Instant::now();
        let reads = read_offsets().map(|at| {
            let (file, pool) = (Rc::clone(&file), &pool);
            async move {
                let buffer = pool.borrow_mut().pop().ok_or_else(|| io::Error::other("no buffer"))?;
                let (read, buffer) = file.read_at(buffer, at).await;
                pool.borrow_mut().push(buffer);
                if read? == READ_BYTES { Ok(()) } else { Err(io::Error::other("a short read")) }
            }
        });
        let mut reads = stream::iter(reads).buffer_unordered(READ_DEPTH);
        while let Some(read) = reads.next().await {
            read?;
        }
        Ok(start.elapsed())
    })
}
