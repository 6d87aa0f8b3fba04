//! What the model catalog knows of the room that copies take.

use narrows_format::{ImageId, PoolId, Timestamp};

use super::answers::limited;
use super::rows::Rows;
use crate::image::ImageCopy;
use crate::limits::COUNTED_BYTES_MAX;
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
