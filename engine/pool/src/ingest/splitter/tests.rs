//! The splitter against its promise: pieces of input change nothing, and nothing is lost.

use narrows_simd::fingerprint;
use proptest::prelude::*;

use super::*;

const MEAN: u32 = 8 * 1024;

/// A step of writing a file.
#[derive(Clone, Debug)]
enum Step {
    Noise(u64, usize),
    Run(u8, usize),
    Hole(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u64>(), 0_usize..90_000).prop_map(|(seed, length)| Step::Noise(seed, length)),
        (0_u8..3, 0_usize..30_000).prop_map(|(byte, length)| Step::Run(byte, length)),
        (0_u64..3).prop_map(|blocks| Step::Hole(blocks * 4096)),
    ]
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What is told: for segments the bytes themselves, so that the file can be put together again.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Segment(Vec<u8>),
    Fill(u8, u64),
    Hole(u64),
}

fn run(steps: &[Step], sizes: &[usize]) -> Vec<Told> {
    let mut splitter = Splitter::new(MEAN).unwrap();
    let mut told = Vec::new();
    let mut sink = |piece: Piece<'_>| {
        told.push(match piece {
            Piece::Segment(bytes) => Told::Segment(bytes.to_vec()),
            Piece::Fill { byte, length } => Told::Fill(byte, length),
            Piece::Hole(length) => Told::Hole(length),
        });
    };
    let (mut sizes, mut total) = (sizes.iter().cycle(), 0);
    for step in steps {
        let bytes = match step {
            Step::Noise(seed, length) => noise(*seed, *length),
            Step::Run(byte, length) => vec![*byte; *length],
            Step::Hole(length) => {
                splitter.hole(*length, &mut sink);
                total += length;
                continue;
            }
        };
        total += bytes.len() as u64;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            splitter.write(now, &mut sink);
            rest = later;
        }
    }
    assert_eq!(splitter.finish(&mut sink), total);
    told
}

/// The file as a list of runs: bytes where there are any, lengths of holes elsewhere.
fn contents(steps: &[Step]) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut bytes, mut holes) = (Vec::new(), Vec::<Range<usize>>::new());
    for step in steps {
        match step {
            Step::Noise(seed, length) => bytes.extend(noise(*seed, *length)),
            Step::Run(byte, length) => bytes.resize(bytes.len() + length, *byte),
            Step::Hole(length) => {
                let at = bytes.len();
                bytes.resize(at + usize::try_from(*length).unwrap(), 0);
                match holes.last_mut() {
                    Some(last) if last.end == at => last.end = bytes.len(),
                    _ if *length == 0 => {}
                    _ => holes.push(at..bytes.len()),
                }
            }
        }
    }
    (bytes, holes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_and_pieces_change_nothing(
        steps in prop::collection::vec(step(), 0..8),
        sizes in prop::collection::vec(1_usize..200_000, 1..5),
    ) {
        let told = run(&steps, &[usize::MAX]);
        let (mut bytes, mut holes) = (Vec::new(), Vec::new());
        for piece in &told {
            match piece {
                Told::Segment(segment) => bytes.extend_from_slice(segment),
                Told::Fill(byte, length) => bytes.resize(bytes.len() + usize::try_from(*length).unwrap(), *byte),
                Told::Hole(length) => {
                    let at = bytes.len();
                    bytes.resize(at + usize::try_from(*length).unwrap(), 0);
                    holes.push(at..bytes.len());
                }
            }
        }
        prop_assert_eq!((bytes, holes), contents(&steps));
        // Adjacent writes of one stretch are still one stretch: only holes end data.
        prop_assert!(run(&steps, &sizes) == told);
    }
}

/// Goal: `split` tells ranges that tile the file, and a splitter serves file after file.
#[test]
fn ranges_tile_the_file() {
    let mut bytes = noise(3, 100_000);
    bytes.resize(120_000, 7);
    let spans = split(&bytes, MEAN).unwrap();
    let mut at = 0;
    for span in &spans {
        at = match span {
            Span::Segment { range, fingerprint, tag } => {
                assert_eq!(range.start, at);
                let (start, end) =
                    (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
                assert_eq!((*fingerprint, *tag), fingerprint::data(&bytes[start..end]));
                range.end
            }
            Span::Fill { length, .. } => at + length,
            Span::Hole(_) => unreachable!("bytes have no holes"),
        };
    }
    assert_eq!(at, 120_000);
    assert_eq!(spans.last(), Some(&Span::Fill { byte: 7, length: 20_000 }));
    assert_eq!(split(&[], MEAN).unwrap(), []);
    assert!(split(&bytes, 5).is_err());
}
