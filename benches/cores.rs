//! How ingest grows with the number of cores: a stream per core brings new incompressible frames into one pool.
//!
//! `cargo bench --bench cores` prints CSV: cores, GiB/s of all together (median of five), and the same as a multiple of one core.
//! Each frame's segments are looked up at their owners, claimed, appended and registered; the clock stops when all are synced.

use std::{
    path::Path,
    sync::{Arc, Barrier, Mutex, mpsc},
    time::Instant,
};

use narrows_benches::{
    bed::{FRAME_BYTES, Framed, children, frames, on_ring},
    noise,
};
use narrows_format::{ImageId, PoolId, frame::Codec};
use narrows_pool::{Create, Error, Open, Pool, Seed, create, open, stream::Claim};
use narrows_ring::{
    cores::{Setup, available, start},
    mailbox,
    world::World,
};
use tempfile::TempDir;

/// What one core brings.
const BYTES_PER_CORE: usize = 512 << 20;
const SEGMENT_BYTES: usize = 32 << 10;
const ROUNDS: usize = 5;

fn main() {
    let cpus = available();
    let all = noise(BYTES_PER_CORE * cpus.len());
    let work: Vec<Vec<Framed>> =
        all.chunks(BYTES_PER_CORE).map(|bytes| frames(bytes, SEGMENT_BYTES, Codec::None)).collect();
    drop(all);
    println!("cores,gib_per_second,of_one_core");
    let mut alone = None;
    for count in 1..=cpus.len() {
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| ingest(&cpus[..count], &work[..count])).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        println!("{count},{rate:.2},{:.2}", rate / *alone.get_or_insert(rate));
    }
}

/// GiB per second of all cores together.
#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn ingest(cpus: &[usize], work: &[Vec<Framed>]) -> f64 {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("room for a pool");
    let seeds = seeds(directory.path(), cpus.len());
    let jobs: Vec<_> = seeds.into_iter().zip(work.to_vec()).map(Some).collect();
    let (jobs, gate) = (Mutex::new(jobs), Arc::new(Barrier::new(cpus.len() + 1)));
    let (told, done) = mpsc::channel();
    // Cores serve each other until the last one is done: then this sender goes.
    let (keep, ended): (Vec<_>, Vec<_>) = cpus.iter().map(|_| mailbox::channel::<()>(1)).unzip();
    let ended = Mutex::new(ended.into_iter().map(Some).collect::<Vec<_>>());
    let at_gate = Arc::clone(&gate);
    let cores = start(Setup::new(cpus.to_vec(), 64 << 20), move |number, world| {
        let (seed, frames) = jobs.lock().expect("no panic")[number].take().expect("each core starts once");
        let ended = ended.lock().expect("no panic")[number].take().expect("each core starts once");
        let (gate, told) = (Arc::clone(&at_gate), told.clone());
        Box::pin(async move {
            let pool = Pool::start(seed, world.clone());
            gate.wait();
            told.send(bring(&pool, number, frames).await).expect("somebody counts");
            while ended.receive().await.is_some() {}
        })
    });
    let cores = cores.expect("io_uring is allowed here");
    gate.wait();
    let begun = Instant::now();
    for _ in cpus {
        done.recv().expect("a core that runs tells").expect("there is room");
    }
    let took = begun.elapsed();
    drop(keep);
    cores.join().expect("no core panics");
    let frames: usize = work.iter().map(Vec::len).sum();
    (frames * FRAME_BYTES) as f64 / f64::from(1 << 30) / took.as_secs_f64()
}

fn seeds(directory: &Path, cores: usize) -> Vec<Seed> {
    let made = on_ring(|world: World| async move {
        create(&world, directory, Create::new(PoolId([7; 16]))).await?;
        Ok::<_, Error>(open(&world, directory, Open::new(cores, 256 << 20)).await?.0)
    });
    made.expect("an empty directory")
}

async fn bring(pool: &Pool, number: usize, frames: Vec<Framed>) -> Result<(), Error> {
    let mut image = [1; 16];
    image[..8].copy_from_slice(&number.to_le_bytes());
    let ingest = pool.ingest(ImageId(image)).await?;
    for framed in frames {
        ingest.look_up(&children(std::slice::from_ref(&framed)), Claim::Take).await?;
        let (frame, segments) = framed;
        ingest.put_data(frame, segments).await?;
    }
    ingest.sync().await.map(drop)
}
