//! Nodes that come: hashed, their envelopes read, their children asked about; then put, a frame at a time.

use std::rc::Rc;

use narrows_format::{
    frame::{self, FrameKind},
    node::envelope,
};
use narrows_wire::{Nodes, Proof};

use super::{
    Incoming, Naming, State,
    ask::{Question, Subject, check_proof, node_child},
    flow::{Put, PutKind, Receipt},
    open::NodeCame,
    stage::Keep,
};
use crate::{ExchangeError, NodeFrame, ReceivedNode};

/// A frame of nodes on its way from the reader through the answerer to the keeper.
pub(super) struct FrameWork {
    frame: Vec<u8>,
    nodes: Vec<(ReceivedNode, NodeCame)>,
    receipt: Receipt,
}

impl FrameWork {
    pub(super) fn node(&self, place: usize) -> &ReceivedNode {
        &self.nodes[place].0
    }

    pub(super) fn is_unnamed(&self, place: usize) -> bool {
        self.nodes[place].1 == NodeCame::Unnamed
    }

    pub(super) fn is_last(&self, place: usize) -> bool {
        place + 1 == self.nodes.len()
    }
}

impl Incoming<'_> {
    pub(super) fn take_nodes(&self, message: &Nodes<'_>, message_bytes: usize) -> Result<(), ExchangeError> {
        self.take_ordinals(message.first_ordinal, message.proofs.len())?;
        let nodes = read_nodes(message)?;
        let mut state = self.state.borrow_mut();
        let plain_bytes = nodes.iter().map(|node| node.bytes.len()).sum();
        let receipt = state.intake.enter_frame(message_bytes, message.frame.len(), plain_bytes)?;
        state.received.frames += 1;
        state.received.node_bytes += message.frame.len() as u64;
        let mut came = Vec::with_capacity(nodes.len());
        let mut asks = Vec::with_capacity(nodes.len());
        for (node, proof) in nodes.into_iter().zip(&message.proofs) {
            let what = state.open.node_came(&node.fingerprint, node.bytes.len(), node.tag)?;
            if what == NodeCame::Unnamed {
                if self.naming == Naming::TopDown {
                    return Err(ExchangeError::unasked("a node that no other node names"));
                }
                state.open.let_in(&node_child(node.fingerprint, node.bytes.len()), node.tag);
            }
            let look_up = match what {
                // Its children were asked about when it came first.
                NodeCame::Repeated => vec![false; node.children.len()],
                NodeCame::Named | NodeCame::Unnamed => state.open.ask(&node.children, proof, true)?,
            };
            asks.push((node.children.clone(), proof.clone(), look_up));
            came.push((node, what));
        }
        let frame = if self.store.needs_plain() { Vec::new() } else { message.frame.to_vec() };
        let work = Rc::new(FrameWork { frame, nodes: came, receipt });
        for (place, (ordinal, (children, proof, look_up))) in (message.first_ordinal..).zip(asks).enumerate()
        {
            let subject = Subject::Node { frame: Rc::clone(&work), place };
            state.questions.push_back(Question { ordinal, children, proof, look_up, subject });
        }
        Ok(())
    }
}

fn read_nodes(message: &Nodes<'_>) -> Result<Vec<ReceivedNode>, ExchangeError> {
    let bad_frame = |bad| ExchangeError::malformed(format!("frame of nodes: {bad}"));
    let frame = frame::parse(message.frame).map_err(bad_frame)?;
    if frame.kind() != FrameKind::Nodes || frame.segments() != message.proofs.len() {
        return Err(ExchangeError::malformed("a frame that does not hold as many nodes as proofs"));
    }
    let mut plain = Vec::new();
    let ranges = frame.open(&mut plain).map_err(bad_frame)?;
    let mut nodes = Vec::with_capacity(ranges.len());
    for (range, proof) in ranges.into_iter().zip(&message.proofs) {
        nodes.push(read_node(&plain, range, proof)?);
    }
    Ok(nodes)
}

fn read_node(
    plain: &[u8],
    range: std::ops::Range<usize>,
    proof: &Proof,
) -> Result<ReceivedNode, ExchangeError> {
    let bytes: Rc<[u8]> = plain[range.clone()].into();
    let children =
        envelope::children(&bytes).map_err(|bad| ExchangeError::malformed(format!("node: {bad}")))?;
    check_proof(proof, children.len())?;
    let (fingerprint, tag) = narrows_simd::fingerprint::node(&bytes);
    Ok(ReceivedNode { fingerprint, tag, children, bytes, range })
}

impl State {
    /// All nodes of a frame are answered: what the store needs of them goes to the keeper.
    pub(super) fn put_nodes(&mut self, work: Rc<FrameWork>) {
        // The last question of the frame held the last reference but for ours.
        let FrameWork { frame, nodes, receipt } = Rc::unwrap_or_clone(work);
        let mut names = Vec::with_capacity(nodes.len());
        let mut wanted = Vec::new();
        for (node, came) in nodes {
            if came == NodeCame::Repeated {
                continue;
            }
            names.push(node.fingerprint);
            match self.open.keep_node(&node.fingerprint) {
                Keep::Wanted => wanted.push(node),
                Keep::Shown => {}
                Keep::Again => {
                    self.received.again_bytes += node.bytes.len() as u64;
                    // As after a reopening: a node counts for this session's commit only where the session put it,
                    // and what it has of another session may still be that one's.
                    wanted.push(node);
                }
            }
        }
        let kind = if wanted.is_empty() {
            PutKind::Nothing
        } else {
            PutKind::Nodes(NodeFrame { frame, nodes: wanted })
        };
        self.puts.push_back(Put { kind, names, receipt });
    }
}

impl Clone for FrameWork {
    fn clone(&self) -> Self {
        Self { frame: self.frame.clone(), nodes: self.nodes.clone(), receipt: self.receipt }
    }
}
