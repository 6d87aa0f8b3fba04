//! What the model catalog knows of the room that copies take.

use narrows_format::{ImageId, PoolId, Timestamp};

use super::answers::limited;
use super::rows::Rows;
use crate::image::{Image, ImageCopy, ImageState};
use crate::limits::COUNTED_BYTES_MAX;
use crate::replica::{ReplicaRecord, ReplicaState};
use crate::space::Waning;

impl Rows {
    /// See [`crate::Catalog::endless_copies`].
    pub(super) fn endless_copies(
        &self,
        pool: PoolId,
        after: Option<(Timestamp, ImageId)>,
        limit: u32,
    ) -> Vec<ImageCopy> {
        let place = |copy: &ImageCopy| self.images.get(&copy.image).map(|image| (image.started, image.id));
        let fits = |copy: &&ImageCopy| {
            let is_behind = place(copy).is_some_and(|place| after.is_none_or(|after| place > after));
            copy.pool == pool && copy.is_readable() && copy.wanted.expires.is_none() && is_behind
        };
        let mut all: Vec<_> = self.copies.values().filter(fits).cloned().collect();
        all.sort_by_key(place);
        limited(all.into_iter(), limit)
    }

    /// See [`crate::Catalog::leaving`].
    pub(super) fn leaving(&self, until: Timestamp, limit: u32) -> Vec<Image> {
        let is_leaving = |image: &&Image| {
            let readable = || self.copies_of(image.id).filter(|copy| copy.is_readable());
            let ends: Vec<_> = readable().map(|copy| copy.wanted.expires).collect();
            let last = ends.iter().flatten().max().filter(|last| **last <= until && !ends.contains(&None));
            let outlives = |it: &ReplicaRecord, last: Timestamp| {
                let is_of_it = it.image == image.id && it.state == ReplicaState::Present;
                is_of_it && it.expires.is_none_or(|expires| expires > last)
            };
            image.state == ImageState::Whole
                && last.is_some_and(|last| self.replicas.values().any(|it| outlives(it, *last)))
        };
        limited(self.newest_images().filter(is_leaving).cloned(), limit)
    }

    /// See [`crate::Catalog::waning`].
    pub(super) fn waning(&self, pool: PoolId, now: Timestamp) -> Waning {
        let mut waning = Waning::default();
        for copy in self.copies.values().filter(|copy| copy.pool == pool) {
            let bytes = copy.stored_bytes.min(COUNTED_BYTES_MAX);
            match copy.discarded {
                Some(discarded) => {
                    waning.discarded += bytes;
                    waning.until = waning.until.max(Some(discarded.until));
                }
                None if copy.wanted.expires.is_some_and(|expires| expires <= now) => waning.kept += bytes,
                None => {}
            }
        }
        waning
    }
}
