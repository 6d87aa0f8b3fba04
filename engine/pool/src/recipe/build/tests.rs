//! The builders against their promises: equal trees give equal roots, changes stay local, every node is legal.

use std::collections::{BTreeMap, HashSet};

use narrows_format::{
    Timestamp,
    limits::PATH_BYTES_MAX,
    node::{BadNode, Body, Content, Entry, EntryKind, Extent, Xattrs},
};
use proptest::prelude::*;

use super::*;

pub(crate) fn segment(seed: u64) -> Child {
    let (fingerprint, _) = fingerprint::data(&seed.to_le_bytes());
    Child { fingerprint, kind: ChildKind::Segment, length: 1000 + u32::try_from(seed % 30_000).unwrap() }
}

pub(crate) fn entry(path: &[u8], kind: EntryKind) -> Entry {
    let mtime = Timestamp { seconds: 1_700_000_000, nanos: 5 };
    Entry { path: path.to_vec(), mode: 0o644, uid: 7, gid: 8, mtime, xattrs: Xattrs::Inline(vec![]), kind }
}

/// A file of one segment.
pub(crate) fn file(path: &[u8], seed: u64) -> (Entry, Vec<Child>) {
    let child = segment(seed);
    let extents = vec![Extent::Data { child: 0, offset: 0, length: child.length }];
    let kind = EntryKind::File { size: u64::from(child.length), content: Content::Inline(extents) };
    (entry(path, kind), vec![child])
}

/// Collects nodes; each must decode to what was encoded.
#[derive(Default)]
pub(crate) struct Nodes(pub(crate) BTreeMap<Fingerprint, BuiltNode>);

impl Nodes {
    pub(crate) fn take(&mut self, built: BuiltNode) {
        let node = Node::decode(&built.bytes).expect("a built node is legal");
        assert_eq!(node.children, built.children);
        assert_eq!((built.fingerprint, built.tag), fingerprint::node(&built.bytes));
        let level = match &node.body {
            Body::Tree { level, .. } | Body::ExtentTree { level, .. } => *level,
            _ => 0,
        };
        assert_eq!(level, built.level);
        for child in built.children.iter().filter(|child| child.kind == ChildKind::Node) {
            assert!(self.0.contains_key(&child.fingerprint), "children come before parents");
        }
        self.0.insert(built.fingerprint, built);
    }

    /// Nodes that the other does not have: how many, and their bytes.
    fn beyond(&self, other: &Self) -> (usize, usize) {
        let new = self.0.values().filter(|node| !other.0.contains_key(&node.fingerprint));
        new.fold((0, 0), |(count, bytes), node| (count + 1, bytes + node.bytes.len()))
    }
}

pub(crate) fn build(entries: &[(Entry, Vec<Child>)]) -> (Root, Nodes) {
    let (mut builder, mut nodes) = (TreeBuilder::new(), Nodes::default());
    for (entry, children) in entries {
        builder.push(entry.clone(), children, &mut |node| nodes.take(node)).unwrap();
    }
    let root = builder.finish(&mut |node| nodes.take(node));
    (root, nodes)
}

/// A tree like a kernel's: directories of files.
fn many(count: u64) -> Vec<(Entry, Vec<Child>)> {
    let mut entries = vec![(entry(b"", EntryKind::Directory), vec![])];
    for at in 0..count {
        if at % 30 == 0 {
            let path = format!("dir{:03}/sub{:05}", at / 3000, at / 30);
            if at % 3000 == 0 {
                entries
                    .push((entry(path.split('/').next().unwrap().as_bytes(), EntryKind::Directory), vec![]));
            }
            entries.push((entry(path.as_bytes(), EntryKind::Directory), vec![]));
        }
        let path = format!("dir{:03}/sub{:05}/driver-{at}.c", at / 3000, at / 30);
        entries.push(file(path.as_bytes(), at));
    }
    entries.sort_by(|(left, _), (right, _)| narrows_format::path::order(&left.path, &right.path));
    entries
}

/// Goal: an unchanged image adds nothing; one change among 100,000 files adds less than 64 KiB of nodes.
#[test]
fn changes_stay_local() {
    let old = many(100_000);
    let (root, nodes) = build(&old);
    assert_eq!(root.entries, old.len() as u64);
    let (again, same) = build(&old);
    assert_eq!((root, 0), (again, same.beyond(&nodes).0));
    for at in [1, 50_000, old.len() - 1] {
        let mut changed = old.clone();
        let path = changed[at].0.path.clone();
        changed[at] = file(&path, 1_000_000_007);
        let mut removed = old.clone();
        removed.remove(at);
        let mut inserted = old.clone();
        inserted.insert(at + 1, file(&[&path[..], b"/\x01new"].concat(), 9));
        for new in [changed, removed, inserted] {
            let (count, bytes) = build(&new).1.beyond(&nodes);
            assert!(count <= 12 && bytes < 64 << 10, "{count} nodes with {bytes} bytes at {at}");
        }
    }
}

/// Goal: nearly all leaves of an unchanged tree are used again, and of a changed one those that are far from the change.
#[test]
fn most_leaves_are_used_again() {
    let mut entries = many(20_000);
    let (root, old) = build(&entries);
    let leaves = u64::try_from(old.0.values().filter(|node| node.level == 0).count()).unwrap();
    // The last one may have ended with the tree.
    let (again, taken) = rebuild(&entries, &old);
    assert_eq!(again, root);
    assert!(taken + 1 >= leaves, "{taken} of {leaves}");
    entries.remove(7000);
    assert!(rebuild(&entries, &old).1 + 3 >= leaves);
}

/// Goal: leaves hold about as many entries as meant.
#[test]
fn leaves_have_the_meant_size() {
    let entries = many(20_000);
    let (_, nodes) = build(&entries);
    let leaves = nodes.0.values().filter(|node| node.level == 0).count();
    let mean = entries.len() / leaves;
    assert!((20..=30).contains(&mean), "{mean} entries in a leaf");
}

/// Goal: trees of no and of one entry have a leaf as root.
#[test]
fn small_trees_are_one_leaf() {
    let (root, nodes) = build(&[]);
    assert_eq!((root.entries, root.bytes, nodes.0.len()), (0, 0, 1));
    let (root, nodes) = build(&[(entry(b"", EntryKind::Directory), vec![])]);
    assert_eq!((root.entries, nodes.0.len()), (1, 1));
    assert_eq!(nodes.0[&root.fingerprint].bytes.len(), root.length as usize);
}

/// Goal: what is wrong is refused by name, and the tree goes on as if it had not been offered.
#[test]
fn bad_entries_are_refused() {
    let mut builder = TreeBuilder::new();
    let mut nodes = Nodes::default();
    let sink: &mut Sink<'_> = &mut |node| nodes.take(node);
    let (good, children) = file(b"b", 1);
    builder.push(good, &children, sink).unwrap();
    for (path, wanted) in [
        (&b"b"[..], BuildError::Order),
        (b"a", BuildError::Order),
        (b"c/../d", BuildError::Entry(BadNode::Malformed("path of an entry"))),
    ] {
        let (bad, children) = file(path, 1);
        assert_eq!(builder.push(bad, &children, sink), Err(wanted));
    }
    let (missing, _) = file(b"c", 1);
    assert!(matches!(builder.push(missing, &[], sink), Err(BuildError::Entry(_))));
    let huge = EntryKind::File {
        size: 10_000,
        content: Content::Inline([Extent::Hole(1), Extent::Fill { byte: 1, length: 1 }].repeat(5000)),
    };
    assert_eq!(builder.push(entry(b"c", huge), &[], sink), Err(BuildError::TooLong));
    let (good, children) = file(b"c", 1);
    builder.push(good, &children, sink).unwrap();
    let root = builder.finish(sink);
    let expected = build(&[file(b"b", 1), file(b"c", 1)]).0;
    assert_eq!(root, expected);
}

/// Goal: the longest paths, deep directories, big targets and attributes still give legal nodes.
#[test]
fn extreme_entries_fit() {
    let mut entries = BTreeMap::new();
    let mut path = b"deep".to_vec();
    for level in 0..300 {
        path.extend_from_slice(b"/level");
        entries.insert(path.clone(), entry(&path, EntryKind::Directory));
        let file = [&path[..], b"/a\n\xff\x01 file"].concat();
        entries.insert(file.clone(), entry(&file, EntryKind::Fifo));
        assert!(level < 300);
    }
    for seed in 0..40_u8 {
        let mut long = vec![b'0' + seed; 250];
        while long.len() + 251 <= PATH_BYTES_MAX {
            long.push(b'/');
            long.resize(long.len() + 250, seed + 1);
        }
        let target = vec![b't'; PATH_BYTES_MAX];
        let mut link = entry(&long, EntryKind::Symlink(target));
        link.xattrs = Xattrs::Inline(vec![(b"user.a".to_vec(), vec![seed; 1000])]);
        entries.insert(long, link);
    }
    let mut entries: Vec<_> = entries.into_values().map(|entry| (entry, vec![])).collect();
    entries.sort_by(|(left, _), (right, _)| narrows_format::path::order(&left.path, &right.path));
    let (root, _) = build(&entries);
    assert_eq!(root.entries, 640);
}

/// Goal: equal segments in one leaf are one child, and nothing but what is used is named.
#[test]
fn children_are_named_once() {
    let mut unused = file(b"c", 5);
    unused.1.push(segment(77));
    let (root, nodes) = build(&[file(b"a", 5), file(b"b", 6), unused]);
    assert_eq!(nodes.0[&root.fingerprint].children, [segment(5), segment(6)]);
}

/// Runs of one file for the builder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    Segment(u64),
    Part(u64, u32, u32),
    Hole(u64),
    Fill(u8, u64),
}

pub(crate) fn content(pieces: &[Piece], sink: &mut Sink<'_>) -> FileContent {
    let mut builder = ExtentBuilder::new();
    for piece in pieces {
        match *piece {
            Piece::Segment(seed) => {
                let child = segment(seed);
                builder.segment(child.fingerprint, child.length, sink);
            }
            Piece::Part(seed, offset, length) => {
                let child = segment(seed);
                builder.part(child.fingerprint, child.length, offset, length, sink);
            }
            Piece::Hole(length) => builder.hole(length, sink),
            Piece::Fill(byte, length) => builder.fill(byte, length, sink),
        }
    }
    builder.finish(sink)
}

/// Goal: small files stay in their entry; adjacent runs of a kind are one.
#[test]
fn few_extents_stay_inline() {
    let mut none = |_| panic!("no node is needed");
    let empty = content(&[], &mut none);
    assert_eq!(empty, FileContent { size: 0, content: Content::Inline(vec![]), children: vec![] });
    let pieces = [
        Piece::Hole(5),
        Piece::Hole(6),
        Piece::Segment(1),
        Piece::Segment(1),
        Piece::Segment(2),
        Piece::Part(1, 10, 20),
        Piece::Part(2, 0, 1002),
        Piece::Fill(0, 9),
        Piece::Fill(0, 0),
        Piece::Fill(0, 9),
        Piece::Fill(1, 9),
    ];
    let expected = vec![
        Extent::Hole(11),
        Extent::Repeat { child: 0, count: 2 },
        Extent::Data { child: 1, offset: 0, length: 1002 },
        Extent::Data { child: 0, offset: 10, length: 20 },
        Extent::Data { child: 1, offset: 0, length: 1002 },
        Extent::Fill { byte: 0, length: 18 },
        Extent::Fill { byte: 1, length: 9 },
    ];
    let found = content(&pieces, &mut none);
    assert_eq!(
        (found.size, found.children),
        (11 + 2002 + 1002 + 20 + 1002 + 27, vec![segment(1), segment(2)])
    );
    assert_eq!(found.content, Content::Inline(expected));
}

/// Goal: a change in a file of 131,072 segments (4 GiB at the default mean) costs few, small nodes; 1 %
/// scattered changes cost less than 0.1 % of its length.
#[test]
fn extents_of_a_big_file_stay_local() {
    let mut pieces: Vec<Piece> = (0..131_072).map(Piece::Segment).collect();
    for at in (0..131_072).step_by(1000) {
        pieces[at] = Piece::Hole(1 << 20);
        pieces[at + 1] = Piece::Fill(0, 5000);
    }
    let mut old = Nodes::default();
    let before = content(&pieces, &mut |node| old.take(node));
    assert_eq!((&before.content, before.children.len()), (&Content::Tree(0), 1));
    let mut new = Nodes::default();
    let mut changed = pieces.clone();
    changed[70_000] = Piece::Segment(1 << 40);
    changed.insert(70_001, Piece::Segment(1 << 41));
    content(&changed, &mut |node| new.take(node));
    let (count, bytes) = new.beyond(&old);
    assert!(count <= 12 && bytes < 32 << 10, "{count} nodes, {bytes} bytes");
    let mut scattered = Nodes::default();
    for at in (50..131_072).step_by(100) {
        changed[at] = Piece::Segment((1 << 40) + at as u64);
    }
    content(&changed, &mut |node| scattered.take(node));
    let (_, bytes) = scattered.beyond(&old);
    assert!(bytes < 3 << 20, "{bytes} bytes of nodes for 1 % of 4 GiB");
}

/// Goal: a file that is the same all over converges, in one extent or in few distinct nodes.
#[test]
fn periodic_files_converge() {
    let mut nodes = Nodes::default();
    let one = content(&vec![Piece::Segment(3); 100_000], &mut |node| nodes.take(node));
    assert_eq!(one.content, Content::Inline(vec![Extent::Repeat { child: 0, count: 100_000 }]));
    for period in [2, 3, 40, 1000] {
        let pieces: Vec<_> = (0..200_000).map(|at| Piece::Segment(at % period)).collect();
        let mut nodes = Nodes::default();
        let found = content(&pieces, &mut |node| nodes.take(node));
        let distinct: HashSet<_> = nodes.0.keys().collect();
        assert!(distinct.len() < 2000, "{} nodes for period {period}", distinct.len());
        assert_eq!(found.children.len(), 1);
    }
}

/// Builds a tree out of the leaves of an earlier one wherever they fit, and tells how many were taken.
fn rebuild(entries: &[(Entry, Vec<Child>)], old: &Nodes) -> (Root, u64) {
    let leaf = |node: &BuiltNode| match Node::decode(&node.bytes).unwrap().body {
        Body::Entries(entries) if !entries.is_empty() => {
            Some((entries[0].path.clone(), (node.child(), entries)))
        }
        _ => None,
    };
    let leaves: BTreeMap<_, _> = old.0.values().filter_map(leaf).collect();
    let (mut builder, mut at, mut taken) = (TreeBuilder::new(), 0, 0);
    while let Some((entry, children)) = entries.get(at) {
        if let Some((child, held)) = leaves.get(&entry.path)
            && held.iter().zip(&entries[at..]).filter(|(ours, (theirs, _))| ours.path == theirs.path).count()
                == held.len()
            && builder.push_leaf(*child, held, &mut |_| ())
        {
            at += held.len();
            taken += 1;
            continue;
        }
        builder.push(entry.clone(), children, &mut |_| ()).unwrap();
        at += 1;
    }
    (builder.finish(&mut |_| ()), taken)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: leaves of an earlier tree come to the same tree as their entries would, also where they were cut short by
    /// entries that are gone or stood behind entries that are new. Content is the same, names come and go; some are so
    /// long that leaves fill up.
    #[test]
    fn leaves_are_used_again_only_where_they_fit(
        names in prop::collection::btree_set(0_u16..2000, 1..600),
        changes in prop::collection::vec((0_u16..2000, any::<bool>()), 0..20),
        lengthy in 1_u16..40,
    ) {
        let one = |name: &u16| {
            let long = if name % lengthy == 1 { "x".repeat(30_000) } else { String::new() };
            file(format!("{name:05}{long}").as_bytes(), u64::from(*name))
        };
        let (_, old) = build(&names.iter().map(one).collect::<Vec<_>>());
        let mut later = names.clone();
        for (name, comes) in changes {
            if comes {
                later.insert(name);
            } else if let Some(gone) = later.range(name..).next().copied() {
                later.remove(&gone);
            }
        }
        let entries: Vec<_> = later.iter().map(one).collect();
        prop_assert_eq!(rebuild(&entries, &old).0, build(&entries).0);
    }

    /// Goal: far from a change, a tree's leaves are the same, whatever the entries.
    #[test]
    fn removing_one_entry_changes_few_nodes(count in 1_u64..3000, at in any::<prop::sample::Index>()) {
        let old = many(count);
        let mut new = old.clone();
        new.remove(at.index(old.len()));
        let (_, nodes) = build(&old);
        let (changed, _) = build(&new).1.beyond(&nodes);
        prop_assert!(changed <= 14, "{} nodes changed", changed);
    }
}
