//! The store of a session that brings what is there already: a replication whose last word was lost.
//!
//! Everything asked about is present; the commit is answered with the one that is in the log.

use std::{cell::Cell, sync::Arc};

use narrows_exchange::{Asker, DataFrame, Found, NodeFrame, Sealed, Store, StoreError, Stored};
use narrows_format::{Fingerprint, Location, node::Child};
use narrows_pool::{Lease, Pool, images::ImageEntry, restore::Wanted};
use narrows_ring::world::Local;

use super::pool_store::{committed_meanwhile, other_content, removed_soon, store_error};

/// Over a committed image.
pub struct PresentStore {
    pool: Pool,
    entry: Arc<ImageEntry>,
    /// The commit was answered (again).
    committed: Cell<bool>,
    _lease: Lease,
}

impl PresentStore {
    /// Over this image of `pool`.
    pub fn new(pool: Pool, entry: Arc<ImageEntry>) -> Self {
        let lease = pool.lease();
        Self { pool, entry, committed: Cell::new(false), _lease: lease }
    }
}

fn unasked() -> StoreError {
    StoreError::new("WIRE-004", "the image is here already: nothing was asked for")
}

impl PresentStore {
    /// The image as the log has it, once the commit was answered with it.
    pub fn found(&self) -> Option<Arc<ImageEntry>> {
        self.committed.get().then(|| Arc::clone(&self.entry))
    }
}

impl Store for PresentStore {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            let wanted = children.iter().map(|child| Wanted {
                fingerprint: child.fingerprint,
                length: child.length,
                hint: Location::UNKNOWN,
            });
            let tags = self.pool.tags(wanted.collect()).await.map_err(|error| store_error(&error))?;
            Ok(tags.into_iter().map(|tag| tag.map_or(Found::Lack, Found::Closed)).collect())
        })
    }

    fn put_nodes(&self, _nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async { Err(unasked()) })
    }

    fn put_data(&self, _data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async { Err(unasked()) })
    }

    fn needs_plain(&self) -> bool {
        false
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        // Nothing is ever pending here.
        Box::pin(std::future::pending())
    }

    fn staged_node(&self, _node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        Box::pin(async move {
            if sealed.record != self.entry.record_bytes {
                return Err(other_content(self.entry.image()));
            }
            let now = self.pool.image(self.entry.image()).await.map_err(|error| store_error(&error))?;
            if now.as_ref().is_none_or(|entry| entry.sequence != self.entry.sequence) {
                // It was removed since this session began.
                return Err(committed_meanwhile(self.entry.image()));
            }
            if now.is_some_and(|entry| self.pool.is_over(&entry)) {
                return Err(removed_soon(self.entry.image()));
            }
            self.committed.set(true);
            let (pool, incarnation) = self.pool.identity();
            let stored_bytes = self.entry.stored_bytes;
            Ok(Stored { sequence: self.entry.sequence, pool, incarnation, stored_bytes })
        })
    }
}
