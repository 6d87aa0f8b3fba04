//! Byte ranges of single files: what is read is what was written, and nothing unverified is given.

use std::path::Path;

use narrows_format::{
    Timestamp,
    node::{Entry, EntryKind, Xattrs},
};
use narrows_pool::{
    Error, Pool,
    error::Region,
    ingest::{Piece, Splitter},
    recipe::build::{BuiltNode, ExtentBuilder, TreeBuilder},
};
use narrows_ring::sim::{CrashKind, Sim};
use narrows_simd::fingerprint;

use crate::bed::{
    Dice, HOST, Source, close, image_id, make_pool, open_pool, options, pool_path, record_of, request,
};

/// Files of every shape: empty, short, with a hole and a fill, repetitive, and with a tree of extents.
fn files(dice: &mut Dice) -> Vec<(&'static str, Vec<u8>)> {
    let block = dice.bytes(64 << 10);
    let (hole, fill) = (vec![0; 300_000], vec![7; 200_000]);
    let mixed = [&dice.bytes(90_000)[..], &hole, &dice.bytes(50_000), &fill, b"end"].concat();
    vec![
        ("dir/empty", Vec::new()),
        ("dir/mixed", mixed),
        ("dir/short", b"short".to_vec()),
        ("large", dice.bytes(1 << 20)),
        ("repeats", block.repeat(9)),
    ]
}

async fn bring(pool: &Pool, files: &[(&str, Vec<u8>)]) {
    let ingest = pool.ingest(image_id(1)).await.unwrap();
    let mut source = Source::new(&ingest);
    let (mut nodes, mut tree) = (Vec::new(), TreeBuilder::new());
    let mut sink = |node: BuiltNode| nodes.push(node.bytes);
    for (path, bytes) in files {
        let (mut extents, mut segments) = (ExtentBuilder::new(), Vec::new());
        let mut splitter = Splitter::new(8 << 10).unwrap();
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Segment(bytes) => {
                extents.segment(fingerprint::data(bytes).0, u32::try_from(bytes.len()).unwrap(), &mut sink);
                segments.push(bytes.to_vec());
            }
            Piece::Fill { byte, length } => extents.fill(byte, length, &mut sink),
            Piece::Hole(length) => extents.hole(length, &mut sink),
        };
        splitter.write(bytes, &mut take);
        splitter.finish(&mut take);
        source.put_segments(&segments).await.unwrap();
        let content = extents.finish(&mut sink);
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            mode: 0o644,
            uid: 1,
            gid: 1,
            mtime: Timestamp { seconds: 1, nanos: 2 },
            xattrs: Xattrs::Inline(Vec::new()),
            kind: EntryKind::File { size: content.size, content: content.content },
        };
        tree.push(entry, &content.children, &mut sink).unwrap();
    }
    let link = Entry {
        path: b"the link".to_vec(),
        mode: 0o644,
        uid: 1,
        gid: 1,
        mtime: Timestamp { seconds: 1, nanos: 2 },
        xattrs: Xattrs::Inline(Vec::new()),
        kind: EntryKind::HardLink(b"dir/mixed".to_vec()),
    };
    tree.push(link, &[], &mut sink).unwrap();
    let root = tree.finish(&mut sink);
    for node in &nodes {
        source.put_node(node).await.unwrap();
    }
    let record = record_of(image_id(1), root.fingerprint, root.length);
    ingest.commit(request(record)).await.unwrap();
}

#[test]
fn ranges_read_back() {
    let sim = Sim::new(51);
    let world = sim.world(HOST);
    let run = async move {
        let mut dice = Dice(51);
        let files = files(&mut dice);
        let pools = make_pool(&world, &pool_path(), options(2)).await.unwrap();
        bring(&pools[0], &files).await;
        for (path, bytes) in &files {
            let file = pools[1].file(image_id(1), path.as_bytes()).await.unwrap().expect("it was backed up");
            assert_eq!(file.size(), bytes.len() as u64);
            assert_eq!(pools[1].leases().0, 1, "an open file holds a lease");
            for round in 0..60 {
                let from = dice.below(bytes.len() + 3);
                let to = if round == 0 { bytes.len() + 9 } else { from + dice.below(150_000) };
                let from = if round == 0 { 0 } else { from };
                let expected = &bytes[from.min(bytes.len())..to.min(bytes.len())];
                assert!(file.read(from as u64..to as u64).await.unwrap() == expected, "{path} {from}..{to}");
            }
        }
        let link = pools[1].file(image_id(1), b"the link").await.unwrap().expect("a link is its file");
        assert!(link.read(0..100_000).await.unwrap() == files[1].1[..100_000]);
        for nothing in [&b"dir"[..], b"dir/none", b""] {
            assert!(pools[0].file(image_id(1), nothing).await.unwrap().is_none());
        }
        let unknown = pools[0].file(image_id(2), b"large").await.map(|_| ());
        assert_eq!(unknown, Err(Error::NoImage { image: image_id(2) }));
        let far = pools[0].file(image_id(1), b"large").await.unwrap().unwrap().read(0..u64::MAX).await;
        assert_eq!(far.unwrap().len(), 1 << 20, "a range ends with the file");
        close(&pools).await.unwrap();
    };
    sim.run(run).expect("no crash was asked for");
}

/// Goal: a damaged segment fails the ranges that need it, with its place, and no others.
#[test]
fn a_damaged_segment_is_not_given() {
    let sim = Sim::new(52);
    let world = sim.world(HOST);
    let files = files(&mut Dice(52));
    let large = files[3].1.clone();
    let first = world.clone();
    sim.run(async move {
        let pools = make_pool(&first, &pool_path(), options(2)).await.unwrap();
        bring(&pools[0], &files).await;
        close(&pools).await.unwrap();
    })
    .expect("no crash was asked for");
    // The first frames are those of `dir/mixed`; what is damaged lies in `large` in the same container.
    let containers = sim.files(HOST).into_iter().filter(|(path, _)| path.starts_with("/containers"));
    let (path, _) = containers.max_by_key(|(_, size)| *size).unwrap();
    assert!(sim.flip(HOST, Path::new(&path), 4096 + 250_000, 1));
    sim.crash(HOST, CrashKind::KeepAll);
    sim.run(async move {
        let (pools, _) = open_pool(&world, &pool_path(), options(2)).await.unwrap();
        let file = pools[0].file(image_id(1), b"large").await.unwrap().unwrap();
        let (mut good, mut bad) = (0, 0);
        for at in (0..large.len()).step_by(4096) {
            match file.read(at as u64..at as u64 + 4096).await {
                Ok(bytes) => {
                    assert!(bytes == large[at..at + 4096]);
                    good += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { region: Region::Frame, slot: Some(_), .. }));
                    bad += 1;
                }
            }
        }
        assert!(bad > 0 && bad < 64 && good > 100, "{bad} bad, {good} good");
    })
    .expect("no crash was asked for");
}
