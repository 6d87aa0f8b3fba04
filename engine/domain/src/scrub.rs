//! Passes over pools that look for damage, and who may help to mend it.
//!
//! Guarantee: a partner reads nothing but images that one of the two sent to the other, and only with the grant `heal`;
//! whoever may not hears the same whether or not the image is here.

use std::time::Duration;

use narrows_format::{ContainerId, DomainId, ImageId, PoolId, Timestamp};

use crate::image::{Image, ImageState};
use crate::import::{Import, ImportState};
use crate::moment::since;
use crate::operation::Note;
use crate::partner::{Partner, Trust};
use crate::replica::{ReplicaRecord, ReplicaState};

/// One reading of all containers of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubPass {
    /// Of which pool.
    pub pool: PoolId,
    /// From 1 on, per pool.
    pub number: u64,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None`: it is under way, or the next start goes on with it.
    pub ended: Option<Timestamp>,
    /// Segments are hashed, not only checksums compared.
    pub deep: bool,
    /// Bytes a second; zero: as fast as it goes.
    pub rate: u64,
    /// The last container that was read.
    pub reached: ContainerId,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damaged places that were met.
    pub damaged: u64,
    /// Places without content that are not as they were written.
    pub stray: u64,
    /// Containers that could not be read.
    pub unread: u64,
}

impl ScrubPass {
    /// The one that is to be made when it is time for one: the one that did not end, or the next when the last one began
    /// long enough ago; `last` is the newest, if any.
    pub fn due(
        pool: PoolId,
        last: Option<&Self>,
        (every, rate): (Duration, u64),
        now: Timestamp,
    ) -> Option<Self> {
        match last {
            Some(last) if last.ended.is_none() => Some(last.clone()),
            Some(last) if since(now, last.began) < every => None,
            last => Some(Self::next(pool, last, (false, rate), now)),
        }
    }

    /// A new one.
    pub fn next(pool: PoolId, last: Option<&Self>, (deep, rate): (bool, u64), now: Timestamp) -> Self {
        Self {
            pool,
            number: last.map_or(0, |last| last.number) + 1,
            began: now,
            ended: None,
            deep,
            rate,
            reached: ContainerId(0),
            bytes: 0,
            damaged: 0,
            stray: 0,
            unread: 0,
        }
    }
}

/// Whether a partner may read what it lacks of an image (AUTH-005).
pub fn may_heal(
    asker: DomainId,
    image: ImageId,
    (partner, known, replicas, imports): (Option<&Partner>, Option<&Image>, &[ReplicaRecord], &[Import]),
) -> Result<(), Note> {
    let is_granted = partner.is_some_and(|it| it.grants.heal && it.trust == Trust::Complete);
    let was_sent = replicas.iter().any(|replica| replica.partner == asker);
    let is_theirs = |it: &Image| {
        it.state == ImageState::Whole && (was_sent || senders(it, imports).any(|sender| sender == asker))
    };
    if is_granted && known.is_some_and(is_theirs) {
        return Ok(());
    }
    let sentence = format!(
        "domain {asker} may not read image {image} to heal its own: that needs the grant `heal`, and an image that \
         one of the two sent to the other"
    );
    Err(Note { code: "AUTH-005".to_owned(), sentence })
}

/// Partners that may hold what an image lacks here: those it was sent to, and those that sent it. A damaged replica
/// counts too: seldom are the same places damaged. Last come those whose replica has gone: they may have made a copy of it in
/// another pool, of which nothing is known here.
pub fn healers(image: &Image, replicas: &[ReplicaRecord], imports: &[Import]) -> Vec<DomainId> {
    let (holds, held): (Vec<_>, Vec<_>) = replicas.iter().partition(|replica| replica.may_be_there());
    let partner = |replica: &ReplicaRecord| replica.partner;
    let mut all: Vec<DomainId> = holds.into_iter().map(partner).collect();
    all.extend(senders(image, imports));
    let has_gone = |it: &&ReplicaRecord| matches!(it.state, ReplicaState::Expired | ReplicaState::Lost);
    all.extend(held.into_iter().filter(has_gone).map(partner));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|partner| seen.insert(*partner));
    all
}

/// Who sent an image first, and who sent it besides.
fn senders(image: &Image, imports: &[Import]) -> impl Iterator<Item = DomainId> {
    let imported = imports.iter().filter(|it| it.state == ImportState::Imported);
    image.sender.into_iter().chain(imported.map(|it| it.arrival.sender))
}
