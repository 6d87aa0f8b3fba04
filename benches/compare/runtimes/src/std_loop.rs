//! Threads that block: as many as there are operations under way elsewhere.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use memmap2::MmapOptions;

use super::{
    FILE_BYTES, FILES, READ_BYTES, READ_DEPTH, WRITE_BYTES, WRITE_DEPTH, large_file, new_file, noise, read_offsets,
    timed,
};

/// Runs `body` on so many threads and gives the first error.
fn everywhere(threads: usize, body: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&body)).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a panic"))?)
    })
}

pub(super) fn append(directory: &Path) -> io::Result<Duration> {
    let noise = noise();
    timed(|| {
        for number in 0..FILES {
            let file = File::from(new_file(directory, number)?);
            let next = AtomicU64::new(0);
            everywhere(WRITE_DEPTH, || {
                // Page-aligned, as direct I/O wants it.
                let mut buffer = MmapOptions::new().len(WRITE_BYTES).map_anon()?;
                buffer.copy_from_slice(&noise);
                loop {
                    let at = next.fetch_add(WRITE_BYTES as u64, Ordering::Relaxed);
                    if at >= FILE_BYTES {
                        return Ok(());
                    }
                    file.write_all_at(&buffer, at)?;
                }
            })?;
            file.sync_data()?;
        }
        Ok(())
    })
}

pub(super) fn read(path: &Path) -> io::Result<Duration> {
    let file = File::from(large_file(path)?);
    let offsets = Mutex::new(read_offsets());
    timed(|| {
        everywhere(READ_DEPTH, || {
            let mut buffer = MmapOptions::new().len(READ_BYTES).map_anon()?;
            loop {
                let next = offsets.lock().map_err(|_| io::Error::other("a panic"))?.next();
                let Some(at) = next else { return Ok(()) };
                file.read_exact_at(&mut buffer, at)?;
            }
        })
    })
}
