//! The target of a restore that counts what comes.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use narrows_exchange::{Asker, DataFrame, Found, NodeFrame, Sealed, Store, StoreError, Stored};
use narrows_format::{Fingerprint, node::Child};
use narrows_ring::world::Local;

/// Keeps what comes; wants every reference on its own, and nothing of what it was told to skip.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) skip: BTreeSet<Fingerprint>,
    pub(crate) asked: RefCell<BTreeMap<Fingerprint, u32>>,
    pub(crate) came: RefCell<BTreeMap<Fingerprint, u32>>,
    pub(crate) synced: Cell<bool>,
}

impl Sink {
    fn take(&self, name: Fingerprint) {
        *self.came.borrow_mut().entry(name).or_default() += 1;
    }
}

impl Store for Sink {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            Ok(children
                .iter()
                .map(|child| {
                    if self.skip.contains(&child.fingerprint) {
                        return Found::Skip;
                    }
                    *self.asked.borrow_mut().entry(child.fingerprint).or_default() += 1;
                    Found::Lack
                })
                .collect())
        })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        nodes.nodes.iter().for_each(|node| self.take(node.fingerprint));
        Box::pin(async { Ok(()) })
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        data.segments.iter().for_each(|segment| self.take(segment.fingerprint));
        Box::pin(async { Ok(()) })
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        self.synced.set(true);
        Box::pin(async { Ok(()) })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        Box::pin(std::future::pending())
    }

    fn staged_node(&self, _node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn commit(&self, _sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        panic!("a restore commits nothing")
    }

    fn needs_plain(&self) -> bool {
        true
    }

    fn wants_repeats(&self) -> bool {
        true
    }
}
