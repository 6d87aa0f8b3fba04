//! Who is bringing what, and who waits for it.
//!
//! A claim belongs to one stream. Others that ask for the same segment wait: they are told when it has been
//! brought, and when the claimant goes away the first of them gets the claim. Recipe nodes are never
//! claimed, so no two streams ever wait for each other's commit.

use std::collections::BTreeMap;

use futures_channel::mpsc::UnboundedSender;
use narrows_format::{Fingerprint, ImageId};

use super::terms::Answer;

/// One stream, unique while the pool is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId {
    /// Its core.
    pub(crate) core: usize,
    /// Counted there.
    pub(crate) number: u64,
}

/// A pending child that is pending no more.
pub(crate) type Settled = (Fingerprint, Answer);

/// A stream that asks, and how it is told later. The queue to it needs no bound of its own: each child that it asked
/// for and was told `Pending` puts at most one item into it, and of those, read or unread, it may have
/// [`crate::limits::CLAIMS_PER_STREAM_MAX`] ([`crate::stream`] counts them when they are asked for).
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) stream: StreamId,
    pub(crate) image: ImageId,
    pub(crate) settle: UnboundedSender<Settled>,
}

struct Claim {
    holder: StreamId,
    waiting: Vec<Asker>,
}

/// What a stream is told about a segment that nobody has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Taken,
    Expected,
    Waiting,
}

/// All claims on segments that this core owns.
#[derive(Default)]
pub(super) struct Claims {
    by_fingerprint: BTreeMap<Fingerprint, Claim>,
}

impl Claims {
    /// How things stand, without claiming.
    pub(super) fn peek(&self, fingerprint: &Fingerprint, stream: StreamId) -> Option<Standing> {
        let claim = self.by_fingerprint.get(fingerprint)?;
        Some(if claim.holder == stream { Standing::Expected } else { Standing::Waiting })
    }

    /// Claims it, or waits for the one who has.
    pub(super) fn take(&mut self, fingerprint: Fingerprint, asker: &Asker) -> Standing {
        let Some(claim) = self.by_fingerprint.get_mut(&fingerprint) else {
            let claim = Claim { holder: asker.stream, waiting: Vec::new() };
            self.by_fingerprint.insert(fingerprint, claim);
            return Standing::Taken;
        };
        if claim.holder == asker.stream {
            return Standing::Expected;
        }
        if !claim.waiting.iter().any(|waiting| waiting.stream == asker.stream) {
            claim.waiting.push(asker.clone());
        }
        Standing::Waiting
    }

    /// It has been brought: tells all who wait. The claim ends if it was the bringer's.
    pub(super) fn brought(&mut self, fingerprint: &Fingerprint, stream: StreamId, answer: Answer) {
        let Some(claim) = self.by_fingerprint.get_mut(fingerprint) else { return };
        let others = std::mem::take(&mut claim.waiting);
        if claim.holder == stream {
            self.by_fingerprint.remove(fingerprint);
        }
        for asker in others {
            tell(&asker, *fingerprint, answer);
        }
    }

    /// The stream has gone: its claims go to those who wait longest.
    pub(super) fn release(&mut self, stream: StreamId) {
        self.by_fingerprint.retain(|fingerprint, claim| {
            claim.waiting.retain(|asker| asker.stream != stream);
            if claim.holder != stream {
                return true;
            }
            while !claim.waiting.is_empty() {
                let next = claim.waiting.remove(0);
                if tell(&next, *fingerprint, Answer::Lack) {
                    claim.holder = next.stream;
                    return true;
                }
            }
            false
        });
    }

    pub(super) fn len(&self) -> usize {
        self.by_fingerprint.len()
    }
}

/// Whether the stream is still there to hear it.
fn tell(asker: &Asker, fingerprint: Fingerprint, answer: Answer) -> bool {
    asker.settle.unbounded_send((fingerprint, answer)).is_ok()
}
