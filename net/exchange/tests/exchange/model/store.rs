//! The model pool as a target: a store for each session, and an authority that lets everybody in.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use narrows_exchange::{
    Asker, Authority, Begin, CommitDraft, CommitFacts, DataFrame, Found, Grant, NodeFrame, Refusal, Sealed,
    Session, Store, StoreError, Stored,
};
use narrows_format::{
    Fingerprint, ImageId, PoolId, Sequence,
    node::{Child, ChildKind},
    record::SignedRecord,
};
use narrows_ring::world::Local;

use super::{Item, Pool, children};

pub(crate) const TARGET_POOL: PoolId = PoolId([9; 16]);

pub(crate) struct MemoryStore {
    pool: Rc<Pool>,
    image: ImageId,
    pending: RefCell<Vec<Fingerprint>>,
}

impl MemoryStore {
    pub(crate) fn new(pool: &Rc<Pool>, image: ImageId) -> Rc<Self> {
        Rc::new(Self { pool: Rc::clone(pool), image, pending: RefCell::default() })
    }

    fn find(&self, child: &Child) -> Found {
        let name = child.fingerprint;
        if let Some(item) = self.pool.closed.borrow().get(&name) {
            return Found::Closed(item.tag);
        }
        let staged = self.pool.staged.borrow();
        if let Some((item, _)) = staged.get(&self.image).and_then(|items| items.get(&name)) {
            return Found::Mine(item.tag);
        }
        match self.pool.claims.borrow_mut().entry(name).or_insert(self.image) {
            owner if *owner == self.image => Found::Lack,
            _ => {
                self.pending.borrow_mut().push(name);
                Found::Pending
            }
        }
    }

    fn put(&self, name: Fingerprint, item: Item) {
        let mut staged = self.pool.staged.borrow_mut();
        let items = staged.entry(self.image).or_default();
        if let Some((_, true)) = items.get(&name) {
            self.pool.twice.set(self.pool.twice.get() + item.bytes.len() as u64);
        }
        items.entry(name).or_insert((item, false));
    }

    fn settle_now(&self) -> Option<Vec<(Fingerprint, Found)>> {
        let mut settled = Vec::new();
        self.pending.borrow_mut().retain(|name| {
            if let Some(item) = self.pool.closed.borrow().get(name) {
                settled.push((*name, Found::Closed(item.tag)));
                return false;
            }
            let mut claims = self.pool.claims.borrow_mut();
            let owner = *claims.entry(*name).or_insert(self.image);
            if owner == self.image {
                settled.push((*name, Found::Lack));
            }
            owner != self.image
        });
        (!settled.is_empty()).then_some(settled)
    }

    fn close(&self, root: Fingerprint) -> Result<u64, StoreError> {
        let mut staged = self.pool.staged.borrow_mut();
        let items = staged.remove(&self.image).unwrap_or_default();
        let mut todo = vec![root];
        while let Some(name) = todo.pop() {
            if self.pool.closed.borrow().contains_key(&name) {
                continue;
            }
            let Some((item, _)) = items.get(&name) else {
                return Err(StoreError::new("WIRE-006", "the tree is not closed"));
            };
            if item.kind == ChildKind::Node {
                todo.extend(children(&item.bytes).iter().map(|child| child.fingerprint));
            }
        }
        let bytes = items.values().map(|(item, _)| item.bytes.len() as u64).sum();
        let mut closed = self.pool.closed.borrow_mut();
        closed.extend(items.into_iter().map(|(name, (item, _))| (name, item)));
        Ok(bytes)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.pool.claims.borrow_mut().retain(|_, owner| *owner != self.image);
        self.pool.gate.open();
    }
}

impl Store for MemoryStore {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move { Ok(children.iter().map(|child| self.find(child)).collect()) })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            for node in nodes.nodes {
                let item = Item { kind: ChildKind::Node, bytes: node.bytes, tag: node.tag };
                self.put(node.fingerprint, item);
            }
            Ok(())
        })
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            for segment in data.segments.iter().filter(|segment| segment.wanted) {
                let bytes = data.plain[segment.range.clone()].into();
                self.put(segment.fingerprint, Item { kind: ChildKind::Segment, bytes, tag: segment.tag });
            }
            Ok(())
        })
    }

    fn needs_plain(&self) -> bool {
        true
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut staged = self.pool.staged.borrow_mut();
            for (_, durable) in staged.entry(self.image).or_default().values_mut() {
                *durable = true;
            }
            Ok(())
        })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        Box::pin(async move { Ok(self.pool.gate.until(|| self.settle_now()).await) })
    }

    fn staged_node(&self, node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let staged = self.pool.staged.borrow();
            Ok(staged
                .get(&self.image)
                .and_then(|items| items.get(&node))
                .map(|(item, _)| item.bytes.to_vec()))
        })
    }

    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        Box::pin(async move {
            let stored_bytes = self.close(sealed.root)?;
            let root = self.pool.closed.borrow()[&sealed.root].child(sealed.root);
            self.pool.images.borrow_mut().insert(self.image, root);
            self.pool.gate.open();
            Ok(Stored { sequence: Sequence(1), pool: TARGET_POOL, incarnation: 1, stored_bytes })
        })
    }
}

/// Lets everybody in.
pub(crate) struct Open {
    pub(crate) pool: Rc<Pool>,
    pub(crate) begun: Cell<u32>,
}

impl Open {
    pub(crate) fn new(pool: &Rc<Pool>) -> Self {
        Self { pool: Rc::clone(pool), begun: Cell::new(0) }
    }
}

impl Authority for Open {
    fn begin<'a>(&'a self, _session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            self.begun.set(self.begun.get() + 1);
            let images = self.pool.images.borrow();
            let base_accepted = begin.base.is_some_and(|base| {
                images.get(&base.image).is_some_and(|root| root.fingerprint == base.root)
            });
            let staged = self.pool.staged.borrow();
            let durable = staged.get(&begin.image).into_iter().flat_map(|items| items.values());
            let staged_bytes =
                durable.filter(|(_, durable)| *durable).map(|(item, _)| item.bytes.len() as u64).sum();
            Ok(Grant { store: MemoryStore::new(&self.pool, begin.image), base_accepted, staged_bytes })
        })
    }

    fn taken_back(&self) -> Local<'_, Refusal> {
        Box::pin(async move {
            self.pool.gate.until(|| self.pool.taken_back.get().then_some(())).await;
            Refusal::new("API-003", "it was cancelled")
        })
    }

    fn seal<'a>(&'a self, _session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>> {
        Box::pin(async move {
            let (record, root) = match draft.facts {
                CommitFacts::Signed(record) => {
                    let root = SignedRecord::decode(&record).expect("checked before").record.root;
                    (record, root)
                }
                CommitFacts::Draft(draft) => (vec![0; 100], draft.root),
            };
            let (copy, asked_expiry) = (draft.copy, draft.copy.expires);
            Ok(Sealed { record, copy, root, import_slp: draft.import_slp, asked_expiry })
        })
    }
}
