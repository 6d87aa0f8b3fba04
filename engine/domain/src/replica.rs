//! The source's note of a copy in another domain.
//!
//! A record is bound to the pool there *and* its incarnation: a rebuilt pool does not inherit what the
//! old one acknowledged.

use narrows_format::{DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::image::{Image, ImageCopy, ImageState};
use crate::named::named;

named! {
    /// What is known of a replica.
    pub enum ReplicaState {
        /// Durable there, import not confirmed.
        Arrived = "arrived",
        /// In the catalog there.
        Present = "present",
        /// In the catalog there, but its bytes were found damaged.
        Damaged = "damaged",
        /// Durable there, but its import failed.
        ImportFailed = "import-failed",
        /// The pool there has another incarnation now, or does not have it though it was to live on.
        Lost = "lost",
        /// Its life there is over.
        Expired = "expired",
    }
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// Of which image.
    pub image: ImageId,
    /// In which domain.
    pub partner: DomainId,
    /// In which pool there.
    pub pool: PoolId,
    /// In which incarnation of that pool.
    pub incarnation: u64,
    /// What is known.
    pub state: ReplicaState,
    /// When it expires there; `None` is never, or not yet told.
    pub expires: Option<Timestamp>,
    /// Until when it was to live there by what the partner confirmed, or promised since; `None` is for ever, or not yet confirmed.
    pub agreed: Option<Timestamp>,
    /// When the partner last said so.
    pub checked: Timestamp,
    /// Position of its commit in the image log there.
    pub sequence: Sequence,
    /// The highest revision of the partner's reports about that position; 0 before the first.
    pub revision: u32,
}

impl ReplicaRecord {
    /// A copy is there that has not expired, by what the partner said last.
    pub fn is_there(&self, now: Timestamp) -> bool {
        self.state == ReplicaState::Present && self.lives(now)
    }

    /// A copy is there, whole or not, or was before its life was over.
    pub const fn may_be_there(&self) -> bool {
        matches!(self.state, ReplicaState::Arrived | ReplicaState::Present | ReplicaState::Damaged)
    }

    /// It goes there, or went, earlier than was agreed, and by that it would still be there.
    pub fn is_short(&self, now: Timestamp) -> bool {
        let is_told =
            matches!(self.state, ReplicaState::Present | ReplicaState::Damaged | ReplicaState::Expired);
        let is_earlier = |expires| self.agreed.is_none_or(|agreed| expires < agreed);
        is_told && self.expires.is_some_and(is_earlier) && self.agreed.is_none_or(|agreed| agreed > now)
    }

    /// It was to be there by now and is lost, or its life is over too early; a copy that is there and lives too short is not
    /// missed yet.
    pub fn is_missed(&self, now: Timestamp) -> bool {
        match self.state {
            ReplicaState::Lost => self.lives(now),
            _ => self.is_short(now) && !self.lives(now),
        }
    }

    /// Somebody accepts that it is as it is: nothing is missed of it any more.
    #[must_use]
    pub fn accepted(self, now: Timestamp) -> Self {
        let expires = if self.state == ReplicaState::Lost { Some(now) } else { self.expires };
        Self { expires, agreed: expires, ..self }
    }

    /// Its life there is not over, by what was told last.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// Whether no copy of an image is left that is known of, while one that a partner was to keep for longer is lost, or has gone
/// there earlier than was agreed. What was lost here is [marked](ImageState::Lost) and told for itself.
pub fn is_without_copies(
    image: &Image,
    copies: &[ImageCopy],
    replicas: &[ReplicaRecord],
    now: Timestamp,
) -> bool {
    matches!(image.state, ImageState::Whole | ImageState::Gone)
        && !copies.iter().any(ImageCopy::is_readable)
        && replicas.iter().any(|it| it.is_missed(now))
        && !replicas.iter().any(|it| it.may_be_there() && it.lives(now))
}

/// An image that both sides have: only what differs from it has to cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The image.
    pub image: ImageId,
    /// The pool there that acknowledged it.
    pub pool: PoolId,
    /// That pool's incarnation; with another one there is no base.
    pub incarnation: u64,
}
