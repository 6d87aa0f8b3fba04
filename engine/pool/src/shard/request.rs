//! What cores ask of each other.

use std::{
    ops::Range,
    sync::{Arc, atomic::AtomicBool},
};

use futures_channel::oneshot;
use narrows_format::{
    ContainerId, Fingerprint, ImageId, Sequence,
    index_run::Directory,
    record::{CopyState, SignedRecord},
};

use crate::{
    container::Sealed,
    error::Error,
    images::{Discarded, Event, ImageEntry},
    index::{Answer, Asked, Asker, Batch, Doubts, OwnedSpace, Place, StreamId},
    scrub::{Believed, ScrubOrder},
    stream::{Claim, CommitRequest},
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A message to a core.
pub(crate) enum Request {
    /// To an owner: what it knows of these, in order.
    LookUp { asker: Asker, children: Vec<Asked>, claim: Claim, reply: Reply<Vec<Told>> },
    /// To an owner: a stream of core `home` has appended these.
    Register { home: usize, batch: Batch, reply: Reply<Result<(), Error>> },
    /// To an owner: where these can be read.
    Locate { fingerprints: Vec<Fingerprint>, reply: Reply<Vec<Located>> },
    /// To all: these containers are closed now.
    Close { containers: Arc<[ContainerId]>, reply: Reply<()> },
    /// To all: a write to this container has failed.
    Break { container: ContainerId },
    /// To all: this stream has gone.
    Release { stream: StreamId },
    /// To oneself: nobody asks any more.
    End,
    /// To all: counts.
    Space { reply: Reply<OwnedSpace> },
    /// To a container's home: seal it if it is still open.
    Seal { container: ContainerId, reply: Reply<Result<(), Error>> },
    /// To all: write the table of new entries to this run, durably. `None`: there were none.
    Flush { run: u64, reply: Reply<Result<Option<Directory>, Error>> },
    /// To all: the table could not be written; who waits for room in it is refused.
    FlushFailed { error: Error },
    /// To one: make one run of several, durably; it gives way unless it is awaited. `None`: no entry is left.
    Merge {
        inputs: Arc<[u64]>,
        run: u64,
        awaited: Arc<AtomicBool>,
        reply: Reply<Result<Option<Directory>, Error>>,
    },
    /// To all: the manifest lists other runs than before.
    Exchange { change: Arc<RunsChange>, reply: Reply<Result<(), Error>> },
    /// To all: what is not to be believed from now on.
    Doubt { doubts: Doubts, reply: Reply<()> },
    /// To core 0.
    Order(Order),
}

/// An owner's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) answer: Answer,
    /// Whether a page was read for it.
    pub(crate) read: bool,
}

/// Where something can be read; an error where the index is damaged and cannot tell.
pub(crate) type Located = Result<Option<Place>, Error>;

/// Another list of runs.
#[derive(Clone, Debug)]
pub(crate) struct RunsChange {
    pub(crate) added: Vec<Directory>,
    pub(crate) dropped: Vec<u64>,
    pub(crate) cause: Cause,
}

/// Why there are other runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Frozen tables have been written.
    Flush,
    /// One run takes the place of several.
    Merge,
}

/// What goes into the image log.
pub(crate) struct CommitOrder {
    pub(crate) request: CommitRequest,
    pub(crate) record: SignedRecord,
    pub(crate) closes: Arc<[ContainerId]>,
    /// What the image rests on besides what it brought.
    pub(crate) believed: Believed,
}

/// A message to the core that owns manifest and image log.
pub(crate) enum Order {
    /// Container ids for a core; durable before the answer.
    Reserve { reply: Reply<Result<Range<u64>, Error>> },
    /// A container has been sealed. Written down lazily: recovery would find it too.
    Sealed { image: ImageId, sealed: Sealed, reply: Reply<()> },
    /// Durable before the answer.
    Commit { order: Box<CommitOrder>, reply: Reply<Result<(Sequence, u64), Error>> },
    /// Durable before the answer.
    Amend { image: ImageId, copy: CopyState, reply: Reply<Result<Sequence, Error>> },
    /// Durable before the answer.
    Discard { image: ImageId, discarded: Discarded, reply: Reply<Result<Sequence, Error>> },
    /// Durable before the answer.
    Remove { image: ImageId, reply: Reply<Result<Sequence, Error>> },
    /// All images, in the order in which they came.
    Images { reply: Reply<Vec<ImageId>> },
    /// One image.
    Image { image: ImageId, reply: Reply<Result<Option<Arc<ImageEntry>>, Error>> },
    /// One image that has to be there.
    Committed { image: ImageId, reply: Reply<Result<Arc<ImageEntry>, Error>> },
    /// Records after a sequence number.
    Events { after: Sequence, max: usize, reply: Reply<Result<Vec<Event>, Error>> },
    /// Answers once there is a record after `after`.
    EventAfter { after: Sequence, reply: Reply<Sequence> },
    /// Frame bytes that are staged for an image.
    Staged { image: ImageId, reply: Reply<u64> },
    /// A core's table of new entries is full.
    FlushIndex,
    /// Something of a run cannot be read.
    DoubtRun { run: u64, error: Error, reply: Reply<()> },
    /// About damage.
    Scrub(ScrubOrder),
    /// Counts of containers and images.
    Space { reply: Reply<ControlSpace> },
}

/// Core 0's part of [`crate::PoolSpace`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ControlSpace {
    pub(crate) containers: u64,
    pub(crate) container_bytes: u64,
    pub(crate) staged_bytes: u64,
    pub(crate) images: u64,
    pub(crate) runs: u64,
}
