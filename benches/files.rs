//! How files are best made: containers fresh, with room or without, or written over old ones; restored files with room or
//! without.
//!
//! `cargo bench --bench files -- DIRECTORY [ROUNDS]` prints two tables: GiB/s, the median of all rounds, and the median of the
//! ratios to the first line of the same round. Each round begins with another line. DIRECTORY has to be on the disk that is
//! measured; up to 3 GiB are written there and removed. Containers go around the page cache and are synced one by one, as the
//! pool does; restored files go through it in pieces of a frame, and the second figure has them synced at the end.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use narrows_benches::{
    bed::{FRAME_BYTES, on_ring},
    noise,
};
use narrows_ring::world::{BlockOffset, OpenMode, World};
use rustix::fs::{FallocateFlags, fallocate, syncfs};

/// Bytes of one container, written in pieces, so many of them at once: as the pool does.
const CONTAINER_BYTES: u64 = 32 << 20;
const WRITE_BYTES: usize = 1 << 20;
const WRITE_DEPTH: usize = 4;
/// Containers per round and line.
const CONTAINERS: u64 = 24;
/// Bytes of restored files per round and line.
const RESTORED_BYTES: u64 = 512 << 20;
/// Sizes of restored files.
const SIZES: [(&str, u64); 3] = [("64 KiB", 64 << 10), ("4 MiB", 4 << 20), ("512 MiB", 512 << 20)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Allocated,
    Plain,
}

#[derive(Clone, Copy)]
enum Containers {
    Fresh(Room),
    /// Over files that were written from end to end before.
    Recycled,
}

const CONTAINER_LINES: [(&str, Containers); 3] = [
    ("fresh, room allocated", Containers::Fresh(Room::Allocated)),
    ("fresh, no room allocated", Containers::Fresh(Room::Plain)),
    ("recycled", Containers::Recycled),
];

fn main() -> io::Result<()> {
    // Cargo adds a word of its own.
    let mut words = std::env::args_os().skip(1).filter(|word| word != "--bench");
    let directory = PathBuf::from(words.next().ok_or_else(|| io::Error::other("which directory?"))?);
    let rounds = words.next().map(OsString::into_string).transpose();
    let rounds = rounds.map_err(|_| io::Error::other("how many rounds?"))?;
    let rounds: usize = rounds.map_or(Ok(5), |rounds| rounds.parse()).map_err(io::Error::other)?;
    fs::create_dir_all(&directory)?;

    let recycled = empty(&directory, "recycled")?;
    containers(&recycled, Containers::Fresh(Room::Allocated))?;
    let mut times = vec![Vec::new(); CONTAINER_LINES.len()];
    for line in turns(rounds, CONTAINER_LINES.len()) {
        let how = CONTAINER_LINES[line].1;
        let place =
            if let Containers::Recycled = how { recycled.clone() } else { empty(&directory, "fresh")? };
        times[line].push(containers(&place, how)?);
    }
    println!("| containers | GiB/s | ratio |\n|---|---|---|");
    for (line, (name, _)) in CONTAINER_LINES.iter().enumerate() {
        println!("| {name} | {} |", columns(&times[line], &times[0], CONTAINERS * CONTAINER_BYTES));
    }

    println!(
        "\n| restored files of | written, GiB/s | ratio | and synced, GiB/s | ratio |\n|---|---|---|---|---|"
    );
    for (name, size) in SIZES {
        let lines = [("plain", Room::Plain), ("room allocated", Room::Allocated)];
        let (mut written, mut synced) = (vec![Vec::new(); lines.len()], vec![Vec::new(); lines.len()]);
        for line in turns(rounds, lines.len()) {
            let (first, second) = restored(&empty(&directory, "restored")?, size, lines[line].1)?;
            written[line].push(first);
            synced[line].push(second);
        }
        for (line, (how, _)) in lines.iter().enumerate() {
            let first = columns(&written[line], &written[0], RESTORED_BYTES);
            let second = columns(&synced[line], &synced[0], RESTORED_BYTES);
            println!("| {name}, {how} | {first} | {second} |");
        }
    }
    for name in ["recycled", "fresh", "restored"] {
        fs::remove_dir_all(directory.join(name))?;
    }
    Ok(())
}

/// Which line is next: each round begins with another.
fn turns(rounds: usize, lines: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| (0..lines).map(move |turn| (round + turn) % lines))
}

fn empty(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let path = directory.join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir(&path)?;
    // What was removed is not to be worked on while the next line is measured.
    syncfs(File::open(&path)?)?;
    Ok(path)
}

fn containers(place: &Path, how: Containers) -> io::Result<Duration> {
    let noise = noise(WRITE_BYTES);
    on_ring(|world| async move {
        let start = world.clock.monotonic();
        for number in 0..CONTAINERS {
            container(&world, &place.join(number.to_string()), how, &noise).await?;
        }
        Ok(world.clock.monotonic().saturating_sub(start))
    })
}

async fn container(world: &World, path: &Path, how: Containers, noise: &[u8]) -> io::Result<()> {
    let mode = if let Containers::Recycled = how { OpenMode::Write } else { OpenMode::Create };
    let file = world.disk.open(path, mode).await?;
    if let Containers::Fresh(Room::Allocated) = how {
        file.allocate(BlockOffset::ZERO, CONTAINER_BYTES).await?;
    }
    let writes = (0..CONTAINER_BYTES).step_by(WRITE_BYTES).map(|at| {
        let file = Rc::clone(&file);
        async move {
            let mut buffer = world.arena.take(WRITE_BYTES).await;
            // Filled once and handed round: filling is not what is measured.
            buffer.set_len(WRITE_BYTES);
            if buffer[..8] != noise[..8] {
                buffer.copy_from_slice(noise);
            }
            file.write_at(BlockOffset::floor(at), buffer).await.0
        }
    });
    let mut writes = stream::iter(writes).buffer_unordered(WRITE_DEPTH);
    while let Some(written) = writes.next().await {
        written?;
    }
    file.sync_data().await
}

/// Until all was written, and until it was synced.
fn restored(place: &Path, size: u64, room: Room) -> io::Result<(Duration, Duration)> {
    let noise = noise(FRAME_BYTES);
    let start = Instant::now();
    for number in 0..RESTORED_BYTES / size {
        let mut file = File::create_new(place.join(number.to_string()))?;
        if room == Room::Allocated {
            fallocate(&file, FallocateFlags::empty(), 0, size)?;
        }
        let mut rest = size;
        while rest > 0 {
            let count = usize::try_from(rest).unwrap_or(FRAME_BYTES).min(FRAME_BYTES);
            file.write_all(&noise[..count])?;
            rest -= count as u64;
        }
    }
    let written = start.elapsed();
    syncfs(File::open(place)?)?;
    Ok((written, start.elapsed()))
}

/// The median rate, and the median of the ratios of each round.
#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn columns(times: &[Duration], first: &[Duration], bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    let rates = times.iter().map(|time| gib / time.as_secs_f64()).collect();
    let ratios = times.iter().zip(first).map(|(time, first)| first.as_secs_f64() / time.as_secs_f64());
    format!("{:.2} | {:.2}", median(rates), median(ratios.collect()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
