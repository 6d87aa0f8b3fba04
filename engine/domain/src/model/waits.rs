//! What the model catalog remembers of waits: what was before a change is held against what is after it.

use narrows_format::{DomainId, Timestamp};

use crate::event::Change;
use crate::operation::{Operation, OperationState, WaitReason};
use crate::wait::{self, SILENCES_KEPT, Silence, WAITS_KEPT};

use super::rows::Rows;

impl Rows {
    /// Stores a change, and notes the waits that it ends.
    pub(super) fn apply(&mut self, change: &Change) {
        let waits = |it: &&Operation| matches!(it.state, OperationState::Waiting(_) | OperationState::Paused);
        let before: Vec<_> = self.operations.values().filter(waits).cloned().collect();
        self.put(change);
        match change {
            Change::HoldBack(partner, reason, now) if wait::is_of_partner(*reason) => {
                self.fall_silent(*partner, *reason, *now);
            }
            Change::HoldBack(partner, _, now) | Change::LetGo(partner, now) => self.speak(*partner, *now),
            _ => {}
        }
        for before in before {
            let over = self.operations.get(&before.key).and_then(|after| wait::over(&before, after));
            if let Some(over) = over {
                let kept = self.waits.entry(before.key).or_default();
                kept.push(over);
                kept.drain(..kept.len().saturating_sub(WAITS_KEPT as usize));
            }
        }
    }

    fn fall_silent(&mut self, partner: DomainId, reason: WaitReason, now: Timestamp) {
        let open = self.silences.get(&partner).and_then(|kept| kept.last()).filter(|it| it.ended.is_none());
        if open.is_some_and(|it| it.reason != reason) {
            self.speak(partner, now);
        }
        let kept = self.silences.entry(partner).or_default();
        if kept.last().is_none_or(|last| last.ended.is_some()) {
            kept.push(Silence { reason, began: now, ended: None });
            kept.drain(..kept.len().saturating_sub(SILENCES_KEPT as usize));
        }
    }

    fn speak(&mut self, partner: DomainId, now: Timestamp) {
        let last = self.silences.get_mut(&partner).and_then(|kept| kept.last_mut());
        if let Some(open) = last.filter(|last| last.ended.is_none()) {
            open.ended = Some(now);
        }
    }
}
