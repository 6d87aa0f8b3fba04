//! One value per structure that uses all of its fields; fixed for ever, because golden files hold them.

use narrows_format::batch::Head;
use narrows_format::container::{ContainerKind, Header, TableEntry};
use narrows_format::frame::{Codec, FrameKind};
use narrows_format::image_log::{Change, Commit, LogRecord, RemoveReason};
use narrows_format::index_journal::{EntryChange, JournalRecord};
use narrows_format::manifest::{Edit, Region};
use narrows_format::node::{
    Body, Child, ChildKind, Content, Entry, EntryKind, Extent, Node, TreeSpan, Xattrs,
};
use narrows_format::record::{CopyState, ImageFlags, ImageRecord, ScheduleKind, SignedRecord};
use narrows_format::superblock::Superblock;
use narrows_format::{
    ClientId, ContainerId, DomainId, Fingerprint, ImageId, Location, PoolId, Sequence, Slot, Tag, Timestamp,
    file_cache,
};

pub(crate) const fn fingerprint(seed: u8) -> Fingerprint {
    Fingerprint([seed; 32])
}

const fn time(seconds: i64, nanos: u32) -> Timestamp {
    Timestamp { seconds, nanos }
}

pub(crate) const fn segment(seed: u8, length: u32) -> Child {
    Child { fingerprint: fingerprint(seed), kind: ChildKind::Segment, length }
}

pub(crate) const fn node_child(seed: u8, length: u32) -> Child {
    Child { fingerprint: fingerprint(seed), kind: ChildKind::Node, length }
}

pub(crate) fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        mode: 0o644,
        uid: 1000,
        gid: 100,
        mtime: time(1_700_000_000, 999_999_999),
        xattrs: Xattrs::Inline(Vec::new()),
        kind,
    }
}

pub(crate) fn entries() -> Node {
    let list = vec![(b"security.selinux".to_vec(), b"label\0".to_vec()), (b"user.x".to_vec(), Vec::new())];
    let extents = vec![
        Extent::Data { child: 0, offset: 0, length: 40_000 },
        Extent::Hole(1 << 33),
        Extent::Fill { byte: 0xff, length: 4096 },
        Extent::Repeat { child: 1, count: 3 },
        Extent::Data { child: 1, offset: 1, length: 7 },
    ];
    let size = 40_000 + (1 << 33) + 4096 + 3 * 8192 + 7;
    Node {
        children: vec![segment(1, 40_000), segment(2, 8192), segment(3, 100_000), node_child(4, 5000)],
        body: Body::Entries(vec![
            Entry { mode: 0o1755, ..entry("", EntryKind::Directory) },
            Entry {
                xattrs: Xattrs::Inline(list),
                ..entry("a", EntryKind::File { size, content: Content::Inline(extents) })
            },
            Entry { xattrs: Xattrs::Stored(vec![2]), ..entry("a-", EntryKind::Directory) },
            entry("a-/big", EntryKind::File { size: 1 << 40, content: Content::Tree(3) }),
            entry("a-/empty", EntryKind::File { size: 0, content: Content::Inline(Vec::new()) }),
            entry("b", EntryKind::Symlink(b"../../etc/passwd".to_vec())),
            entry("c", EntryKind::HardLink(b"a-/big".to_vec())),
            entry("d", EntryKind::Fifo),
            entry("e", EntryKind::Socket),
            Entry { mtime: time(-1, 1), ..entry("f", EntryKind::CharDevice(1, 3)) },
            entry("g\n\u{ff}", EntryKind::BlockDevice(u32::MAX, 7)),
        ]),
    }
}

pub(crate) fn tree() -> Node {
    let span = |first: &str, entries, bytes| TreeSpan { first: first.as_bytes().to_vec(), entries, bytes };
    Node {
        children: vec![node_child(9, 200), node_child(8, 131_072)],
        body: Body::Tree { level: 1, spans: vec![span("", 31, 0), span("usr/lib/x", 40, 1 << 40)] },
    }
}

pub(crate) fn extent_tree() -> Node {
    Node {
        children: vec![node_child(5, 600), node_child(5, 600), node_child(6, 700)],
        body: Body::ExtentTree { level: 2, lengths: vec![1 << 20, 1 << 20, 3] },
    }
}

pub(crate) fn extents() -> Node {
    Node {
        children: vec![segment(7, 131_072)],
        body: Body::Extents(vec![
            Extent::Data { child: 0, offset: 131_071, length: 1 },
            Extent::Hole(5),
            Extent::Fill { byte: 0, length: 6 },
        ]),
    }
}

pub(crate) fn nodes() -> [(&'static str, Node); 4] {
    [
        ("node-entries", entries()),
        ("node-tree", tree()),
        ("node-extent-tree", extent_tree()),
        ("node-extents", extents()),
    ]
}

/// Compressible, with a pattern that no codec's version changes the meaning of.
pub(crate) fn text(length: usize) -> Vec<u8> {
    b"Narrows keeps what was written. ".iter().copied().cycle().take(length).collect()
}

pub(crate) fn frame(codec: Codec) -> Vec<u8> {
    let plain = text(3000);
    let (first, second) = plain.split_at(1000);
    narrows_format::frame::build(FrameKind::Data, codec, 3, &[first, second])
}

pub(crate) fn annex() -> Vec<u8> {
    let at = Location::new(ContainerId(5), Slot(6)).expect("in range");
    let one = narrows_format::frame::annex_segment(&[at, Location::UNKNOWN]);
    narrows_format::frame::build(FrameKind::Annex, Codec::None, 0, &[&one, &[]])
}

pub(crate) const fn header() -> Header {
    Header {
        pool: PoolId([0x11; 16]),
        container: ContainerId(77),
        epoch: 3,
        kind: ContainerKind::Nodes,
        image: ImageId([0x22; 16]),
        created: time(1_800_000_000, 5),
    }
}

pub(crate) fn table_entries() -> Vec<TableEntry> {
    let entry = |seed: u8, frame_offset, frame_bytes, offset, length| TableEntry {
        fingerprint: fingerprint(seed),
        tag: Tag([seed; 16]),
        frame_offset,
        frame_bytes,
        offset,
        length,
    };
    vec![
        entry(1, 4096, 500, 0, 1000),
        entry(2, 4096, 500, 1000, 31),
        entry(3, 4596, 131_099, 0, 131_072),
        entry(4, 200_000, 300, 0, 8),
    ]
}

pub(crate) const FRAMES_END: u64 = 200_300;

pub(crate) fn table() -> Vec<u8> {
    narrows_format::container::table::encode(ContainerId(77), 3, FRAMES_END, &table_entries())
}

pub(crate) fn record() -> ImageRecord {
    ImageRecord {
        image: ImageId([1; 16]),
        origin: DomainId([2; 16]),
        client: ClientId([3; 16]),
        client_name: "web01.example".into(),
        policy: "nightly".into(),
        schedule: ScheduleKind::Full,
        started: time(1_790_000_000, 1),
        written: time(1_790_000_100, 2),
        classification: "gold".into(),
        slp: "größte".into(),
        slp_version: 4,
        lineage: [5; 32],
        root: fingerprint(6),
        root_length: 4321,
        logical_bytes: 1 << 41,
        files: 78_611,
        flags: ImageFlags { partial: true, synthetic: false, spans: false, many_roots: true },
        image_format: 1,
    }
}

pub(crate) fn signed() -> SignedRecord {
    SignedRecord { record: record(), signature: [0xab; 64] }
}

pub(crate) const fn copy() -> CopyState {
    CopyState { expires: Some(time(1_900_000_000, 0)), locked_until: None, held: true }
}

pub(crate) const fn superblock() -> Superblock {
    Superblock {
        generation: 7,
        pool: PoolId([0x33; 16]),
        incarnation: 2,
        created: time(1_700_000_000, 8),
        partitions: 256,
        segment_mean: 32 << 10,
        manifest: 12,
        optional: 1,
    }
}

pub(crate) const fn head() -> Head {
    Head { pool: PoolId([0x44; 16]), log: 9, epoch: 3, first: 1001 }
}

pub(crate) fn edits() -> Vec<Edit> {
    let container = ContainerId(5);
    let (kind, image) = (ContainerKind::Data, ImageId([1; 16]));
    vec![
        Edit::AddContainer { container, kind, image, bytes: 33 << 20, frame_bytes: 31 << 20, segments: 1000 },
        Edit::DropContainer { container },
        Edit::ReserveIds { first: ContainerId(100), count: 64 },
        Edit::AddLogSegment { log: 3, first: Sequence(1001) },
        Edit::DropLogSegment { log: 2 },
        Edit::AddJournal { log: 4 },
        Edit::DropJournal { log: 1 },
        Edit::WriterEpoch { epoch: 3 },
        Edit::ReserveRuns { first: 7, count: 4 },
        Edit::AddRun { run: 7, records: 1 << 33 },
        Edit::RetireRun { run: 6 },
        Edit::DropRun { run: 5 },
        Edit::DoubtRun { run: 7 },
        Edit::IndexMade,
    ]
}

/// What came with the quarantine.
pub(crate) fn quarantine_edits() -> Vec<Edit> {
    let container = ContainerId(5);
    let of = |region, first, count| Edit::Quarantine { container, region, first: Slot(first), count };
    vec![
        of(Region::Header, 0, 0),
        of(Region::Table, 0, 0),
        of(Region::Frame, 17, 3),
        of(Region::Segment, (1 << 24) - 1, 1),
        Edit::Release { container },
        Edit::CloseContainer { container },
    ]
}

pub(crate) fn log_records() -> Vec<LogRecord> {
    let commit = Commit {
        signed: signed().encode(),
        copy: copy(),
        sender: DomainId([7; 16]),
        import_slp: "gold-import".into(),
        asked_expiry: Some(time(2_000_000_000, 0)),
        stored_bytes: 123_456,
        containers: vec![ContainerId(5), ContainerId(6)],
    };
    let at = time(1_790_000_200, 3);
    let image = ImageId([1; 16]);
    vec![
        LogRecord { at, change: Change::Commit(commit) },
        LogRecord { at, change: Change::Amend { image, copy: CopyState { held: false, ..copy() } } },
        LogRecord { at, change: Change::Remove { image, reason: RemoveReason::Expired } },
        LogRecord { at, change: Change::Discard { image, reason: RemoveReason::Deleted, until: at } },
    ]
}

pub(crate) fn journal_records() -> Vec<JournalRecord> {
    let location = Location::new(ContainerId(5), Slot(6)).expect("in range");
    let record = |seed, change| JournalRecord {
        fingerprint: fingerprint(seed),
        tag: Tag([seed; 16]),
        location,
        kind: if seed == 1 { ChildKind::Segment } else { ChildKind::Node },
        length: 1000 + u32::from(seed),
        change,
    };
    vec![record(1, EntryChange::Closed), record(2, EntryChange::Dropped)]
}

pub(crate) const fn cache_head() -> file_cache::Head {
    file_cache::Head {
        image: ImageId([0x21; 16]),
        root: fingerprint(0x22),
        origin: DomainId([0x23; 16]),
        lineage: [0x24; 32],
        pool: PoolId([0x25; 16]),
        incarnation: 6,
        segment_mean: 32_768,
    }
}

pub(crate) fn cache_leaf() -> file_cache::Leaf {
    let node = entries();
    let Node { children, body: Body::Entries(entries) } = node.clone() else { unreachable!("a leaf") };
    let stamp = file_cache::Stamp { ctime: time(-5, 999_999_999), device: (8, 1), inode: u64::MAX };
    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
    let stamps = entries.iter().map(|entry| is_file(entry).then_some(stamp)).collect();
    let tags = (0_u8..).zip(&children).map(|(seed, _)| Tag([seed; 16])).collect();
    file_cache::Leaf { bytes: node.encode(), children, entries, stamps, tags }
}

/// The plain bytes of a block.
pub(crate) fn cache_leaves() -> Vec<u8> {
    let mut plain = Vec::new();
    cache_leaf().encode(&mut plain);
    cache_leaf().encode(&mut plain);
    plain
}
