//! Room in a pool at high water: copies that live for as long as there is room go, oldest first.
//!
//! Guarantee: nothing goes that anything but [`KeptBecause::Capacity`] stands for, and no more than brings the pool to its low
//! water, counting what is on its way out already. What goes can be brought back like everything that expires; its place on
//! the disk comes back when it is reclaimed, which is not here yet.

use narrows_format::{ImageId, PoolId};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::ImageCopy;
use crate::limits::{COUNTED_BYTES_MAX, ROOM_LOOK};
use crate::machine::retire;
use crate::moment::Moment;
use crate::retention::{KeptBecause, standing};
use crate::storage::PoolTrouble;

impl<C: Catalog> Primary<C> {
    /// Lets copies go in a pool whose disk has `free` of `total` bytes left, if it is at high water. The bytes that they take.
    pub async fn make_room(
        &mut self,
        pool: PoolId,
        room: (u64, u64),
        moment: Moment,
    ) -> Done<(u64, Vec<Command>), C> {
        // What is let go there would not come to its log, and so not out of it.
        let is_shut = self.troubles.get(&pool).is_some_and(PoolTrouble::takes_no_orders);
        let pools = self.ask(self.catalog.pools()).await?;
        let Some(row) = pools.iter().find(|it| it.id == pool && !is_shut) else { return Ok((0, Vec::new())) };
        let lacking = row.lacks(room).saturating_sub(row.removed_bytes);
        if lacking == 0 || self.reconciling.is_some() {
            return Ok((0, Vec::new()));
        }
        let waning = self.ask(self.catalog.waning(pool, moment.now)).await?;
        // Of what is over and not discarded, some was let go for this room and is not in the log yet.
        let wanted = lacking.saturating_sub(waning.discarded).saturating_sub(waning.kept);
        let (bytes, decision) = self.oldest(pool, wanted, moment).await?;
        Ok((bytes, self.settle(decision, moment).await?))
    }

    /// Lets the oldest go that take so much, and nothing else needs.
    async fn oldest(&self, pool: PoolId, wanted: u64, moment: Moment) -> Done<(u64, Decision), C> {
        let (mut bytes, mut decision, mut after) = (0, Decision::nothing(), None);
        while bytes < wanted {
            let copies = self.ask(self.catalog.endless_copies(pool, after, ROOM_LOOK)).await?;
            let Some(last) = copies.last().map(|copy| copy.image) else { break };
            for copy in copies {
                let loaded = self.load_image(copy.image).await?;
                if copy.image == last {
                    after = loaded.image.as_ref().map(|image| (image.started, image.id));
                }
                let view = loaded.replication_view();
                let slp = view.slp.map(|it| &it.slp);
                let is_free = standing(&copy, slp, view.operations, moment.now) == [KeptBecause::Capacity];
                if is_free && bytes < wanted {
                    bytes += copy.stored_bytes.min(COUNTED_BYTES_MAX);
                    retire::set_expiry(&copy, Some(moment.now), moment.now, &mut decision);
                }
            }
        }
        Ok((bytes, decision))
    }

    /// The log says that a copy is gone for good: what it took is counted until it is reclaimed.
    pub(super) async fn removed(&self, pool: PoolId, id: ImageId, moment: Moment) -> Done<Decision, C> {
        let copies = self.ask(self.catalog.copies(id)).await?;
        let mut decision = self.copy_gone(pool, id, moment).await?;
        let bytes = |copy: &ImageCopy| copy.stored_bytes.min(COUNTED_BYTES_MAX);
        let bytes: u64 = copies.iter().filter(|copy| copy.pool == pool).map(bytes).sum();
        let pools = self.ask(self.catalog.pools()).await?;
        if let Some(mut row) = pools.into_iter().find(|it| it.id == pool && bytes > 0) {
            row.removed_bytes = row.removed_bytes.saturating_add(bytes).min(i64::MAX.unsigned_abs());
            decision.changes.push(Change::Pool(row));
        }
        Ok(decision)
    }
}
