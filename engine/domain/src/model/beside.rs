//! What the model catalog knows beside images and what is due for them.

use narrows_format::DomainId;

use crate::barrier::{Barrier, Part};
use crate::catalog::Beside;
use crate::event::Aside;
use crate::operation::Operation;

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
        }
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
}
