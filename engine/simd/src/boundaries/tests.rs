//! Boundaries against their promises: determinism, pieces, resynchronisation, runs, lengths.

use proptest::prelude::*;

use super::*;

const MEAN: u32 = 8 * 1024;

/// Seeded bytes without structure (`SplitMix64`).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn push(cuts: &mut Vec<(Range<usize>, CutKind)>, at: usize, cut: Cut) {
    if let (CutKind::Fill(_), Some((last, kind))) = (cut.kind, cuts.last_mut())
        && *kind == cut.kind
    {
        last.end += cut.length;
        return;
    }
    cuts.push((at..at + cut.length, cut.kind));
}

/// The cuts of a whole slice.
fn cuts(bytes: &[u8], mean: u32) -> Vec<(Range<usize>, CutKind)> {
    let mut search = Boundaries::new(mean).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(cut) = search.next_cut(&bytes[at..], true) {
        push(&mut found, at, cut);
        at += cut.length;
    }
    assert_eq!(at, bytes.len());
    found
}

/// The cuts when only so many bytes are shown at a time.
fn cuts_in_pieces(bytes: &[u8], mean: u32, pieces: &[usize]) -> Vec<(Range<usize>, CutKind)> {
    let mut search = Boundaries::new(mean).unwrap();
    let (mut at, mut shown, mut found) = (0, 0, Vec::new());
    let mut pieces = pieces.iter().cycle();
    loop {
        while let Some(cut) = search.next_cut(&bytes[at..shown], shown == bytes.len()) {
            push(&mut found, at, cut);
            at += cut.length;
        }
        if shown == bytes.len() {
            return found;
        }
        assert!(shown - at < search.lookahead(), "enough bytes, and no cut");
        shown = bytes.len().min(shown + pieces.next().unwrap().max(&1));
    }
}

/// Goal: the promised bounds hold, and the mean on noise is the one asked for.
#[test]
fn lengths_keep_their_bounds_and_mean() {
    for mean in MEANS {
        let bytes = noise(u64::from(mean), 400 * mean as usize);
        let found = cuts(&bytes, mean);
        let search = Boundaries::new(mean).unwrap();
        for (range, kind) in &found[..found.len() - 1] {
            assert_eq!(*kind, CutKind::Data);
            assert!(range.len() >= search.min() && range.len() <= search.max());
        }
        let average = bytes.len() / found.len();
        assert!(average.abs_diff(mean as usize) < mean as usize / 10, "mean {mean}, found {average}");
    }
    assert_eq!(Boundaries::new(12_345).unwrap_err(), BadMean(12_345));
}

/// Goal: after an insert near the beginning the cuts soon are the old ones again.
#[test]
fn an_insert_changes_few_segments() {
    for seed in 0..50 {
        let old = noise(seed, 1 << 20);
        let mut new = old.clone();
        new.splice(100_000..100_000, noise(seed + 1000, 13));
        let ends: Vec<usize> = cuts(&old, MEAN).iter().map(|(range, _)| range.end + 13).collect();
        let found = cuts(&new, MEAN);
        let changed = found.iter().filter(|(range, _)| range.start > 100_013);
        let strange = changed.filter(|(range, _)| ends.binary_search(&range.end).is_err()).count();
        assert!(strange <= 12, "seed {seed}: {strange} segments never met again");
    }
}

/// Goal: text-like data with few distinct bytes has sensible lengths as well.
#[test]
fn few_distinct_bytes_are_cut_like_noise() {
    let bytes: Vec<u8> = noise(7, 8 << 20).iter().map(|byte| b"etaoin s"[usize::from(byte & 7)]).collect();
    let average = bytes.len() / cuts(&bytes, MEAN).len();
    assert!(average.abs_diff(MEAN as usize) < MEAN as usize / 5, "found {average}");
}

/// Goal: runs are cut out exactly, wherever they begin, and shorter ones are left in the data.
#[test]
fn runs_are_cut_out_whole() {
    for before in [0, 1, 2047, 2048, 5000, 40_000] {
        for length in [RUN_BYTES_MIN - 1, RUN_BYTES_MIN, RUN_BYTES_MIN + 1, 300_000] {
            for after in [0, 1, 40_000] {
                let mut bytes: Vec<u8> = noise(1, before).iter().map(|byte| byte | 1).collect();
                bytes.resize(before + length, 0);
                bytes.extend(noise(2, after).iter().map(|byte| byte | 1));
                let fills: Vec<_> =
                    cuts(&bytes, MEAN).into_iter().filter(|(_, kind)| *kind != CutKind::Data).collect();
                let expected = (before..before + length, CutKind::Fill(0));
                let cut_out = length >= RUN_BYTES_MIN;
                assert_eq!(fills, if cut_out { vec![expected] } else { vec![] }, "{before} {length} {after}");
            }
        }
    }
}

/// Goal: two runs that touch are told apart; a stream of one byte is one fill.
#[test]
fn runs_of_different_bytes_touch() {
    let mut bytes = vec![0; 10_000];
    bytes.resize(19_000, 0xff);
    assert_eq!(cuts(&bytes, MEAN), [(0..10_000, CutKind::Fill(0)), (10_000..19_000, CutKind::Fill(0xff))]);
    assert_eq!(cuts(&vec![b'x'; 1 << 20], MEAN), [(0..1 << 20, CutKind::Fill(b'x'))]);
    assert_eq!(cuts(&[], MEAN), []);
}

/// Goal: data that repeats with a short period neither hangs nor showers segments.
#[test]
fn short_periods_stay_within_bounds() {
    for period in [2, 3, 7, 8, 64, 1000, 4095] {
        let bytes: Vec<u8> = noise(period as u64, period).iter().copied().cycle().take(1 << 20).collect();
        let found = cuts(&bytes, MEAN);
        assert!(found.len() <= (1 << 20) / Boundaries::new(MEAN).unwrap().min() + 1, "period {period}");
    }
}

/// One stretch of a test stream.
fn stretch() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<u64>(), 0_usize..60_000).prop_map(|(seed, length)| noise(seed, length)),
        (any::<u8>(), 0_usize..20_000).prop_map(|(byte, length)| vec![byte; length]),
        (any::<u8>(), 4090_usize..4100).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: how the bytes arrive changes nothing, and fills hold nothing but their byte.
    #[test]
    fn pieces_change_nothing(
        stretches in prop::collection::vec(stretch(), 0..8),
        pieces in prop::collection::vec(1_usize..50_000, 1..6),
    ) {
        let bytes = stretches.concat();
        let whole = cuts(&bytes, MEAN);
        prop_assert_eq!(&cuts_in_pieces(&bytes, MEAN, &pieces), &whole);
        for (range, kind) in whole {
            if let CutKind::Fill(byte) = kind {
                prop_assert!(range.len() >= RUN_BYTES_MIN);
                prop_assert!(bytes[range].iter().all(|other| *other == byte));
            } else {
                // No long run is left inside a segment.
                let longest = bytes[range].chunk_by(|a, b| a == b).map(<[u8]>::len).max().unwrap();
                prop_assert!(longest < RUN_BYTES_MIN);
            }
        }
    }

    /// Goal: a cut is a property of what follows the last one, not of where it lies in a stream.
    #[test]
    fn cuts_depend_on_content_alone(seed in any::<u64>()) {
        let bytes = noise(seed, 400_000);
        let whole = cuts(&bytes, MEAN);
        let (from, _) = &whole[whole.len() / 2];
        let rest = cuts(&bytes[from.start..], MEAN);
        let shifted: Vec<_> = rest.iter().map(|(r, k)| (r.start + from.start..r.end + from.start, *k)).collect();
        prop_assert_eq!(&whole[whole.len() / 2..], &shifted[..]);
    }
}
