//! Goal: no bytes make a codec panic, nor take memory beyond its named bound.
//! Method: 10,000 seeded mutations of each file of the corpus's good ones, lengths and checksums mended in three of
//! four, so that they get past them; memory is counted by the allocator while a target runs. The seed is in
//! every failure message. `NARROWS_FUZZ_ROUNDS` asks for more mutations.
//!
//! One test alone in its process, because the count is the process's.

use narrows_format::Timestamp;
use narrows_format::node::{Body, Entry, EntryKind, Node, Xattrs};
use narrows_fuzz::mutate::{Seeded, mutate};
use narrows_fuzz::{TARGETS, Target};
use peak_alloc::PeakAlloc;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const ROUNDS: u64 = 10_000;

/// Beyond its named bound a target may take this many times the input: decoded values are wider than
/// their bytes, and encoding them again grows a buffer by doubling.
const INPUT_MULTIPLE: usize = 16;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("each target has a corpus")
        .map(|file| file.expect("a corpus can be listed").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("good-")))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a corpus can be read")).collect()
}

/// Inputs that chance does not find: little to read, much to unfold to.
fn unfolding() -> Vec<(&'static str, Vec<u8>)> {
    let prefix = "x/".repeat(15_000);
    let entry = |at: u32| Entry {
        path: format!("{prefix}{at:05}").into_bytes(),
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Xattrs::Inline(Vec::new()),
        kind: EntryKind::Fifo,
    };
    let paths = |count| Node { children: Vec::new(), body: Body::Entries((0..count).map(entry).collect()) };
    let known: Vec<u8> = [&4096_u16.to_le_bytes()[..], &[0xff; 512], &[0; 16]].concat();
    let proofs = |each: &[u8], count: u16| {
        let body =
            [&[0; 4], &count.to_le_bytes()[..], &[0; 2], &each.repeat(count.into()), b"frame"].concat();
        let length = u32::try_from(body.len()).expect("small").to_le_bytes();
        [&[5, 0, 0, 0], &length[..], &body].concat()
    };
    let attribute = |at: u32| [&[5, 0, 0, 0, 0, 0, 0, 0][..], format!("{at:05}").as_bytes()].concat();
    vec![
        ("node", paths(279).encode()),
        ("node", paths(1500).encode()),
        ("wire_message", proofs(&known, 400)),
        ("wire_message", proofs(&[0, 0], 1024)),
        ("xattrs", (0..32_768).flat_map(attribute).collect()),
        ("xattrs", (0..90_000).flat_map(attribute).collect()),
    ]
}

/// Runs one input; gives whether it decoded and the memory that it took, which is within bounds.
fn attack(target: &Target, input: &[u8], seed: u64) -> (bool, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let decoded = outcome.unwrap_or_else(|_| panic!("{} panics, seed {seed}", target.name));
    let (name, length) = (target.name, input.len());
    let allowed = target.memory_max + INPUT_MULTIPLE * length;
    assert!(taken <= allowed, "{name} takes {taken} bytes for an input of {length}, seed {seed}");
    (decoded, taken)
}

#[test]
fn every_target() {
    let rounds = std::env::var("NARROWS_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    for target in TARGETS {
        let corpus = corpus(target);
        let (mut decoded, mut most) = (0_u64, 0);
        for (file, good) in corpus.iter().enumerate() {
            // A thread keeps its compression contexts; they are not what an input takes.
            assert!((target.run)(good), "{} decodes its good ones", target.name);
            for round in 0..rounds {
                let seed = u64::try_from(file).expect("few files") << 32 | round;
                let mut seeded = Seeded::new(seed);
                let mut input = mutate(good, &corpus, &mut seeded);
                if seeded.below(4) > 0 {
                    (target.mend)(&mut input);
                }
                let (ok, taken) = attack(target, &input, seed);
                decoded += u64::from(ok);
                most = most.max(taken);
            }
        }
        for (_, input) in unfolding().iter().filter(|(name, _)| *name == target.name) {
            let (_, taken) = attack(target, input, u64::MAX);
            most = most.max(taken);
        }
        println!("{}: {} inputs, {decoded} decoded, {most} bytes at most", target.name, corpus.len());
        // Were nearly all refused at the door, nothing behind it would have been tried.
        assert!(decoded * 200 > rounds, "{}: only {decoded} mutations decode", target.name);
    }
}
