//! Offers finished nodes and sends those that are lacking, children before parents.
//!
//! What the target has is not sent, so an unchanged tree costs one question per node; what an earlier, broken session
//! left there is reopened. What is known from the base only, and so not at hand, the target has to have. A few batches are in flight, so that a question's round trip is hidden by the next ones.

use std::{cell::RefCell, collections::VecDeque};

use narrows_exchange::outgoing::{Asked, NodeToSend, Outgoing};
use narrows_format::{
    frame::FrameKind,
    node::{Child, ChildKind},
};
use narrows_wire::{Presence, Proof};

use super::{
    BackupError,
    finished::{FinishedNode, Shown},
    frames::Compression,
    segments::Recent,
};
use crate::limits::{FRAME_BYTES_MAX, NODE_ANSWERS_OPEN_MAX, NODE_BATCH_MAX, NODE_OFFERS_IN_FLIGHT_MAX};

/// See the module.
pub(super) struct NodeSender<'a> {
    outgoing: &'a Outgoing,
    compression: Compression,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    asked: Recent,
    /// Offered, in order.
    offered: VecDeque<(Vec<FinishedNode>, Asked)>,
    /// Sent or reopened; what was said of their children is still to be checked.
    unchecked: VecDeque<(FinishedNode, Asked)>,
}

impl<'a> NodeSender<'a> {
    pub(super) fn new(outgoing: &'a Outgoing, compression: Compression) -> Self {
        Self { outgoing, compression, state: RefCell::default() }
    }

    /// Takes finished nodes; everything that they refer to is at the target, on its way, or came here before.
    pub(super) async fn send(&self, nodes: &mut Vec<FinishedNode>) -> Result<(), BackupError> {
        nodes.retain(|finished| self.state.borrow_mut().asked.insert(finished.node.fingerprint));
        while !nodes.is_empty() {
            let batch: Vec<_> = nodes.drain(..nodes.len().min(NODE_BATCH_MAX)).collect();
            let children: Vec<_> = batch.iter().map(|finished| finished.node.child()).collect();
            let proof = Proof::of(batch.iter().map(|finished| (false, finished.node.tag)));
            let asked = self.outgoing.offer(&children, proof).await?;
            self.state.borrow_mut().offered.push_back((batch, asked));
            self.deliver_down_to(NODE_OFFERS_IN_FLIGHT_MAX).await?;
        }
        Ok(())
    }

    /// Sends and checks everything.
    pub(super) async fn finish(&self) -> Result<(), BackupError> {
        self.deliver_down_to(0).await?;
        self.check_down_to(0).await
    }

    async fn deliver_down_to(&self, left: usize) -> Result<(), BackupError> {
        while self.state.borrow().offered.len() > left {
            let Some((batch, asked)) = self.state.borrow_mut().offered.pop_front() else { break };
            let answer = asked.answer().await?;
            let mut lacking = Vec::new();
            for (at, (finished, presence)) in batch.into_iter().zip(answer).enumerate() {
                let presence =
                    if presence == Presence::Pending { asked.settled(at).await? } else { presence };
                match presence {
                    Presence::Have | Presence::Pending => {}
                    Presence::Lack => lacking.push(finished),
                    Presence::Mine => {
                        // Nodes that it refers to may be among those that lack.
                        self.send_lacking(std::mem::take(&mut lacking)).await?;
                        let asked = self.outgoing.reopen(to_send(&finished)).await?;
                        self.state.borrow_mut().unchecked.push_back((without_bytes(finished), asked));
                    }
                }
            }
            self.send_lacking(lacking).await?;
            self.check_down_to(NODE_ANSWERS_OPEN_MAX).await?;
        }
        Ok(())
    }

    async fn send_lacking(&self, mut rest: Vec<FinishedNode>) -> Result<(), BackupError> {
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |finished: &&FinishedNode| {
                bytes += finished.node.bytes.len();
                bytes <= FRAME_BYTES_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let later = rest.split_off(count);
            let group = std::mem::replace(&mut rest, later);
            let plain: Vec<&[u8]> = group.iter().map(|finished| finished.node.bytes.as_slice()).collect();
            let frame = self.compression.frame(FrameKind::Nodes, &plain);
            let asked = self.outgoing.nodes(&frame, group.iter().map(to_send).collect()).await?;
            let group = group.into_iter().map(without_bytes);
            self.state.borrow_mut().unchecked.extend(group.zip(asked));
        }
        Ok(())
    }

    /// A target that had everything below a node when it was asked still has.
    async fn check_down_to(&self, left: usize) -> Result<(), BackupError> {
        while self.state.borrow().unchecked.len() > left {
            let Some((finished, asked)) = self.state.borrow_mut().unchecked.pop_front() else { break };
            let answer = asked.answer().await?;
            let children = finished.node.children.iter().zip(&finished.shown).zip(answer);
            let lost = children.filter(|((child, shown), presence)| is_lost(child, shown, *presence)).count();
            if lost > 0 {
                return Err(BackupError::Forgotten(lost));
            }
        }
        Ok(())
    }
}

/// Whether the target has not what a node that was sent refers to. What was not read cannot be sent, nor waited for.
fn is_lost(child: &Child, shown: &Shown, presence: Presence) -> bool {
    match presence {
        Presence::Have => false,
        Presence::Lack => true,
        Presence::Mine => shown.under_base && child.kind == ChildKind::Node,
        Presence::Pending => shown.under_base,
    }
}

/// All that is still needed of a node once it was sent.
fn without_bytes(mut finished: FinishedNode) -> FinishedNode {
    finished.node.bytes = Vec::new();
    finished
}

fn to_send(finished: &FinishedNode) -> NodeToSend {
    let FinishedNode { node, shown, .. } = finished;
    NodeToSend {
        fingerprint: node.fingerprint,
        children: node.children.clone(),
        proof: Proof::of(shown.iter().map(|shown| (shown.under_base, shown.tag))),
    }
}
