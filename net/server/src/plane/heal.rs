//! Takes from another pool what an image lacks here: the pool is the target of a restore that wants little.
//!
//! The session names the image and goes from its root down. A node that is sound here is answered *have*, so only the way
//! to what is damaged is gone, child by child; every byte that comes is hashed, stored, made durable, and only then
//! pointed to. What came before a session broke counts as far as it can (`Ingest::heal`).

use std::{pin::pin, rc::Rc};

use futures_util::future::{Either, select};
use narrows_exchange::{
    Asker, DataFrame, ExchangeError, Found, HelloFacts, NodeFrame, Sealed, Store, StoreError, Stored,
    hello::{Side, greet},
    incoming::Received,
    restore,
};
use narrows_format::{
    DomainId, Fingerprint, ImageId, PoolId,
    node::{Child, ChildKind},
};
use narrows_pool::{
    Error, Ingest,
    stream::{Claim, Found as InPool},
};
use narrows_ring::world::Local;
use narrows_wire::{Pull, Purpose};
use tokio::sync::oneshot;

use super::{
    core::Core,
    pool_store::{put_data, put_nodes, store_error},
    replicate::{Dial, ReplicationError, dial},
    sessions::facts,
};

/// What is to be healed, and from whom.
pub struct Heal {
    /// The image.
    pub image: ImageId,
    /// The domain that made it.
    pub origin: DomainId,
    /// Its root as it is known here: whoever is asked does not say what the image is.
    pub root: Child,
    /// The pool that lacks something of it.
    pub pool: PoolId,
    /// What the other side gave out for this, or zeros.
    pub ticket: [u8; 32],
    /// The partner, or this domain itself.
    pub to: Dial,
}

/// What came.
pub type HealEnd = Result<Received, ReplicationError>;

/// Heals one image; stops when nobody waits for its end any more.
pub(super) async fn run(core: &Core, heal: Heal, mut reply: oneshot::Sender<HealEnd>) {
    let end = {
        let healing = pin!(pull(core, &heal));
        let stopped = pin!(reply.closed());
        match select(healing, stopped).await {
            Either::Left((end, _)) => end,
            Either::Right(_) => return,
        }
    };
    // Nobody waiting is no error: what is healed is seen by the next look.
    drop(reply.send(end));
}

async fn pull(core: &Core, heal: &Heal) -> HealEnd {
    let failed = |error: &Error| ReplicationError::Exchange(ExchangeError::Store(store_error(error)));
    let pool = core.pool(heal.pool).map_err(|error| failed(&error))?;
    let link = dial(core, &heal.to).await?;
    let facts = facts(core, Purpose::Restore, heal.pool);
    let session = greet(link, Side::Dialled, &HelloFacts { ticket: heal.ticket, ..facts }).await?;
    let ingest = pool.ingest(heal.image).await.map_err(|error| failed(&error))?;
    let store = Rc::new(HealStore { ingest });
    let asked = Pull { image: heal.image, origin: heal.origin };
    let outcome = restore::pull(&session, &asked, Some(heal.root), Rc::clone(&store) as Rc<dyn Store>).await;
    let kept = store.ingest.heal().await;
    let received = outcome?;
    kept.map_err(|error| failed(&error))?;
    tracing::info!(
        image = %heal.image,
        from = %heal.to.partner,
        wire_bytes = received.wire_bytes,
        data_bytes = received.data_bytes,
        "what an image lacked was brought"
    );
    Ok(received)
}

/// A stream that brings what an image lacks.
struct HealStore {
    ingest: Ingest,
}

/// Nodes that an earlier session left are brought once more: with them comes what they name.
fn translate(child: &Child, found: InPool) -> Found {
    match (found, child.kind) {
        (InPool::Lack | InPool::Expected, _) | (InPool::Mine(..), ChildKind::Node) => Found::Lack,
        // What another stream brings is looked for when this one ends.
        (InPool::Closed(..) | InPool::Mine(..) | InPool::Pending, _) => Found::Skip,
    }
}

impl Store for HealStore {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            let found = self.ingest.look_up(children, Claim::Take).await;
            let found = found.map_err(|error| store_error(&error))?;
            Ok(children.iter().zip(found).map(|(child, found)| translate(child, found)).collect())
        })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(put_nodes(&self.ingest, nodes))
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(put_data(&self.ingest, data))
    }

    fn needs_plain(&self) -> bool {
        false
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move { self.ingest.sync().await.map(drop).map_err(|error| store_error(&error)) })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        // Nothing is ever answered to be pending here.
        Box::pin(std::future::pending())
    }

    fn staged_node(&self, _node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn commit(&self, _sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        Box::pin(async { Err(StoreError::new("WIRE-002", "a commit at the end of a restore")) })
    }
}
