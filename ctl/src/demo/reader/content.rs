//! Compares bytes and holes of files, on as many threads as there are processors (at most four).

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustix::{
    fs::{SeekFrom, fstat, seek},
    io::{Errno, pread},
};

use super::{bytes_of, open::Tree, shown};

/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

/// Files taken by a thread at a time.
const BATCH: usize = 64;

/// What differs, one line each.
pub(super) fn compare(before: &Tree, after: &Tree, files: &[PathBuf]) -> Vec<String> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    let Some(batch) = files.get(from..files.len().min(from + BATCH)) else { return };
                    if batch.is_empty() {
                        return;
                    }
                    for file in batch {
                        let path = bytes_of(file);
                        let outcome = compare_file(before, after, path, (&mut left, &mut right));
                        let how = match outcome {
                            Ok(None) => continue,
                            Ok(Some(how)) => how,
                            Err(error) => format!("cannot be read: {error}"),
                        };
                        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                        lines.push(format!("{}: {how}", shown(path)));
                    }
                }
            });
        }
    });
    lines.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn compare_file(
    before: &Tree,
    after: &Tree,
    path: &[u8],
    (left, right): (&mut [u8], &mut [u8]),
) -> Result<Option<String>, Errno> {
    let (one, other) = (before.file(path)?, after.file(path)?);
    let holes = (holes(&one)?, holes(&other)?);
    if holes.0 != holes.1 {
        return Ok(Some(format!("holes {:?} became {:?}", holes.0, holes.1)));
    }
    // Both have the same holes, which read as zeros; only data needs to be looked at.
    for (from, to) in data_between(&holes.0, fstat(&one)?.st_size.try_into().unwrap_or(0)) {
        let mut at = from;
        while at < to {
            let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(PIECE);
            let (a, b) = (read(&one, &mut left[..count], at)?, read(&other, &mut right[..count], at)?);
            if a != b || left[..a] != right[..b] {
                return Ok(Some(format!("bytes differ from {at} on")));
            }
            if a == 0 {
                break;
            }
            at += a as u64;
        }
    }
    Ok(None)
}

/// Fills the buffer as far as the file goes.
fn read(fd: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match pread(fd, &mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Where holes begin and end.
fn holes(fd: &OwnedFd) -> Result<Vec<(u64, u64)>, Errno> {
    let size: u64 = fstat(fd)?.st_size.try_into().unwrap_or(0);
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let hole = seek(fd, SeekFrom::Hole(at))?;
        if hole >= size {
            break;
        }
        at = match seek(fd, SeekFrom::Data(hole)) {
            Ok(data) => data,
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error),
        };
        found.push((hole, at));
    }
    Ok(found)
}

/// What lies between the holes of a file.
fn data_between(holes: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
    let mut at = 0;
    let mut data = Vec::new();
    for (from, to) in holes {
        if *from > at {
            data.push((at, *from));
        }
        at = *to;
    }
    if at < size {
        data.push((at, size));
    }
    data
}
