//! The stream itself.

use narrows_format::{Fingerprint, ImageId, node::Child};

use crate::{
    error::Error,
    stream::terms::{Claim, CommitRequest, Committed, Durable, Found, StagedNode, StagedSegment, StoredNode},
};

const UNFINISHED: Error = Error::Unsupported { what: "ingest is under construction" };

/// One incoming image. All methods take `&self`: they may be under way at once.
pub struct Ingest {
    image: ImageId,
}

#[expect(clippy::unused_async, reason = "under construction")]
impl Ingest {
    /// The image that it is for.
    pub fn image(&self) -> ImageId {
        self.image
    }

    /// Frame bytes that earlier sessions of this image left durable here.
    pub fn staged_bytes(&self) -> u64 {
        0
    }

    /// Asks the owners, in one batch per core; the answers are in the order of `children`.
    /// At most [`crate::limits::LOOK_UP_CHILDREN_MAX`] at once.
    pub async fn look_up(&self, _children: &[Child], _claim: Claim) -> Result<Vec<Found>, Error> {
        Err(UNFINISHED)
    }

    /// Takes a data frame, encoded and verified; every segment of it listed, in order.
    pub async fn put_data(&self, _frame: Vec<u8>, _segments: Vec<StagedSegment>) -> Result<(), Error> {
        Err(UNFINISHED)
    }

    /// Takes a node frame, encoded and verified; every node of it listed, in order. Writes the annex itself.
    pub async fn put_nodes(&self, _frame: Vec<u8>, _nodes: Vec<StagedNode>) -> Result<(), Error> {
        Err(UNFINISHED)
    }

    /// Makes a node that was answered `Mine` part of this session, as if it had just been put. The caller
    /// asks for its children again.
    pub async fn reopen(&self, _fingerprint: Fingerprint) -> Result<StoredNode, Error> {
        Err(UNFINISHED)
    }

    /// Makes everything put so far survive power loss. To be called at least every second or 64 MiB.
    pub async fn sync(&self) -> Result<Durable, Error> {
        Err(UNFINISHED)
    }

    /// Waits until pending children have been settled and gives them all; empty when none is pending.
    /// `Lack`: this stream has taken over the claim. `Closed`: see there.
    pub async fn settled(&self) -> Result<Vec<(Fingerprint, Found)>, Error> {
        Err(UNFINISHED)
    }

    /// Checks closure, makes everything durable and appends to the image log: the image exists from then on.
    /// The caller has made sure that nothing it answered `lack` is outstanding.
    pub async fn commit(&self, _request: CommitRequest) -> Result<Committed, Error> {
        Err(UNFINISHED)
    }

    /// Ends the session without an image; waits until what was written can be found by the next one.
    pub async fn abandon(self) {}
}
