//! What the model catalog knows beside images and what is due for them.

use narrows_format::{DomainId, ImageId, Timestamp};

use crate::barrier::{Barrier, Part};
use crate::catalog::Beside;
use crate::event::Aside;
use crate::image::{Image, ImageState};
use crate::operation::Operation;
use crate::slp::Migrating;

use super::answers::limited;
use super::rows::Rows;
use super::{Burnt, MemoryCatalog};

impl Rows {
    pub(super) fn put_aside(&mut self, change: Aside) {
        match change {
            Aside::Barrier(row) => drop(self.barriers.insert((row.partner, row.part.clone()), row)),
            Aside::BarrierGone(partner, part, now) => {
                let all = self.operations.values_mut();
                let behind = all.filter(|it| {
                    it.target.as_ref().is_some_and(|to| to.partner == partner)
                        && it.behind.as_ref() == Some(&part)
                });
                behind.for_each(|it| it.enter(crate::OperationState::NotStarted, now));
                self.barriers.remove(&(partner, part));
            }
            Aside::ClockSeen(now) => self.clock_seen = Some(now),
            Aside::Migrating(row) => drop(self.migrations.insert(row.slp.clone(), row)),
            Aside::Migrated(slp) => drop(self.migrations.remove(&slp)),
        }
    }

    fn to_replan(&self, (slp, version): (&str, u32), after: Option<ImageId>, limit: u32) -> Vec<Image> {
        let mut all = self.images_under_way(slp, Some(version), u32::MAX);
        all.retain(|image| image.state == ImageState::Whole && after.is_none_or(|after| image.id > after));
        all.sort_by_key(|image| image.id);
        limited(all.into_iter(), limit)
    }

    fn first_behind(&self, partner: DomainId, part: &Part) -> Option<Operation> {
        let behind = self.to_partner(partner).filter(|it| it.behind.as_ref() == Some(part));
        behind.min_by_key(|it| (std::cmp::Reverse(it.priority), it.age, it.key)).cloned()
    }
}

impl Beside<Burnt> for MemoryCatalog {
    async fn barriers(&self) -> Result<Vec<Barrier>, Burnt> {
        self.read(|rows| rows.barriers.values().cloned().collect())
    }

    async fn first_behind(&self, partner: DomainId, part: &Part) -> Result<Option<Operation>, Burnt> {
        self.read(|rows| rows.first_behind(partner, part))
    }

    async fn clock_seen(&self) -> Result<Option<Timestamp>, Burnt> {
        self.read(|rows| rows.clock_seen)
    }

    async fn migrations(&self) -> Result<Vec<Migrating>, Burnt> {
        self.read(|rows| rows.migrations.values().cloned().collect())
    }

    async fn to_replan(
        &self,
        slp: (&str, u32),
        after: Option<ImageId>,
        limit: u32,
    ) -> Result<Vec<Image>, Burnt> {
        self.read(|rows| rows.to_replan(slp, after, limit))
    }
}
