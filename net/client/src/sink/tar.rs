//! The target of a restore that brings an image, or parts of it, as one tar.
//!
//! Guarantees: only bytes whose fingerprint the exchange has verified are written; objects come in the order of the image
//! (hard links to what was not asked for, at the end); a session that breaks is gone on with where the stream stands.
//!
//! Nobody knows where in a tar an object will lie before the heads of all objects before it are known. So places in the
//! stream are not bytes of the tar: each object has [`SLOT`] places for its head and one for each byte that it holds, and
//! what it does not need is passed without a byte. A node says how many objects and bytes lie below it, and thus where in
//! the stream each of its children belongs, in whatever order they come. As of a single file, nodes are answered only while
//! little enough is under way, or else when nobody but one of them can say what comes next.
//!
//! Holes are written out as zeros: how long the list of a file's holes is, is known at its end only. Sockets are left out,
//! which a tar cannot hold, and with them their further names; that is counted. Whether something was left out is known
//! for certain only when a link to it has its turn, so each link is asked about then.

mod acl;
mod head;
mod late;
mod passes;
mod target;

use std::{cell::RefCell, ops::Range, sync::Arc};

use foldhash::HashSet;
use narrows_format::{
    Fingerprint,
    limits::{PATH_BYTES_MAX, XATTRS_BYTES_MAX},
    node::{Body, Child, Entry, EntryKind, Node, TreeSpan, Xattrs},
    xattrs::Attributes,
};
use narrows_ring::world::World;

use super::{
    RestoreProgress, SinkError,
    answering::Answering,
    layout::{Gap, Layout, Part},
    report::TroubleKind,
    stream::{InOrder, Passed, Question},
};
use crate::{limits::STREAM_AHEAD_BYTES, shown::Shown};
use head::{BLOCK_BYTES, Head, Kind, Owned};
use late::{Late, LateHead};
use passes::{PASS, Pass, Role};
pub use target::{TarStep, TarTarget};

/// Places for one object's head.
const SLOT: u64 = 1 << 27;

// Escapes make a list of attributes at most three times as long, and the text of an access control list as well; what is
// said beside a name and a value is at most five times as long as the shortest of both with its lengths.
const _: () = assert!(5 * XATTRS_BYTES_MAX + 8 * PATH_BYTES_MAX < 1 << 27);

/// Of these, places behind the content, where it is filled up to a whole block.
const FILLING: u64 = BLOCK_BYTES as u64;

/// See the module.
pub struct TarSink {
    world: World,
    tar: Arc<TarTarget>,
    pass: Pass,
    /// What was done before this attempt.
    from: u64,
    layout: RefCell<Layout>,
    /// Nodes of the tree, as opposed to those of a file, that were asked for.
    tree: RefCell<HashSet<Fingerprint>>,
    late: RefCell<Late>,
    stream: InOrder,
    progress: Arc<RestoreProgress>,
    answering: Answering,
}

/// What came of looking at a node or at attributes, for the stream.
enum Out {
    Head(u64, Vec<u8>),
    Gap(Gap),
    Nothing(u64, u64, Passed),
    Question(u64, Question),
}

impl TarSink {
    /// Goes on where `tar` stands, with the image under `root`.
    pub async fn new(
        world: &World,
        root: Fingerprint,
        tar: &Arc<TarTarget>,
        progress: Arc<RestoreProgress>,
    ) -> Result<Self, SinkError> {
        let stream = InOrder::open(world, tar.stream()).await?;
        let from = stream.done();
        let pass = tar.pass(from);
        let mut layout = Layout::new(from);
        layout.describe(root, Part { at: pass.base, length: PASS });
        Ok(Self {
            world: world.clone(),
            tar: Arc::clone(tar),
            pass,
            from,
            layout: RefCell::new(layout),
            tree: RefCell::new([root].into_iter().collect()),
            late: RefCell::default(),
            stream,
            progress,
            answering: Answering::default(),
        })
    }

    /// The place of a node in the order of answers; to be taken when it is asked about.
    pub fn ticket(&self) -> u64 {
        self.answering.ticket()
    }

    /// A verified node came: tells which of its children are wanted.
    pub async fn take_node(
        &self,
        ticket: Option<u64>,
        name: Fingerprint,
        bytes: &[u8],
    ) -> Result<Vec<bool>, SinkError> {
        let node = Node::decode(bytes).map_err(|bad| SinkError::Malformed(bad.to_string()))?;
        let mut out = Vec::new();
        let plan = || self.plan(name, &node, &mut out);
        let outcome = self.answering.in_turn(ticket, || self.may_ask(), plan).await;
        outcome.map_err(|what| SinkError::Malformed(what.to_owned()))?;
        let wanted = {
            let (layout, late) = (self.layout.borrow(), self.late.borrow());
            node.children.iter().map(|child| layout.wants(child) || late.wants(child)).collect()
        };
        self.put(out).await?;
        Ok(wanted)
    }

    /// Verified segments came, with where they lie in `plain`.
    pub async fn take_data(
        &self,
        plain: Vec<u8>,
        segments: &[(Fingerprint, Range<usize>)],
    ) -> Result<(), SinkError> {
        let mut out = Vec::new();
        for (name, range) in segments {
            let bytes = &plain[range.clone()];
            let pieces = self.layout.borrow_mut().take_pieces(name);
            for piece in pieces {
                self.stream.take(piece.at, Arc::new(bytes[piece.range(0)].to_vec()), piece.count).await?;
            }
            let complete = self.late.borrow_mut().take(name, bytes);
            for (head, attributes) in complete {
                let attributes = attributes.map_err(|_| {
                    let path = Shown(&head.head.path);
                    SinkError::Malformed(format!("the attributes of {path} are malformed"))
                })?;
                Self::put_head(&head, &attributes, &mut out);
            }
        }
        self.put(out).await
    }

    /// Everything that was asked for has come: says what is next.
    pub async fn finish(&self) -> Result<TarStep, SinkError> {
        self.stream.write_and_tell(&self.progress, &self.answering).await?;
        if self.stream.done() != self.pass.base + PASS {
            return Err(SinkError::Malformed("its bytes are not all there".to_owned()));
        }
        let (tar, pass) = (Arc::clone(&self.tar), self.pass.base);
        let outcome = self.world.offload(move || tar.end(pass)).await.ok_or(SinkError::Helper)?;
        outcome.map_err(|error| SinkError::Destination { path: b"the tar".to_vec(), error })
    }

    fn may_ask(&self) -> bool {
        let layout = self.layout.borrow();
        let under_way = layout.asked_bytes() + self.late.borrow().bytes() + self.stream.early_bytes();
        under_way < STREAM_AHEAD_BYTES || layout.is_undescribed(self.stream.done())
    }

    fn plan(&self, name: Fingerprint, node: &Node, out: &mut Vec<Out>) -> Result<(), &'static str> {
        let is_tree = matches!(node.body, Body::Tree { .. } | Body::Entries(_));
        let mut layout = self.layout.borrow_mut();
        if is_tree != self.tree.borrow_mut().remove(&name) {
            return Err("a node of another kind than its place is for");
        }
        match &node.body {
            Body::Tree { spans, .. } => {
                let parts = layout.take_parts(&name);
                parts
                    .into_iter()
                    .try_for_each(|part| self.spread(part, spans, &node.children, &mut layout, out))
            }
            Body::Entries(entries) => {
                let parts = layout.take_parts(&name);
                parts
                    .into_iter()
                    .try_for_each(|part| self.place(part, entries, &node.children, &mut layout, out))
            }
            Body::ExtentTree { lengths, .. } => layout.inner(&name, lengths, &node.children),
            Body::Extents(extents) => {
                let gaps = layout.leaf(&name, extents, &node.children)?;
                out.extend(gaps.into_iter().map(Out::Gap));
                Ok(())
            }
        }
    }

    /// Gives each child of an inner node its places.
    fn spread(
        &self,
        part: Part,
        spans: &[TreeSpan],
        children: &[Child],
        layout: &mut Layout,
        out: &mut Vec<Out>,
    ) -> Result<(), &'static str> {
        let (mut at, end) = (part.at, part.at + part.length);
        for (number, (span, child)) in spans.iter().zip(children).enumerate() {
            let length = span.entries.checked_mul(SLOT).and_then(|heads| heads.checked_add(span.bytes));
            let length = length.filter(|length| *length <= end - at).ok_or(TOO_MUCH)?;
            let next = spans.get(number + 1).map(|span| span.first.as_slice());
            if self.pass.may_take(&span.first, next) {
                if at + length > self.from {
                    self.tree.borrow_mut().insert(child.fingerprint);
                }
                layout.describe(child.fingerprint, Part { at, length });
            } else {
                out.push(Out::Nothing(at, length, Passed::Nothing));
            }
            at += length;
        }
        out.push(Out::Nothing(at, end - at, Passed::Nothing));
        Ok(())
    }

    /// Gives each object of a leaf its places.
    fn place(
        &self,
        part: Part,
        entries: &[Entry],
        children: &[Child],
        layout: &mut Layout,
        out: &mut Vec<Out>,
    ) -> Result<(), &'static str> {
        let (mut at, end) = (part.at, part.at + part.length);
        for entry in entries {
            let size = if let EntryKind::File { size, .. } = entry.kind { size } else { 0 };
            let length = SLOT.checked_add(size).filter(|length| *length <= end - at).ok_or(TOO_MUCH)?;
            // What is done was told by the attempt that did it.
            if at + length > self.from {
                self.place_one(at, entry, children, layout, out)?;
            }
            at += length;
        }
        out.push(Out::Nothing(at, end - at, Passed::Nothing));
        Ok(())
    }

    fn place_one(
        &self,
        at: u64,
        entry: &Entry,
        children: &[Child],
        layout: &mut Layout,
        out: &mut Vec<Out>,
    ) -> Result<(), &'static str> {
        let Some(kind) = Kind::of(&entry.kind) else {
            let what = if self.pass.asks_for(&entry.path) {
                self.tar.leave_out(at, &entry.path, TroubleKind::NotForTars);
                self.tar.mark(&entry.path);
                Passed::LeftOut
            } else {
                Passed::Nothing
            };
            out.push(Out::Nothing(at, SLOT, what));
            return Ok(());
        };
        let size = if let Kind::File(size) = kind { size } else { 0 };
        let owned = Owned { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime };
        let path = match self.pass.role(&entry.path, &kind) {
            Role::Taken(path) => path,
            Role::Passed => {
                out.push(Out::Nothing(at, SLOT + size, Passed::Nothing));
                return Ok(());
            }
            Role::Orphan(first) => {
                self.tar.mark(&entry.path);
                self.tar.orphan(first, &entry.path, owned);
                out.push(Out::Nothing(at, SLOT, Passed::Nothing));
                return Ok(());
            }
        };
        self.tar.mark(&entry.path);
        if self.pass.base > 0 {
            self.tar.bring(&entry.path);
        }
        if let Kind::HardLink(first) = &kind {
            let (tar, first, link) = (Arc::clone(&self.tar), first.clone(), path.clone());
            let is_left_out = Box::new(move || tar.leaves_out_link(at, &link, &first));
            out.push(Out::Question(at, Question { length: SLOT, is_left_out }));
        }
        let head = LateHead { at, size, head: Head { path, owned, kind } };
        match &entry.xattrs {
            Xattrs::Inline(list) => Self::put_head(&head, list, out),
            Xattrs::Stored(ordinals) if at + SLOT - FILLING > self.from => {
                self.late.borrow_mut().expect(head, ordinals, children)?;
            }
            Xattrs::Stored(_) => {}
        }
        if let (EntryKind::File { content, .. }, 1..) = (&entry.kind, size) {
            let begins = at + SLOT - FILLING;
            out.extend(layout.content(begins, size, content, children)?.into_iter().map(Out::Gap));
            let length = size.next_multiple_of(FILLING) - size;
            out.push(Out::Gap(Gap { at: begins + size, length, byte: 0 }));
            out.push(Out::Nothing(begins + size + length, FILLING - length, Passed::Nothing));
        }
        Ok(())
    }

    /// A head whose attributes are known, and the places up to the content.
    fn put_head(late: &LateHead, attributes: &Attributes, out: &mut Vec<Out>) {
        let LateHead { at, size, head } = late;
        let end = at + if *size > 0 { SLOT - FILLING } else { SLOT };
        // The first place of a link is that of the question about it.
        let begins = if let Kind::HardLink(_) = head.kind { at + 1 } else { *at };
        let encoded = head::encode(head, attributes);
        let behind = begins + encoded.len() as u64;
        assert!(behind < end, "a head fits its places");
        out.push(Out::Head(begins, encoded));
        out.push(Out::Nothing(behind, end - behind, Passed::Object(*size)));
    }

    async fn put(&self, out: Vec<Out>) -> Result<(), SinkError> {
        for out in out {
            match out {
                Out::Head(at, bytes) => self.stream.take(at, Arc::new(bytes), 1).await?,
                Out::Gap(gap) => self.stream.take_gap(gap),
                Out::Nothing(at, length, what) => self.stream.take_nothing(at, length, what),
                Out::Question(at, question) => self.stream.take_question(at, question),
            }
        }
        self.stream.write_and_tell(&self.progress, &self.answering).await
    }
}

const TOO_MUCH: &str = "more lies below a node than the node above says";
