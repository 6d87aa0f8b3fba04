//! A pool as the target of one session: the exchange's words in the pool's.
//!
//! Costs nothing but the translation: frames go through as they came, unless nodes in them are there already.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    ops::Range,
    sync::Arc,
    task::{Poll, Waker},
};

use narrows_exchange::{
    Asker, DataFrame, Found, NodeFrame, ReceivedSegment, Sealed, Store, StoreError, Stored,
};
use narrows_format::{
    DomainId, Fingerprint, ImageId,
    frame::{self, FrameKind},
    node::Child,
};
use narrows_pool::{
    Error, Ingest, Pool,
    images::ImageEntry,
    stream::{Claim, CommitRequest, Found as InPool, StagedNode, StagedSegment},
};
use narrows_ring::world::Local;

/// Level of frames that are made anew because only a part of what came is kept.
const NEW_FRAME_LEVEL: i32 = 1;

/// One image on its way into a pool.
pub struct PoolStore {
    pool: Pool,
    ingest: Ingest,
    sender: Option<DomainId>,
    /// Something was answered `Pending` and not settled yet.
    pending: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    /// The image as another session committed it while this one brought it.
    found: RefCell<Option<Arc<ImageEntry>>>,
}

impl PoolStore {
    /// Over a stream of `pool`; `sender` is the domain that replicates, `None` when a client backs up.
    pub fn new(pool: Pool, ingest: Ingest, sender: Option<DomainId>) -> Self {
        let (pending, waiting, found) = (Cell::new(false), RefCell::new(None), RefCell::new(None));
        Self { pool, ingest, sender, pending, waiting, found }
    }

    /// The image as the log has it, when the commit was answered with that of another session.
    pub fn found(&self) -> Option<Arc<ImageEntry>> {
        self.found.borrow().clone()
    }

    /// Another session was first. The same record is as good as committed by this one; a backup's is never the
    /// same, as each is written anew, so its client asks again and hears of the image that is there.
    async fn committed_elsewhere(&self, image: ImageId, record: &[u8]) -> Result<Stored, StoreError> {
        let entry = self.pool.image(image).await.map_err(|error| store_error(&error))?;
        match entry {
            Some(entry) if self.pool.is_over(&entry) => Err(removed_soon(image)),
            Some(entry) if entry.record_bytes == record => {
                // Where it lacked something, it lacks that no more.
                self.ingest.heal().await.map_err(|error| store_error(&error))?;
                let (pool, incarnation) = self.pool.identity();
                let (sequence, stored_bytes) = (entry.sequence, entry.stored_bytes);
                *self.found.borrow_mut() = Some(entry);
                Ok(Stored { sequence, pool, incarnation, stored_bytes })
            }
            Some(_) if self.sender.is_some() => Err(other_content(image)),
            _ => Err(committed_meanwhile(image)),
        }
    }

    fn note_pending(&self) {
        self.pending.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn something_pending(&self) {
        poll_fn(|context| {
            if self.pending.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What a partner hears whose image is here with another record.
pub(super) fn other_content(image: ImageId) -> StoreError {
    StoreError::new("AIR-005", format!("image {image} is here with other content"))
}

/// What a client hears whose image another session has committed: to ask again helps.
pub(super) fn committed_meanwhile(image: ImageId) -> StoreError {
    StoreError::new("NET-003", format!("image {image} was committed by another session meanwhile"))
}

/// What is heard of an image that is on its way out for good: once it has gone it can be sent again.
pub(super) fn removed_soon(image: ImageId) -> StoreError {
    StoreError::new("NET-003", format!("image {image} is being removed just now"))
}

/// A pool's error as the peer and the log hear it.
pub fn store_error(error: &Error) -> StoreError {
    StoreError::new(error.code(), error.to_string())
}

fn translate(found: InPool) -> Found {
    match found {
        InPool::Closed(tag, _) => Found::Closed(tag),
        InPool::Mine(tag, _) => Found::Mine(tag),
        InPool::Pending => Found::Pending,
        // What this stream was told to bring and has not brought is still lacking.
        InPool::Lack | InPool::Expected => Found::Lack,
    }
}

fn malformed(_: std::num::TryFromIntError) -> StoreError {
    StoreError::new("WIRE-003", "a frame is longer than any frame may be")
}

/// The frame as it came when the pool is to keep all of it; else a new one of the nodes to keep. With it, where
/// each of them lies in the plain bytes. (The same node may stand in two places of one tree.)
fn frame_of_kept(nodes: &NodeFrame) -> Result<(Vec<u8>, Vec<Range<usize>>), StoreError> {
    let bad_frame = |_| StoreError::new("WIRE-002", "a frame of nodes does not hold");
    let came = frame::parse(&nodes.frame).map_err(bad_frame)?;
    if came.segments() == nodes.nodes.len() {
        let places = nodes.nodes.iter().map(|node| node.range.clone()).collect();
        return Ok((nodes.frame.clone(), places));
    }
    let pieces: Vec<&[u8]> = nodes.nodes.iter().map(|node| &*node.bytes).collect();
    let mut end = 0;
    let place = |piece: &&[u8]| {
        let start = end;
        end += piece.len();
        start..end
    };
    let places = pieces.iter().map(place).collect();
    Ok((frame::build(FrameKind::Nodes, came.codec(), NEW_FRAME_LEVEL, &pieces), places))
}

fn staged(segment: &ReceivedSegment) -> Result<StagedSegment, StoreError> {
    Ok(StagedSegment {
        fingerprint: segment.fingerprint,
        tag: segment.tag,
        offset: u32::try_from(segment.range.start).map_err(malformed)?,
        length: u32::try_from(segment.range.len()).map_err(malformed)?,
    })
}

/// Stages nodes.
pub(super) async fn put_nodes(ingest: &Ingest, nodes: NodeFrame) -> Result<(), StoreError> {
    let (frame, places) = frame_of_kept(&nodes)?;
    let mut kept = Vec::with_capacity(nodes.nodes.len());
    for (node, place) in nodes.nodes.into_iter().zip(places) {
        let segment = StagedSegment {
            fingerprint: node.fingerprint,
            tag: node.tag,
            offset: u32::try_from(place.start).map_err(malformed)?,
            length: u32::try_from(place.len()).map_err(malformed)?,
        };
        kept.push(StagedNode { segment, children: node.children });
    }
    ingest.put_nodes(frame, kept).await.map_err(|error| store_error(&error))
}

/// Stages data, unless only possession of it had to be shown.
pub(super) async fn put_data(ingest: &Ingest, data: DataFrame) -> Result<(), StoreError> {
    if data.segments.iter().all(|segment| !segment.wanted) {
        return Ok(());
    }
    let segments = data.segments.iter().map(staged).collect::<Result<_, _>>()?;
    ingest.put_data(data.frame, segments).await.map_err(|error| store_error(&error))
}

impl Store for PoolStore {
    fn look_up<'a>(
        &'a self,
        _asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async move {
            let found =
                self.ingest.look_up(children, Claim::Take).await.map_err(|error| store_error(&error))?;
            if found.contains(&InPool::Pending) {
                self.note_pending();
            }
            Ok(found.into_iter().map(translate).collect())
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
        Box::pin(async move {
            self.ingest.sync().await.map_err(|error| store_error(&error))?;
            Ok(())
        })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        Box::pin(async move {
            loop {
                self.something_pending().await;
                let settled = self.ingest.settled().await.map_err(|error| store_error(&error))?;
                if settled.is_empty() {
                    self.pending.set(false);
                } else {
                    return Ok(settled.into_iter().map(|(name, found)| (name, translate(found))).collect());
                }
            }
        })
    }

    fn staged_node(&self, node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            match self.ingest.reopen(node).await {
                Ok(stored) => Ok(Some(stored.bytes)),
                Err(Error::Missing { .. }) => Ok(None),
                Err(error) => Err(store_error(&error)),
            }
        })
    }

    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        Box::pin(async move {
            let request = CommitRequest {
                record: sealed.record.clone(),
                copy: sealed.copy,
                sender: self.sender,
                target_slp: sealed.import_slp,
                asked_expiry: sealed.asked_expiry,
            };
            let committed = match self.ingest.commit(request).await {
                Err(Error::Exists { image, .. }) => {
                    return self.committed_elsewhere(image, &sealed.record).await;
                }
                other => other.map_err(|error| store_error(&error))?,
            };
            let (pool, incarnation) = self.pool.identity();
            Ok(Stored {
                sequence: committed.sequence,
                pool,
                incarnation,
                stored_bytes: committed.stored_bytes,
            })
        })
    }
}
