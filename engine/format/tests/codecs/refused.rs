//! Goal: each rule of the specifications is kept. Method: break them one at a time, and read each
//! structure with its end cut off.

use super::samples::{self, entry, node_child, segment};
use narrows_format::BadBytes;
use narrows_format::container::{Footer, Header, table};
use narrows_format::cursor::Cursor;
use narrows_format::file_cache::{BLOCK_HEAD_BYTES, BlockHead, Head as CacheHead, Leaf, Stamp, seal_block};
use narrows_format::frame::{self, Codec};
use narrows_format::manifest::{Edit, Region};
use narrows_format::node::{
    Body, Child, Content, Entry, EntryKind, Extent, Node, TreeSpan, Xattrs, envelope,
};
use narrows_format::record::{ImageRecord, SignedRecord};
use narrows_format::superblock::{FILE_BYTES, Superblock};
use narrows_format::{ContainerId, Sequence, Slot, Timestamp, image_log, index_journal, manifest};

fn file(extents: Vec<Extent>, size: u64) -> EntryKind {
    EntryKind::File { size, content: Content::Inline(extents) }
}

fn leaf(entries: Vec<Entry>) -> Body {
    Body::Entries(entries)
}

type Case = (&'static str, Vec<Child>, Body);

const ALL: Extent = Extent::Data { child: 0, offset: 0, length: 100 };

/// Files whose extents break one rule each, with the children they refer to.
fn bad_files() -> Vec<Case> {
    let one = || vec![segment(1, 100)];
    let with = |extents, size| leaf(vec![entry("a", file(extents, size))]);
    let data = |offset, length| Extent::Data { child: 0, offset, length };
    let repeat = |count| Extent::Repeat { child: 0, count };
    vec![
        ("a child that is not referred to", one(), with(vec![], 0)),
        ("a child that does not exist", vec![], with(vec![ALL], 100)),
        ("a child that stands twice", [one(), one()].concat(), with(vec![ALL], 100)),
        ("a node used as a segment", vec![node_child(1, 100)], with(vec![ALL], 100)),
        ("extents shorter than the file", one(), with(vec![ALL], 101)),
        ("an extent beyond its segment", one(), with(vec![data(1, 100)], 100)),
        ("an extent that wraps", one(), with(vec![data(u32::MAX, 2)], 2)),
        ("an empty extent", one(), with(vec![ALL, Extent::Hole(0)], 100)),
        ("a repeat of one", one(), with(vec![repeat(1)], 100)),
        ("a repeat that overflows", one(), with(vec![repeat(u64::MAX)], 0)),
        ("holes that overflow", vec![], with(vec![Extent::Hole(u64::MAX), Extent::Hole(2)], 1)),
        ("a segment without bytes", vec![segment(1, 0)], with(vec![repeat(2)], 0)),
        ("a segment too long", vec![segment(1, 131_073)], with(vec![ALL], 100)),
    ]
}

/// Entries that break one rule each.
fn bad_entries() -> Vec<Case> {
    let paths = |list: &[&str]| leaf(list.iter().map(|path| entry(path, EntryKind::Fifo)).collect());
    let one = |kind| leaf(vec![entry("a", kind)]);
    let xattrs = |xattrs| leaf(vec![Entry { xattrs, ..entry("a", EntryKind::Fifo) }]);
    let list = vec![(b"b".to_vec(), vec![]), (b"a".to_vec(), vec![])];
    let bodies = vec![
        ("paths out of order", paths(&["b", "a"])),
        ("a path twice", paths(&["a", "a"])),
        ("paths in byte order", paths(&["a", "a-", "a/b"])),
        ("a path with ..", paths(&["a/../b"])),
        ("an absolute path", paths(&["/a"])),
        ("a path with NUL", paths(&["a\0"])),
        ("a root that is no directory", paths(&[""])),
        ("a hard link ahead", one(EntryKind::HardLink(b"b".to_vec()))),
        ("a hard link to itself", one(EntryKind::HardLink(b"a".to_vec()))),
        ("a hard link outside", one(EntryKind::HardLink(b"../x".to_vec()))),
        ("a link to nowhere", one(EntryKind::Symlink(vec![]))),
        ("a mode too big", leaf(vec![Entry { mode: 0o10000, ..entry("a", EntryKind::Fifo) }])),
        ("attributes out of order", xattrs(Xattrs::Inline(list))),
        ("attributes stored nowhere", xattrs(Xattrs::Stored(vec![]))),
    ];
    bodies.into_iter().map(|(name, body)| (name, vec![], body)).collect()
}

/// Inner nodes that break one rule each.
fn bad_inner() -> Vec<Case> {
    let span = |first: &str, entries| TreeSpan { first: first.as_bytes().to_vec(), entries, bytes: 0 };
    let tree = |level, spans| Body::Tree { level, spans };
    let one = || vec![node_child(1, 99)];
    let two = || vec![node_child(1, 99), node_child(2, 99)];
    vec![
        ("no spans", vec![], tree(1, vec![])),
        ("on the ground", one(), tree(0, vec![span("", 1)])),
        ("in the sky", one(), tree(25, vec![span("", 1)])),
        ("over segments", vec![segment(1, 100)], tree(1, vec![span("", 1)])),
        ("a span without entries", one(), tree(1, vec![span("", 0)])),
        ("spans out of order", two(), tree(1, vec![span("b", 1), span("a", 1)])),
        ("fewer spans than children", two(), tree(1, vec![span("b", 1)])),
        ("a span without bytes", one(), Body::ExtentTree { level: 1, lengths: vec![0] }),
        ("spans that overflow", two(), Body::ExtentTree { level: 1, lengths: vec![1 << 63, 1 << 63] }),
    ]
}

#[test]
fn nodes_that_break_a_rule() {
    for (name, children, body) in [bad_files(), bad_entries(), bad_inner()].concat() {
        let node = Node { children, body };
        assert!(node.check().is_err(), "{name}");
        assert!(Node::decode(&node.encode()).is_err(), "{name}");
    }
}

/// Goal: a small node cannot unfold to much memory by sharing a long prefix.
#[test]
fn paths_that_unfold() {
    let long = "x/".repeat(15_000);
    let names = (0..400).map(|at| format!("{long}{at:04}"));
    let entries = names.map(|path| entry(&path, EntryKind::Fifo)).collect();
    let bytes = Node { children: vec![], body: Body::Entries(entries) }.encode();
    assert!(bytes.len() < 60_000);
    assert_eq!(Node::decode(&bytes), Err(BadBytes::OverLimit("bytes of all paths of a node")));
}

/// Goal: children can be read whatever the version of the body, and the body is then not believed.
#[test]
fn a_node_from_the_future() {
    let mut bytes = samples::entries().encode();
    bytes[4] = 2;
    bytes[7] = 9;
    let end = bytes.len() - 1;
    bytes[end] ^= 0xff;
    assert_eq!(envelope::children(&bytes), Ok(samples::entries().children));
    assert_eq!(Node::decode(&bytes), Err(BadBytes::Unsupported { what: "node", found: 2 }));
}

/// Goal: fields behind the known ones are skipped, unknown mandatory features are not.
#[test]
fn a_record_from_the_future() {
    let mut bytes = samples::record().encode();
    bytes[4] = 2;
    bytes.extend_from_slice(b"new field");
    let total = u32::try_from(bytes.len()).unwrap();
    bytes[8..12].copy_from_slice(&total.to_le_bytes());
    assert_eq!(ImageRecord::decode(&bytes), Ok(samples::record()));
    bytes[12] = 4;
    assert_eq!(ImageRecord::decode(&bytes), Err(BadBytes::Unsupported { what: "image record", found: 4 }));
}

type Decodes<'a> = (&'a str, Vec<u8>, Box<dyn Fn(&[u8]) -> bool + 'a>);

/// Goal: every structure with its end missing is refused, at every length, and nothing panics.
#[test]
fn cut_short() {
    let head = samples::head();
    let table = samples::table();
    let footer = Footer::decode(&table).unwrap();
    let cases: Vec<Decodes<'_>> = vec![
        ("node", samples::entries().encode(), Box::new(|bytes| Node::decode(bytes).is_ok())),
        ("tree", samples::tree().encode(), Box::new(|bytes| Node::decode(bytes).is_ok())),
        ("frame", samples::frame(Codec::Zstd), Box::new(|bytes| frame::parse_first(bytes).is_ok())),
        ("header", samples::header().encode().to_vec(), Box::new(|bytes| Header::decode(bytes).is_ok())),
        ("table", table, Box::new(move |bytes| table::decode(&footer, bytes).is_ok())),
        ("record", samples::signed().encode(), Box::new(|bytes| SignedRecord::decode(bytes).is_ok())),
        (
            "superblock",
            samples::superblock().encode().to_vec(),
            Box::new(|bytes| Superblock::decode(bytes).is_ok()),
        ),
        (
            "manifest",
            manifest::encode(&head, &samples::edits()),
            Box::new(|bytes| manifest::decode(bytes).is_ok()),
        ),
        (
            "image log",
            image_log::encode(&head, &samples::log_records()),
            Box::new(|bytes| image_log::decode(bytes).is_ok()),
        ),
        (
            "journal",
            index_journal::encode(&head, &samples::journal_records()),
            Box::new(|bytes| index_journal::decode(bytes).is_ok()),
        ),
    ];
    for (name, bytes, decodes) in cases {
        assert!(decodes(&bytes) || name == "table", "{name}");
        let end = if name == "table" { bytes.len() - 64 } else { bytes.len() };
        for length in 0..end {
            assert!(!decodes(&bytes[..length]), "{name} of {length} bytes");
        }
    }
}

/// Goal: a flipped bit anywhere in what a checksum covers is found.
#[test]
fn flipped_bits() {
    let head = samples::head();
    for at in 0..samples::frame(Codec::Zstd).len() {
        let mut bytes = samples::frame(Codec::Zstd);
        bytes[at] ^= 1 << (at % 8);
        assert!(frame::parse(&bytes).is_err(), "frame byte {at}");
    }
    for at in 0..4096 {
        let flip = |mut bytes: Vec<u8>| {
            bytes[at] ^= 1 << (at % 8);
            bytes
        };
        assert!(Header::decode(&flip(samples::header().encode().to_vec())).is_err(), "header byte {at}");
        assert!(
            Superblock::decode(&flip(samples::superblock().encode().to_vec())).is_err(),
            "superblock byte {at}"
        );
        assert!(
            manifest::decode(&flip(manifest::encode(&head, &samples::edits()))).is_err(),
            "manifest byte {at}"
        );
        assert!(
            image_log::decode(&flip(image_log::encode(&head, &samples::log_records()))).is_err(),
            "image log byte {at}"
        );
        let tail = flip(samples::table());
        let decoded = Footer::decode(&tail).and_then(|footer| table::decode(&footer, &tail));
        assert!(decoded.is_err(), "table byte {at}");
    }
}

/// Goal: a payload is one zstd frame. Method: a frame whose payload is two of them, or a skippable one and
/// one, with all lengths and the checksum right.
#[test]
fn payloads_of_several_frames() {
    let whole = samples::frame(Codec::Zstd);
    let (head, payload) = whole.split_at(24 + 6);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    for payload in [[payload, payload].concat(), [&skippable[..], payload].concat()] {
        let mut bytes = [head, &payload].concat();
        bytes[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes[20..24].fill(0);
        let crc = crc32c::crc32c(&bytes).to_le_bytes();
        bytes[20..24].copy_from_slice(&crc);
        let frame = frame::parse(&bytes).unwrap();
        assert!(matches!(frame.open(&mut Vec::new()), Err(BadBytes::Malformed(_))));
    }
}

/// Goal: reserved bytes and padding are checked even where the checksum is right.
/// Method: set one byte, make the checksum of the block right again.
#[test]
fn reserved_bytes() {
    let sealed = |mut block: Vec<u8>, at: usize| {
        block[at] = 1;
        block[4092..].fill(0);
        let crc = crc32c::crc32c(&block).to_le_bytes();
        block[4092..].copy_from_slice(&crc);
        block
    };
    let header = sealed(samples::header().encode().to_vec(), 3000);
    assert_eq!(Header::decode(&header), Err(BadBytes::Malformed("reserved bytes of a container")));
    let superblock = sealed(samples::superblock().encode().to_vec(), 3000);
    assert_eq!(Superblock::decode(&superblock), Err(BadBytes::Malformed("reserved bytes of a superblock")));
    let mut batch = manifest::encode(&samples::head(), &samples::edits());
    batch[4000] = 1;
    assert_eq!(manifest::decode(&batch), Err(BadBytes::Malformed("padding of a batch")));
    let mut tail = samples::table();
    tail[3000] = 1;
    let footer = Footer::decode(&tail).unwrap();
    assert_eq!(table::decode(&footer, &tail), Err(BadBytes::Malformed("padding of a table")));
}

/// Goal: the slot in force survives whatever happens to the other one.
#[test]
fn superblock_slots() {
    let older = samples::superblock();
    let newer = Superblock { generation: older.generation + 1, manifest: 13, ..older };
    let mut file = vec![0; FILE_BYTES];
    assert_eq!(Superblock::newest(&file), Err(BadBytes::Empty));
    for block in [older, newer] {
        let at = usize::try_from(block.offset()).unwrap();
        file[at..at + 4096].copy_from_slice(&block.encode());
        assert_eq!(Superblock::newest(&file), Ok(block));
    }
    file[10] ^= 1;
    assert_eq!(Superblock::newest(&file), Ok(older));
    file[5000] ^= 1;
    assert_eq!(Superblock::newest(&file), Err(BadBytes::Checksum("superblock")));
}

/// Goal: a flipped bit in a version is damage; only a batch that holds tells of a later version.
#[test]
fn versions_of_batches() {
    let mut batch = image_log::encode(&samples::head(), &samples::log_records());
    batch[4] ^= 2;
    assert_eq!(image_log::decode(&batch), Err(BadBytes::Checksum("image log batch")));
    let length = 64 + usize::try_from(u32::from_le_bytes(batch[52..56].try_into().unwrap())).unwrap();
    batch[60..64].fill(0);
    let crc = crc32c::crc32c(&batch[..length]).to_le_bytes();
    batch[60..64].copy_from_slice(&crc);
    assert_eq!(image_log::decode(&batch), Err(BadBytes::Unsupported { what: "image log batch", found: 3 }));
}

/// Goal: numbers of files and epochs stay where everything that counts on from them can follow.
#[test]
fn numbers_of_a_manifest() {
    let far = 1 << 40;
    let quarantine = |first, count| {
        let (container, region) = (ContainerId(1), Region::Frame);
        Edit::Quarantine { container, region, first: Slot(first), count }
    };
    let edits = [
        Edit::AddLogSegment { log: far, first: Sequence(1) },
        Edit::AddLogSegment { log: 0, first: Sequence(1) },
        Edit::DropLogSegment { log: u64::MAX },
        Edit::AddJournal { log: far },
        Edit::DropJournal { log: far },
        Edit::WriterEpoch { epoch: far },
        quarantine(1 << 24, 1),
        quarantine(1, 1 << 24),
        quarantine(1, 0),
    ];
    for edit in edits {
        let refused = manifest::decode(&manifest::encode(&samples::head(), &[edit]));
        assert!(matches!(refused, Err(BadBytes::Malformed(_))), "{edit:?}");
    }
}

type Change<'a> = &'a dyn Fn(&mut Leaf);

/// Goal: a file cache that breaks a rule is refused, leaf by leaf.
#[test]
fn file_caches_that_break_a_rule() {
    let head = samples::cache_head().encode();
    for at in 0..head.len() {
        assert!(CacheHead::decode(&head[..at]).is_err(), "cut at {at}");
        let mut bad = head.clone();
        bad[at] ^= 1;
        assert!(CacheHead::decode(&bad).is_err(), "byte {at}");
    }
    let good = samples::cache_leaf();
    let file = good.stamps.iter().position(Option::is_some).unwrap();
    let stamp = good.stamps[file].unwrap();
    let with = |change: Change<'_>| {
        let (mut leaf, mut bytes) = (good.clone(), Vec::new());
        change(&mut leaf);
        leaf.encode(&mut bytes);
        Leaf::decode(&mut Cursor::new(&bytes))
    };
    assert_eq!(with(&|_| ()), Ok(good.clone()));
    let directory = good.entries.iter().position(|entry| entry.kind == EntryKind::Directory).unwrap();
    let cases: [(&str, Change<'_>); 7] = [
        ("an inode of zero", &|leaf| leaf.stamps[file] = Some(Stamp { inode: 0, ..stamp })),
        ("nanoseconds of a second", &|leaf| {
            leaf.stamps[file] =
                Some(Stamp { ctime: Timestamp { nanos: 1_000_000_000, ..stamp.ctime }, ..stamp });
        }),
        ("a stamp of a directory", &|leaf| leaf.stamps[directory] = Some(stamp)),
        ("a tag too few", &|leaf| leaf.tags.truncate(1)),
        ("a node that is none", &|leaf| leaf.bytes[0] ^= 1),
        ("an inner node", &|leaf| leaf.bytes = samples::tree().encode()),
        ("a leaf without entries", &|leaf| {
            leaf.bytes = Node { children: vec![], body: Body::Entries(vec![]) }.encode();
        }),
    ];
    for (name, change) in cases {
        assert!(with(change).is_err(), "{name}");
    }
    let block = seal_block(&samples::cache_leaves());
    for at in 0..block.len() {
        let mut bad = block.clone();
        bad[at] ^= 0x10;
        let opened =
            BlockHead::decode(&bad[..BLOCK_HEAD_BYTES]).and_then(|head| head.open(&bad[BLOCK_HEAD_BYTES..]));
        assert!(opened.is_err(), "byte {at} of a block");
    }
}
