//! The yardstick: one io_uring, registered buffers on huge pages, nothing else.

use std::{io, os::fd::AsRawFd as _, path::Path, time::Duration};

use io_uring::{IoUring, opcode, types};
use memmap2::{MmapMut, MmapOptions};

use super::{
    FILE_BYTES, FILES, READ_BYTES, READ_DEPTH, WRITE_BYTES, WRITE_DEPTH, large_file, new_file, noise, read_offsets,
    timed,
};

/// A ring, and as many registered buffers as operations may be under way.
struct Loop {
    ring: IoUring,
    memory: MmapMut,
    piece: usize,
}

impl Loop {
    fn new(depth: usize, piece: usize) -> io::Result<Self> {
        let length = (depth * piece).next_multiple_of(2 << 20);
        let reserved = MmapOptions::new().len(length).huge(Some(21)).map_anon();
        let mut memory = reserved.or_else(|_| {
            let memory = MmapOptions::new().len(length).map_anon()?;
            memory.advise(memmap2::Advice::HugePage)?;
            Ok::<_, io::Error>(memory)
        })?;
        memory.fill(1);
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = builder.build(u32::try_from(depth.next_power_of_two()).map_err(io::Error::other)?)?;
        let whole = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: length };
        // SAFETY: the mapping outlives the ring: fields are dropped in order.
        unsafe { ring.submitter().register_buffers(&[whole])? };
        Ok(Self { ring, memory, piece })
    }

    fn address(&mut self, slot: usize) -> *mut u8 {
        self.memory[slot * self.piece..].as_mut_ptr()
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) -> io::Result<()> {
        // SAFETY: buffers belong to the mapping, and a slot is used again only when its operation has ended.
        unsafe { self.ring.submission().push(entry).map_err(io::Error::other) }
    }

    /// Waits for one operation and gives back its slot.
    fn wait(&mut self, expected: usize) -> io::Result<usize> {
        self.ring.submit_and_wait(1)?;
        let done = self.ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
        match usize::try_from(done.result()) {
            Ok(count) if count == expected => usize::try_from(done.user_data()).map_err(io::Error::other),
            Ok(_) => Err(io::Error::other("a short operation")),
            Err(_) => Err(io::Error::from_raw_os_error(-done.result())),
        }
    }
}

pub(super) fn append(directory: &Path) -> io::Result<Duration> {
    let mut ring = Loop::new(WRITE_DEPTH, WRITE_BYTES)?;
    for slot in 0..WRITE_DEPTH {
        ring.memory[slot * WRITE_BYTES..][..WRITE_BYTES].copy_from_slice(&noise());
    }
    timed(|| {
        for number in 0..FILES {
            let file = new_file(directory, number)?;
            let fd = types::Fd(file.as_raw_fd());
            let mut free: Vec<usize> = (0..WRITE_DEPTH).collect();
            for at in (0..FILE_BYTES).step_by(WRITE_BYTES) {
                let slot = match free.pop() {
                    Some(slot) => slot,
                    None => ring.wait(WRITE_BYTES)?,
                };
                let write = opcode::WriteFixed::new(fd, ring.address(slot), WRITE_BYTES as u32, 0);
                ring.push(&write.offset(at).build().user_data(slot as u64))?;
            }
            for _ in free.len()..WRITE_DEPTH {
                ring.wait(WRITE_BYTES)?;
            }
            ring.push(&opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build())?;
            ring.wait(0)?;
        }
        Ok(())
    })
}

pub(super) fn read(path: &Path) -> io::Result<Duration> {
    let file = large_file(path)?;
    let fd = types::Fd(file.as_raw_fd());
    let mut ring = Loop::new(READ_DEPTH, READ_BYTES)?;
    timed(|| {
        let mut free: Vec<usize> = (0..READ_DEPTH).collect();
        for at in read_offsets() {
            let slot = match free.pop() {
                Some(slot) => slot,
                None => ring.wait(READ_BYTES)?,
            };
            let read = opcode::ReadFixed::new(fd, ring.address(slot), READ_BYTES as u32, 0);
            ring.push(&read.offset(at).build().user_data(slot as u64))?;
        }
        for _ in free.len()..READ_DEPTH {
            ring.wait(READ_BYTES)?;
        }
        Ok(())
    })
}
