//! A pool's store that counts what a test has to know to have happened.

use std::{cell::Cell, rc::Rc};

use narrows_exchange::{Asker, DataFrame, Found, NodeFrame, Sealed, Store, StoreError, Stored};
use narrows_format::{Fingerprint, node::Child};
use narrows_ring::world::Local;
use narrows_server::plane::pool_store::PoolStore;

/// What all sessions of a site have counted.
#[derive(Default)]
pub(crate) struct Counts {
    /// Children that another session was bringing when they were asked about.
    pub(crate) pending: Cell<u64>,
    /// Bytes of frames that came though they had been acknowledged.
    pub(crate) again_bytes: Cell<u64>,
}

/// The store of one session.
pub(crate) struct Counting {
    inner: PoolStore,
    counts: Rc<Counts>,
}

impl Counting {
    pub(crate) fn new(inner: PoolStore, counts: Rc<Counts>) -> Self {
        Self { inner, counts }
    }
}

impl Store for Counting {
    fn look_up<'a>(
        &'a self,
        asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.look_up(asker, children).await?;
            let pending = found.iter().filter(|found| **found == Found::Pending).count() as u64;
            self.counts.pending.set(self.counts.pending.get() + pending);
            Ok(found)
        })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        self.inner.put_nodes(nodes)
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        self.inner.put_data(data)
    }

    fn needs_plain(&self) -> bool {
        self.inner.needs_plain()
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        self.inner.sync()
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        self.inner.settled()
    }

    fn staged_node(&self, node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.inner.staged_node(node)
    }

    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        self.inner.commit(sealed)
    }
}
