//! Recipe trees in memory: built from entries in order, walked from one end to the other, asked for one path.

use std::{collections::HashMap, convert::Infallible, rc::Rc};

use criterion::{Criterion, Throughput};
use futures_util::FutureExt as _;
use narrows_benches::bed::{path, tree};
use narrows_format::{
    Fingerprint,
    node::{Child, ChildKind, Node},
};
use narrows_pool::recipe::walk::{NodeReader, Tree};
use narrows_ring::world::Local;

const FILES: usize = 100_000;

/// All nodes of a tree, encoded; decoding them is part of a walk.
struct Memory(HashMap<Fingerprint, Vec<u8>>);

impl NodeReader for Memory {
    type Error = Infallible;

    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, Infallible>> {
        let node = Node::decode(&self.0[&child.fingerprint]).expect("what was built decodes");
        Box::pin(std::future::ready(Ok(Rc::new(node))))
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let segments: Vec<Child> = (0..FILES).map(segment).collect();
    let mut nodes = HashMap::new();
    let root = tree(&segments, &mut |node| drop(nodes.insert(node.fingerprint, node.bytes)));
    let (memory, root) = (Memory(nodes), root.child());
    let mut group = criterion.benchmark_group("recipe");
    group.throughput(Throughput::Elements(FILES as u64));
    group.bench_function("build", |bench| bench.iter(|| tree(&segments, &mut |node| drop(node))));
    group.bench_function("walk", |bench| {
        bench.iter(|| {
            let mut all = Tree::new(&memory, root).all();
            let mut seen = 0_usize;
            while let Some(_located) = at_once(all.next()).expect("the tree is sound") {
                seen += 1;
            }
            assert_eq!(seen, FILES, "every file is met");
        });
    });
    group.throughput(Throughput::Elements(1));
    let (middle, reader) = (path(FILES / 2), Tree::new(&memory, root));
    group.bench_function("look-up", |bench| {
        bench.iter(|| at_once(reader.lookup(&middle)).expect("the tree is sound").expect("it is there"));
    });
    group.finish();
    criterion.final_summary();
}

/// Nodes are in memory: nothing waits.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nothing waits")
}

fn segment(number: usize) -> Child {
    let (fingerprint, _) = narrows_simd::fingerprint::data(&number.to_le_bytes());
    Child { fingerprint, kind: ChildKind::Segment, length: 16 << 10 }
}
