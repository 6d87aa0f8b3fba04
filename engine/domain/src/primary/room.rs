//! Room in a pool at high water: copies that live for as long as there is room go, oldest first.
//!
//! Guarantee: nothing goes that anything but [`KeptBecause::Capacity`] stands for, or in a pool whose water marks no person set,
//! and no more than brings the pool to its low water, counting what was removed or is on its way out already. What goes can be
//! brought back like everything that expires; its place on the disk comes back when it is reclaimed, which is not here yet:
//! until then what went in one pool counts for all of its server, because they may lie on the same disk.

use narrows_format::{ImageId, PoolId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::ImageCopy;
use crate::limits::{COUNTED_BYTES_MAX, ROOM_LOOK, ROOM_LOOKS, ROOM_REST};
use crate::machine::retire;
use crate::moment::{Moment, after};
use crate::retention::{KeptBecause, standing};
use crate::slp::{Retention, SlpVersion};
use crate::storage::PoolTrouble;

/// How a pool is looked through for what may go; from its oldest image on where there is none.
#[derive(Debug)]
pub(super) enum RoomLook {
    /// As far as this image: on behind it.
    Behind((Timestamp, ImageId)),
    /// To its end, and too little may go: not again before.
    Rests(Timestamp),
}

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
        let row = pools.iter().find(|it| it.id == pool && it.water_is_set && !is_shut);
        let Some(row) = row.filter(|_| self.reconciling.is_none()) else { return Ok((0, Vec::new())) };
        let mut wanted = row.lacks(room);
        for other in pools.iter().filter(|it| it.server == row.server) {
            if wanted == 0 {
                break;
            }
            let waning = self.ask(self.catalog.waning(other.id, moment.now)).await?;
            // Of what is over and not discarded, some was let go for this room and is not in the log yet.
            for going in [other.removed_bytes, waning.discarded, waning.kept] {
                wanted = wanted.saturating_sub(going);
            }
        }
        let behind = match self.room_looks.remove(&pool) {
            _ if wanted == 0 => return Ok((0, Vec::new())),
            Some(RoomLook::Rests(until)) if until > moment.now => {
                self.room_looks.insert(pool, RoomLook::Rests(until));
                return Ok((0, Vec::new()));
            }
            Some(RoomLook::Behind(place)) => Some(place),
            Some(RoomLook::Rests(_)) | None => None,
        };
        let (bytes, decision, look) = self.oldest(pool, wanted, behind, moment).await?;
        self.room_looks.extend(look.map(|look| (pool, look)));
        Ok((bytes, self.settle(decision, moment).await?))
    }

    /// Lets the oldest behind this one go that take so much, and nothing else needs. Where it looks next if that was too little.
    async fn oldest(
        &self,
        pool: PoolId,
        wanted: u64,
        mut behind: Option<(Timestamp, ImageId)>,
        moment: Moment,
    ) -> Done<(u64, Decision, Option<RoomLook>), C> {
        let (mut bytes, mut decision) = (0, Decision::nothing());
        let rests = RoomLook::Rests(after(moment.now, ROOM_REST));
        let mut versions = self.ask(self.catalog.slp_versions()).await?;
        versions
            .retain(|it| it.slp.operations.iter().any(|it| it.retention == Some(Retention::CapacityManaged)));
        for _ in 0..ROOM_LOOKS {
            let copies = self.ask(self.catalog.endless_copies(pool, behind, ROOM_LOOK)).await?;
            if versions.is_empty() || copies.is_empty() {
                return Ok((bytes, decision, Some(rests)));
            }
            for copy in copies {
                let Some(image) = self.ask(self.catalog.image(copy.image)).await? else { continue };
                behind = Some((image.started, image.id));
                let is_of_it = |it: &SlpVersion| it.slp.name == image.slp && it.version == image.slp_version;
                if versions.iter().any(is_of_it) && self.is_free(&copy, moment.now).await? {
                    bytes += copy.stored_bytes.min(COUNTED_BYTES_MAX);
                    retire::set_expiry(&copy, Some(moment.now), moment.now, &mut decision);
                }
                if bytes >= wanted {
                    return Ok((bytes, decision, None));
                }
            }
        }
        Ok((bytes, decision, behind.map(RoomLook::Behind)))
    }

    /// Whether nothing but that there is room keeps a copy.
    async fn is_free(&self, copy: &ImageCopy, now: Timestamp) -> Done<bool, C> {
        let loaded = self.load_image(copy.image).await?;
        let view = loaded.replication_view();
        let slp = view.slp.map(|it| &it.slp);
        Ok(standing(copy, slp, view.operations, now) == [KeptBecause::Capacity])
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
