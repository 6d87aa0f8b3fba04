//! Goal: what is encoded is decoded to the same, whatever the values. Method: generated messages.

use super::samples::{self, encoded};
use narrows_format::node::{Child, ChildKind};
use narrows_format::{Fingerprint, Tag};
use narrows_wire::limits::{NODES_MAX, OFFER_CHILDREN_MAX, PRESENCES_MAX, WANTED_MAX};
use narrows_wire::{
    Answer, Class, MESSAGE_BYTES_MAX, Message, Nodes, Offer, Presence, Proof, Reopen, combine,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn proofs() -> impl Strategy<Value = Proof> {
    vec((any::<bool>(), any::<[u8; 16]>()), 0..40)
        .prop_map(|children| Proof::of(children.into_iter().map(|(known, tag)| (known, Tag(tag)))))
}

fn children(count: usize) -> impl Strategy<Value = Vec<Child>> {
    vec((any::<[u8; 32]>(), 16..=131_072_u32, any::<bool>()), count..=count).prop_map(|all| {
        all.into_iter()
            .map(|(name, length, node)| {
                let kind = if node { ChildKind::Node } else { ChildKind::Segment };
                Child { fingerprint: Fingerprint(name), kind, length }
            })
            .collect()
    })
}

fn presences() -> impl Strategy<Value = Presence> {
    prop_oneof![Just(Presence::Lack), Just(Presence::Have), Just(Presence::Mine), Just(Presence::Pending)]
}

proptest! {
    #[test]
    fn offers(
        (children, proof) in proofs().prop_flat_map(|proof| (children(proof.classes.len()), Just(proof))),
        ordinal: u32,
    ) {
        let message = Message::Offer(Offer { ordinal, children, proof });
        let bytes = encoded(&message);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn nodes(proofs in vec(proofs(), 1..20), frame in vec(any::<u8>(), 1..1000), first_ordinal in 0..u32::MAX - 20) {
        let message = Message::Nodes(Nodes { first_ordinal, proofs, frame: &frame });
        let bytes = encoded(&message);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn reopened(proof in proofs(), ordinal: u32, name: [u8; 32]) {
        let message = Message::Reopen(Reopen { ordinal, fingerprint: Fingerprint(name), proof });
        let bytes = encoded(&message);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn answers(presences in vec(presences(), 0..200), ordinal: u32) {
        let message = Message::Answer(Answer { ordinal, presences });
        let bytes = encoded(&message);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn errors(code in "[A-Z]{1,12}-[0-9]{3}", sentence in ".{0,900}") {
        let bytes = encoded(&Message::Error { code: &code, sentence: &sentence });
        let Ok(Message::Error { code: came, sentence: told }) = Message::decode(&bytes) else {
            panic!("an error is always told");
        };
        prop_assert_eq!(came, code);
        prop_assert!(told.len() <= 512);
        let plain = sentence.replace(char::is_control, "?");
        prop_assert!(plain.starts_with(told));
        prop_assert!(told.len() == plain.len() || told.len() > 508);
    }
}

/// Goal: whatever the limits allow fits a message.
#[test]
fn the_largest_messages() {
    let segment = |_| samples::child(1, ChildKind::Segment, 131_072);
    let fresh = Proof::of((0..OFFER_CHILDREN_MAX).map(|_| (false, Tag([1; 16]))));
    let children = (0..OFFER_CHILDREN_MAX).map(segment).collect();
    let mut hello = samples::hello();
    hello.wanted = vec![samples::fingerprint(1); WANTED_MAX];
    let frame = vec![1; narrows_format::limits::FRAME_BYTES_MAX];
    // As many nodes as allowed, and as many children as fit the plain bytes of one frame, no two nodes alike.
    let per_node = narrows_format::limits::NODE_CHILDREN_MAX / NODES_MAX;
    let proofs = vec![Proof::of((0..per_node).map(|at| (at == 0, Tag([2; 16])))); NODES_MAX];
    for message in [
        Message::Offer(Offer { ordinal: 1, children, proof: fresh }),
        Message::Hello(hello),
        Message::Answer(Answer { ordinal: 1, presences: vec![Presence::Mine; PRESENCES_MAX] }),
        Message::Data(&frame),
        Message::Nodes(Nodes { first_ordinal: 0, proofs, frame: &frame }),
    ] {
        let bytes = encoded(&message);
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

/// Goal: messages can stand behind each other in one buffer. Method: encode two, split by length.
#[test]
fn back_to_back() {
    let mut out = Vec::new();
    let all = samples::messages();
    for (_, message) in &all {
        message.encode(&mut out);
    }
    let mut rest = out.as_slice();
    for (name, message) in all {
        let length = narrows_wire::message_bytes(rest).unwrap();
        let (first, others) = rest.split_at(length);
        assert_eq!(Message::decode(first), Ok(message), "{name}");
        rest = others;
    }
    assert!(rest.is_empty());
}

/// Goal: both ends come to the same combined tag, and order counts.
#[test]
fn proofs_combine() {
    let tags = [Tag([1; 16]), Tag([2; 16])];
    let proof = Proof::of([(true, tags[0]), (false, Tag([3; 16])), (true, tags[1])]);
    assert_eq!(proof.combined, combine(tags));
    assert_ne!(proof.combined, combine([tags[1], tags[0]]));
    assert_eq!(proof.classes[1], Class::Fresh(narrows_wire::TagPrefix([3; 8])));
    let joined: Vec<u8> = tags.iter().flat_map(|tag| tag.0).collect();
    assert_eq!(proof.combined, blake3::hash(&joined).as_bytes()[..16]);
}
