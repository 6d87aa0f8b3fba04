//! What a target needs from its owner: a place to keep things, and somebody who decides.

use std::{ops::Range, rc::Rc};

use narrows_format::{Fingerprint, PoolId, Sequence, Tag, Timestamp, node::Child, record::CopyState};
use narrows_ring::world::Local;

use narrows_wire::{Begin, Draft};

use crate::{Refusal, hello::Session};

/// What a store has of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing; from now on this session is the one that brings it.
    Lack,
    /// Present, closed, and leased for this session.
    Closed(Tag),
    /// Staged for this very image, by this session or an earlier one.
    Mine(Tag),
    /// Another session is bringing it; [`Store::settled`] will tell.
    Pending,
    /// Not wanted (a restore that needs only a part): answered "have", no possession asked for.
    Skip,
}

/// Who asks for children.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// A list of children without a node yet.
    Offer,
    /// A node that was received, or staged earlier and now reopened.
    Node {
        /// Its name.
        fingerprint: Fingerprint,
        /// Its encoding.
        bytes: &'a [u8],
    },
}

/// A frame of nodes as it arrived, verified: each node hashed and its envelope read.
#[derive(Debug)]
pub struct NodeFrame {
    /// The frame as it crossed, header included, to be stored as it is; empty if [`Store::needs_plain`].
    pub frame: Vec<u8>,
    /// The nodes to keep; others in the frame are there already.
    pub nodes: Vec<ReceivedNode>,
}

/// One node of a frame.
#[derive(Clone, Debug)]
pub struct ReceivedNode {
    /// BLAKE3 of its bytes in the nodes' context.
    pub fingerprint: Fingerprint,
    /// Its tag.
    pub tag: Tag,
    /// Its children, from the envelope.
    pub children: Vec<Child>,
    /// Its encoding.
    pub bytes: Rc<[u8]>,
    /// Where it lies in the frame's plain bytes.
    pub range: Range<usize>,
}

/// A frame of data as it arrived, verified: each segment hashed and asked for.
#[derive(Debug)]
pub struct DataFrame {
    /// The frame as it crossed, header included, to be stored as it is; empty if [`Store::needs_plain`].
    pub frame: Vec<u8>,
    /// Its plain bytes; empty unless [`Store::needs_plain`].
    pub plain: Vec<u8>,
    /// The segments, in order.
    pub segments: Vec<ReceivedSegment>,
}

/// One segment of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSegment {
    /// BLAKE3 of its bytes.
    pub fingerprint: Fingerprint,
    /// Its tag.
    pub tag: Tag,
    /// Where it lies in the frame's plain bytes.
    pub range: Range<usize>,
    /// False when the store had it and only possession had to be shown: it need not be kept again.
    pub wanted: bool,
}

/// Our own side failed: the disk, the pool, the file system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct StoreError {
    /// For example `POOL-002`; the peer hears it too.
    pub code: String,
    /// What failed; the peer hears it too.
    pub sentence: String,
}

impl StoreError {
    /// A failure.
    pub fn new(code: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { code: code.into(), sentence: sentence.into() }
    }
}

/// Where one session keeps what arrives. Over a pool in a server, over files in a restoring client.
///
/// Several calls are under way at once; the session calls `put_nodes` for a node after its own `look_up` of the
/// node's children has ended. Dropping the store ends the session there: claims are released, what was staged stays.
pub trait Store {
    /// What is there of each child, in order. A `Lack` makes this session the one that brings it. No child is
    /// asked about again while it is being brought (unless [`Store::wants_repeats`]).
    fn look_up<'a>(
        &'a self,
        asker: Asker<'a>,
        children: &'a [Child],
    ) -> Local<'a, Result<Vec<Found>, StoreError>>;

    /// Stages nodes.
    fn put_nodes(&self, nodes: NodeFrame) -> Local<'_, Result<(), StoreError>>;

    /// Stages data.
    fn put_data(&self, data: DataFrame) -> Local<'_, Result<(), StoreError>>;

    /// Everything whose put had ended when this was called survives power loss when this ends.
    fn sync(&self) -> Local<'_, Result<(), StoreError>>;

    /// Waits until something that was `Pending` is so no longer, and tells what became of it: `Lack` (now this
    /// session brings it) or `Closed`. Does not end while there is nothing to tell. Dropping the future loses nothing.
    fn settled(&self) -> Local<'_, Result<Vec<(Fingerprint, Found)>, StoreError>>;

    /// The encoding of a node staged for this image (it was `Mine`); from now on it is part of this session.
    fn staged_node(&self, node: Fingerprint) -> Local<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Makes everything durable, checks that the tree under the root is closed (else `WIRE-006`), and commits the image.
    fn commit(&self, sealed: Sealed) -> Local<'_, Result<Stored, StoreError>>;

    /// True for a sink that writes plain bytes. A pool keeps frames as they cross, and says false: then their plain bytes
    /// are gone as soon as they are hashed.
    fn needs_plain(&self) -> bool;

    /// True for a sink that wants a child again each time that it says `Lack`, even while it is under way: then nothing
    /// is remembered on its behalf. A pool says false.
    fn wants_repeats(&self) -> bool {
        false
    }
}

/// What a target was allowed.
pub struct Grant {
    /// Where this session's segments go.
    pub store: Rc<dyn Store>,
    /// Whether the base is there, closed, and leased.
    pub base_accepted: bool,
    /// Bytes durably staged for this image by earlier sessions.
    pub staged_bytes: u64,
}

/// What a source says of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitFacts {
    /// A replica: the encoded `SignedRecord`, byte for byte as the origin made it.
    Signed(Vec<u8>),
    /// A backup: the server makes and signs the record.
    Draft(Draft),
}

/// What a source wants committed. That the root is part of the session was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitDraft {
    /// What was begun.
    pub begin: Begin,
    /// The record, or what goes into one.
    pub facts: CommitFacts,
    /// What the source asks for the copy; our bounds apply.
    pub copy: CopyState,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// Bytes of frames that came in this session: the new data.
    pub received_bytes: u64,
}

/// What the target's authority made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encoded `SignedRecord` to be committed.
    pub record: Vec<u8>,
    /// The state of this copy.
    pub copy: CopyState,
    /// Root node, as in the record; its closure is checked by the store.
    pub root: Fingerprint,
    /// The SLP that is to import it, or empty.
    pub import_slp: String,
    /// The expiry that the source asked for, before our bounds.
    pub asked_expiry: Option<Timestamp>,
}

/// What a commit made.
#[expect(clippy::struct_field_names, reason = "the quantity is called stored bytes everywhere")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Position in the pool's image log.
    pub sequence: Sequence,
    /// Which pool.
    pub pool: PoolId,
    /// Which life of it.
    pub incarnation: u64,
    /// New frames, nodes and record, before padding.
    pub stored_bytes: u64,
}

/// Who decides for the target.
pub trait Authority {
    /// May this peer bring this image? `session` has the peer's principal, ticket and pool.
    fn begin<'a>(&'a self, session: &'a Session, begin: &'a Begin) -> Local<'a, Result<Grant, Refusal>>;

    /// What is to be committed. For a backup: completes and signs the record. For a replication: verifies the
    /// origin's signature and the sender's grants.
    fn seal<'a>(&'a self, session: &'a Session, draft: CommitDraft) -> Local<'a, Result<Sealed, Refusal>>;

    /// Comes when what [`Self::begin`] allowed is taken back: the session ends then, and the source hears why. Asked once.
    fn taken_back(&self) -> Local<'_, Refusal> {
        Box::pin(std::future::pending())
    }

    /// The image is committed, and the source has not heard so yet: what the store does not keep of it by itself is to be
    /// remembered before the source relies on it.
    fn committed(&self) -> Local<'_, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
