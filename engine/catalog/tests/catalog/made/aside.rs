//! Rows that are of no one image.

use narrows_domain::barrier::{Barrier, Part};
use narrows_domain::event::Aside;
use narrows_domain::operation::{Note, Operation, OperationKey, OperationState, WaitReason};
use narrows_domain::slp::Migrating;
use narrows_format::DomainId;

use super::Maker;

impl Maker {
    pub(crate) fn part(&mut self) -> Part {
        if self.coin() { Part::unit(&self.word()) } else { Part::import("gold", "", "") }
    }

    /// One that may wait behind a barrier.
    pub(super) fn operation_in_line(&mut self) -> Operation {
        let mut operation = self.operation();
        let waits = matches!(operation.state, OperationState::Waiting(_));
        if waits && operation.next_try.is_none() && operation.target.is_some() {
            operation.behind = self.maybe(Self::part);
        }
        operation
    }

    /// One of them, or that it is over.
    pub(super) fn aside(&mut self, partner: DomainId) -> Aside {
        match self.below(6) {
            3 => Aside::Migrating(Migrating {
                slp: self.one(&["gold", "silver"]).into(),
                from: u32::from(self.below(3)) + 1,
                to: u32::from(self.below(3)) + 1,
                since: self.time(),
                reached: self.maybe(Self::image_id),
            }),
            4 => Aside::Migrated("gold".into()),
            5 => Aside::ClockSeen(self.time()),
            0 => Aside::BarrierGone(partner, self.part(), self.time()),
            _ => Aside::Barrier(Barrier {
                partner,
                part: self.part(),
                reason: self.one(WaitReason::ALL),
                note: Note { code: self.word(), sentence: self.word() },
                since: self.time(),
                failures: u32::from(self.below(9)),
                next_probe: self.time(),
                trying: self.maybe(|it| OperationKey { image: it.image_id(), ordinal: 2 }),
            }),
        }
    }
}
