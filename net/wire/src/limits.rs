//! Every bound of messages, by name.

use narrows_format::limits::{FRAME_BYTES_MAX, NODE_CHILDREN_MAX};

/// A whole message, header included.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Wanted fingerprints in a hello.
pub const WANTED_MAX: usize = 1024;

/// Children of one offer.
pub const OFFER_CHILDREN_MAX: usize = 4096;

/// Nodes in one message.
pub const NODES_MAX: usize = 1024;

/// Presences in one answer.
pub const PRESENCES_MAX: usize = 4096;

/// A stable code such as `WIRE-004`.
pub const CODE_BYTES_MAX: usize = 16;

/// The sentence that goes with a code.
pub const SENTENCE_BYTES_MAX: usize = 512;

const _: () = {
    assert!(NODE_CHILDREN_MAX <= OFFER_CHILDREN_MAX, "the children of a node can be offered");
    assert!(NODE_CHILDREN_MAX <= PRESENCES_MAX, "the children of a node can be answered");
    // All nodes of a frame together have no more children than fit its plain bytes.
    let proofs = NODES_MAX * (2 + 1 + 16) + NODE_CHILDREN_MAX * 8 + NODE_CHILDREN_MAX / 8;
    assert!(8 + 8 + proofs + FRAME_BYTES_MAX <= MESSAGE_BYTES_MAX, "a frame of nodes fits a message");
    assert!(8 + 8 + OFFER_CHILDREN_MAX * (36 + 8) + 1024 <= MESSAGE_BYTES_MAX, "an offer fits a message");
};
