//! Appends to fresh container files and random reads of 4 KiB, the same through each runtime, on one core.
//!
//! `cargo run --release -- DIRECTORY [ROUNDS]`. The yardstick is a bare `io_uring` loop; every figure is the median of its
//! ratios to that loop in the same round. Each round begins with another runtime. DIRECTORY has to be on the disk that is
//! measured; up to 5 GiB are written there and removed.

mod glommio_loop;
mod narrows_loop;
mod raw_loop;
mod std_loop;
mod tokio_uring_loop;

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Bytes of one container file; allocated beforehand, as the pool does.
const FILE_BYTES: u64 = 32 << 20;
/// Bytes of one write.
const WRITE_BYTES: usize = 1 << 20;
/// Writes under way.
const WRITE_DEPTH: usize = 4;
/// Files per round.
const FILES: u64 = 32;
/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;
/// Reads under way.
const READ_DEPTH: usize = 64;
/// Reads per round.
const READS: usize = 60_000;
/// Bytes of the file that is read.
const READ_FILE_BYTES: u64 = 4 << 30;

type Append = fn(&Path) -> io::Result<Duration>;
type Read = fn(&Path) -> io::Result<Duration>;

/// What is compared; the first is the yardstick.
const RUNTIMES: [(&str, Append, Option<Read>); 6] = [
    ("io_uring, bare loop", raw_loop::append, Some(raw_loop::read)),
    ("narrows-ring", narrows_loop::append, Some(narrows_loop::read)),
    ("narrows-pool, containers", narrows_loop::containers, None),
    ("glommio", glommio_loop::append, Some(glommio_loop::read)),
    ("tokio-uring", tokio_uring_loop::append, Some(tokio_uring_loop::read)),
    ("std, a thread per operation", std_loop::append, Some(std_loop::read)),
];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or_else(|| io::Error::other("which directory?"))?);
    let rounds = match arguments.next() {
        Some(rounds) => rounds.to_string_lossy().parse().map_err(io::Error::other)?,
        None => 5,
    };
    let large = directory.join("read");
    make_large(&large)?;
    let mut append = vec![Vec::new(); RUNTIMES.len()];
    let mut read = vec![Vec::new(); RUNTIMES.len()];
    for round in 0..rounds {
        for turn in 0..RUNTIMES.len() {
            let which = (round + turn) % RUNTIMES.len();
            let (_, append_loop, read_loop) = RUNTIMES[which];
            append[which].push(append_loop(&fresh(&directory)?)?);
            if let Some(read_loop) = read_loop {
                read[which].push(read_loop(&large)?);
            }
        }
    }
    std::fs::remove_file(&large)?;
    std::fs::remove_dir_all(directory.join("appended"))?;
    println!("| runtime | append, GiB/s | ratio | read 4 KiB, k/s | ratio |");
    println!("|---|---|---|---|---|");
    for (which, (name, ..)) in RUNTIMES.iter().enumerate() {
        let bytes = (FILES * FILE_BYTES) as f64 / f64::from(1 << 30);
        let appended = columns(&append[which], &append[0], bytes);
        let reads = columns(&read[which], &read[0], READS as f64 / 1000.0);
        println!("| {name} | {appended} | {reads} |");
    }
    Ok(())
}

/// The median rate, and the median of the ratios of each round.
fn columns(times: &[Duration], yardstick: &[Duration], work: f64) -> String {
    if times.is_empty() {
        return "- | -".to_owned();
    }
    let rates = times.iter().map(|time| work / time.as_secs_f64()).collect();
    let ratios = times.iter().zip(yardstick).map(|(time, other)| other.as_secs_f64() / time.as_secs_f64());
    format!("{:.2} | {:.2}", median(rates), median(ratios.collect()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn fresh(directory: &Path) -> io::Result<PathBuf> {
    let appended = directory.join("appended");
    if appended.exists() {
        std::fs::remove_dir_all(&appended)?;
    }
    std::fs::create_dir_all(&appended)?;
    Ok(appended)
}

/// Written, not merely allocated: reads of what was never written cost no disk.
fn make_large(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let file = File::create(path)?;
    let piece = noise();
    for number in 0..READ_FILE_BYTES / WRITE_BYTES as u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &piece, number * WRITE_BYTES as u64)?;
    }
    file.sync_all()
}

/// One write's worth of bytes without structure.
fn noise() -> Vec<u8> {
    let mut state = 0x6e61_7272_6f77_7321_u64;
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    while bytes.len() < WRITE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Where reads go: the same blocks, in the same order, for everybody.
fn read_offsets() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..READS).map(move |_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % (READ_FILE_BYTES / READ_BYTES as u64) * READ_BYTES as u64
    })
}

/// A fresh file with room, opened around the page cache.
fn new_file(directory: &Path, number: u64) -> io::Result<OwnedFd> {
    let mut options = File::options();
    let file = options.create_new(true).read(true).write(true).custom_flags(libc::O_DIRECT);
    let file = file.open(directory.join(number.to_string()))?;
    let length = libc::off_t::try_from(FILE_BYTES).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open; no memory is passed.
    match unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, length) } {
        0 => Ok(file.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The large file, opened around the page cache.
fn large_file(path: &Path) -> io::Result<OwnedFd> {
    Ok(File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?.into())
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
