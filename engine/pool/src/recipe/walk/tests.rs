//! Walks against an oracle (a `BTreeMap` of component lists, a vector of bytes), and against trees that lie.

use std::{cell::RefCell, collections::BTreeMap, future::ready};

use futures_util::FutureExt;
use narrows_format::{
    Fingerprint,
    limits::FILE_BYTES_MAX,
    node::{Body, Content, EntryKind, Extent},
    path::order,
};
use proptest::prelude::*;

use super::*;
use crate::recipe::build::{
    FileContent, Root,
    tests::{Nodes, Piece, build, content as build_content, entry, file, segment},
};

/// Nodes in memory, and how many were read.
struct Memory {
    nodes: BTreeMap<Fingerprint, Rc<Node>>,
    reads: RefCell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing;

impl From<&Nodes> for Memory {
    fn from(nodes: &Nodes) -> Self {
        let decode = |bytes: &[u8]| Rc::new(Node::decode(bytes).unwrap());
        let nodes = nodes.0.iter().map(|(name, built)| (*name, decode(&built.bytes))).collect();
        Self { nodes, reads: RefCell::new(0) }
    }
}

impl NodeReader for Memory {
    type Error = Missing;

    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, Missing>> {
        *self.reads.borrow_mut() += 1;
        Box::pin(ready(self.nodes.get(&child.fingerprint).cloned().ok_or(Missing)))
    }
}

/// The outcome of a walk over nodes in memory, which never waits.
fn now<T>(walk: impl Future<Output = T>) -> T {
    walk.now_or_never().expect("memory never waits")
}

fn paths<R: NodeReader<Error = Missing>>(mut cursor: Cursor<'_, R>) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    while let Some(located) = now(cursor.next()).unwrap() {
        paths.push(located.entry().path.clone());
    }
    paths
}

fn tree_of(paths: &[Vec<u8>]) -> (Root, Memory) {
    let entries: Vec<_> =
        paths
            .iter()
            .enumerate()
            .map(|(at, path)| {
                if path.is_empty() {
                    (entry(b"", EntryKind::Directory), vec![])
                } else {
                    file(path, at as u64)
                }
            })
            .collect();
    let (root, nodes) = build(&entries);
    (root, Memory::from(&nodes))
}

/// A path by its components, which sort as entries do.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    if path.is_empty() { Vec::new() } else { path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect() }
}

fn numbered(paths: &[Vec<u8>]) -> BTreeMap<Vec<Vec<u8>>, u64> {
    paths.iter().enumerate().map(|(at, path)| (parts(path), at as u64)).collect()
}

/// A tree whose files have these numbers for content.
fn tree_numbered(files: &BTreeMap<Vec<Vec<u8>>, u64>) -> (Root, Memory) {
    let one = |(parts, number): (&Vec<Vec<u8>>, &u64)| match &parts.join(&b'/')[..] {
        b"" => (entry(b"", EntryKind::Directory), vec![]),
        path => file(path, *number),
    };
    let (root, nodes) = build(&files.iter().map(one).collect::<Vec<_>>());
    (root, Memory::from(&nodes))
}

/// Components of few letters, some of which sort around `/`.
fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(b"ab.\x01-\xff ".to_vec()), 1..4),
        prop::collection::vec(any::<u8>(), 1..4),
    ]
    .prop_filter("legal", |word| {
        !matches!(&word[..], b"." | b"..") && !word.contains(&0) && !word.contains(&b'/')
    })
}

fn tree_paths() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(component(), 0..5), 0..600).prop_map(|lists| {
        let mut paths: Vec<_> = lists.iter().map(|list| list.join(&b'/')).collect();
        paths.sort_by(|left, right| order(left, right));
        paths.dedup();
        paths
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: look-up, ranges and iteration find exactly what was put in.
    #[test]
    fn ranges_and_look_ups_match(paths_in in tree_paths(), from in tree_paths(), until in tree_paths()) {
        let (root, memory) = tree_of(&paths_in);
        let tree = Tree::new(&memory, root.child());
        prop_assert_eq!(&paths(tree.all()), &paths_in);
        for path in paths_in.iter().chain(&from).take(50) {
            let found = now(tree.lookup(path)).unwrap();
            let there = paths_in.contains(path);
            prop_assert_eq!(found.map(|located| located.entry().path.clone()), there.then(|| path.clone()));
            let below: Vec<_> = paths_in
                .iter()
                .filter(|other| path.is_empty() || *other == path || other.starts_with(&[path, &b"/"[..]].concat()))
                .cloned()
                .collect();
            prop_assert_eq!(paths(tree.below(path)), below);
        }
        for (from, until) in from.iter().zip(&until).take(20) {
            let inside = |path: &&Vec<u8>| order(path, from).is_ge() && order(path, until).is_lt();
            let expected: Vec<_> = paths_in.iter().filter(inside).cloned().collect();
            prop_assert_eq!(&paths(tree.between(from, Some(until))), &expected);
            let mut cursor = tree.between(from, Some(until));
            let mut by_leaf = Vec::new();
            while let Some(leaf) = now(cursor.next_leaf()).unwrap() {
                prop_assert!(leaf.entries().len() > 0);
                by_leaf.extend(leaf.entries().map(|located| located.entry().path.clone()));
            }
            prop_assert_eq!(by_leaf, expected);
        }
    }

    /// Goal: what differs is told, each path once and in order, however often the walk is broken off; and what is the same
    /// costs nothing.
    #[test]
    fn differences_match(
        before in tree_paths(),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        new in tree_paths(),
        kept in 0_usize..8,
        reads in 60_usize..200,
    ) {
        let mut after: BTreeMap<Vec<Vec<u8>>, u64> = numbered(&before);
        let first = after.clone();
        for at in &gone {
            if let Some(path) = before.get(at.index(before.len().max(1))) {
                // Removed, or with another content.
                match at.index(2) {
                    0 => drop(after.remove(&parts(path))),
                    _ => drop(after.insert(parts(path), 1_000_000)),
                }
            }
        }
        after.extend(new.iter().take(kept).map(|path| (parts(path), 2_000_000)));
        let mut expected = Vec::new();
        for path in first.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>() {
            let is_root = path.is_empty();
            match (first.get(path), after.get(path)) {
                (Some(one), Some(other)) if one == other || is_root => {}
                (Some(_), Some(_)) => expected.push((path.join(&b'/'), 'c')),
                (Some(_), None) => expected.push((path.join(&b'/'), '-')),
                _ => expected.push((path.join(&b'/'), '+')),
            }
        }
        let ((one, nodes), (other, more)) = (tree_numbered(&first), tree_numbered(&after));
        let memory = Memory { nodes: nodes.nodes.into_iter().chain(more.nodes).collect(), reads: RefCell::new(0) };
        let (mut found, mut from, mut walks) = (Vec::new(), Some(Vec::new()), 0);
        while let Some(at) = from {
            let mut diff = Diff::new(&memory, one.child(), other.child(), at, reads);
            for _ in 0..7 {
                let Some(change) = now(diff.next()).unwrap() else { break };
                let (located, sign) = match &change {
                    Change::Added(located) => (located, '+'),
                    Change::Removed(located) => (located, '-'),
                    Change::Changed(_, located) => (located, 'c'),
                };
                found.push((located.entry().path.clone(), sign));
            }
            from = diff.rest().map(<[u8]>::to_vec);
            walks += 1;
            prop_assert!(walks < 2000, "no end");
        }
        prop_assert_eq!(found, expected);
        *memory.reads.borrow_mut() = 0;
        let mut same = Diff::new(&memory, one.child(), one.child(), Vec::new(), 1);
        prop_assert!(now(same.next()).unwrap().is_none());
        prop_assert!(same.rest().is_none() && *memory.reads.borrow() == 0);
    }

    /// Goal: skipping ahead gives what iteration would have given from there on.
    #[test]
    fn skipping_loses_nothing(
        paths_in in tree_paths(),
        hops in prop::collection::vec((0_usize..5, any::<prop::sample::Index>()), 1..20),
    ) {
        prop_assume!(!paths_in.is_empty());
        let (root, memory) = tree_of(&paths_in);
        let mut cursor = Tree::new(&memory, root.child()).all();
        let mut at = 0;
        for (steps, hop) in hops {
            for _ in 0..steps {
                let found = now(cursor.next()).unwrap().map(|located| located.entry().path.clone());
                prop_assert_eq!(found.as_ref(), paths_in.get(at));
                at = paths_in.len().min(at + 1);
            }
            let to = hop.index(paths_in.len());
            if to >= at {
                cursor.skip_to(&paths_in[to]);
                at = to;
            }
        }
    }

    /// Goal: a directory lists its names and nothing else, in pages of any length.
    #[test]
    fn browsing_matches(paths_in in tree_paths(), limit in 1_usize..10) {
        let (root, memory) = tree_of(&paths_in);
        let tree = Tree::new(&memory, root.child());
        let mut directories: Vec<Vec<u8>> = vec![vec![]];
        directories.extend(paths_in.iter().take(20).cloned());
        for directory in directories {
            let prefix = if directory.is_empty() { vec![] } else { [&directory[..], b"/"].concat() };
            let mut expected: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
            for path in &paths_in {
                let Some(rest) = path.strip_prefix(&prefix[..]).filter(|rest| !rest.is_empty()) else { continue };
                let name = rest.split(|byte| *byte == b'/').next().unwrap();
                *expected.entry(name.to_vec()).or_default() |= name == rest;
            }
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = now(tree.browse(&directory, after.as_deref(), limit)).unwrap();
                prop_assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.name.clone());
                found.extend(page.into_iter().map(|listed| (listed.name, listed.located.is_some())));
            }
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

/// Goal: look-ups and listings of a large tree read a path of nodes, not the tree.
#[test]
fn walks_read_few_nodes() {
    let mut names: Vec<_> =
        (0..60_000).map(|at| format!("d{:02}/e{:03}/f{at}", at / 6000, at / 60).into_bytes()).collect();
    names.sort_by(|left, right| order(left, right));
    let (root, memory) = tree_of(&names);
    let tree = Tree::new(&memory, root.child());
    now(tree.lookup(b"d05/e500/f30000")).unwrap().expect("it is there");
    assert!(memory.reads.replace(0) <= 5);
    let listed = now(tree.browse(b"d05/e510", None, 1000)).unwrap();
    assert_eq!(listed.len(), 60);
    assert!(memory.reads.replace(0) <= 16);
    let listed = now(tree.browse(b"", None, 1000)).unwrap();
    assert_eq!(listed.len(), 10);
    assert!(listed.iter().all(|listed| listed.located.is_none()));
    assert!(memory.reads.replace(0) <= 60);
}

/// Goal: 300 levels and odd names are found; the deepest directory lists its file.
/// Symptom: behind one file whose holes made it as long as any file can be, no other file found room in its image.
#[test]
fn files_that_are_mostly_holes_keep_out_no_others() {
    let sparse = |path: &[u8]| {
        let size = FILE_BYTES_MAX;
        let content = Content::Inline(vec![Extent::Hole(size)]);
        (entry(path, EntryKind::File { size, content }), vec![])
    };
    let mut entries = vec![(entry(b"", EntryKind::Directory), vec![]), sparse(b"a"), sparse(b"b")];
    entries.extend((0..5000).map(|at| file(format!("c{at:06}").as_bytes(), at)));
    let (root, nodes) = build(&entries);
    assert_eq!((root.entries, root.bytes), (5003, FILE_BYTES_MAX));
    let memory = Memory::from(&nodes);
    let found = paths(Tree::new(&memory, root.child()).all());
    assert!(found.iter().eq(entries.iter().map(|(entry, _)| &entry.path)));
}

#[test]
fn deep_paths_are_found() {
    let mut paths_in = vec![vec![]];
    let mut path = b"top\n\xff".to_vec();
    for _ in 0..300 {
        paths_in.push(path.clone());
        path.extend_from_slice(b"/a longer name \xfe\x01");
    }
    paths_in.push(path.clone());
    let (root, memory) = tree_of(&paths_in);
    let tree = Tree::new(&memory, root.child());
    assert!(path.len() > 4096);
    for wanted in &paths_in {
        assert!(now(tree.lookup(wanted)).unwrap().is_some());
    }
    assert_eq!(now(tree.browse(&paths_in[300], None, 9)).unwrap().len(), 1);
    assert_eq!(now(tree.browse(&path, None, 9)).unwrap().len(), 0);
    assert_eq!(now(tree.browse(b"no/../such", None, 9)).unwrap().len(), 0);
}

/// The bytes that pieces stand for: of a segment, its seed and the position, so that any mix-up shows.
fn plain(pieces: &[Piece]) -> Vec<(u64, u64)> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match *piece {
            Piece::Segment(seed) => bytes.extend((0..u64::from(segment(seed).length)).map(|at| (seed, at))),
            Piece::Part(seed, offset, length) => {
                bytes.extend((offset..offset + length).map(|at| (seed, u64::from(at))));
            }
            Piece::Hole(length) => bytes.extend((0..length).map(|_| (u64::MAX, 0))),
            Piece::Fill(byte, length) => bytes.extend((0..length).map(|_| (u64::MAX - 1, u64::from(byte)))),
        }
    }
    bytes
}

fn image_of(pieces: &[Piece]) -> (Root, Memory, FileContent) {
    let mut nodes = Nodes::default();
    let content = build_content(pieces, &mut |node| nodes.take(node));
    let kind = EntryKind::File { size: content.size, content: content.content.clone() };
    let (root, more) = build_with(nodes, &entry(b"disk.img", kind), &content.children);
    (root, more, content)
}

fn build_with(mut nodes: Nodes, entry: &Entry, children: &[Child]) -> (Root, Memory) {
    let mut builder = crate::recipe::build::TreeBuilder::new();
    builder.push(entry.clone(), children, &mut |node| nodes.take(node)).unwrap();
    let root = builder.finish(&mut |node| nodes.take(node));
    (root, Memory::from(&nodes))
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => (0_u64..40).prop_map(Piece::Segment),
        1 => (0_u64..40, 0_u32..500, 1_u32..500).prop_map(|(seed, offset, length)| Piece::Part(seed, offset, length)),
        1 => (0_u64..2000).prop_map(Piece::Hole),
        1 => (0_u8..3, 0_u64..2000).prop_map(|(byte, length)| Piece::Fill(byte, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Goal: the slices of any range are the file's bytes there.
    #[test]
    fn slices_are_the_bytes(
        pieces in prop::collection::vec(piece(), 0..250),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..90_000), 1..8),
    ) {
        let (root, memory, _) = image_of(&pieces);
        let bytes = plain(&pieces);
        let located = now(Tree::new(&memory, root.child()).lookup(b"disk.img")).unwrap().unwrap();
        let seeds: BTreeMap<_, _> = (0..40).map(|seed| (segment(seed).fingerprint, seed)).collect();
        for (start, length) in ranges {
            let start = start.index(bytes.len() + 1) as u64;
            let mut slices = content(&memory, &located, start..start + length);
            let (mut found, mut at) = (Vec::new(), start);
            while let Some(slice) = now(slices.next()).unwrap() {
                prop_assert_eq!(slice.at, at);
                prop_assert!(slice.length > 0);
                at += slice.length;
                found.extend((0..slice.length).map(|more| match slice.source {
                    Source::Segment { segment, offset } => {
                        (seeds[&segment.fingerprint], u64::from(offset) + more)
                    }
                    Source::Hole => (u64::MAX, 0),
                    Source::Fill(byte) => (u64::MAX - 1, u64::from(byte)),
                }));
            }
            let expected = bytes.iter().skip(usize::try_from(start).unwrap()).take(usize::try_from(length).unwrap());
            prop_assert!(found.iter().eq(expected));
        }
    }
}

/// Goal: a range in a file of 4 GiB reads one node per level, and the file's length is what was put in.
#[test]
fn a_range_of_a_big_file_reads_few_nodes() {
    let pieces: Vec<_> = (0..280_000).map(Piece::Segment).collect();
    let (root, memory, file) = image_of(&pieces);
    assert!(file.size > 4 << 30);
    let located = now(Tree::new(&memory, root.child()).lookup(b"disk.img")).unwrap().unwrap();
    memory.reads.replace(0);
    let mut slices = content(&memory, &located, 3 << 30..(3 << 30) + 1);
    assert_eq!(now(slices.next()).unwrap().unwrap().length, 1);
    assert_eq!(now(slices.next()).unwrap(), None);
    assert!(memory.reads.replace(0) <= 6);
    let (mut slices, mut total) = (content(&memory, &located, 0..u64::MAX), 0);
    while let Some(slice) = now(slices.next()).unwrap() {
        total += slice.length;
    }
    assert_eq!(total, file.size);
}

/// Goal: almost all children of a changed tree's nodes are known from the base, and none that is new.
#[test]
fn known_children_are_those_of_the_base() {
    let names: Vec<_> =
        (0..20_000).map(|at| format!("dir{:03}/file{at:06}", at / 100).into_bytes()).collect();
    let entries: Vec<_> = names.iter().enumerate().map(|(at, name)| file(name, at as u64)).collect();
    let mut changed = entries.clone();
    changed[12_345] = file(&names[12_345], 1 << 50);
    let ((base, base_nodes), (_, nodes)) = (build(&entries), build(&changed));
    let memory = Memory::from(&base_nodes);
    let mut fresh_segments = 0;
    for node in nodes.0.values().filter(|node| !base_nodes.0.contains_key(&node.fingerprint)) {
        let (first, last) = match &Node::decode(&node.bytes).unwrap().body {
            Body::Entries(entries) => (entries[0].path.clone(), entries.last().unwrap().path.clone()),
            Body::Tree { spans, .. } => (spans[0].first.clone(), spans.last().unwrap().first.clone()),
            _ => unreachable!(),
        };
        let until = [&last[..], b"\x01"].concat();
        let known = now(known_children(&memory, base.child(), &first, Some(&until), node.level)).unwrap();
        let fresh: Vec<_> =
            node.children.iter().filter(|child| !known.contains(&child.fingerprint)).collect();
        assert_eq!(fresh.len(), 1, "level {}", node.level);
        assert!(!base_nodes.0.contains_key(&fresh[0].fingerprint));
        fresh_segments += usize::from(*fresh[0] == segment(1 << 50));
    }
    assert_eq!(fresh_segments, 1);
    assert!(memory.reads.replace(0) < 40);
    let above = now(known_children(&memory, base.child(), b"", None, 20)).unwrap();
    assert_eq!(above.into_iter().collect::<Vec<_>>(), [base.fingerprint]);
}

/// Goal: the same within a big file, for each level of its tree.
#[test]
fn known_extents_are_those_of_the_base() {
    let pieces: Vec<_> = (0..20_000).map(Piece::Segment).collect();
    let mut changed = pieces.clone();
    changed[7777] = Piece::Segment(1 << 50);
    let (base, memory, file) = image_of(&pieces);
    let mut nodes = Nodes::default();
    build_content(&changed, &mut |node| nodes.take(node));
    let mut fresh = 0;
    for node in nodes.0.values().filter(|node| !memory.nodes.contains_key(&node.fingerprint)) {
        let known = known_in_file(&memory, base.child(), b"disk.img", 0..file.size, node.level);
        let known = now(known).unwrap();
        let strange = node.children.iter().filter(|child| !known.contains(&child.fingerprint));
        fresh += strange.filter(|child| child.kind == narrows_format::node::ChildKind::Segment).count();
    }
    assert_eq!(fresh, 1);
    memory.reads.replace(0);
    now(known_in_file(&memory, base.child(), b"disk.img", 200 << 20..201 << 20, 0)).unwrap();
    assert!(memory.reads.replace(0) < 20);
    let none = now(known_in_file(&memory, base.child(), b"elsewhere", 0..9, 0)).unwrap();
    assert!(none.is_empty());
}

/// Goal: a parent that lies about a child is found out, and missing nodes are told.
/// Method: change each thing that a span says in turn and walk all of the tree.
#[test]
fn parents_that_lie_are_found_out() {
    let names: Vec<_> = (0..200).map(|at| format!("f{at:04}").into_bytes()).collect();
    let (root, memory) = tree_of(&names);
    let top = Rc::clone(&memory.nodes[&root.fingerprint]);
    let Body::Tree { level: 1, spans } = top.body.clone() else { panic!("two levels") };
    let lies: [&dyn Fn(&mut Node); 6] = [
        &|node| with_spans(node, |spans| spans[2].entries += 1),
        &|node| with_spans(node, |spans| spans[2].bytes += 1),
        &|node| with_spans(node, |spans| spans[2].first.push(b'!')),
        &|node| with_spans(node, |spans| spans[3].first = b"f0000z".to_vec()),
        &|node| node.children.swap(2, 3),
        &|node| node.body = Body::Tree { level: 2, spans: spans.clone() },
    ];
    for (at, lie) in lies.iter().enumerate() {
        let mut node = (*top).clone();
        lie(&mut node);
        let (name, _) = narrows_simd::fingerprint::node(&node.encode());
        let mut nodes = memory.nodes.clone();
        nodes.insert(name, Rc::new(node));
        let lying = Memory { nodes, reads: RefCell::new(0) };
        let child = Child { fingerprint: name, ..root.child() };
        let mut cursor = Tree::new(&lying, child).all();
        let outcome = loop {
            match now(cursor.next()) {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(matches!(outcome, Err(WalkError::Inconsistent { .. })), "lie {at}: {outcome:?}");
    }
    let alone = Memory { nodes: BTreeMap::from([(root.fingerprint, top)]), reads: RefCell::new(0) };
    let outcome = now(Tree::new(&alone, root.child()).lookup(b"f0100"));
    assert_eq!(outcome.map(drop), Err(WalkError::Node(Missing)));
}

fn with_spans(node: &mut Node, change: impl Fn(&mut Vec<narrows_format::node::TreeSpan>)) {
    if let Body::Tree { spans, .. } = &mut node.body {
        change(spans);
    }
}

/// Goal: the same for extent trees: wrong lengths, and a file tree where extents belong.
#[test]
fn extent_trees_that_lie_are_found_out() {
    let pieces: Vec<_> = (0..200).map(Piece::Segment).collect();
    let (_, memory, file) = image_of(&pieces);
    let top = file.children[0];
    let (tree_root, tree) = tree_of(&[b"x".to_vec()]);
    let lies: [&dyn Fn(&mut Node); 3] = [
        &|node| {
            if let Body::ExtentTree { lengths, .. } = &mut node.body {
                lengths[1] += 1;
                lengths[2] -= 1;
            }
        },
        &|node| node.children[1] = top,
        &|node| node.children[1] = tree_root.child(),
    ];
    for lie in lies {
        let mut node = (*memory.nodes[&top.fingerprint]).clone();
        lie(&mut node);
        let (name, _) = narrows_simd::fingerprint::node(&node.encode());
        let mut lying = Nodes::default();
        let kind = EntryKind::File { size: file.size, content: Content::Tree(0) };
        let child = Child { fingerprint: name, ..top };
        let mut builder = crate::recipe::build::TreeBuilder::new();
        // The sink of `Nodes` insists on children before parents, which this tree does not have.
        let mut leaf = None;
        builder.push(entry(b"disk.img", kind), &[child], &mut |node| leaf = Some(node)).unwrap();
        let root = builder.finish(&mut |node| leaf = Some(node));
        lying.0.insert(root.fingerprint, leaf.unwrap());
        let mut memory = Memory { nodes: memory.nodes.clone(), reads: RefCell::new(0) };
        memory.nodes.extend(Memory::from(&lying).nodes);
        memory.nodes.extend(tree.nodes.clone());
        memory.nodes.insert(name, Rc::new(node));
        let located = now(Tree::new(&memory, root.child()).lookup(b"disk.img")).unwrap().unwrap();
        let mut slices = content(&memory, &located, 0..u64::MAX);
        let outcome = loop {
            match now(slices.next()) {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(outcome, Err(WalkError::Inconsistent { .. })), "{outcome:?}");
    }
    let hole = vec![Extent::Hole(7)];
    let kind = EntryKind::File { size: 7, content: Content::Inline(hole) };
    let (root, memory) = build_with(Nodes::default(), &entry(b"a", kind), &[]);
    let located = now(Tree::new(&memory, root.child()).lookup(b"a")).unwrap().unwrap();
    assert_eq!(
        now(content(&memory, &located, 3..99).next()),
        Ok(Some(Slice { at: 3, length: 4, source: Source::Hole }))
    );
}
