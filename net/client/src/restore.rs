//! Brings an image back: the sink as the target of an exchange.

use std::{future::pending, path::Path, rc::Rc, sync::Arc};

use narrows_exchange::{
    Asker, DataFrame, ExchangeError, Found, NodeFrame, Pull, Sealed, Session, Store, StoreError, Stored,
    restore,
};
use narrows_format::{DomainId, Fingerprint, ImageId, node::Child};
use narrows_ring::world::{Local, World};
use rustix::io::Errno;

use crate::sink::{
    Orphan, RestoreProgress, SingleFound, SingleSink, SingleTarget, Sink, SinkError, SinkOptions, TarSink,
    TarStep, TarTarget,
};

/// What to restore.
#[derive(Clone, Copy, Debug)]
pub struct RestorePlan {
    /// The image; from the grant.
    pub image: ImageId,
    /// The domain that made it; from the grant.
    pub origin: DomainId,
    /// Its root; from the grant.
    pub root: Fingerprint,
}

/// What came over the wire in a restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOutcome {
    /// Messages both ways, headers included, without the hello.
    pub wire_bytes: u64,
    /// Hard links that were asked for without the path of their content: to be restored in a session of their own.
    pub orphans: Vec<Orphan>,
    /// What was asked for and is not in the image.
    pub missing: Vec<Vec<u8>>,
}

/// Why a restore ended before its time; what was restored stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The exchange; [`ExchangeError::is_transient`] tells whether to dial again.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The directory cannot be opened.
    #[error("the destination cannot be opened: {0}")]
    Destination(Errno),
    /// The end (links, directories) failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The other side began with another root than the image's record says.
    #[error("the other side gave another image than was asked for")]
    OtherImage,
}

impl RestoreError {
    /// Whether dialling again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_transient())
    }
}

/// Restores over a session that has just begun, beneath `directory`, which is there already. Every byte's fingerprint
/// is verified on the way from the root down.
pub async fn restore(
    world: &World,
    session: Session,
    plan: &RestorePlan,
    directory: &Path,
    options: SinkOptions,
    progress: &Arc<RestoreProgress>,
) -> Result<RestoreOutcome, RestoreError> {
    let sink = Sink::new(world.clone(), directory, options, Arc::clone(progress))
        .map_err(RestoreError::Destination)?;
    let sink = Rc::new(sink);
    let wire_bytes = match pull(&session, plan, Receiver::Tree(Rc::clone(&sink))).await {
        Ok(wire_bytes) => wire_bytes,
        Err(error) => {
            sink.abandon().await;
            return Err(error);
        }
    };
    sink.finish().await?;
    let (orphans, missing) = (sink.orphans(), sink.missing());
    Ok(RestoreOutcome { wire_bytes, orphans, missing })
}

/// Restores the file at `path`, or the only one of the image, to a stream or onto a device. A stream that an earlier
/// attempt has begun is gone on with where it stands.
pub async fn restore_single(
    world: &World,
    session: Session,
    plan: &RestorePlan,
    path: Option<Vec<u8>>,
    target: &SingleTarget,
    progress: &Arc<RestoreProgress>,
) -> Result<SingleFound, RestoreError> {
    let sink = Rc::new(SingleSink::new(world, path, target, Arc::clone(progress)).await?);
    pull(&session, plan, Receiver::Single(Rc::clone(&sink))).await?;
    Ok(sink.finish().await?)
}

/// Restores what `tar` asks for as a tar, which goes on where it stands. [`TarStep::More`] asks for another session.
pub async fn restore_tar(
    world: &World,
    session: Session,
    plan: &RestorePlan,
    tar: &Arc<TarTarget>,
    progress: &Arc<RestoreProgress>,
) -> Result<TarStep, RestoreError> {
    let sink = Rc::new(TarSink::new(world, plan.root, tar, Arc::clone(progress)).await?);
    pull(&session, plan, Receiver::Tar(Rc::clone(&sink))).await?;
    Ok(sink.finish().await?)
}

/// Takes what the receiver wants; gives the bytes that crossed.
async fn pull(session: &Session, plan: &RestorePlan, receiver: Receiver) -> Result<u64, RestoreError> {
    let store = Rc::new(SinkStore { receiver, root: plan.root });
    let pull = Pull { image: plan.image, origin: plan.origin };
    Ok(restore::pull(session, &pull, None, store).await?.wire_bytes)
}

/// What an image is restored to.
enum Receiver {
    Tree(Rc<Sink>),
    Single(Rc<SingleSink>),
    Tar(Rc<TarSink>),
}

/// A receiver in the words of an exchange.
struct SinkStore {
    receiver: Receiver,
    root: Fingerprint,
}

impl Receiver {
    /// The place of a node in the order of answers, where that matters.
    fn ticket(&self) -> Option<u64> {
        match self {
            Self::Tree(_) => None,
            Self::Single(single) => Some(single.ticket()),
            Self::Tar(tar) => Some(tar.ticket()),
        }
    }

    async fn take_node(
        &self,
        ticket: Option<u64>,
        name: Fingerprint,
        bytes: &[u8],
    ) -> Result<Vec<bool>, StoreError> {
        let wanted = match self {
            Self::Tree(sink) => sink.take_node(name, bytes).await,
            Self::Single(sink) => sink.take_node(ticket, name, bytes).await,
            Self::Tar(sink) => sink.take_node(ticket, name, bytes).await,
        };
        wanted.map_err(|error| failed(&error))
    }
}

impl Store for SinkStore {
    fn look_up<'a>(
        &'a self,
        asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>> {
        // Now, not when it is polled: an exchange begins look-ups in the order in which it answers.
        let ticket = if let Asker::Node { .. } = asker { self.receiver.ticket() } else { None };
        Box::pin(async move {
            let found = |wants: bool| if wants { Found::Lack } else { Found::Skip };
            match asker {
                // Only the root is offered. Another one is not the image that the record promises.
                Asker::Offer if children.iter().any(|child| child.fingerprint != self.root) => {
                    Err(StoreError::new("WIRE-004", "the root is not that of the image's record"))
                }
                Asker::Offer => Ok(vec![Found::Lack; children.len()]),
                Asker::Node { fingerprint, bytes } => {
                    let wanted = self.receiver.take_node(ticket, fingerprint, bytes).await?;
                    Ok(wanted.into_iter().map(found).collect())
                }
            }
        })
    }

    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // A node with children was planned when they were asked about; one without is planned here.
            for node in nodes.nodes.iter().filter(|node| node.children.is_empty()) {
                self.receiver.take_node(None, node.fingerprint, &node.bytes).await?;
            }
            Ok(())
        })
    }

    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let segments: Vec<_> =
                data.segments.into_iter().map(|segment| (segment.fingerprint, segment.range)).collect();
            let taken = match &self.receiver {
                Receiver::Tree(sink) => sink.take_data(data.plain, &segments).await,
                Receiver::Single(sink) => sink.take_data(data.plain, &segments).await,
                Receiver::Tar(sink) => sink.take_data(data.plain, &segments).await,
            };
            taken.map_err(|error| failed(&error))
        })
    }

    fn sync(&self) -> Local<'_, Result<(), StoreError>> {
        // See the sink: an interrupted restore is run again.
        Box::pin(async { Ok(()) })
    }

    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>> {
        Box::pin(pending())
    }

    fn staged_node(&self, _node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn commit(&self, _sealed: Sealed) -> Local<'_, Result<Stored, StoreError>> {
        Box::pin(async { Err(StoreError::new("WIRE-002", "a commit in a restore")) })
    }

    fn needs_plain(&self) -> bool {
        true
    }

    fn wants_repeats(&self) -> bool {
        true
    }
}

fn failed(error: &SinkError) -> StoreError {
    let code = match error {
        SinkError::Malformed(_) => "WIRE-002",
        SinkError::Destination { .. } | SinkError::Helper => LOCAL_FAILURE,
    };
    StoreError::new(code, error.to_string())
}

/// Our own side cannot go on: its disk is full or broken.
pub const LOCAL_FAILURE: &str = "LOCAL-001";
