//! One message of each type that uses all of its fields; fixed for ever, because golden files hold them.

use narrows_format::node::{Child, ChildKind};
use narrows_format::record::{CopyState, ImageFlags};
use narrows_format::{DomainId, Fingerprint, ImageId, PoolId, Sequence, Tag, Timestamp};
use narrows_wire::{
    Answer, Base, Begin, Begun, Commit, Committed, Draft, Hello, Message, Nodes, Offer, Presence, Proof,
    Pull, Purpose, Reopen, Sealed, Settle, TagPrefix,
};

pub(crate) const fn fingerprint(seed: u8) -> Fingerprint {
    Fingerprint([seed; 32])
}

pub(crate) const fn child(seed: u8, kind: ChildKind, length: u32) -> Child {
    Child { fingerprint: fingerprint(seed), kind, length }
}

pub(crate) fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 3,
        mandatory: 0,
        optional: 5,
        codecs: 7,
        domain: DomainId([1; 16]),
        pool: PoolId([2; 16]),
        incarnation: 4,
        clock: Timestamp { seconds: 1_800_000_000, nanos: 6 },
        window: 8 << 20,
        purpose: Purpose::Replicate,
        ticket: [9; 32],
        wanted: vec![fingerprint(10), fingerprint(11)],
    }
}

/// Nine children, so that the bitmap needs a second byte.
pub(crate) fn proof() -> Proof {
    Proof::of((0..9_u8).map(|at| (at % 4 == 0, Tag([at; 16]))))
}

pub(crate) const COPY: CopyState = CopyState {
    expires: Some(Timestamp { seconds: 1_900_000_000, nanos: 1 }),
    locked_until: Some(Timestamp { seconds: -5, nanos: 2 }),
    held: false,
};

pub(crate) const DRAFT: Draft = Draft {
    root: fingerprint(30),
    root_length: 5000,
    logical_bytes: 1 << 40,
    files: 78_611,
    flags: ImageFlags { partial: true, synthetic: false, spans: false, many_roots: false },
    image_format: 1,
};

fn beginnings() -> Vec<(&'static str, Message<'static>)> {
    let (image, origin) = (ImageId([3; 16]), DomainId([4; 16]));
    let base = Some(Base { image: ImageId([5; 16]), root: fingerprint(6) });
    let root = Some((child(7, ChildKind::Node, 2000), TagPrefix([8; 8])));
    let lineage = [9; 32];
    vec![
        ("hello", Message::Hello(hello())),
        ("begin", Message::Begin(Begin { image, origin, lineage, base, root, resume: true })),
        (
            "begin-bare",
            Message::Begin(Begin { image, origin, lineage, base: None, root: None, resume: false }),
        ),
        (
            "begun",
            Message::Begun(Begun { base_accepted: true, root: Some(Presence::Mine), staged_bytes: 77 }),
        ),
        ("begun-bare", Message::Begun(Begun { base_accepted: false, root: None, staged_bytes: 0 })),
        ("pull", Message::Pull(Pull { image, origin })),
    ]
}

fn negotiations() -> Vec<(&'static str, Message<'static>)> {
    let children = (0..9).map(|at| child(at, ChildKind::Segment, 100 + u32::from(at))).collect();
    let presences = vec![Presence::Have, Presence::Mine, Presence::Lack, Presence::Pending, Presence::Have];
    vec![
        ("offer", Message::Offer(Offer { ordinal: 1, children, proof: proof() })),
        (
            "nodes",
            Message::Nodes(Nodes {
                first_ordinal: 2,
                proofs: vec![proof(), Proof::NONE],
                frame: b"not opened",
            }),
        ),
        ("reopen", Message::Reopen(Reopen { ordinal: 4, fingerprint: fingerprint(20), proof: proof() })),
        ("answer", Message::Answer(Answer { ordinal: 2, presences })),
        ("settle", Message::Settle(Settle { ordinal: 2, child: 3, presence: Presence::Have })),
    ]
}

fn endings() -> Vec<(&'static str, Message<'static>)> {
    let commit = |sealed, import_slp| {
        Message::Commit(Commit { sealed, copy: COPY, import_slp, sent_frames: 12, sent_bytes: 1 << 33 })
    };
    let (sequence, pool) = (Sequence(99), PoolId([31; 16]));
    vec![
        ("commit-signed", commit(Sealed::Signed(b"a record, not opened"), "gold-import")),
        ("commit-draft", commit(Sealed::Draft(DRAFT), "")),
        (
            "committed",
            Message::Committed(Committed {
                sequence,
                pool,
                incarnation: 2,
                stored_bytes: 3,
                record: b"a record, not opened",
            }),
        ),
        ("error", Message::Error { code: "WIRE-004", sentence: "the frame’s segment 3 was not asked for" }),
    ]
}

pub(crate) fn messages() -> Vec<(&'static str, Message<'static>)> {
    let small = vec![
        ("data", Message::Data(b"a frame, not opened")),
        ("durable", Message::Durable { bytes: 1 << 34, frames: 4096 }),
        ("credit", Message::Credit(1 << 20)),
        ("heartbeat", Message::Heartbeat),
        ("bye", Message::Bye),
        ("done", Message::Done),
    ];
    [beginnings(), negotiations(), endings(), small].concat()
}

pub(crate) fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}
