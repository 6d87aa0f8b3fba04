//! Goal: what is encoded is decoded to the same, whatever the values. Method: generated values that
//! keep the rules, encoded and decoded.

use super::samples;
use narrows_format::container::{Footer, TableEntry, table};
use narrows_format::frame::{self, Codec, FrameKind};
use narrows_format::image_log::{self, Change, Commit, LogRecord};
use narrows_format::index_journal::{self, EntryChange, JournalRecord};
use narrows_format::limits::{FRAME_PLAIN_BYTES_MAX, SEGMENT_BYTES_MAX};
use narrows_format::node::{
    Body, Child, ChildKind, Content, Entry, EntryKind, Extent, Node, TreeSpan, Xattrs, envelope,
};
use narrows_format::record::{CopyState, SignedRecord, signed_part};
use narrows_format::{ContainerId, DomainId, Fingerprint, Location, Slot, Tag, Timestamp, path, xattrs};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cmp::Ordering;

fn times() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn copies() -> impl Strategy<Value = CopyState> {
    (proptest::option::of(times()), proptest::option::of(times()), any::<bool>())
        .prop_map(|(expires, locked_until, held)| CopyState { expires, locked_until, held })
}

/// Paths over a small alphabet, so that prefixes are shared; legal, distinct, in order.
fn paths() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let component = vec(prop_oneof![Just(b'a'), Just(b'!'), Just(b'~'), Just(0xff_u8)], 1..4);
    vec(vec(component, 1..5), 1..40).prop_map(|all| {
        let mut paths: Vec<Vec<u8>> = all.into_iter().map(|components| components.join(&b'/')).collect();
        paths.sort_by(|left, right| path::order(left, right));
        paths.dedup();
        paths
    })
}

/// Turns numbers into an entry that keeps the rules, adding the children that it needs.
fn entry(
    at: usize,
    path: Vec<u8>,
    pick: (u8, u64, u32),
    paths: &[Vec<u8>],
    children: &mut Vec<Child>,
) -> Entry {
    let (kind, number, other) = pick;
    let mut child = |kind, length| {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&u64::try_from(children.len()).expect("few").to_le_bytes());
        children.push(Child { fingerprint: Fingerprint(name), kind, length });
        u32::try_from(children.len() - 1).expect("few")
    };
    let kind = match kind % 9 {
        0 => EntryKind::Directory,
        1 => EntryKind::Symlink(vec![b'x'; usize::try_from(number % 300).expect("small") + 1]),
        2 if at > 0 => EntryKind::HardLink(paths[at - 1].clone()),
        3 => EntryKind::Fifo,
        4 => EntryKind::CharDevice(other, u32::MAX - other),
        5 => EntryKind::File { size: number / 2 + 1, content: Content::Tree(child(ChildKind::Node, 16)) },
        6 => EntryKind::BlockDevice(other, 0),
        _ => {
            let length = other % 131_072 + 1;
            let ordinal = child(ChildKind::Segment, length);
            let (hole, count) = (number % (1 << 40) + 1, u64::from(other) + 2);
            let extents = vec![
                Extent::Data { child: ordinal, offset: length - 1, length: 1 },
                Extent::Hole(hole),
                Extent::Repeat { child: ordinal, count },
                Extent::Fill { byte: 3, length: hole },
            ];
            let size = 1 + 2 * hole + u64::from(length) * count;
            EntryKind::File { size, content: Content::Inline(extents) }
        }
    };
    let xattrs = if other % 3 == 0 {
        Xattrs::Stored(vec![child(ChildKind::Segment, 9)])
    } else {
        Xattrs::Inline(vec![(b"user.a".to_vec(), vec![1; usize::from(pick.0)])])
    };
    let mtime = Timestamp { seconds: number.cast_signed(), nanos: other % 1_000_000_000 };
    Entry { path, mode: other % 0o10000, uid: other, gid: !other, mtime, xattrs, kind }
}

fn leaves() -> impl Strategy<Value = Node> {
    (paths(), vec(any::<(u8, u64, u32)>(), 40)).prop_map(|(paths, picks)| {
        let mut children = Vec::new();
        let entries = paths
            .iter()
            .zip(picks)
            .enumerate()
            .map(|(at, (path, pick))| entry(at, path.clone(), pick, &paths, &mut children))
            .collect();
        Node { children, body: Body::Entries(entries) }
    })
}

fn inner() -> impl Strategy<Value = Node> {
    (paths(), any::<u32>(), 1..=24_u8).prop_map(|(paths, number, level)| {
        let child = |at: usize| {
            let at = u8::try_from(at).expect("few");
            samples::node_child(at, 100 + u32::from(at))
        };
        let spans: Vec<TreeSpan> = paths
            .into_iter()
            .map(|first| TreeSpan { first, entries: 1 + u64::from(number), bytes: u64::from(number) })
            .collect();
        Node { children: (0..spans.len()).map(child).collect(), body: Body::Tree { level, spans } }
    })
}

proptest! {
    #[test]
    fn nodes(node in prop_oneof![leaves(), inner()]) {
        let bytes = node.encode();
        prop_assert_eq!(envelope::children(&bytes), Ok(node.children.clone()));
        prop_assert_eq!(Node::decode(&bytes), Ok(node));
    }

    #[test]
    fn order_of_paths_is_total(left in paths(), right in paths()) {
        for (a, b) in left.iter().zip(&right) {
            prop_assert_eq!(path::order(a, b), path::order(b, a).reverse());
            prop_assert_eq!(path::order(a, b) == Ordering::Equal, a == b);
        }
    }

    #[test]
    fn attributes(list in proptest::collection::btree_map(vec(1..255_u8, 1..20), vec(any::<u8>(), 0..100), 0..10)) {
        let list: Vec<_> = list.into_iter().collect();
        let bytes = xattrs::encode(&list);
        prop_assert_eq!(bytes.len(), xattrs::encoded_length(&list));
        prop_assert_eq!(xattrs::decode(&bytes), Ok(list));
    }

    #[test]
    fn frames(
        segments in vec((1..20_000_usize, any::<u8>(), any::<bool>()), 1..6),
        codec in prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Zstd)],
        level in -3..9_i32,
        follows in vec(any::<u8>(), 0..50),
    ) {
        // Runs and noise, so that both outcomes of compression occur.
        let segments: Vec<Vec<u8>> = segments
            .into_iter()
            .map(|(length, seed, noisy)| {
                let mut state = u32::from(seed);
                (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if noisy { state.to_le_bytes()[3] } else { seed }
                    })
                    .collect()
            })
            .collect();
        let parts: Vec<&[u8]> = segments.iter().map(Vec::as_slice).collect();
        let mut bytes = frame::build(FrameKind::Data, codec, level, &parts);
        let length = bytes.len();
        prop_assert_eq!(frame::stored_bytes(&bytes), Ok(length));
        prop_assert_eq!(frame::parse(&bytes).map(|frame| frame.segments()), Ok(parts.len()));
        bytes.extend_from_slice(&follows);
        let (frame, rest) = frame::parse_first(&bytes).expect("it was built here");
        prop_assert_eq!(rest, &follows[..]);
        let mut plain = vec![7; 10];
        let ranges = frame.open(&mut plain).expect("it was built here");
        let opened: Vec<&[u8]> = ranges.into_iter().map(|range| &plain[range]).collect();
        prop_assert_eq!(opened, parts);
        prop_assert!(frame.bytes().len() <= plain.len() + 24 + 3 * frame.segments());
    }

    #[test]
    fn tables(frames in vec((vec(1..2000_u32, 1..40), 0..500_u32, any::<u8>()), 0..20), epoch in any::<u64>()) {
        let mut entries = Vec::new();
        let mut at = 4096_u32;
        for (lengths, gap, seed) in frames {
            let frame_bytes = lengths.iter().sum::<u32>() / 2 + 30;
            let mut offset = 0;
            for length in lengths {
                let (fingerprint, tag) = (samples::fingerprint(seed), Tag([seed; 16]));
                entries.push(TableEntry { fingerprint, tag, frame_offset: at, frame_bytes, offset, length });
                offset += length;
            }
            at += frame_bytes + gap;
        }
        let tail = table::encode(ContainerId(9), epoch, u64::from(at), &entries);
        prop_assert_eq!(tail.len() % 4096, 0);
        let footer = Footer::decode(&tail[tail.len() - 4096..]).expect("it was encoded here");
        prop_assert_eq!((footer.epoch, footer.table_bytes()), (epoch, tail.len()));
        prop_assert_eq!(footer.file_bytes(), footer.table_offset + u64::try_from(tail.len()).expect("small"));
        prop_assert_eq!(table::decode(&footer, &tail), Ok(entries));
    }

    #[test]
    fn records(name in "\\PC{0,60}", policy in "\\PC{0,60}", started in times(), numbers in any::<(u64, u64, u32)>(), signature: [u8; 32]) {
        let mut signed = samples::signed();
        signed.record.client_name = name;
        signed.record.policy = policy;
        signed.record.started = started;
        (signed.record.logical_bytes, signed.record.files, signed.record.slp_version) = numbers;
        signed.signature[..32].copy_from_slice(&signature);
        let bytes = signed.encode();
        let (record, tail) = signed_part(&bytes).expect("it was encoded here");
        prop_assert_eq!(record, &signed.record.encode()[..]);
        prop_assert_eq!(tail, &signed.signature);
        prop_assert_eq!(SignedRecord::decode(&bytes), Ok(signed));
    }

    #[test]
    fn image_logs(
        amends in vec((times(), copies(), any::<u8>()), 0..30),
        commit in (copies(), proptest::option::of(times()), vec(1..1_u64 << 40, 0..300), vec(any::<u8>(), 0..2000)),
    ) {
        let (copy, asked_expiry, containers, signed) = commit;
        let containers = containers.into_iter().map(ContainerId).collect();
        let (sender, import_slp) = (DomainId([0; 16]), String::new());
        let commit = Commit { signed, copy, sender, import_slp, asked_expiry, stored_bytes: 1, containers };
        let mut records = vec![LogRecord { at: Timestamp::default(), change: Change::Commit(commit) }];
        records.extend(amends.into_iter().map(|(at, copy, seed)| {
            LogRecord { at, change: Change::Amend { image: narrows_format::ImageId([seed; 16]), copy } }
        }));
        let mut bytes = image_log::encode(&samples::head(), &records);
        let length = bytes.len();
        bytes.extend_from_slice(&[0; 4096]);
        let batch = image_log::decode(&bytes).expect("it was encoded here");
        prop_assert_eq!((batch.bytes, batch.records), (length, records));
        prop_assert_eq!(image_log::decode(&bytes[length..]), Err(narrows_format::BadBytes::Empty));
    }

    #[test]
    fn journals(records in vec((any::<[u8; 32]>(), 1..1_u64 << 40, 0..1_u32 << 24, any::<bool>()), 1..200)) {
        let records: Vec<JournalRecord> = records
            .into_iter()
            .map(|(name, container, slot, closed)| JournalRecord {
                fingerprint: Fingerprint(name),
                tag: Tag([name[0]; 16]),
                location: Location::new(ContainerId(container), Slot(slot)).expect("in range"),
                kind: if slot % 2 == 0 { ChildKind::Segment } else { ChildKind::Node },
                length: 1 + slot % SEGMENT_BYTES_MAX,
                change: if closed { EntryChange::Closed } else { EntryChange::Dropped },
            })
            .collect();
        let bytes = index_journal::encode(&samples::head(), &records);
        prop_assert_eq!(index_journal::decode(&bytes).map(|batch| batch.records), Ok(records));
    }
}

/// Goal: the largest frame keeps its named limit and comes back.
#[test]
fn the_largest_frame() {
    let noise: Vec<u8> = (0..FRAME_PLAIN_BYTES_MAX)
        .scan(1_u32, |state, _| {
            *state ^= *state << 13;
            *state ^= *state >> 17;
            *state ^= *state << 5;
            Some(state.to_le_bytes()[0])
        })
        .collect();
    let parts: Vec<&[u8]> = noise.chunks(16).collect();
    let bytes = frame::build(FrameKind::Data, Codec::Zstd, 1, &parts);
    assert_eq!(bytes.len(), narrows_format::limits::FRAME_BYTES_MAX);
    let mut plain = Vec::new();
    assert_eq!(frame::parse(&bytes).unwrap().open(&mut plain).unwrap().len(), 8192);
    assert_eq!(plain, noise);
}
