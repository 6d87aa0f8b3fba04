//! The words of an incoming stream: what is asked, answered and handed over.

use narrows_format::{
    DomainId, Fingerprint, ImageId, Location, Sequence, Tag, Timestamp, node::Child, record::CopyState,
};

/// Whether an answer of "lack" is a promise to bring it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// What is lacking will be brought by this stream; others that ask for it wait.
    Take,
    /// Only asking.
    Peek,
}

/// What the pool knows of a segment or node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not there. With [`Claim::Take`] this stream now has to bring it. Nodes are never claimed: each
    /// stream brings its own, so that no two streams wait for each other.
    Lack,
    /// Usable by this image, if the tag has been shown: it is closed, or it is a data segment that another
    /// stream has brought and that this stream's commit will make durable and close.
    Closed(Tag, Location),
    /// Staged for this very image. A data segment needs nothing more. A node of an earlier session has to
    /// be reopened ([`super::Ingest::reopen`]) and its children asked for again.
    Mine(Tag, Location),
    /// Another stream has claimed it; [`super::Ingest::settled`] tells how that ended.
    Pending,
    /// This stream was told `Lack` earlier and has not brought it yet.
    Expected,
}

/// One segment of a data frame, verified by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedSegment {
    /// BLAKE3 of the plain bytes.
    pub fingerprint: Fingerprint,
    /// Its possession tag.
    pub tag: Tag,
    /// Offset in the frame's plain bytes.
    pub offset: u32,
    /// Plain length.
    pub length: u32,
}

/// One node of a node frame, verified by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedNode {
    /// Name, tag and place in the frame.
    pub segment: StagedSegment,
    /// The children of its envelope, in order.
    pub children: Vec<Child>,
}

/// A verified node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNode {
    /// The encoded node.
    pub bytes: Vec<u8>,
    /// Where it lies.
    pub location: Location,
    /// Its possession tag.
    pub tag: Tag,
    /// Advisory places of its children, one each; may be wrong or unknown.
    pub annex: Vec<Location>,
}

/// How much of a stream survives power loss, counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Frame bytes.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
}

/// What goes into the image log.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The encoded `SignedRecord`; its image is the stream's.
    pub record: Vec<u8>,
    /// Expiry, lock and hold of this copy.
    pub copy: CopyState,
    /// The domain that sent it; `None` when a client backed it up.
    pub sender: Option<DomainId>,
    /// SLP named by the source's replication operation; empty for a backup.
    pub target_slp: String,
    /// Expiry asked for by the source's replication operation, for retention `target = {}`.
    pub asked_expiry: Option<Timestamp>,
}

/// A durable image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which.
    pub image: ImageId,
    /// Its place in the image log.
    pub sequence: Sequence,
    /// Frame bytes of data and nodes and record bytes that it added, before padding.
    pub stored_bytes: u64,
}
